"""The fields of a storage as they come from a form or a command: cleaned, or all refused at once."""

from collections.abc import Mapping
from typing import Any

from portal import site_settings
from portal.errors import BadValue, Taken
from portal.models import Group, Project, Storage
from portal.refusals import ErrorCollector
from portal.storage import providers
from portal.storage_drivers import object_keys
from portal.tree import labels

MODES = ("export", "import", "both")
COMMON_FIELDS = ("label", "mode", "visible", "prefix", "threads")
"""The fields of each storage, whatever its provider."""


def clean_new(
    provider: str, config: dict[str, Any], given: Mapping[str, Any], secret: dict[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Columns and secrets of a new storage; `given` has all of COMMON_FIELDS.

    Raises BadValue or Taken, with the field; BadValues where several do not fit.
    """
    cleaned = config
    with ErrorCollector() as refusals:
        values = _clean_common(given, refusals)
        with refusals.kept():
            refuse_taken_label(values.get("label", ""))
        with refusals.kept():
            cleaned = providers.clean(provider, config)
            providers.refuse_archive_bucket(provider, cleaned, values.get("prefix", ""))
        with refusals.kept():
            secrets = providers.clean_secret(provider, cleaned, secret)
    return {**values, "provider": provider, "config": cleaned}, secrets


def clean_changes(
    row: Storage, changes: dict[str, Any], secret: dict[str, str]
) -> tuple[dict[str, Any], dict[str, str] | None]:
    """The columns that change, and the secrets; None: those before. Raises as `clean_new`."""
    given = {name: changes[name] for name in COMMON_FIELDS if name in changes}
    config = {name: value for name, value in changes.items() if name not in COMMON_FIELDS}
    provider = config.pop("provider", row.provider)
    place: dict[str, Any] = {}
    if config or provider != row.provider:
        # What a form does not name stays, if the provider does.
        place = {"provider": provider, "config": {**(row.config if provider == row.provider else {}), **config}}

    before = {"provider": row.provider, "config": row.config, "prefix": row.prefix}
    with ErrorCollector() as refusals:
        values = _clean_common(given, refusals)
        with refusals.kept():
            if values.get("label", row.label) != row.label:
                refuse_taken_label(values["label"])
        with refusals.kept():
            if place:
                place["config"] = providers.clean(place["provider"], place["config"])
            after = {**before, **values, **place}
            providers.refuse_archive_bucket(after["provider"], after["config"], after["prefix"])
        with refusals.kept():
            secrets = _clean_changed_secrets(row, place, secret)
    return {**values, **place}, secrets


def refuse_taken_label(label: str) -> None:
    """Raises Taken; to be called again within the write that uses the label."""
    if Storage.select().where(Storage.label == label).exists():
        raise Taken(f"A storage {label} already exists.", field="label")


def _clean_common(given: Mapping[str, Any], refusals: ErrorCollector) -> dict[str, Any]:
    """The fields that each storage has, checked; without those that are refused."""
    values = {}
    for name, value in given.items():
        with refusals.kept():
            values[name] = _clean_field(name, value)
    return values


def _clean_field(name: str, value: Any) -> Any:
    if name == "label":
        return labels.clean(value)
    if name == "prefix":
        return object_keys.clean_prefix(value)
    if name == "visible":
        return _clean_visible(value)
    if name == "mode":
        if value not in MODES:
            raise BadValue(f"{value[:40]!r} is not a mode. Choose one of: {', '.join(MODES)}.", field="mode")
        return value

    text, highest = str(value).strip(), site_settings.MAX_EXPORT_THREADS
    if text in ("", "0"):
        return 0
    if not (text.isascii() and text.isdecimal()) or len(text) > 9 or not 1 <= int(text) <= highest:
        raise BadValue(
            f"Parallel transfers must be from 1 to {highest}, or empty; {text[:16]} is not.", field="threads"
        )
    return int(text)


def _clean_visible(text: str) -> str:
    kind, _colon, name = text.partition(":")
    code, _slash, label = name.partition("/")
    if text == "site":
        return text
    if kind == "group" and Group.select().where(Group.code == name).exists():
        return text
    projects = Project.select().join(Group).where(Group.code == code, Project.label == label)
    if kind == "project" and projects.exists():
        return text
    if kind in ("group", "project"):
        raise BadValue(f"There is no {kind} {name[:100]!r} to make it visible to.", field="visible")
    raise BadValue("Visible must be one of: site, group:ID, project:GROUP/PROJECT.", field="visible")


def _clean_changed_secrets(row: Storage, place: dict[str, Any], given: dict[str, str]) -> dict[str, str] | None:
    """The secrets to be kept from now on; None: those before. `place` may be one that was refused."""
    provider = providers.get(place.get("provider", row.provider))
    config: dict[str, Any] = place.get("config") or row.config
    name: str = place.get("provider", row.provider)

    # A secret that was set for another place or account must be entered again.
    relevant = (*provider.place, *provider.account)
    is_elsewhere = name != row.provider or any(
        (row.config.get(key) or "") != (config.get(key) or "") for key in relevant
    )
    if given or (place and is_elsewhere):
        return providers.clean_secret(name, config, given)
    return None
