"""The settings of the site that an admin changes, kept in the database."""

import math
import os
import time
import zoneinfo
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from portal import runtime
from portal.access import audit
from portal.access.actors import Actor
from portal.dicom import ae_titles, character_sets
from portal.errors import BadValue, Taken
from portal.models import Project, Setting, SiteCertificate, now, writing

GIGABYTE = 1_000_000_000
CACHE_SECONDS = 1.0
"""How old an answer of `get_cached` may be."""
MIN_IDLE_MINUTES, MAX_IDLE_MINUTES = 5, 7 * 24 * 60
MAX_SESSION_HOURS = 30 * 24
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
HOURS = tuple(f"{hour:02}:00" for hour in range(24))
FIRST_STEPS = ("dimse", "peer", "key", "storage")
MAX_EXPORT_THREADS = 32
MIN_HISTORY_DAYS, MAX_HISTORY_DAYS = 7, 36500
"""Pages show the last days by the hour, and a century is for ever."""


@dataclass(frozen=True)
class Option:
    default: Any
    clean: Callable[[Any], Any]


def _text(value: Any) -> str:
    text = str(value).strip()
    if not 1 <= len(text) <= 100:
        raise BadValue("The name must have 1 to 100 characters.", field="name")
    return text


def clean_time_zone(value: Any) -> str:
    """The name of a time zone. Raises BadValue."""
    if value not in zoneinfo.available_timezones():
        raise BadValue(f"{str(value)[:64]} is not a time zone. Write it like Europe/Zurich.", field="time_zone")
    return str(value)


def clean_port(value: Any, *, field: str = "port") -> int:
    """A TCP port. Raises BadValue unless it is a number from 1 to 65535."""
    text = str(value).strip()
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise BadValue(
            f"{text[:16] or 'An empty value'} is not a port. A port is a number from 1 to 65535.", field=field
        )
    return int(text)


def _tls_port(value: Any) -> int:
    """The TLS port; 0 where it is empty."""
    return clean_port(value, field="tls_port") if str(value).strip() not in ("", "0") else 0


def clean_character_set(value: Any, *, field: str = "character_set") -> str:
    """Defined terms of a Specific Character Set with backslashes between them; empty for none. Raises BadValue."""
    text = str(value or "").strip()
    terms = character_sets.parse(text)
    if text and (len(terms) != text.count("\\") + 1 or len(text) > 100):
        raise BadValue(f"{text[:32]} is not a character set. Write it like ISO_IR 100 or ISO_IR 192.", field=field)
    return "\\".join(terms)


def _host(value: Any) -> str:
    text = str(value).strip()
    if not text or len(text) > 253 or any(character.isspace() for character in text):
        raise BadValue("Enter a host name or an IP address, such as 0.0.0.0 for all addresses.", field="host")
    return text


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadValue("The value must be on or off.")
    return value


def _one_of(choices: tuple[str, ...], what: str, field: str) -> Callable[[Any], str]:
    def clean(value: Any) -> str:
        if value not in choices:
            raise BadValue(f"{what} must be one of: {', '.join(choices)}.", field=field)
        return str(value)

    return clean


def _floor(value: Any) -> float:
    """Gigabytes to keep free; 0 for the reserve of the environment."""
    text = str(value).strip().replace(",", ".") or "0"
    try:
        number = float(text)
    except ValueError:
        number = -1
    if not math.isfinite(number) or number < 0:
        raise BadValue(f"{text[:16]} is not a number of gigabytes. Write it like 20 or 0.5.", field="floor")
    disk = os.statvfs(runtime.current().data)
    whole = disk.f_frsize * disk.f_blocks
    if number * GIGABYTE >= whole:
        message = f"The disk has {whole / GIGABYTE:,.0f} GB. With {text[:16]} GB kept free nothing could be stored."
        raise BadValue(message, field="floor")
    return number


def _between(least: int, most: int, unit: str, field: str) -> Callable[[Any], int]:
    def clean(value: Any) -> int:
        text = str(value).strip()
        if not (text.isascii() and text.isdecimal()) or len(text) > 9 or not least <= int(text) <= most:
            given = text[:16] or "An empty value"
            raise BadValue(f"{given} is out of range. Enter {least:,} to {most:,} {unit}.", field=field)
        return int(text)

    return clean


def _steps(value: Any) -> list[str]:
    if not isinstance(value, list) or not set(value) <= set(FIRST_STEPS):
        raise BadValue(f"The first steps are: {', '.join(FIRST_STEPS)}.")
    return [step for step in FIRST_STEPS if step in value]


OPTIONS: dict[str, Option] = {
    "site.name": Option("Portico", _text),
    "site.time_zone": Option("UTC", clean_time_zone),
    "dimse.enabled": Option(False, _flag),
    "dimse.ae_title": Option("PORTICO", ae_titles.clean),
    "dimse.host": Option("0.0.0.0", _host),  # noqa: S104 (a DIMSE service is for the hospital's network)
    "dimse.port": Option(11112, clean_port),
    "dimse.tls_port": Option(0, _tls_port),
    "dimse.require_certificates": Option(False, _flag),
    "dimse.echo_anyone": Option(False, _flag),
    "association.at_once": Option(200, _between(1, 200, "associations", "at_once")),
    "association.identity": Option(
        "ignored", _one_of(("ignored", "refused", "required"), "A user identity", "identity")
    ),
    "query.answers": Option(0, _between(0, 100_000_000, "answers", "answers")),
    "query.character_set": Option("", clean_character_set),
    "exports.threads": Option(4, _between(1, MAX_EXPORT_THREADS, "parallel transfers", "threads")),
    "archive.duplicates": Option("hold", _one_of(("hold", "refuse", "replace"), "Duplicates", "duplicates")),
    "trash.who": Option("admins", _one_of(("admins", "users", "nobody"), "Who can move items to trash", "who")),
    "trash.days": Option(30, _between(0, 3650, "days", "days")),
    "disk.floor": Option(0.0, _floor),
    "verification.enabled": Option(True, _flag),
    "verification.weekday": Option("sunday", _one_of(WEEKDAYS, "The weekday", "weekday")),
    "verification.hour": Option("02:00", _one_of(HOURS, "The hour", "hour")),
    "history.jobs": Option(90, _between(MIN_HISTORY_DAYS, MAX_HISTORY_DAYS, "days", "jobs")),
    "history.exports": Option(3650, _between(MIN_HISTORY_DAYS, MAX_HISTORY_DAYS, "days", "exports")),
    "history.associations": Option(90, _between(MIN_HISTORY_DAYS, MAX_HISTORY_DAYS, "days", "associations")),
    "history.callers": Option(90, _between(MIN_HISTORY_DAYS, MAX_HISTORY_DAYS, "days", "callers")),
    "history.hourly": Option(90, _between(MIN_HISTORY_DAYS, MAX_HISTORY_DAYS, "days", "hourly")),
    "session.idle": Option(120, _between(MIN_IDLE_MINUTES, MAX_IDLE_MINUTES, "minutes", "idle")),
    "session.longest": Option(12, _between(1, MAX_SESSION_HOURS, "hours", "longest")),
    "first_steps.left": Option([], _steps),
    "first_steps.hidden": Option(False, _flag),
}

_recent: list[tuple[Any, float, dict[str, Any]]] = []
"""The site that was read last, until when its options may be used, and the options."""


def get(key: str) -> Any:
    """The value of one option, or its default."""
    row = Setting.get_or_none(Setting.key == key)
    return OPTIONS[key].default if row is None else row.value


def get_cached(key: str) -> Any:
    """The value of one option at most a second ago, for what is read with each incoming object."""
    for here, until, values in _recent:
        if here is runtime.current() and time.monotonic() < until:
            return values[key]
    return get_all()[key]


def time_zones() -> list[str]:
    """The valid values of `site.time_zone`."""
    return sorted(zoneinfo.available_timezones())


def get_all() -> dict[str, Any]:
    """All options with their values."""
    stored = {row.key: row.value for row in Setting.select()}
    values = {key: stored.get(key, option.default) for key, option in OPTIONS.items()}
    _recent[:] = [(runtime.current(), time.monotonic() + CACHE_SECONDS, values)]
    return dict(values)


def change(values: dict[str, Any], *, actor: Actor) -> dict[str, tuple[Any, Any]]:
    """Change some options; returns those that changed, as before and after.

    Raises BadValue, and changes nothing, if one of them is invalid.
    """
    cleaned = {key: OPTIONS[key].clean(value) for key, value in values.items()}
    with writing():
        before = get_all()
        changed = {key: value for key, value in cleaned.items() if before[key] != value}
        title = changed.get("dimse.ae_title")
        if title is not None and Project.select().where(Project.ae_title == title).exists():
            # A called AE title selects the site or one project, so each needs its own (docs/decisions/0081).
            raise Taken(f"A project has the AE title {title} already. Choose another one.", field="ae_title")
        after = {**before, **changed}
        if after["dimse.tls_port"] == after["dimse.port"]:
            raise Taken("TLS needs a port of its own, other than that for clear text.", field="tls_port")
        if changed.get("dimse.tls_port") and not SiteCertificate.select().exists():
            raise BadValue("TLS needs a certificate of the site. Create or install one first.", field="tls_port")
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
    _recent.clear()
    return {key: (before[key], value) for key, value in changed.items()}
