"""The limits of a session: idle timeout and maximum length."""

from typing import Any

from portal.models import now

LAST_SEEN_INTERVAL = 60
"""Seconds between two records of when a user was last seen."""
MINUTES_PER_DAY, MINUTES_PER_HOUR = 24 * 60, 60


def timestamp() -> int:
    """The current time as sessions store it: whole seconds since 1970."""
    return int(now().timestamp())


def expiry_message(began: object, seen: object, options: dict[str, Any]) -> str:
    """Why a session with these timestamps has ended; empty while it is valid."""
    if not isinstance(began, int) or not isinstance(seen, int):
        return "Your session has expired because the session limits changed. Sign in again."
    current, idle, longest = timestamp(), options["session.idle"], options["session.longest"]
    if current - began >= longest * 3600:
        hours = format_minutes(longest * MINUTES_PER_HOUR)
        return f"Your session reached its maximum length of {hours}. Sign in again."
    if current - seen >= idle * 60:
        return f"You were signed out after {format_minutes(idle)} without activity. Sign in again."
    return ""


def format_minutes(minutes: int) -> str:
    """45 minutes, 2 hours, 7 days."""
    for length, one in ((MINUTES_PER_DAY, "day"), (MINUTES_PER_HOUR, "hour")):
        if minutes >= length and minutes % length == 0:
            count = minutes // length
            return f"{count} {one}{'' if count == 1 else 's'}"
    return f"{minutes} minutes"
