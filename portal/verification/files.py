"""Files: each version of each file, also in the trash, has its bytes in the archive and its container in the tree."""

from collections.abc import Iterator
from typing import Any

from peewee import JOIN, fn

from portal.models import Acquisition, Blob, File, FileVersion, Project, Session, Subject
from portal.models.compiled import raw_rows
from portal.verification.recorder import Recorder

ROWS_AT_ONCE = 5000
CONTAINER_TABLES: tuple[Any, ...] = (Project, Subject, Session, Acquisition)
RESTORE = (
    "Restore the database from a backup; portal reindex recovers the object from the archive if it is still there."
)


def check(recorder: Recorder) -> None:
    """Continue where the last run was. Raises Stopped."""
    position = recorder.state.position
    if "version" not in position:
        for first, last, number in ranges(File, position.get("file", 0)):
            _check_files(recorder, File.id.between(first, last))
            recorder.count("files", number)
            recorder.reached({"file": last}, steps=number)
    for first, last, number in ranges(FileVersion, position.get("version", 0)):
        lost = _without_blob(FileVersion, FileVersion.id.between(first, last), FileVersion.file, FileVersion.version)
        for file_id, version in lost:
            message = f"The row of the bytes of version {version} is missing. {RESTORE}"
            recorder.find(f"file {file_id}, version {version}", message, file_id=_existing(file_id))
        recorder.count("older versions", number)
        recorder.reached({"version": last}, steps=number)


def ranges(table: Any, after: int, limit: int = ROWS_AT_ONCE) -> Iterator[tuple[int, int, int]]:
    """Ranges of row numbers: the first and last number of each, and how many rows it has. No cursor stays open."""
    numbers = table.select(table.id).order_by(table.id).limit(limit)
    while rows := raw_rows(numbers.where(table.id > after)):
        (first,), (after,) = rows[0], rows[-1]
        yield first, after, len(rows)


def _check_files(recorder: Recorder, some: Any) -> None:
    for file_id, version in _without_blob(File, some, File.id, File.version):
        message = f"The row of the bytes of version {version} is missing. {RESTORE}"
        recorder.find(f"file {file_id}", message, file_id=file_id)
    for table in CONTAINER_TABLES:
        kind = table._meta.table_name
        container = table.select(table.id).where(table.id == File.parent_id)
        orphans = File.select(File.id).where(some, File.parent_type == kind, ~fn.EXISTS(container))
        for (file_id,) in raw_rows(orphans):
            message = f"The {kind} that it is in is missing. Restore the database from a backup."
            recorder.find(f"file {file_id}", message, file_id=file_id)


def _without_blob(table: Any, some: Any, *columns: Any) -> list[tuple[int, int]]:
    """File and version of the rows whose bytes have no row."""
    query = table.select(*columns).join(Blob, JOIN.LEFT_OUTER).where(some, Blob.id.is_null())
    return raw_rows(query)


def _existing(file_id: int) -> int | None:
    return file_id if File.select().where(File.id == file_id).exists() else None
