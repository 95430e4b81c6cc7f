"""Records of the archive that have no row: indexed after a kill, or after the database was lost.

Each record is treated alone: one that cannot be indexed is quarantined, and stops nobody.
"""

import contextlib
import logging
import time
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from peewee import DatabaseError, OperationalError

from portal import runtime, segment_checks
from portal.access.actors import NOTHING_RECORDED, Origin, RecordedMetadata
from portal.archive import Damage, Place, Purged, Record
from portal.dicom import header
from portal.errors import NotDicom, PortalError
from portal.ingest import register
from portal.ingest.register import Arrival
from portal.maintenance import purge, quarantine, release
from portal.models import Acquisition, ClosedSegment, Group, Project, PurgedRecord, Session, Subject, writing
from portal.models import archive as archive_rows
from portal.tree import projects

log = logging.getLogger(__name__)

SETTLED_SECONDS = 30.0
"""Seconds without a write after which a segment is looked at while others work: its last object may still be getting
its rows."""
EMPTY_SIZE = 8
"""Bytes of a segment without a record."""
TRANSIENT_ERRORS = (OperationalError, OSError)
"""What a busy database or a full disk raises: the record is tried again later."""


def recover(settled: float = 0.0) -> int:
    """Index whole records that have no rows, and cut torn tails, of each segment that is not known to be indexed whole.

    Looks only at segments that no process appends to, and that nobody wrote to for `settled` seconds. Returns how many
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
                if resting and not _is_fresh(segment, settled):
                    indexed += finish_segment(segment)
        except (OSError, PortalError, DatabaseError) as error:  # one segment keeps no site from starting
            log.error("segment %s cannot be looked through: %s", segment, error)
    return indexed


def sweep() -> int:
    """The same while others work: what a killed process left goes, a partial upload too, and is not looked at again."""
    return recover(SETTLED_SECONDS)


def finish_segment(segment: str) -> int:
    """The same for one segment that is at rest, and stays so for the caller."""
    if ClosedSegment.select().where(ClosedSegment.name == segment).exists():
        return 0
    indexed = sum(_index_unknown(segment))
    _close(segment)
    release.mark_if_empty(segment)
    return indexed


def index_record(record: Record) -> register.Stored | None:
    """Give a record its rows again, in the containers that its footer names, which are made where they are gone.

    None for one that cannot be indexed, which is quarantined, or that has got its rows meanwhile.
    """
    try:
        with runtime.archive().open(record.segment, record.offset, record.size) as content:
            parsed = _header(cast(BinaryIO, content), record)
        with writing():
            if archive_rows.has_blob(record.segment, record.offset):
                return None
            stored = register.write_rows(_arrival(record, parsed), Place(record.segment, record.offset, record.size))
            quarantine.remove(record)
            return stored
    except TRANSIENT_ERRORS:
        raise
    except PortalError as error:
        if not error.permanent:
            raise
        quarantine.add(record, error)
    except Exception as error:  # noqa: BLE001 (whatever one record raises, the others are indexed; it is logged)
        quarantine.add(record, error)
    return None


def _index_unknown(segment: str) -> Iterator[int]:
    """What is indexed was acknowledged: of that nothing is cut off, however it looks now."""
    archive = runtime.archive()
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
        elif (stored := index_record(found)) is not None:
            log.info("segment %s at %d: indexed after a stop, %s", found.segment, found.offset, stored.outcome)
            yield 1


def add_tombstone(found: Purged) -> None:
    """Have a tombstone of a record that says of itself that it was purged: the database is older, or was lost."""
    if archive_rows.has_blob(found.segment, found.offset):
        if not purge.is_intact(found.segment, found.offset):
            segment_checks.record_purged(found.segment)  # an older database was put back, which has the file still
        return
    place = {"segment": found.segment, "offset": found.offset, "size": found.size}
    with writing():
        PurgedRecord.insert(**place).on_conflict_ignore().execute()


def _close(segment: str) -> None:
    """Write down that nobody need look at a segment again; not of an empty one, which may just have been made."""
    with contextlib.suppress(FileNotFoundError):
        size = runtime.archive().path(segment).stat().st_size
        if size > EMPTY_SIZE:
            with writing():
                ClosedSegment.insert(name=segment, size=size).on_conflict_ignore().execute()


def _is_fresh(segment: str, settled: float) -> bool:
    return was_just_written(runtime.archive().path(segment).stat().st_mtime, settled)


def was_just_written(moment: float, settled: float) -> bool:
    """Whether that was just now; what lies far ahead is of a clock that has been set back."""
    return abs(time.time() - moment) < settled


def _header(content: BinaryIO, record: Record) -> header.Header | None:
    if record.footer["dataset_offset"] is None:
        return None
    try:
        return header.read_file(content, record.size)[0]
    except NotDicom:
        if record.footer["container"] is None:  # nobody said where to keep it as a plain file
            raise
        return None


def _arrival(record: Record, parsed: header.Header | None) -> Arrival:
    footer = record.footer
    origin = footer["origin"]
    project = _project(*footer["project"].split("/", 1))
    container = footer["container"]
    return Arrival(
        size=record.size,
        digest=footer["digest"],
        dataset_digest=footer["dataset_digest"],
        dataset_offset=footer["dataset_offset"],
        header=parsed,
        origin=Origin(type=origin["origin_type"], id=origin["origin_id"], via=origin["origin_via"]),
        project_id=project.id,
        container_type=container["type"] if container else None,
        container_id=_container(project, container["path"][2:]) if container else None,
        name=footer["name"],
        also_here=container is not None,
        recorded=RecordedMetadata.from_json(footer["recorded"]) if "recorded" in footer else NOTHING_RECORDED,
    )


def _project(code: str, label: str) -> Project:
    group = Group.get_or_none(Group.code == code) or Group.create(code=code, label=code)
    return projects.get_or_add(group, label)


def _container(project: Project, path: list[str]) -> int:
    """The container of this path within the project; the parts that are gone are made."""
    row: Any = project
    levels: tuple[tuple[Any, str], ...] = ((Subject, "project"), (Session, "subject"), (Acquisition, "session"))
    for (table, parent), label in zip(levels, path, strict=False):
        found = table.get_or_none(getattr(table, parent) == row, table.label == label)
        row = found or table.create(**{parent: row, "label": label})
    return int(row.id)
