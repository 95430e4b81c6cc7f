"""Figures that are kept over time, or counted before a page asks for them."""

from peewee import CharField, ForeignKeyField, IntegerField

from portal.models.base import Table, UtcField, now
from portal.models.interfaces import Peer


class DiskDay(Table):
    """How the archive's disk stood on one day, as it was last looked at; sizes in bytes."""

    day = CharField(unique=True)
    """2026-11-24, by UTC."""
    at = UtcField(default=now)
    total = IntegerField()
    free = IntegerField()
    segments = IntegerField()
    """What the archive's segments take."""
    database = IntegerField()
    rest = IntegerField()
    """What else lies in the data folder on that disk."""

    @property
    def used(self) -> int:
        return int(self.total - self.free)


class Hourly(Table):
    """How often a thing happened in one hour, where no row of its own says when."""

    kind = CharField()
    """refused (callers) | exported (objects that arrived whole)."""
    hour = UtcField()
    number = IntegerField(default=0)
    bytes = IntegerField(default=0)

    class Meta:
        indexes = ((("kind", "hour"), True),)


class AssociationDay(Table):
    """What the associations of one day came to, whose own rows have been dropped by their age."""

    day = CharField()
    """2026-11-24, by UTC: when they began."""
    peer = ForeignKeyField(Peer, null=True, backref="+", on_delete="SET NULL")
    peer_id: int | None
    role = CharField()
    outcome = CharField()
    number = IntegerField(default=0)
    failures = IntegerField(default=0)
    """Operations that failed."""
    stored = IntegerField(default=0)
    """Objects that were sent or taken, by C-STORE."""
    bytes = IntegerField(default=0)

    class Meta:
        indexes = ((("day", "peer", "role", "outcome"), False),)  # not unique: a peer that is removed leaves its days


class Total(Table):
    """How many rows of one kind a large site has, as they were counted last."""

    name = CharField(unique=True)
    """studies | instances | files."""
    number = IntegerField()
    counted = UtcField(default=now)
