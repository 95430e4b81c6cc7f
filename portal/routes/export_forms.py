"""The form of an export, with a variable number of rules, and the form that starts it."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from portal.exports import key_template, selection
from portal.exports import rules as export_rules
from portal.exports.params import ExportParams
from portal.exports.request import PEER_PREFIX, Options
from portal.web.forms import Form, checkbox, choice, lines, split, text

LEVELS = (
    ("project", "Whole project"),
    ("subject", "One subject"),
    ("session", "One session"),
    ("search", "Studies found by a search"),
)
RULE_LEVELS = (
    ("all", "Files of all levels"),
    ("acquisition", "Files of acquisitions"),
    ("session", "Files of sessions"),
    ("subject", "Files of subjects"),
    ("project", "Files of the project itself"),
)
EXISTING = (
    ("never", "Skip it"),
    ("different", "Overwrite it if different"),
    ("always", "Always overwrite it"),
)
PLAIN_FIELDS = ("project", "to", "label", "level", "only", "existing", "bandwidth", "sidecars")
RULE_FIELDS = ("level", "include", "exclude", "path")
Rule = dict[str, str]
"""One rule as entered: level, include and exclude (lines), path."""


class ExportForm(Form):
    label = text("Label")
    project = choice("Project")
    level = choice("Scope", LEVELS)
    only = text("Filter")
    to = choice("To")
    existing = choice("If an object exists", EXISTING)
    bandwidth = text("Bandwidth limit (per second)")
    sidecars = checkbox("Write a sidecar for each object")


class StartForm(Form):
    confirmed = checkbox("I confirm that this disclosure is authorised")


@lru_cache(maxsize=export_rules.MAX_RULES)
def _form_class(rules: int) -> type[ExportForm]:
    """The form with the fields of this number of rules."""
    fields: dict[str, Any] = {}
    for number in range(1, rules + 1):
        fields[f"level_{number}"] = choice("Applies to", RULE_LEVELS)
        fields[f"include_{number}"] = lines("Include if any match")
        fields[f"exclude_{number}"] = lines("Exclude if any match")
        fields[f"path_{number}"] = text("Path template")
    return type("ExportForm", (ExportForm,), fields)


def empty_rule() -> Rule:
    return {"level": "all", "include": "", "exclude": "", "path": key_template.DEFAULT_TEMPLATE}


def filled(values: Mapping[str, Any], rules: Sequence[Rule]) -> ExportForm:
    """The form with these values, regardless of what was submitted."""
    data = dict(values)
    for number, rule in enumerate(rules, 1):
        data |= {f"{name}_{number}": rule[name] for name in RULE_FIELDS}
    return _form_class(len(rules))(formdata=None, data=data)


def submitted(form: Mapping[str, str]) -> ExportForm:
    """The form as it was submitted."""
    return _form_class(len(rules_of(form)))()


def values_of(form: Mapping[str, str]) -> dict[str, str]:
    """The submitted values, without the rules."""
    return {name: form.get(name, "") for name in PLAIN_FIELDS}


def rules_of(form: Mapping[str, str]) -> list[Rule]:
    """The submitted rules: at least one, at most as many as an export may have."""
    numbers = [number for number in range(1, export_rules.MAX_RULES + 1) if f"path_{number}" in form]
    return [{name: form.get(f"{name}_{number}", "") for name in RULE_FIELDS} for number in numbers] or [empty_rule()]


def options_of(form: Mapping[str, str]) -> Options:
    """The submitted values as options of an export."""
    values = values_of(form)
    rules = [{**rule, "include": split(rule["include"]), "exclude": split(rule["exclude"])} for rule in rules_of(form)]
    return Options(
        label=values["label"],
        level=values["level"] or "project",
        only=values["only"],
        rules=rules,
        existing=values["existing"] or "never",
        bandwidth=values["bandwidth"],
        sidecars=bool(values["sidecars"]),
    )


def form_values(params: ExportParams) -> tuple[dict[str, str], list[Rule]]:
    """Values and rules of the form that has these parameters of a job as its result."""
    level, only = selection.form_values(params)
    values = {
        "project": params.path,
        "to": f"{PEER_PREFIX}{params.to}" if params.is_to_peer else params.to,
        "level": level,
        "only": only,
        "existing": params.existing,
        "sidecars": "y" if params.sidecars else "",
        "bandwidth": f"{params.bandwidth / 1_000_000:g} MB" if params.bandwidth else "",
    }
    rules = [
        {**rule, "include": "\n".join(rule["include"]), "exclude": "\n".join(rule["exclude"])} for rule in params.rules
    ]
    return values, rules or [empty_rule()]
