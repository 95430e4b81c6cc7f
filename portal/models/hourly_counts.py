"""Counts by the hour: refused callers, and exported objects."""

from datetime import datetime
from typing import Any, Literal

from portal.models import Hourly, now

Kind = Literal["refused", "exported"]


def add(kind: Kind, number: int = 1, size: int = 0) -> None:
    """Add to the current hour, in the write block of the event."""
    increased: dict[Any, Any] = {Hourly.number: Hourly.number + number, Hourly.bytes: Hourly.bytes + size}
    Hourly.insert(kind=kind, hour=start_of_hour(now()), number=number, bytes=size).on_conflict(
        conflict_target=[Hourly.kind, Hourly.hour], update=increased
    ).execute()


def start_of_hour(time: datetime) -> datetime:
    """The beginning of the hour that contains this time."""
    return time.replace(minute=0, second=0, microsecond=0)
