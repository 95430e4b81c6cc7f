"""`portal unpack`: writes every file as a plain file, so that the data never depend on Portico."""

import hashlib
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from portal import runtime
from portal.errors import BadValue, Damaged
from portal.maintenance import segment_copies
from portal.models import Blob, File, Project, QuarantinedRecord, connection
from portal.tree import containers

FILES_PER_PAGE = 500
QUARANTINE_FOLDER = "_quarantined"


@dataclass
class Report:
    """Files written, files that existed with the same bytes, and what could not be written."""

    written: int = 0
    present: int = 0
    failed: list[dict[str, Any]] = field(default_factory=list)

    def view(self) -> dict[str, Any]:
        return asdict(self)


def run(folder: Path) -> Report:
    """Write all files that are not in the trash as GROUP/PROJECT/SUBJECT/SESSION/ACQUISITION/NAME in the folder.

    A file that exists with the same bytes is kept, so a stopped run can be continued; other content is reported and
    never overwritten. Held objects are written too, and records that cannot be indexed go to `_quarantined`.
    Raises BadValue if the folder is in the data folder.
    """
    target = folder.resolve()
    if target.is_relative_to(runtime.current().data):
        raise BadValue(f"{target} is in Portico's own data folder. Choose another one.", field="folder")
    report = Report()
    with connection():
        segment_copies.require_bucket()
        live_files = File.select(File, Blob).join(Blob).where(File.deleted_at.is_null())
        last = 0
        while page := list(live_files.where(File.id > last).order_by(File.id).limit(FILES_PER_PAGE)):
            last = page[-1].id
            for file in page:
                try:
                    _write(
                        file.blob, file.blob.digest, target.joinpath(*path_parts(file)), f".{file.id}.partial", report
                    )
                except (Damaged, BadValue, OSError) as error:
                    report.failed.append({"file": file.id, "name": file.name, "message": str(error)})
        for row in QuarantinedRecord.select().order_by(QuarantinedRecord.id):
            path = target / QUARANTINE_FOLDER / f"{row.segment}-{row.offset}"
            try:
                _write(row, None, path, f".{row.id}.partial", report)
            except (Damaged, OSError) as error:
                report.failed.append({"record": row.id, "name": row.name, "message": str(error)})
    return report


def _write(place: Blob | QuarantinedRecord, digest: str | None, path: Path, partial_name: str, report: Report) -> None:
    """Copy one content to `path` and compare it with its digest, if it has one.

    Raises BadValue if other content exists there, Damaged where the archive's bytes have changed.
    """
    if path.exists():
        if digest is not None:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    raise BadValue(f"{path} exists with other content, and was left unchanged.")
        report.present += 1
        return

    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial, copied = path.with_name(partial_name), hashlib.sha256()
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as copy:
            for chunk in runtime.archive().open(place.segment, place.offset, place.size).chunks():
                copied.update(chunk)
                copy.write(chunk)
            copy.flush()
            os.fsync(copy.fileno())
        if digest not in (None, copied.hexdigest()):
            raise Damaged(f"{path.name} in segment {place.segment} is damaged. Restore the segment from a backup.")
        os.link(partial, path)  # unlike a rename, this never overwrites
    finally:
        partial.unlink(missing_ok=True)
    report.written += 1


def path_parts(file: File) -> list[str]:
    """Folder names from the group down, then the file's name. The ids distinguish containers with equal labels."""
    row: Any = containers.TABLES[file.parent_type].get_by_id(file.parent_id)
    names = [_safe_name(file.name)]
    while not isinstance(row, Project):
        names.insert(0, f"{_safe_name(row.label)}~{row.id}")
        row = containers.parent_of(row)
    return [_safe_name(row.group.code), _safe_name(row.label), *names]


def _safe_name(text: str) -> str:
    """A name within one folder: no separators, no leading dots, no control characters, at most 200 bytes."""
    shown = "".join(c if c.isprintable() and c not in "/\\:" else "_" for c in text).lstrip(".").strip()
    return shown.encode()[:200].decode("utf-8", "ignore") or "_"
