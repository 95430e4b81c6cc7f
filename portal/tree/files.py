"""Files of the archive: found by scope, opened as a stream, and with their DICOM header as rows."""

import hashlib
import logging
import unicodedata
from collections.abc import Generator
from typing import Any, BinaryIO, cast

from portal import listing, runtime, segment_checks
from portal.access import audit
from portal.access.actors import Actor
from portal.access.rights import Scope
from portal.archive import Slice
from portal.dicom import elements
from portal.dicom.elements import Element
from portal.errors import BadValue, Missing, NotDicom
from portal.listing import WHOLE_LIST, PageRequest, RowPage
from portal.models import HELD, SUPERSEDED, Blob, File, FileVersion, Instance, writing
from portal.tree import containers

log = logging.getLogger(__name__)

MAX_NAME_BYTES = 255
"""Bytes of a name in UTF-8: as many as a file system takes, so that every file can be unpacked under its own."""
CHUNK_BYTES = 1 << 20
MAX_VERSION_NUMBER = 10**9


def clean_name(text: str) -> str:
    """The name in NFC. Raises BadValue for one that is no plain file name of 1 to 255 visible bytes."""
    name = unicodedata.normalize("NFC", text[: 2 * MAX_NAME_BYTES])
    if not name.strip() or name.strip(" .") == "":
        raise BadValue("The file has no name. Give one, such as scan.dcm.", field="name")
    if not name.isprintable():
        raise BadValue("The file's name has a control character or another one that cannot be seen.", field="name")
    if "/" in name or "\\" in name:
        raise BadValue("The file's name holds a path. Send the name alone, without slashes.", field="name")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise BadValue(f"The file's name has more than {MAX_NAME_BYTES} bytes. Shorten it.", field="name")
    return name


def get(file_id: int, scope: Scope) -> File:
    """A live file. Raises Missing where the scope does not reach its project."""
    row: File | None = _live().where(File.id == file_id).get_or_none()
    if row is not None:
        containers.get(row.parent_type, row.parent_id, scope)
        return row
    raise Missing("There is no file with this id, or it is not yours to see.")


def get_by_name(kind: str, container_id: int, name: str, scope: Scope) -> File:
    """The live file of this name in a container. Raises Missing, also where the scope does not reach."""
    containers.get(kind, container_id, scope)
    normal = unicodedata.normalize("NFC", name)
    row: File | None = _in(kind, container_id).where(File.name == normal).get_or_none()
    if row is None:
        raise Missing(f"There is no file {name[:64]!r} in this {kind}.")
    return row


def blob_of_version(file: File, number: int) -> Blob:
    """The bytes of one version of a file. Raises Missing."""
    if number == file.version:
        return file.blob
    older = FileVersion.select(FileVersion, Blob).join(Blob)
    row: FileVersion | None = older.where(FileVersion.file == file, FileVersion.version == number).get_or_none()
    if row is None:
        raise Missing(f"The file has no version {number}; its newest is {file.version}.")
    return row.blob


def hidden_reason(file_id: int) -> str:
    """Why no peer sees a DICOM object, in a sentence; empty for one that is shown and for any other file."""
    hidden = Instance.state.in_((HELD, SUPERSEDED))
    row: Instance | None = Instance.get_or_none(Instance.file == file_id, Instance.member == "", hidden)
    return "" if row is None else row.reason or "A site admin has decided for another object."


def list_directly_in(kind: str, container_id: int, scope: Scope, page: PageRequest = WHOLE_LIST) -> RowPage[File]:
    """The live files that lie directly in a container."""
    containers.get(kind, container_id, scope)
    return listing.fetch_page(_in(kind, container_id), File, page)


def open_content(file: File) -> tuple[Generator[bytes], int]:
    """All bytes as they were received, in chunks, and how many they are.

    Raises Damaged where they are not those that were received: at once for what fits into one chunk, else before the
    last chunk, so that nobody takes a damaged file for a whole one.
    """
    return open_blob(file.blob)


def open_blob(blob: Blob) -> tuple[Generator[bytes], int]:
    """The same for bytes whose file is known already."""
    chunks = _checked(runtime.archive().open(blob.segment, blob.offset, blob.size), blob)
    first = next(chunks, b"")
    return _joined(first, chunks), blob.size


def header_elements(file: File) -> list[Element]:
    """The elements of a DICOM file for its header page, without pixels. Raises NotDicom for another file, and Gone."""
    blob = file.blob
    try:
        with runtime.archive().open(blob.segment, blob.offset, blob.size) as source:
            return elements.read(cast(BinaryIO, source), blob.size)
    except NotDicom as error:
        if runtime.archive().is_purged(blob.segment, blob.offset):
            raise segment_checks.damage_error(blob.segment, blob.offset) from error
        raise


def record_download(file: File, *, version: int | None = None, actor: Actor) -> None:
    """Write down that somebody takes the bytes away. A name may be a patient's: the log has the number alone."""
    with writing():
        audit.record(actor, "file:downloaded", "file", file.id, version=version or file.version)


def _live() -> Any:
    return File.select(File, Blob).join(Blob).where(File.deleted_at.is_null())


def _in(kind: str, container_id: int) -> Any:
    return _live().where(File.parent_type == kind, File.parent_id == container_id)


def _checked(source: Slice, blob: Blob) -> Generator[bytes]:
    digest = hashlib.sha256()
    with source:
        left = blob.size
        while True:
            chunk = source.read(min(CHUNK_BYTES, left))
            digest.update(chunk)
            left -= len(chunk)
            if not left or not chunk:
                break
            yield chunk
    if digest.hexdigest() != blob.digest:
        log.error("segment %s at %d: bytes are not those that were received", blob.segment, blob.offset)
        raise segment_checks.damage_error(blob.segment, blob.offset)
    yield chunk


def _joined(first: bytes, rest: Generator[bytes]) -> Generator[bytes]:
    yield first
    yield from rest
