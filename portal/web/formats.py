"""Numbers, sizes and times as people read them."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from flask import Flask, g, request
from flask_login import current_user
from markupsafe import Markup, escape
from pydicom.uid import UID

from portal import timestamps
from portal.quantities import size
from portal.web.sign_in import site_options

ALL_INTERFACES = ("0.0.0.0", "::")  # noqa: S104 (named, not bound)
MINUTE, HOUR, DAY = 60, 3600, 86400
MAX_RECORDED_LENGTH = 80
"""Longer recorded values are truncated."""


def install(app: Flask) -> None:
    filters = (
        ago,
        amount,
        audit_value,
        calendar_day,
        date_of,
        day,
        days_left,
        duration,
        elapsed,
        hour_of,
        interval,
        is_near,
        number,
        our_host,
        size,
        uid_name,
    )
    app.jinja_env.filters.update({function.__name__: function for function in filters})
    app.jinja_env.globals["zone_name"] = zone_name


def number(value: Any) -> str:
    """11,249."""
    return f"{int(value or 0):,}"


def amount(count: Any, one: str, many: str = "") -> str:
    """1 file, 12 files."""
    return f"{number(count)} {one if int(count or 0) == 1 else many or one + 's'}"


def audit_value(value: Any) -> str:
    """A value of the audit log: yes, no, the items of a list; none if empty."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        value = ", ".join(":".join(map(str, one)) if isinstance(one, list) else str(one) for one in value)
    if isinstance(value, dict):
        value = ", ".join(f"{name} {audit_value(one)}" for name, one in value.items())
    text = str(value if value is not None else "") or "none"
    return text if len(text) <= MAX_RECORDED_LENGTH else f"{text[:MAX_RECORDED_LENGTH]}…"


def our_host(listening: str) -> str:
    """The host under which peers reach us; if we listen on all addresses, the host that the browser used."""
    return urlsplit(request.host_url).hostname or listening if listening in ALL_INTERFACES else listening


def uid_name(uid: str) -> str:
    """CT Image Storage; the UID itself if the standard has no name for it."""
    return UID(uid).name


def elapsed(began: datetime | str | None, ended: datetime | str | None) -> str:
    """The duration until now or until the end; empty if not started."""
    if began is None:
        return ""
    return duration(((_moment(ended) if ended else _now()) - _moment(began)).total_seconds())


def duration(seconds: float) -> str:
    """0.4 s, 3 min 02 s, 2 h 41 min."""
    seconds = max(0.0, seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < MINUTE:
        return f"{seconds:.0f} s"
    if seconds < HOUR:
        return f"{seconds // MINUTE:.0f} min {seconds % MINUTE:02.0f} s"
    return f"{seconds // HOUR:.0f} h {seconds % HOUR // MINUTE:02.0f} min"


def interval(seconds: int) -> str:
    """The words after "every": minute, 5 min, hour, 90 s."""
    for length, one, unit in ((DAY, "day", "days"), (HOUR, "hour", "h"), (MINUTE, "minute", "min")):
        if seconds >= length and seconds % length == 0:
            return one if seconds == length else f"{number(seconds // length)} {unit}"
    return f"{number(seconds)} s"


def calendar_day(value: str) -> str:
    """A DA value as 2020-05-05; anything else unchanged."""
    return timestamps.format_dicom(value)


def ago(value: datetime | str | None, never: str = "Never") -> Markup:
    """A time relative to now up to a day, then as a date in the user's time zone; the exact UTC is on hover."""
    if not value:
        return Markup('<span class="q">{}</span>').format(never)
    moment = _moment(value)
    away = (_now() - moment).total_seconds()
    seconds = abs(away)
    if seconds >= DAY:
        return _timed(moment, _date(moment, with_time=True))
    if seconds < 2:
        return _timed(moment, "just now")

    if seconds < MINUTE:
        words = f"{seconds:.0f} s"
    elif seconds < HOUR:
        words = f"{seconds // MINUTE:.0f} min"
    else:
        words = f"{seconds // HOUR:.0f} h"
    return _timed(moment, f"{words} ago" if away > 0 else f"in {words}")


def is_near(value: datetime | str) -> bool:
    """Whether `ago` shows a relative time, not a date."""
    return abs((_now() - _moment(value)).total_seconds()) < DAY


def day(value: datetime | str | None) -> Markup:
    """24 Nov 2026, in the user's time zone; the exact UTC is on hover."""
    if not value:
        return Markup('<span class="q">Never</span>')
    moment = _moment(value)
    return _timed(moment, _date(moment))


def _moment(value: datetime | str) -> datetime:
    """Views for `--json` have times as text."""
    return value if isinstance(value, datetime) else datetime.fromisoformat(value)


def _timed(moment: datetime, words: str) -> Markup:
    utc = moment.astimezone(UTC)
    return Markup('<time datetime="{}" title="{} UTC">{}</time>').format(
        f"{utc:%Y-%m-%dT%H:%M:%SZ}", f"{utc:%Y-%m-%d %H:%M:%S}", escape(words)
    )


def _date(moment: datetime, *, with_time: bool = False) -> str:
    local = moment.astimezone(zone())
    date = f"{local.day} {local:%b %Y}"
    return f"{date}, {local:%H:%M}" if with_time else date


def date_of(value: date) -> str:
    """24 Nov."""
    return f"{value.day} {value:%b}"


def hour_of(value: datetime) -> str:
    """09:00, in the user's time zone."""
    return f"{value.astimezone(zone()):%H:%M}"


def days_left(value: datetime | str) -> str:
    """In 214 days; 3 days ago. Whole days, either way."""
    away = _moment(value) - _now()
    whole = abs(away) // timedelta(days=1)
    if whole == 0:
        return "today"
    return f"in {amount(whole, 'day')}" if away > timedelta(0) else f"{amount(whole, 'day')} ago"


def _now() -> datetime:
    return datetime.now(UTC)


def zone() -> ZoneInfo:
    """The time zone of the user, else of the site; read once per request."""
    if "zone" not in g:
        own = current_user.user.time_zone if current_user.is_authenticated else ""
        g.zone = ZoneInfo(own or site_options()["site.time_zone"])
    zone: ZoneInfo = g.zone
    return zone


def zone_name() -> str:
    return zone().key
