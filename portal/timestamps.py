"""Timestamps as text: parsed from ISO 8601, formatted from DICOM and for people."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from portal import site_settings
from portal.errors import BadValue


def parse(text: str, *, field: str, zone: ZoneInfo | None = None) -> datetime:
    """The time in UTC. Without an offset, the text is in `zone` or the site's time zone; a date means its midnight."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone or ZoneInfo(site_settings.get("site.time_zone")))
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        message = f"The {field} is {text[:40]!r}; write a time like 2027-01-31T12:00:00Z or 2027-01-31."
        raise BadValue(message, field=field) from error


def format_dicom(date: str | None, time: str | None = "") -> str:
    """A DA and a TM value (PS3.5 6.2) as 2020-05-05 11:27:49; other text unchanged."""
    date, time = date or "", time or ""
    if len(date) == 8 and date.isdecimal():
        date = f"{date[:4]}-{date[4:6]}-{date[6:]}"
    whole = time.partition(".")[0]
    if len(whole) in (4, 6) and whole.isdecimal():
        time = ":".join(whole[place : place + 2] for place in range(0, len(whole), 2))
    return " ".join(part for part in (date, time) if part)


def in_site_zone(moment: datetime | None) -> str:
    """2026-11-25 03:00 Europe/Zurich; empty for none."""
    if moment is None:
        return ""
    zone = site_settings.get("site.time_zone")
    return f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M} {zone}"
