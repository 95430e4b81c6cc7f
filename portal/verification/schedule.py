"""When the site is verified without being asked: once a week, by its settings."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from portal import site_settings
from portal.access import audit_anchors
from portal.access.actors import Actor
from portal.models import Job, now
from portal.verification import verification

WEEK = timedelta(days=7)
_SYSTEM = Actor(type="system", name="Portico", via="schedule", is_admin=True)


def sweep() -> bool:
    """Start what is due; returns whether it did. After a downtime that is one verification."""
    began = audit_anchors.began()
    due = last_due(now())
    if began is None or due is None or due < began:
        return False
    newest = Job.select().where(Job.kind == verification.KIND).order_by(Job.id.desc()).first()
    if newest is not None and newest.created >= due:
        return False
    verification.start(actor=_SYSTEM)
    return True


def last_due(moment: datetime) -> datetime | None:
    """The last time at or before a moment; None where the site is not verified by itself."""
    options = site_settings.get_all()
    if not options["verification.enabled"]:
        return None
    zone = ZoneInfo(options["site.time_zone"])
    local = moment.astimezone(zone)
    weekday = site_settings.WEEKDAYS.index(options["verification.weekday"])
    day = local.date() - timedelta(days=(local.weekday() - weekday) % 7)
    hour = site_settings.HOURS.index(options["verification.hour"])
    due = datetime(day.year, day.month, day.day, hour, tzinfo=zone)
    if due > local:
        due -= WEEK  # by the local clock, whatever summer time does
    return due.astimezone(UTC)


def next_due() -> datetime | None:
    """The next time; None where the site is not verified by itself."""
    return last_due(now() + WEEK)
