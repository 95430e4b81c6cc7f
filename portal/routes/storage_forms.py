"""The form of a storage: the common fields, and those of one provider as `providers` describes them."""

from functools import cache
from typing import Any

from portal.errors import BadValue
from portal.storage import providers
from portal.tree import container_page, groups
from portal.web.forms import Form, choice, lines, secret, secret_lines, select_choices, text
from portal.web.sign_in import current_actor, current_scope

MODES = [("both", "Export and import"), ("export", "Export"), ("import", "Import")]
COMMON_FIELDS = ("label", "mode", "prefix", "visible", "threads")


class ConfirmForm(Form):
    sure = text("Label")


def is_provider(provider: str) -> bool:
    return provider in providers.PROVIDERS


def blank(provider: str) -> Any:
    return _with_choices(_form_of(provider)(data={"provider": provider, "visible": "site"}))


def submitted(provider: str) -> Any:
    """The form as it was submitted."""
    form = _with_choices(_form_of(provider)())
    form.provider.data = provider
    return form


def filled(row: Any, provider: str) -> Any:
    """The form of an existing storage, with the fields of its provider or of another one; without secrets."""
    config = row.config if provider == row.provider else {}
    values = {name: _as_typed(value) for name, value in config.items()}
    values |= {"provider": provider, **{name: getattr(row, name) for name in COMMON_FIELDS}}
    values["threads"] = row.threads or ""
    return _with_choices(_form_of(provider)(formdata=None, data=values))


def with_fixed_place(form: Any, row: Any) -> Any:
    """The form of a storage whose location is fixed: with the stored location, and the errors of the submitted one."""
    if form.provider.data != row.provider:
        own = filled(row, row.provider)
        for error in form.provider.errors:
            own.put(BadValue(error, field="provider"))
        return own
    for name in providers.PROVIDERS[row.provider].place:
        form[name].data = _as_typed(row.config.get(name, ""))
    form.prefix.data = row.prefix
    return form


def values_of(form: Any) -> tuple[dict[str, Any], dict[str, str]]:
    """The submitted fields, and separately the secrets."""
    described = providers.PROVIDERS[form.provider.data].form
    shown = (*COMMON_FIELDS, *(field.name for field in described if not field.is_secret))
    fields = {"provider": form.provider.data} | {name: form[name].data or "" for name in shown}
    return fields, {field.name: form[field.name].data or "" for field in described if field.is_secret}


@cache
def _form_of(provider: str) -> type[Form]:
    """The form class of a provider. The fields are in the order of the page, so that the first error gets the focus."""
    fields = {"provider": text("Provider"), "label": text("Label"), "mode": choice("Used for", MODES)}
    makers = {"text": text, "lines": lines, "secret": secret, "secret_lines": secret_lines}
    for field in providers.PROVIDERS[provider].form:
        is_choice = field.kind == "choice"
        fields[field.name] = choice(field.label, field.choices) if is_choice else makers[field.kind](field.label)
    fields |= {"prefix": text("Prefix"), "visible": choice("Visible to"), "threads": text("Parallel transfers")}
    return type(f"Form_{provider}", (Form,), fields)


def _with_choices(form: Any) -> Any:
    """The form with the groups and projects that it may be visible to, including a chosen one that no longer exists."""
    group_rows = groups.list_all(actor=current_actor()).rows
    found = [("site", "Whole site"), *((f"group:{row.code}", f"Group {row.code}") for row in group_rows)]
    found += [(f"project:{path}", f"Project {path}") for path in container_page.project_paths(current_scope())]
    chosen = form.visible.data or "site"
    if chosen not in dict(found):
        found.append((chosen, chosen))
    form.visible.choices = select_choices(found)
    return form


def _as_typed(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
