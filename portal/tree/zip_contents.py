"""The members of a stored zip: listed, and given one by one."""

import zlib
from collections.abc import Iterator
from typing import BinaryIO, cast

from portal import runtime, segment_checks
from portal.archive.slices import CHUNK
from portal.errors import BadValue, Missing
from portal.models import Blob
from portal.tree import checked_parts
from portal.zip_members import directory, objects
from portal.zip_members.directory import Member

Content = tuple[Iterator[bytes], int]
"""Chunks, and the number of their bytes."""


def list_members(blob: Blob) -> list[Member]:
    """The members, without folders. Raises BadValue for another file than a zip, and for one that is hostile."""
    with runtime.archive().open(blob.segment, blob.offset, blob.size) as content:
        if not directory.is_zip(content.read(4)):
            raise BadValue("The file is no zip, so it has no members.")
        return [member for member in directory.read(cast(BinaryIO, content), blob.size) if not member.is_folder]


def open_member(blob: Blob, path: str) -> Content:
    """The bytes of one member. Raises Missing, and Damaged before the last bytes of one that is damaged.

    Raises BadValue for one that is encrypted, or compressed in a way that is not read here.
    """
    member = next((member for member in list_members(blob) if member.name == path), None)
    if member is None:
        raise Missing(f"The zip has no member {path[:64]!r}.")
    if not member.is_readable:
        raise BadValue("The member is encrypted, or compressed in a way that Portico does not read. Get the whole zip.")
    checked_parts.check(blob)
    return _chunks(blob, member), member.size


def _chunks(blob: Blob, member: Member) -> Iterator[bytes]:
    """The last one only once the checksum of all bytes is right."""
    crc = 0
    content = runtime.archive().open(blob.segment, blob.offset, blob.size)
    with content, objects.open_member(cast(BinaryIO, content), member) as opened:
        left = member.size
        while left:
            chunk = opened.read(min(CHUNK, left))
            crc, left = zlib.crc32(chunk, crc), left - len(chunk)
            if not chunk or (not left and crc != member.crc):
                raise segment_checks.damage_error(blob.segment, blob.offset)
            yield chunk
