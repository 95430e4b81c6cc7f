"""What is counted by the hour as it happens: refused callers, and what exports bring."""

from datetime import datetime
from typing import Any, Literal

from portal.models import Hourly, now

Kind = Literal["refused", "exported"]


def add(kind: Kind, number: int = 1, size: int = 0) -> None:
    """Add to this hour, inside the write block of what happened."""
    raised: dict[Any, Any] = {Hourly.number: Hourly.number + number, Hourly.bytes: Hourly.bytes + size}
    Hourly.insert(kind=kind, hour=start_of_hour(now()), number=number, bytes=size).on_conflict(
        conflict_target=[Hourly.kind, Hourly.hour], update=raised
    ).execute()


def start_of_hour(moment: datetime) -> datetime:
    """The first moment of its hour."""
    return moment.replace(minute=0, second=0, microsecond=0)
