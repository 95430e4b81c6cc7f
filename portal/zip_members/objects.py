"""The DICOM objects among the members of a zip, read one after the other in bounded memory."""

import hashlib
import os
import zlib
from collections.abc import Iterator, Sequence
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, NamedTuple, cast

from portal import runtime
from portal.archive import Slice
from portal.archive.slices import CHUNK
from portal.dicom import file_meta, header
from portal.dicom.header import Header
from portal.errors import BadValue, Damaged, NotDicom
from portal.zip_members.directory import STORED, Member
from portal.zip_members.inflated import Inflated

MAX_IN_MEMORY = 16 << 20
"""Bytes of an inflated member that are kept in memory; a larger one is kept in an unnamed temporary file."""


class ZippedObject(NamedTuple):
    """One member that is a DICOM object."""

    member: Member
    header: Header
    dataset_offset: int
    """Offset of the data set in the member."""
    dataset_digest: str


class _Within:
    """A zip as the source of slices that leave it open when they are closed."""

    def __init__(self, content: BinaryIO) -> None:
        self._content = content

    def read(self, size: int, at: int) -> bytes:
        self._content.seek(at)
        return self._content.read(size)

    def size(self) -> int:
        return self._content.seek(0, os.SEEK_END)

    def close(self) -> None:
        """The zip is closed by whoever opened it."""


def open_member(content: BinaryIO, member: Member) -> Slice | Inflated:
    """The bytes of a readable member, from its first one; the zip stays open when they are closed."""
    packed = Slice(_Within(content), member.offset, member.packed_size)
    return packed if member.method == STORED else Inflated(cast(BinaryIO, packed), 0, member.size)


def read(content: BinaryIO, members: Sequence[Member]) -> Iterator[ZippedObject]:
    """Each member that is a DICOM object and can be indexed, in the order of the directory; others are passed over.

    Raises BadValue for one that is damaged, or whose preamble holds a program.
    """
    for member in members:
        if member.is_folder or not member.is_readable or member.size <= file_meta.OFFSET:
            continue
        try:
            with open_member(content, member) as opened:
                if opened.read(file_meta.OFFSET)[file_meta.PREAMBLE_SIZE :] != file_meta.MAGIC:
                    continue
                opened.seek(0)
                found = _read(opened, member)
        except NotDicom:
            continue
        except (BadValue, Damaged) as error:
            raise BadValue(f"The member {member.name[:64]!r} of the zip is refused: {error.message}") from error
        yield found


def _read(opened: Slice | Inflated, member: Member) -> ZippedObject:
    """Raises NotDicom for one that cannot be indexed, and Damaged where its bytes are not those of its check sum."""
    if isinstance(opened, Slice):
        return _parse(cast(BinaryIO, opened), member)
    with temporary_file() as copy:
        while chunk := opened.read(CHUNK):
            copy.write(chunk)
        if not opened.ends_here():
            raise Damaged("it is larger than the directory of the zip says.")
        return _parse(copy, member)


def _parse(content: BinaryIO, member: Member) -> ZippedObject:
    content.seek(0)
    crc = 0
    while chunk := content.read(CHUNK):
        crc = zlib.crc32(chunk, crc)
    if crc != member.crc:
        raise Damaged("its bytes are not those of its check sum.")
    parsed, offset = header.read_file(content, member.size)
    content.seek(offset)
    digest = hashlib.sha256()
    while chunk := content.read(CHUNK):
        digest.update(chunk)
    return ZippedObject(member, parsed, offset, digest.hexdigest())


def temporary_file() -> BinaryIO:
    """A file without a name, in memory while it is small."""
    return cast(BinaryIO, SpooledTemporaryFile(MAX_IN_MEMORY, dir=str(runtime.current().run)))
