"""Moments that come from outside as text (ISO 8601)."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from portal import site
from portal.errors import BadValue


def parse(text: str, *, field: str, zone: ZoneInfo | None = None) -> datetime:
    """The moment in UTC. A text without an offset is meant in `zone`, or the site's; a date is its first moment."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone or ZoneInfo(site.get("site.time_zone")))
        return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        sentence = f"The {field} is {text[:40]!r}; write a moment like 2027-01-31T12:00:00Z or 2027-01-31."
        raise BadValue(sentence, field=field) from error
