"""How long somebody stays signed in: since the last page that they asked for, and in all."""

from typing import Any

from portal.models import now

LAST_SEEN_INTERVAL = 60
"""Seconds after which it is noted again that somebody is there."""
MINUTES_PER_DAY, MINUTES_PER_HOUR = 24 * 60, 60


def timestamp() -> int:
    """What a session keeps of now: whole seconds since 1970."""
    return int(now().timestamp())


def expiry_message(began: object, seen: object, options: dict[str, Any]) -> str:
    """Why a session that began and was last used then is over, in a sentence; empty while it holds."""
    if not isinstance(began, int) or not isinstance(seen, int):
        return "Sign in again: Portico has changed how long a session lasts."
    here, idle, longest = timestamp(), options["session.idle"], options["session.longest"]
    if here - began >= longest * 3600:
        hours = format_minutes(longest * MINUTES_PER_HOUR)
        return f"You were signed in for {hours}, the longest that this site allows. Sign in again."
    if here - seen >= idle * 60:
        return f"You were away for more than {format_minutes(idle)}, so you were signed out. Sign in again."
    return ""


def format_minutes(minutes: int) -> str:
    """45 minutes, 2 hours, 7 days."""
    for length, one in ((MINUTES_PER_DAY, "day"), (MINUTES_PER_HOUR, "hour")):
        if minutes >= length and minutes % length == 0:
            count = minutes // length
            return f"{count} {one}{'' if count == 1 else 's'}"
    return f"{minutes} minutes"
