"""What is known of the archive's segments: those that are indexed whole, and records that have no file."""

import heapq
from collections.abc import Iterator
from typing import Any

from peewee import CharField, IntegerField, TextField

from portal.models.base import Table, UtcField, now
from portal.models.tree import Blob

PAGE = 10_000


class ClosedSegment(Table):
    """A segment that no process appends to any more, and whose records have all been looked at.

    The row is written after those of its records, into the same database: one that has lost its last rows has lost
    this one before them, so that it never claims more than the database holds.
    """

    name = CharField(unique=True)
    size = IntegerField()


class QuarantinedRecord(Table):
    """A whole record that cannot be indexed; nobody tries again before `portal reindex`."""

    segment = CharField()
    offset = IntegerField()
    """Where the content begins in the segment's file."""
    size = IntegerField()
    digest = CharField(default="")
    project = CharField(default="")
    """GROUP/PROJECT, as the record says."""
    name = CharField(default="")
    message = TextField()
    received = CharField(default="")
    found = UtcField(default=now)
    noted = UtcField(null=True)
    """When an admin said to know of it."""

    class Meta:
        indexes = ((("segment", "offset"), True),)


RECORDS: tuple[Any, ...] = (Blob, QuarantinedRecord)
"""The tables of which each row says what became of one record."""


def known_records(segment: str) -> Iterator[tuple[int, int]]:
    """Offset and size of each record of a segment that needs no look, in the order of their offsets."""
    return heapq.merge(*(_places(table, segment) for table in RECORDS))


def has_blob(segment: str, offset: int) -> bool:
    """Whether a record is the content of a file, or was."""
    return Blob.select().where(Blob.segment == segment, Blob.offset == offset).exists()


def last_offset(segment: str) -> int:
    """Where the last record that has a row begins; -1 where none has."""
    newest = Blob.select(Blob.offset).where(Blob.segment == segment).order_by(Blob.offset.desc()).first()
    return -1 if newest is None else int(newest.offset)


def _places(table: Any, segment: str) -> Iterator[tuple[int, int]]:
    """By pages, for a segment may have a million records."""
    after = -1
    while True:
        query = table.select(table.offset, table.size).where(table.segment == segment, table.offset > after)
        page: list[tuple[int, int]] = list(query.order_by(table.offset).limit(PAGE).tuples())
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1][0]
