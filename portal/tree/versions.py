"""The versions of files that are no DICOM objects: which exist, and which number one that is imported again gets."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from portal.access.actors import Origin, RecordedMetadata
from portal.errors import Missing
from portal.models import Blob, File, FileVersion, now
from portal.models.compiled import is_one_of, raw_rows


class OlderVersion(NamedTuple):
    """One version of a file that is not its newest."""

    number: int
    size: int
    digest: str
    origin_type: str


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of a file."""

    number: int
    blob: Blob
    created: datetime
    """When it became the newest one."""
    row: File | FileVersion
    """The row with its origin."""


def any_exist() -> bool:
    """Whether any file of the site has an older version."""
    return FileVersion.select().exists()


def older(file_ids: Sequence[int]) -> dict[int, list[OlderVersion]]:
    """By file: its older versions, in their order."""
    by_file: dict[int, list[OlderVersion]] = defaultdict(list)
    rows = FileVersion.select(
        FileVersion.file, FileVersion.version, Blob.size, Blob.digest, FileVersion.origin_type
    ).join(Blob)
    for file_id, *row in raw_rows(rows.where(is_one_of(FileVersion.file, file_ids)).order_by(FileVersion.id)):
        by_file[file_id].append(OlderVersion(*row))
    return {file_id: sorted(versions) for file_id, versions in by_file.items()}


def get(file: File, number: int) -> File | FileVersion | None:
    """The row of a version: that of the file for its newest. None where there is none."""
    if number == file.version:
        return file
    row: FileVersion | None = FileVersion.get_or_none(FileVersion.file == file, FileVersion.version == number)
    return row


def newest(file: File) -> Version:
    """The newest version of a file."""
    return Version(number=file.version, blob=file.blob, created=file.modified, row=file)


def get_or_refuse(file: File, number: int) -> Version:
    """One version of a file. Raises Missing where there is none."""
    found = next((version for version in newest_first(file) if version.number == number), None)
    if found is None:
        raise Missing(f"The file has no version {number}; its newest is {file.version}.")
    return found


def newest_first(file: File) -> list[Version]:
    """All versions of a file, each with its bytes and who sent it."""
    rows = FileVersion.select(FileVersion, Blob).join(Blob).where(FileVersion.file == file)
    found = [Version(number=row.version, blob=row.blob, created=row.created, row=row) for row in rows]
    return sorted([newest(file), *found], key=lambda version: -version.number)


def find_by_digest(file: File, digest: str, number: int | None) -> File | FileVersion | None:
    """The version with this content: the newest one, or for content imported with its number the one of that number.

    Where other content has that number, any version with this content: an earlier import gave it another number.
    """
    if number is None:
        return file if file.blob.digest == digest else None
    named = get(file, number)
    if named is None or named.blob.digest == digest:
        return named
    if file.blob.digest == digest:
        return file
    row: FileVersion | None = (
        FileVersion.select().join(Blob).where(FileVersion.file == file, Blob.digest == digest).get_or_none()
    )
    return row


def add(file: File, blob: Blob, *, recorded: RecordedMetadata, origin: Origin) -> None:
    """Add a version to a file, inside the caller's write block: with its number if that is free, else as newest."""
    number, moment = recorded.version, recorded.modified or recorded.received or now()
    file.created = min(file.created, recorded.received or file.created)
    if number is not None and number < file.version and get(file, number) is None:
        file.save(only=["created"])
        FileVersion.create(file=file, version=number, blob=blob, created=moment, **origin.fields)
        return
    FileVersion.create(
        file=file,
        version=file.version,
        blob=file.blob_id,
        origin_type=file.origin_type,
        origin_id=file.origin_id,
        origin_via=file.origin_via,
        created=file.modified,
    )
    file.blob, file.modified = blob, moment
    file.version = max(number or 0, file.version + 1)
    file.zip_member_count = None  # of the version before
    file.origin_type, file.origin_id, file.origin_via = origin.type, origin.id, origin.via
    file.save()
