"""What an admin changes about the site; kept in the database, read where it is used."""

import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from portal import ae_titles, audit
from portal.errors import BadValue, Taken
from portal.models import Project, Setting, now, writing
from portal.provenance import Actor


@dataclass(frozen=True)
class Option:
    default: Any
    clean: Callable[[Any], Any]


def _text(value: Any) -> str:
    text = str(value).strip()
    if not 1 <= len(text) <= 100:
        raise BadValue("The name has between 1 and 100 characters.", field="name")
    return text


def zone(value: Any) -> str:
    """The name of a time zone. Raises BadValue."""
    if value not in zoneinfo.available_timezones():
        raise BadValue(f"{str(value)[:64]} is no time zone. Write it like Europe/Zurich.", field="time_zone")
    return str(value)


def port(value: Any, *, field: str = "port") -> int:
    """A TCP port. Raises BadValue unless it is a number from 1 to 65535."""
    text = str(value).strip()
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise BadValue(f"{text[:16] or 'Nothing'} is no port. A port is a number from 1 to 65535.", field=field)
    return int(text)


def _host(value: Any) -> str:
    text = str(value).strip()
    if not text or len(text) > 253 or any(character.isspace() for character in text):
        raise BadValue("The address is a host name or an IP address, such as 0.0.0.0 for all.", field="host")
    return text


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadValue("This is either on or off.")
    return value


def _duplicates(value: Any) -> str:
    if value not in ("hold", "refuse", "replace"):
        raise BadValue("Other content under a known UID is one of: hold, refuse, replace.", field="duplicates")
    return str(value)


OPTIONS: dict[str, Option] = {
    "site.name": Option("Portico", _text),
    "site.time_zone": Option("UTC", zone),
    "dimse.enabled": Option(False, _flag),
    "dimse.ae_title": Option("PORTICO", ae_titles.clean),
    "dimse.host": Option("0.0.0.0", _host),  # noqa: S104 (a DIMSE service is for the hospital's network)
    "dimse.port": Option(11112, port),
    "dimse.echo_anyone": Option(False, _flag),
    "archive.duplicates": Option("hold", _duplicates),
}


def get(key: str) -> Any:
    """The value of one option, or its default."""
    row = Setting.get_or_none(Setting.key == key)
    return OPTIONS[key].default if row is None else row.value


def time_zones() -> list[str]:
    """The names that `site.time_zone` may have."""
    return sorted(zoneinfo.available_timezones())


def every() -> dict[str, Any]:
    """All options with their values."""
    stored = {row.key: row.value for row in Setting.select()}
    return {key: stored.get(key, option.default) for key, option in OPTIONS.items()}


def put(values: dict[str, Any], *, actor: Actor) -> None:
    """Change some options. Raises BadValue, and changes nothing, if one of them does not fit."""
    cleaned = {key: OPTIONS[key].clean(value) for key, value in values.items()}
    with writing():
        before = every()
        changed = {key: value for key, value in cleaned.items() if before[key] != value}
        _refuse_projects_title(changed.get("dimse.ae_title"))
        for key, value in changed.items():
            Setting.insert(key=key, value=value).on_conflict(
                conflict_target=[Setting.key], update={Setting.value: value}
            ).execute()
        if changed:
            audit.record(
                actor,
                "setting:changed",
                "site",
                "",
                before={key: before[key] for key in changed},
                after=changed,
                at=now().isoformat(),
            )


def _refuse_projects_title(title: str | None) -> None:
    """A called title selects the site or one project (design decision 1)."""
    if title is not None and Project.select().where(Project.ae_title == title).exists():
        raise Taken(f"A project has the AE title {title} already; the site needs another one.", field="ae_title")
