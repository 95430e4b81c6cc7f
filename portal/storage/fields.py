"""The fields of a storage as they come from a form or a command, made clean, or refused all at once."""

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
"""What each storage has, whoever provides it."""


def clean_new(
    provider: str, config: dict[str, Any], given: Mapping[str, Any], secret: dict[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Columns and secrets of a new one; `given` has all of OF_ALL.

    Raises BadValue or Taken, with the field; BadValues where several do not fit.
    """
    cleaned = config
    with ErrorCollector() as refusals:
        values = _each_cleaned(given, refusals)
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
    """What changes of one that is there, as columns, and its secrets; None: those before. Raises as `of_new`."""
    given = {name: changes[name] for name in COMMON_FIELDS if name in changes}
    place = _changed_place(row, {name: value for name, value in changes.items() if name not in COMMON_FIELDS})
    before = {"provider": row.provider, "config": row.config, "prefix": row.prefix}
    with ErrorCollector() as refusals:
        values = _each_cleaned(given, refusals)
        with refusals.kept():
            if values.get("label", row.label) != row.label:
                refuse_taken_label(values["label"])
        with refusals.kept():
            if place:
                place["config"] = providers.clean(place["provider"], place["config"])
            after = {**before, **values, **place}
            providers.refuse_archive_bucket(after["provider"], after["config"], after["prefix"])
        with refusals.kept():
            secrets = _changed_secrets(row, place, secret)
    return {**values, **place}, secrets


def refuse_taken_label(label: str) -> None:
    """Raises Taken; once more within the write that uses it."""
    if Storage.select().where(Storage.label == label).exists():
        raise Taken(f"There is a storage {label} already.", field="label")


def _each_cleaned(given: Mapping[str, Any], refusals: ErrorCollector) -> dict[str, Any]:
    """The fields of the form that each storage has, checked; without those that are refused."""
    values = {}
    for name, value in given.items():
        with refusals.kept():
            values[name] = _cleaned(name, value)
    return values


def _cleaned(name: str, value: Any) -> Any:
    """One field of the form, checked."""
    if name == "label":
        return labels.clean(value)
    if name == "prefix":
        return object_keys.clean_prefix(value)
    if name == "threads":
        return _threads(str(value).strip())
    return _mode(value) if name == "mode" else _visible(value)


def _threads(text: str) -> int:
    if text in ("", "0"):
        return 0
    if (
        not (text.isascii() and text.isdecimal())
        or len(text) > 9
        or not 1 <= int(text) <= site_settings.MAX_EXPORT_THREADS
    ):
        message = f"{text[:16]} objects at once do not fit: from 1 to {site_settings.MAX_EXPORT_THREADS}, or nothing."
        raise BadValue(message, field="threads")
    return int(text)


def _mode(text: str) -> str:
    if text not in MODES:
        raise BadValue(f"{text[:40]!r} is no mode. Choose one of: {', '.join(MODES)}.", field="mode")
    return text


def _visible(text: str) -> str:
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
    raise BadValue("Visible is one of: site, group:ID, project:GROUP/PROJECT.", field="visible")


def _changed_place(row: Storage, changes: dict[str, Any]) -> dict[str, Any]:
    """Provider and configuration, unchecked: what a form does not name stays, if the provider does."""
    provider = changes.pop("provider", row.provider)
    if not changes and provider == row.provider:
        return {}
    kept = row.config if provider == row.provider else {}
    return {"provider": provider, "config": {**kept, **changes}}


def _changed_secrets(row: Storage, place: dict[str, Any], given: dict[str, str]) -> dict[str, str] | None:
    """The secrets to be kept from now on; None: those before. `place` may be one that was refused."""
    provider: str = place.get("provider", row.provider)
    config: dict[str, Any] = place.get("config") or row.config
    if given or (place and _asks_again(row, place)):
        return providers.clean_secret(provider, config, given)
    return None


def _asks_again(row: Storage, place: dict[str, Any]) -> bool:
    """Whether a secret that was set is of another place or account now."""
    provider = providers.get(place["provider"])
    before, after = row.config, place["config"]
    decides = (*provider.place, *provider.account)
    is_changed = any((before.get(name) or "") != (after.get(name) or "") for name in decides)
    return is_changed or bool(place["provider"] != row.provider)
