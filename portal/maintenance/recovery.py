"""Recovery of records in the archive that have no row: after a kill, or after the database was lost.

Each record is handled alone: one that cannot be indexed is quarantined, and does not stop the others.
"""

import contextlib
import logging
import time
from datetime import datetime, timedelta
from typing import Any, BinaryIO, cast

from peewee import DatabaseError, OperationalError

from portal import runtime, segment_checks
from portal.access.actors import NOTHING_RECORDED, Origin, RecordedMetadata
from portal.archive import Damage, Place, Purged, Record
from portal.dicom import header
from portal.errors import NotDicom, PortalError
from portal.ingest import register, zip_index
from portal.ingest.register import Arrival
from portal.maintenance import purge, quarantine, release
from portal.models import (
    Acquisition,
    Blob,
    ClosedSegment,
    File,
    Group,
    Instance,
    PurgedRecord,
    Session,
    Subject,
    skip_numbers,
    writing,
)
from portal.models import archive as archive_rows
from portal.tree import projects

log = logging.getLogger(__name__)

SETTLED_SECONDS = 30.0
"""Seconds without a write after which a segment is recovered while others work: before, its last object may still be
getting its rows."""
EMPTY_SIZE = 8
"""Bytes of a segment without any record."""
TRANSIENT_ERRORS = (OperationalError, OSError)
"""Raised by a busy database or a full disk: the record is retried later."""
RECORDS_PER_SEGMENT = 1_000_000
"""More than a segment has: at least a kilobyte is written for each."""
CONTAINER_LEVELS: tuple[tuple[Any, str], ...] = ((Subject, "project"), (Session, "subject"), (Acquisition, "session"))
"""The tables of a container's path below its project, each with the column of its parent."""


def recover(settled: float = 0.0) -> int:
    """Index whole records without rows, and cut off torn tails, in each segment that is not known to be complete.

    Skips segments that a process appends to, or that were written to in the last `settled` seconds. Returns how many
    records were indexed.
    """
    archive = runtime.archive()
    names: Any = ClosedSegment.select(ClosedSegment.name).tuples()
    closed = {name for (name,) in names}
    indexed = 0
    for segment in archive.segments():
        if segment in closed:
            continue
        try:
            with archive.at_rest(segment) as resting:
                if resting and not was_just_written(archive.path(segment).stat().st_mtime, settled):
                    indexed += finish_segment(segment)
        except (OSError, PortalError, DatabaseError) as error:  # one segment must not stop the start
            log.error("segment %s cannot be scanned: %s", segment, error)
    zip_index.settle_all(timedelta(seconds=settled))
    return indexed


def sweep() -> int:
    """The same while others work: cleans up after killed processes, partial uploads included."""
    return recover(SETTLED_SECONDS)


def finish_segment(segment: str) -> int:
    """The same for one segment, whose lock the caller holds (`Archive.at_rest`)."""
    if ClosedSegment.select().where(ClosedSegment.name == segment).exists():
        return 0
    archive, indexed, has_skipped = runtime.archive(), 0, False
    # Indexed records were acknowledged: nothing before the last one is cut off, even if it looks torn now.
    last = archive_rows.last_offset(segment)
    for found in archive.scan_unknown(segment, archive_rows.known_records(segment)):
        if isinstance(found, Damage):
            log.warning("segment %s at %d: %s", found.segment, found.offset, found.message)
            if found.torn and found.offset > last:
                archive.cut(segment, found.offset)
            elif not found.torn:
                segment_checks.record_damage(segment)
        elif isinstance(found, Purged):
            add_tombstone(found)
        else:
            if not has_skipped:
                # A row number that a program has seen before a power cut must never be that of another object.
                with writing():
                    skip_numbers(Blob, File, Instance, count=RECORDS_PER_SEGMENT)
                has_skipped = True
            if (stored := index_record(found)) is not None:
                log.info("segment %s at %d: indexed after a stop, %s", found.segment, found.offset, stored.outcome)
                indexed += 1

    # Nobody needs to scan it again. An empty one stays open: it may just have been created.
    with contextlib.suppress(FileNotFoundError):
        size = archive.path(segment).stat().st_size
        if size > EMPTY_SIZE:
            with writing():
                ClosedSegment.insert(name=segment, size=size).on_conflict_ignore().execute()
    release.mark_if_empty(segment)
    return indexed


def index_record(record: Record) -> register.Stored | None:
    """Write the rows of a record again, in the containers that its footer names, which are created if missing.

    None for a record that cannot be indexed, which is quarantined, or that has got its rows meanwhile.
    """
    try:
        parsed = None
        if record.footer["dataset_offset"] is not None:
            try:
                parsed = read_header(record.segment, record.offset, record.size)
            except NotDicom:
                if record.footer["container"] is None:  # it has no container to be kept in as a plain file
                    raise
        with writing():
            if archive_rows.has_blob(record.segment, record.offset):
                return None
            stored = register.write_rows(_arrival(record, parsed), Place(record.segment, record.offset, record.size))
            quarantine.remove(record)
        return zip_index.finish(stored, None)
    except TRANSIENT_ERRORS:
        raise
    except PortalError as error:
        if not error.permanent:
            raise
        quarantine.add(record, error)
    except Exception as error:  # noqa: BLE001 (one record must not stop the others; `add` logs it)
        quarantine.add(record, error)
    return None


def add_tombstone(found: Purged) -> None:
    """Write the tombstone of a record that is marked as purged: the database is older than the mark, or was lost."""
    if archive_rows.has_blob(found.segment, found.offset):
        if not purge.is_intact(found.segment, found.offset):
            segment_checks.record_purged(found.segment)  # an older database was restored, which still has the file
        return
    place = {"segment": found.segment, "offset": found.offset, "size": found.size}
    with writing():
        PurgedRecord.insert(**place).on_conflict_ignore().execute()


def was_just_written(moment: float, settled: float) -> bool:
    """Whether a time of modification is recent. One far in the future is not: the clock was set back since."""
    return abs(time.time() - moment) < settled


def read_header(segment: str, offset: int, size: int) -> header.Header:
    """The header of a DICOM file in the archive. Raises NotDicom, and as reading does."""
    with runtime.archive().open(segment, offset, size) as content:
        return header.read_file(cast(BinaryIO, content), size)[0]


def _arrival(record: Record, parsed: header.Header | None) -> Arrival:
    footer = record.footer
    origin = footer["origin"]
    group_code, project_label = footer["project"].split("/", 1)
    group = Group.get_or_none(Group.code == group_code) or Group.create(code=group_code, label=group_code)
    project = projects.get_or_add(group, project_label)

    # Levels of the container's path that were deleted are created again.
    container, parent = footer["container"], cast(Any, project)
    if container:
        for (table, parent_name), label in zip(CONTAINER_LEVELS, container["path"][2:], strict=False):
            row = table.get_or_none(getattr(table, parent_name) == parent, table.label == label)
            parent = row or table.create(**{parent_name: parent, "label": label})
    return Arrival(
        size=record.size,
        digest=footer["digest"],
        dataset_digest=footer["dataset_digest"],
        dataset_offset=footer["dataset_offset"],
        header=parsed,
        origin=Origin(type=origin["origin_type"], id=origin["origin_id"], via=origin["origin_via"]),
        project_id=project.id,
        container_type=container["type"] if container else None,
        container_id=int(parent.id) if container else None,
        name=footer["name"],
        also_here=container is not None,
        members=footer.get("members", 0),
        recorded=_recorded(record),
    )


def _recorded(record: Record) -> RecordedMetadata:
    """What the footer says of an import; else when the record itself was received."""
    if "recorded" in record.footer:
        return RecordedMetadata.from_json(record.footer["recorded"])
    return (
        RecordedMetadata(received=datetime.fromisoformat(record.received_at))
        if record.received_at
        else NOTHING_RECORDED
    )
