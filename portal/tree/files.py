"""Files of the archive: found within a scope, opened as a stream, and their DICOM header as rows."""

import functools
import hashlib
import logging
import operator
import unicodedata
from collections.abc import Generator, Sequence
from typing import Any, BinaryIO, cast

from peewee import fn

from portal import listing, runtime, segment_checks
from portal.access import readings
from portal.access.actors import Actor
from portal.access.rights import Scope
from portal.archive import Slice
from portal.dicom import elements
from portal.dicom.elements import Element
from portal.errors import BadValue, Missing, NotDicom
from portal.listing import MAX_ROWS, WHOLE_LIST, PageRequest, RowPage
from portal.models import (
    HELD,
    SUPERSEDED,
    Acquisition,
    Blob,
    File,
    FileVersion,
    Instance,
    Project,
    Session,
    Subject,
    object_places,
)
from portal.tree import containers
from portal.zip_members import object_content

log = logging.getLogger(__name__)

MAX_NAME_BYTES = 255
"""Bytes of a name in UTF-8: as many as a file system takes, so that every file can be unpacked under its own name."""
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
    file: File | None = _live().where(File.id == file_id).get_or_none()
    if file is None:
        raise Missing("There is no file with this id, or you do not have access to it.")
    containers.get(file.parent_type, file.parent_id, scope)
    return file


def get_stored(file_id: int) -> File:
    """A live file that the caller has just stored, with its blob."""
    file: File = _live().where(File.id == file_id).get()
    return file


def get_by_name(kind: str, container_id: int, name: str, scope: Scope) -> File:
    """The live file of this name in a container. Raises Missing, also where the scope does not reach."""
    containers.get(kind, container_id, scope)
    normal = unicodedata.normalize("NFC", name)
    file: File | None = _live_in(kind, container_id).where(File.name == normal).get_or_none()
    if file is None:
        raise Missing(f"There is no file {name[:64]!r} in this {kind}.")
    return file


def blob_of_version(file: File, number: int) -> Blob:
    """The bytes of one version of a file. Raises Missing."""
    if number == file.version:
        return file.blob
    older = FileVersion.select(FileVersion, Blob).join(Blob)
    version: FileVersion | None = older.where(FileVersion.file == file, FileVersion.version == number).get_or_none()
    if version is None:
        raise Missing(f"The file has no version {number}; its newest is {file.version}.")
    return version.blob


def member_of(file: File, instance_id: int) -> str:
    """The name of an instance's member in a zip; empty where the file is the object. Raises Missing."""
    instance: Instance | None = Instance.get_or_none(Instance.id == instance_id, Instance.file == file)
    if instance is None:
        raise Missing("The file has no such object.")
    return instance.member


def hidden_reason(file_id: int) -> str:
    """Why no peer sees a DICOM object, as a sentence; empty for one that is shown and for any other file."""
    hidden = Instance.state.in_((HELD, SUPERSEDED))
    instance: Instance | None = Instance.get_or_none(Instance.file == file_id, Instance.member == "", hidden)
    return "" if instance is None else instance.reason or "A site admin has decided for another object."


def list_directly_in(kind: str, container_id: int, scope: Scope, page: PageRequest = WHOLE_LIST) -> RowPage[File]:
    """The live files directly in a container."""
    containers.get(kind, container_id, scope)
    return listing.fetch_page(_live_in(kind, container_id), File, page)


def by_container(kind: str, row_ids: Sequence[int]) -> dict[int, list[File]]:
    """The live files directly in some containers, which the caller has read within a scope, by one statement.

    The oldest `MAX_ROWS` of all: of more, the caller asks for one container alone (`count_by_container`).
    """
    found: dict[int, list[File]] = {row_id: [] for row_id in row_ids}
    inside = _live().where(File.parent_type == kind, File.parent_id.in_(list(row_ids)))
    for file in inside.order_by(File.id).limit(MAX_ROWS):
        found[file.parent_id].append(file)
    return found


def count_by_container(kind: str, row_ids: Sequence[int]) -> dict[int, int]:
    """The number of live files directly in each of some containers; those without any are left out."""
    live: Any = File.select(File.parent_id, fn.COUNT(File.id)).where(File.deleted_at.is_null())
    inside = live.where(File.parent_type == kind, File.parent_id.in_(list(row_ids)))
    return dict(inside.group_by(File.parent_id).tuples())


def list_all(scope: Scope, page: PageRequest = WHOLE_LIST) -> RowPage[File]:
    """The live files of all containers that the scope reads."""
    return listing.fetch_page(_live().where(_is_in(scope)), File, page)


def open_content(file: File) -> tuple[Generator[bytes], int]:
    """All bytes as they were received, in chunks, and their number.

    Raises Damaged where their digest is not that of the received bytes: at once for a file of one chunk, otherwise
    before the last chunk, so that nobody takes a damaged file for an intact one.
    """
    return open_blob(file.blob)


def open_blob(blob: Blob) -> tuple[Generator[bytes], int]:
    """The same for one blob."""
    chunks = _verified_chunks(runtime.archive().open(blob.segment, blob.offset, blob.size), blob)
    # The first chunk is read here, so that a small damaged file is refused before any answer has begun.
    first = next(chunks, b"")

    def joined() -> Generator[bytes]:
        yield first
        yield from chunks

    return joined(), blob.size


def header_elements(file: File, member: str = "") -> list[Element]:
    """The elements of a DICOM file, or of a member of a zip, for its header page, without pixels.

    Raises NotDicom for another file, and Gone.
    """
    blob = file.blob
    try:
        place = object_places.of_object(file, member)
        with object_content.open_place(place) as source:
            return elements.read(cast(BinaryIO, source), place.size)
    except NotDicom as error:
        if runtime.archive().is_purged(blob.segment, blob.offset):
            raise segment_checks.damage_error(blob.segment, blob.offset) from error
        raise


def record_download(file: File, *, version: int | None = None, actor: Actor) -> None:
    """Audit a download."""
    readings.record_file_download(actor, file, version or file.version)


def _live() -> Any:
    return File.select(File, Blob).join(Blob).where(File.deleted_at.is_null())


def _is_in(scope: Scope) -> Any:
    """The condition that a file's project is read by the scope."""
    below: Any = {"project": Project.select(Project.id).where(Project.id.in_(scope.projects))}
    below["subject"] = Subject.select(Subject.id).where(Subject.project.in_(below["project"]), Subject.trash.is_null())
    below["session"] = Session.select(Session.id).where(Session.subject.in_(below["subject"]), Session.trash.is_null())
    below["acquisition"] = Acquisition.select(Acquisition.id).where(
        Acquisition.session.in_(below["session"]), Acquisition.trash.is_null()
    )
    conditions = [(File.parent_type == kind) & File.parent_id.in_(rows) for kind, rows in below.items()]
    return functools.reduce(operator.or_, conditions)


def _live_in(kind: str, container_id: int) -> Any:
    return _live().where(File.parent_type == kind, File.parent_id == container_id)


def _verified_chunks(source: Slice, blob: Blob) -> Generator[bytes]:
    """The chunks of a blob; the last one only once the digest of all bytes is right."""
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
        log.error("segment %s at %d: digest differs from that of the received bytes", blob.segment, blob.offset)
        raise segment_checks.damage_error(blob.segment, blob.offset)
    yield chunk
