"""Bytes of what was purged: marked in their segments at once, and given back to the disk when they are due.

Segments that the bucket has are never changed: their bytes stay there until nothing else lies in the segment, which
then goes as a whole.
"""

import contextlib
import logging
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from portal import runtime
from portal.archive import Purged, Record
from portal.archive.bucket import Bucket
from portal.archive.holes import Hole
from portal.errors import Missing
from portal.models import ClosedSegment, PurgedRecord, Segment, now, writing
from portal.models import archive as archive_rows

log = logging.getLogger(__name__)

RECORDS_AT_ONCE = 500
"""Tombstones that one write changes."""
EMPTIED, PURGED = "emptied", "purged"

Check = Callable[[], None]
"""Called between two pieces; it may raise to end the work."""


def _go_on() -> None:
    """Nobody asks for an end."""


def release_purged(check: Check = _go_on) -> None:
    """Mark what was purged, and give the disk back what is due.

    Safe to run twice, and beside those who store and read. What cannot be done now is left for the next time.
    """
    later: set[str] = set()
    while rows := _open_records(later):
        for segment, group in groupby(rows, key=lambda row: str(row.segment)):
            check()
            if not _release(segment, list(group)):
                later.add(segment)
    for segment in _emptied(in_bucket=False):
        check()
        _drop(segment)


def is_due() -> bool:
    """Whether the disk may have something back that it has not."""
    due = PurgedRecord.state.in_(archive_rows.UNRELEASED_STATES) & (PurgedRecord.due <= now())
    return bool(PurgedRecord.select().where(due).exists())


def mark_if_empty(segment: str) -> None:
    """Write down of a closed segment that nothing in it is needed any more, where that is so."""
    if archive_rows.is_empty(segment):
        with writing():
            ClosedSegment.update(state=EMPTIED).where(
                ClosedSegment.name == segment, ClosedSegment.state == ""
            ).execute()


def drop_from_bucket(bucket: Bucket, check: Check) -> None:
    """Delete segments there of which nothing is needed any more. Raises as `Destination.delete` and reading do."""
    for segment in _emptied(in_bucket=True):
        check()
        if _has_only_purged(segment):
            with contextlib.suppress(Missing):  # a run before was killed behind it
                bucket.destination().delete(segment)
            _forget(segment)


def is_purged(segment: str) -> bool:
    """Whether a segment was purged as a whole: a copy of it that comes back from a backup is left alone."""
    return ClosedSegment.select().where(ClosedSegment.name == segment, ClosedSegment.state == PURGED).exists()


def _open_records(later: Iterable[str]) -> list[PurgedRecord]:
    is_due = (PurgedRecord.state == "marked") & (PurgedRecord.due <= now())
    query = PurgedRecord.select().where((PurgedRecord.state == "waiting") | is_due)
    query = query.where(PurgedRecord.segment.not_in(list(later)))
    return list(query.order_by(PurgedRecord.segment, PurgedRecord.offset).limit(RECORDS_AT_ONCE))


def _release(segment: str, rows: Sequence[PurgedRecord]) -> bool:
    """False where it has to wait: a bucket is to get the segment, and somebody is at it."""
    if runtime.bucket() is None:
        _change(segment, rows)
        return True
    archive = runtime.archive()
    with archive.at_rest(segment) as resting:
        if not resting and archive.path(segment).exists():
            return False
        if _is_in_bucket(segment):
            _write({row.id: "kept" if row.due <= now() else "marked" for row in rows})
        else:
            _change(segment, rows)
    mark_if_empty(segment)
    return True


def _change(segment: str, rows: Sequence[PurgedRecord]) -> None:
    with runtime.archive().purging(segment) as hole:
        states = {row.id: "released" if hole is None else _erase(hole, row) for row in rows}
    _write(states)
    mark_if_empty(segment)


def _erase(hole: Hole, row: PurgedRecord) -> str:
    """The state of a record after it was marked and, where it is due, given back."""
    if archive_rows.has_blob(row.segment, row.offset) or not hole.mark(row.offset, row.size):
        log.error("segment %s at %d is not the record that was purged; it was left alone", row.segment, row.offset)
        return "kept"
    if row.due > now():
        return "marked"
    return "released" if hole.erase(row.offset, row.size) else "kept"


def _write(states: dict[int, str]) -> None:
    with writing():
        for state in set(states.values()):
            ids = [row_id for row_id, found in states.items() if found == state]
            PurgedRecord.update(state=state).where(PurgedRecord.id.in_(ids)).execute()


def _emptied(*, in_bucket: bool) -> list[str]:
    rows = ClosedSegment.select().where(ClosedSegment.state == EMPTIED)
    return [row.name for row in rows if _is_in_bucket(row.name) == in_bucket]


def _is_in_bucket(segment: str) -> bool:
    """Whether the bucket has it, or is just getting it."""
    is_there = Segment.verified.is_null(False) | (Segment.digest != "")
    return Segment.select().where(Segment.name == segment, is_there).exists()


def _drop(segment: str) -> None:
    """Delete a segment that is here and of which nothing is needed, unless somebody is at it."""
    archive = runtime.archive()
    with archive.at_rest(segment) as resting:
        if archive.path(segment).exists() and not resting:
            return
        if resting and not _has_only_purged(segment):
            log.warning("segment %s holds what nobody knows, or what is damaged: it stays", segment)
            with writing():
                ClosedSegment.update(state="").where(ClosedSegment.name == segment).execute()
            return
        _forget(segment)


def _forget(segment: str) -> None:
    """The file first: after a kill in between, what is not here is forgotten the next time."""
    runtime.archive().remove(segment)
    log.info("segment %s is gone: all that was in it was purged", segment)
    with writing():
        ClosedSegment.update(state=PURGED).where(ClosedSegment.name == segment).execute()
        Segment.delete().where(Segment.name == segment).execute()
    while PurgedRecord.delete().where(PurgedRecord.id.in_(_some(segment))).execute():
        log.debug("tombstones of segment %s are dropped: that of the segment stands for them", segment)


def _some(segment: str) -> list[int]:
    rows = PurgedRecord.select(PurgedRecord.id).where(PurgedRecord.segment == segment).limit(RECORDS_AT_ONCE)
    return [row.id for row in rows]


def _has_only_purged(segment: str) -> bool:
    """Whether each record of a segment was purged; one that is damaged, or that nobody knows, is not."""
    return all(
        isinstance(found, Purged) or (isinstance(found, Record) and archive_rows.is_purged(segment, found.offset))
        for found in runtime.archive().scan(segment)
    )
