"""Rows about the archive's segments: those indexed completely, and records that have no file."""

import heapq
from collections.abc import Iterator
from typing import Any

from peewee import CharField, IntegerField, Select, TextField, fn

from portal.models.base import Table, UtcField, database, now
from portal.models.tree import Blob, File, FileVersion

UNRELEASED_STATES = ("waiting", "marked")
RECORDS_PER_PAGE = 10_000
MIN_TAIL_SIZE = 8
"""Bytes behind the content of each record: the length of its footer, and its checksum."""


class ClosedSegment(Table):
    """A segment that no process appends to any more, and whose records are all indexed.

    The row is written after those of its records, into the same database: a database that has lost its last rows has
    lost this one first, so the row never claims more than the database has.
    """

    name = CharField(unique=True)
    size = IntegerField()
    state = CharField(default="", index=True)
    """empty: in use; emptied: it contains no file any more; purged: deleted permanently."""


class QuarantinedRecord(Table):
    """A complete record that cannot be indexed; only `portal reindex` tries again."""

    segment = CharField()
    offset = IntegerField()
    """Offset of the content in the segment's file."""
    size = IntegerField()
    digest = CharField(default="")
    project = CharField(default="")
    """GROUP/PROJECT, from the record."""
    name = CharField(default="")
    message = TextField()
    received = CharField(default="")
    found = UtcField(default=now)
    noted = UtcField(null=True)
    """When an admin acknowledged it."""

    class Meta:
        indexes = ((("segment", "offset"), True),)


class SegmentProblem(Table):
    """A problem of a segment that rows refer to, until a check finds the segment intact."""

    segment = CharField()
    kind = CharField()
    """gone | short, found by the check every few hours; damaged, found by `portal reindex`."""
    message = TextField()
    found = UtcField(default=now)

    class Meta:
        indexes = ((("segment", "kind"), True),)


class PurgedRecord(Table):
    """A record whose files were purged: it is never indexed again, not even from a backup of its segment."""

    segment = CharField()
    offset = IntegerField()
    size = IntegerField()
    state = CharField(default="waiting")
    """waiting | marked (in its segment) | released (its disk space is free) | kept (it cannot be freed)."""
    purged = UtcField(default=now)
    due = UtcField(default=now)
    """When its disk space may be freed."""

    class Meta:
        indexes = ((("segment", "offset"), True), (("state", "due"), False))


RECORD_TABLES: tuple[Any, ...] = (Blob, QuarantinedRecord, PurgedRecord)
"""The tables with one row for each known record."""


def known_records(segment: str) -> Iterator[tuple[int, int]]:
    """Offset and size of each known record of a segment, in the order of their offsets."""
    return heapq.merge(*(_offsets(table, segment) for table in RECORD_TABLES))


def has_blob(segment: str, offset: int) -> bool:
    """Whether a record is or was the content of a file."""
    return Blob.select().where(Blob.segment == segment, Blob.offset == offset).exists()


def content_offset_at(segment: str, offset: int) -> int:
    """The offset at which the content begins that contains this byte."""
    before = Blob.select(Blob.offset).where(Blob.segment == segment, Blob.offset <= offset)
    return int(before.order_by(Blob.offset.desc()).limit(1).scalar() or offset)


def is_filed_or_purged(segment: str, offset: int) -> bool:
    """Whether a record is the content of a file, or was purged."""
    return has_blob(segment, offset) or is_purged(segment, offset)


def is_purged(segment: str, offset: int) -> bool:
    """Whether the files of a record were purged."""
    return PurgedRecord.select().where(PurgedRecord.segment == segment, PurgedRecord.offset == offset).exists()


def is_empty(segment: str) -> bool:
    """Whether, by its rows, a closed segment contains only records that are purged and released."""
    if Blob.select().where(Blob.segment == segment).exists():
        return False
    if QuarantinedRecord.select().where(QuarantinedRecord.segment == segment).exists():
        return False
    purged = PurgedRecord.select().where(PurgedRecord.segment == segment)
    return purged.exists() and not purged.where(PurgedRecord.state.in_(UNRELEASED_STATES)).exists()


def last_offset(segment: str) -> int:
    """The offset of the last record that has a row; -1 where there is none."""
    newest = Blob.select(Blob.offset).where(Blob.segment == segment).order_by(Blob.offset.desc()).first()
    return -1 if newest is None else int(newest.offset)


def minimum_sizes(after: str, limit: int) -> list[tuple[str, int]]:
    """A page of segments that contain files, by name, each with the least number of bytes that it must have.

    Each segment costs three index lookups, whatever the number of its records.
    """
    names = Blob.select(fn.MIN(Blob.segment)).where(Blob.segment > after).cte("names", True, ("segment",))
    other = Blob.alias("other")
    following = other.select(fn.MIN(other.segment)).where(other.segment > names.c.segment)
    names = names.union_all(Select([names], [following]).where(names.c.segment.is_null(False)))
    last = Blob.select(Blob.offset + Blob.size).where(Blob.segment == names.c.segment)
    closed = ClosedSegment.select(ClosedSegment.size).where(ClosedSegment.name == names.c.segment)
    columns = (names.c.segment, last.order_by(Blob.offset.desc()).limit(1), closed)
    query = Select([names], columns).where(names.c.segment.is_null(False)).with_cte(names).limit(limit).bind(database)
    return [(segment, max(end + MIN_TAIL_SIZE, size or 0)) for segment, end, size in query.tuples()]


def files_beyond(segment: str, end: int) -> Any:
    """Files of a segment with bytes at or behind `end`, as a query of files and blobs."""
    reaches = Blob.offset + Blob.size > end
    return File.select(File, Blob).join(Blob).where(Blob.segment == segment, reaches).order_by(File.id)


def count_beyond(segment: str, end: int) -> int:
    """The number of those files and of older versions."""
    older = FileVersion.select().join(Blob).where(Blob.segment == segment, Blob.offset + Blob.size > end)
    return int(files_beyond(segment, end).count() + older.count())


def _offsets(table: Any, segment: str) -> Iterator[tuple[int, int]]:
    """By pages, as a segment may have a million records."""
    after = -1
    while True:
        query = table.select(table.offset, table.size).where(table.segment == segment, table.offset > after)
        page: list[tuple[int, int]] = list(query.order_by(table.offset).limit(RECORDS_PER_PAGE).tuples())
        yield from page
        if len(page) < RECORDS_PER_PAGE:
            return
        after = page[-1][0]
