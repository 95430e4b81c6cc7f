"""Records of the archive that have no row: indexed after a kill, or after the database was lost."""

import logging
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from portal import containers, filing, header, runtime
from portal.archive import Damage, Place, Record
from portal.archive.records import end_of
from portal.errors import Damaged, NotDicom, PortalError
from portal.filing import Arrival
from portal.models import Acquisition, Blob, Group, Project, Session, Subject, writing
from portal.provenance import NEW, Origin, Recorded

log = logging.getLogger(__name__)


def recover() -> int:
    """At the start of a process: index whole records past the last indexed one, and cut torn tails.

    Looks only at segments that no process appends to. Returns how many records were indexed.
    """
    archive = runtime.archive()
    entered = 0
    for segment in archive.segments():
        try:
            with archive.at_rest(segment) as resting:
                if resting:
                    entered += finish(segment)
        except (OSError, PortalError) as error:  # one segment keeps no site from starting
            log.error("segment %s cannot be looked through: %s", segment, error)
    return entered


def finish(segment: str) -> int:
    """The same for one segment that is at rest, and stays so for the caller."""
    return sum(_recover_tail(segment))


def enter(record: Record) -> filing.Stored:
    """Give a record its rows again, in the containers that its footer names, which are made where they are gone."""
    with runtime.archive().open(record.segment, record.offset, record.size) as content:
        parsed = _header(cast(BinaryIO, content), record)
    with writing():
        return filing.enter(_arrival(record, parsed), Place(record.segment, record.offset, record.size))


def is_known(record: Record) -> bool:
    return Blob.select().where(Blob.segment == record.segment, Blob.offset == record.offset).exists()


def _recover_tail(segment: str) -> Iterator[int]:
    """What is indexed was acknowledged: of that nothing is cut off, however it looks now."""
    archive = runtime.archive()
    last = Blob.select(Blob.offset, Blob.size).where(Blob.segment == segment).order_by(Blob.offset.desc()).first()
    for found in archive.scan(segment, None if last is None else _end_of(segment, last)):
        if isinstance(found, Damage):
            log.warning("segment %s at %d: %s", found.segment, found.offset, found.sentence)
            if found.torn and (last is None or found.offset > last.offset):
                archive.cut(segment, found.offset)
        elif not is_known(found):
            stored = enter(found)
            log.info("segment %s at %d: indexed after a stop, %s", found.segment, found.offset, stored.outcome)
            yield 1


def _end_of(segment: str, blob: Blob) -> int | None:
    """Where the record after this one begins; None where that cannot be told any more."""
    try:
        return end_of(runtime.archive().path(segment), blob.offset, blob.size)
    except Damaged:
        return None


def _header(content: BinaryIO, record: Record) -> header.Header | None:
    if record.footer["dataset_offset"] is None:
        return None
    try:
        return header.read_file(content, record.size)[0]
    except NotDicom:
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
        recorded=Recorded.read(footer["recorded"]) if "recorded" in footer else NEW,
    )


def _project(code: str, label: str) -> Project:
    group = Group.get_or_none(Group.code == code) or Group.create(code=code, label=code)
    return containers.get_or_add_project(group, label)


def _container(project: Project, path: list[str]) -> int:
    """The container of this path within the project; the parts that are gone are made."""
    row: Any = project
    levels: tuple[tuple[Any, str], ...] = ((Subject, "project"), (Session, "subject"), (Acquisition, "session"))
    for (table, parent), label in zip(levels, path, strict=False):
        found = table.get_or_none(getattr(table, parent) == row, table.label == label)
        row = found or table.create(**{parent: row, "label": label})
    return int(row.id)
