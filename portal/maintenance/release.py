"""Release of purged bytes: records are marked in their segments at once, and their disk space is freed when it is due.

Segments that are in the bucket are never changed: their bytes stay until nothing else in the segment is needed, and the
whole segment is deleted.
"""

import contextlib
import logging
from collections.abc import Callable, Sequence
from itertools import groupby

from portal import runtime
from portal.archive import Purged, Record
from portal.archive.bucket import Bucket
from portal.errors import Missing
from portal.models import ClosedSegment, PurgedRecord, Segment, now, writing
from portal.models import archive as archive_rows

log = logging.getLogger(__name__)

RECORDS_AT_ONCE = 500
"""Tombstones that one transaction changes."""
EMPTIED, PURGED = "emptied", "purged"

Check = Callable[[], None]
"""Called between two steps; it may raise to stop the work."""


def no_check() -> None:
    """The check of work that cannot be cancelled."""


def release_purged(check: Check = no_check) -> None:
    """Mark purged records, and free the disk space that is due.

    Safe to run twice, and while others store and read. What is not possible now is left for the next run.
    """
    archive, skipped = runtime.archive(), set[str]()
    while True:
        is_due = (PurgedRecord.state == "marked") & (PurgedRecord.due <= now())
        query = PurgedRecord.select().where((PurgedRecord.state == "waiting") | is_due)
        query = query.where(PurgedRecord.segment.not_in(list(skipped)))
        rows = list(query.order_by(PurgedRecord.segment, PurgedRecord.offset).limit(RECORDS_AT_ONCE))
        if not rows:
            break
        for segment, group in groupby(rows, key=lambda row: str(row.segment)):
            check()
            if not _release(segment, list(group)):
                skipped.add(segment)

    for segment in _emptied(in_bucket=False):
        check()
        with archive.at_rest(segment) as resting:
            if archive.path(segment).exists() and not resting:
                continue
            if resting and not _has_only_purged(segment):
                log.warning("segment %s contains unknown or damaged records: it is kept", segment)
                with writing():
                    ClosedSegment.update(state="").where(ClosedSegment.name == segment).execute()
                continue
            _delete_local(segment)


def is_due() -> bool:
    """Whether there is disk space to free now."""
    due = PurgedRecord.state.in_(archive_rows.UNRELEASED_STATES) & (PurgedRecord.due <= now())
    return bool(PurgedRecord.select().where(due).exists())


def mark_if_empty(segment: str) -> None:
    """Mark a closed segment as emptied if nothing in it is needed any more."""
    if archive_rows.is_empty(segment):
        with writing():
            ClosedSegment.update(state=EMPTIED).where(
                ClosedSegment.name == segment, ClosedSegment.state == ""
            ).execute()


def drop_from_bucket(bucket: Bucket, check: Check) -> None:
    """Delete emptied segments from the bucket. Raises as `Destination.delete` and reading do."""
    for segment in _emptied(in_bucket=True):
        check()
        if _has_only_purged(segment):
            with contextlib.suppress(Missing):  # an earlier run was killed right after deleting it
                bucket.destination().delete(segment)
            _delete_local(segment)


def is_purged(segment: str) -> bool:
    """Whether a whole segment was purged: a copy of it that comes back from a backup is ignored."""
    return ClosedSegment.select().where(ClosedSegment.name == segment, ClosedSegment.state == PURGED).exists()


def _release(segment: str, rows: Sequence[PurgedRecord]) -> bool:
    """Mark or free records of one segment. False if it has to wait: it is in use, and a bucket is to get it."""
    if runtime.bucket() is None:
        _change(segment, rows)
        return True
    archive = runtime.archive()
    with archive.at_rest(segment) as resting:
        if not resting and archive.path(segment).exists():
            return False
        if _is_in_bucket(segment):
            _write_states({row.id: "kept" if row.due <= now() else "marked" for row in rows})
        else:
            _change(segment, rows)
    mark_if_empty(segment)
    return True


def _change(segment: str, rows: Sequence[PurgedRecord]) -> None:
    """Mark records, free those that are due, and write their new states."""
    states: dict[int, str] = {}
    with runtime.archive().purging(segment) as hole:
        for row in rows:
            if hole is None:
                states[row.id] = "released"
            elif archive_rows.has_blob(segment, row.offset) or not hole.mark(row.offset, row.size):
                log.error(
                    "segment %s at %d is not the record that was purged; it is left unchanged", segment, row.offset
                )
                states[row.id] = "kept"
            elif row.due > now():
                states[row.id] = "marked"
            else:
                states[row.id] = "released" if hole.erase(row.offset, row.size) else "kept"
    # Only now are the changes on the disk; before, the rows must not claim them.
    _write_states(states)
    mark_if_empty(segment)


def _write_states(states: dict[int, str]) -> None:
    with writing():
        for state in set(states.values()):
            ids = [row_id for row_id, new_state in states.items() if new_state == state]
            PurgedRecord.update(state=state).where(PurgedRecord.id.in_(ids)).execute()


def _emptied(*, in_bucket: bool) -> list[str]:
    rows = ClosedSegment.select().where(ClosedSegment.state == EMPTIED)
    return [row.name for row in rows if _is_in_bucket(row.name) == in_bucket]


def _is_in_bucket(segment: str) -> bool:
    """Whether the bucket has the segment, or its replication has begun."""
    is_replicated = Segment.verified.is_null(False) | (Segment.digest != "")
    return Segment.select().where(Segment.name == segment, is_replicated).exists()


def _delete_local(segment: str) -> None:
    # The file first: after a kill in between, the next run finds the rows and deletes them.
    runtime.archive().remove(segment)
    log.info("segment %s is deleted: all its records were purged", segment)
    with writing():
        ClosedSegment.update(state=PURGED).where(ClosedSegment.name == segment).execute()
        Segment.delete().where(Segment.name == segment).execute()

    # The row of the segment says that all was purged: its tombstones are not needed any more.
    while True:
        rows = PurgedRecord.select(PurgedRecord.id).where(PurgedRecord.segment == segment).limit(RECORDS_AT_ONCE)
        if not PurgedRecord.delete().where(PurgedRecord.id.in_([row.id for row in rows])).execute():
            return


def _has_only_purged(segment: str) -> bool:
    """Whether each record of a segment was purged; damage and records without rows were not."""
    return all(
        isinstance(found, Purged) or (isinstance(found, Record) and archive_rows.is_purged(segment, found.offset))
        for found in runtime.archive().scan(segment)
    )
