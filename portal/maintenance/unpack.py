"""`portal unpack`: writes every file as a plain file, so that the data never depend on us."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from portal import runtime
from portal.archive.slices import CHUNK
from portal.errors import BadValue, Damaged
from portal.maintenance import segment_copies
from portal.models import Blob, File, Project, QuarantinedRecord, connection
from portal.tree import containers

FILES_PER_PAGE = 500
QUARANTINE_FOLDER = "_quarantined"


@dataclass
class Report:
    """What a run wrote, what was there already with the same bytes, and what it could not write."""

    written: int = 0
    present: int = 0
    failed: list[dict[str, Any]] = field(default_factory=list)

    def view(self) -> dict[str, Any]:
        return asdict(self)


def run(folder: Path) -> Report:
    """Write all files that are not in the trash as GROUP/PROJECT/SUBJECT/SESSION/ACQUISITION/NAME under the folder.

    A file that is there with the same bytes stays, so a run that was stopped goes on; other content is never
    overwritten, but reported. Held objects are written too, and under `_quarantined` records that cannot be indexed.
    Raises BadValue where the folder lies in the archive.
    """
    target = folder.resolve()
    if target.is_relative_to(runtime.current().data):
        raise BadValue(f"{target} lies in Portico's own data folder. Choose another one.", field="folder")
    report = Report()
    with connection():
        segment_copies.require_bucket()
        for file in _files():
            try:
                _write(file, target, report)
            except (Damaged, BadValue, OSError) as error:
                report.failed.append({"file": file.id, "name": file.name, "message": str(error)})
        for row in QuarantinedRecord.select().order_by(QuarantinedRecord.id):
            try:
                _write_record(row, target / QUARANTINE_FOLDER, report)
            except (Damaged, OSError) as error:
                report.failed.append({"record": row.id, "name": row.name, "message": str(error)})
    return report


def _files() -> Iterator[File]:
    last = 0
    while page := list(
        File.select(File, Blob)
        .join(Blob)
        .where(File.id > last, File.deleted_at.is_null())
        .order_by(File.id)
        .limit(FILES_PER_PAGE)
    ):
        yield from page
        last = page[-1].id


def _write(file: File, target: Path, report: Report) -> None:
    path = target.joinpath(*_parts(file))
    if path.exists():
        if _digest(path) != file.blob.digest:
            raise BadValue(f"{path} is there with other content, and was left alone.")
        report.present += 1
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{file.id}.partial")
    try:
        _copy(file, partial)
        os.link(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    report.written += 1


def _write_record(row: QuarantinedRecord, folder: Path, report: Report) -> None:
    path = folder / f"{row.segment}-{row.offset}"
    if path.exists():
        report.present += 1
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = path.with_name(f".{row.id}.partial")
    with runtime.archive().open(row.segment, row.offset, row.size) as content, partial.open("wb") as copy:
        while chunk := content.read(CHUNK):
            copy.write(chunk)
        copy.flush()
        os.fsync(copy.fileno())
    partial.replace(path)
    report.written += 1


def _copy(file: File, path: Path) -> None:
    """Copy the content and compare its digest. Raises Damaged where the archive's bytes have changed."""
    blob, digest = file.blob, hashlib.sha256()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as copy, runtime.archive().open(blob.segment, blob.offset, blob.size) as content:
        while chunk := content.read(CHUNK):
            digest.update(chunk)
            copy.write(chunk)
        copy.flush()
        os.fsync(copy.fileno())
    if digest.hexdigest() != blob.digest:
        raise Damaged(f"{file.name} in segment {blob.segment} is damaged. Restore the segment from a backup.")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _parts(file: File) -> list[str]:
    """Folder names from the group down, then the file's name. The ids keep two things of one label apart."""
    row: Any = containers.TABLES[file.parent_type].get_by_id(file.parent_id)
    names = [_part(file.name)]
    while not isinstance(row, Project):
        names.insert(0, f"{_part(row.label)}~{row.id}")
        row = containers.parent_of(row)
    return [_part(row.group.code), _part(row.label), *names]


def _part(text: str) -> str:
    """One segment of a path: nothing in it divides, climbs or hides, and it has at most 200 bytes."""
    shown = "".join(c if c.isprintable() and c not in "/\\:" else "_" for c in text).lstrip(".").strip()
    return shown.encode()[:200].decode("utf-8", "ignore") or "_"
