"""Figures that are recorded over time, or counted before a page needs them."""

from datetime import datetime
from typing import Any, Literal

from peewee import CharField, ForeignKeyField, IntegerField

from portal.models.base import Table, UtcField, now
from portal.models.interfaces import Peer


class DiskDay(Table):
    """The usage of the archive's disk on one day, when it was last measured; sizes in bytes."""

    day = CharField(unique=True)
    """2026-11-24, by UTC."""
    at = UtcField(default=now)
    total = IntegerField()
    free = IntegerField()
    segments = IntegerField()
    """Bytes of the archive's segments."""
    database = IntegerField()
    rest = IntegerField()
    """Bytes of everything else in the data folder on that disk."""

    @property
    def used(self) -> int:
        return int(self.total - self.free)


class Hourly(Table):
    """The number of events of one kind in one hour, for events without rows of their own."""

    kind = CharField()
    """refused (callers) | exported (verified objects)."""
    hour = UtcField()
    number = IntegerField(default=0)
    bytes = IntegerField(default=0)

    class Meta:
        indexes = ((("kind", "hour"), True),)


class AssociationDay(Table):
    """The sums of one day's associations whose own rows were deleted by their age."""

    day = CharField()
    """2026-11-24, by UTC, of their beginnings."""
    peer = ForeignKeyField(Peer, null=True, backref="+", on_delete="SET NULL")
    peer_id: int | None
    role = CharField()
    outcome = CharField()
    number = IntegerField(default=0)
    failures = IntegerField(default=0)
    """Operations that failed."""
    stored = IntegerField(default=0)
    """Objects sent or received by C-STORE."""
    bytes = IntegerField(default=0)

    class Meta:
        indexes = ((("day", "peer", "role", "outcome"), False),)  # not unique: the days of a removed peer stay


class Total(Table):
    """The number of rows of one kind on a large site, when they were last counted."""

    name = CharField(unique=True)
    """studies | instances | files."""
    number = IntegerField()
    counted = UtcField(default=now)


def add_to_hour(kind: Literal["refused", "exported"], number: int = 1, size: int = 0) -> None:
    """Add to the events of the current hour, in the write block of the event."""
    increased: dict[Any, Any] = {Hourly.number: Hourly.number + number, Hourly.bytes: Hourly.bytes + size}
    Hourly.insert(kind=kind, hour=start_of_hour(now()), number=number, bytes=size).on_conflict(
        conflict_target=[Hourly.kind, Hourly.hour], update=increased
    ).execute()


def start_of_hour(time: datetime) -> datetime:
    """The beginning of the hour that contains this time."""
    return time.replace(minute=0, second=0, microsecond=0)
