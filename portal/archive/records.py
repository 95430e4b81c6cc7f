"""The format of a segment: how one record is written, and how a segment is read back.

    segment = b"PORTSEG1", then records
    record  = b"PREC", content length (u64), CRC-32 of these 12 bytes (u32),
              content, footer length (u32), footer (JSON), CRC-32 of content, footer length and footer (u32)

A record whose content was purged begins with b"PREc"; its content is zero and its footer blank once its blocks are
free.

All numbers are little endian. The header has its own CRC, so that a changed length is detected before it is used.
"""

import hashlib
import json
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from portal.archive.checksums import crc32
from portal.archive.slices import CHUNK, Slice

SEGMENT_MAGIC = b"PORTSEG1"
RECORD_MAGIC = b"PREC"
PURGED_MAGIC = b"PREc"
"""Begins a purged record. One byte differs, which a disk writes whole or not at all; the check sums stay."""
_HEADER = struct.Struct("<4sQ")
_CRC = struct.Struct("<I")
HEADER_SIZE = _HEADER.size + _CRC.size
UNKNOWN_LENGTH = 2**64 - 1
"""Length in the header of a record that is still being streamed."""
MAX_FOOTER_SIZE = 1 << 20
COMMON_TAIL_SIZE = 2048
"""Bytes behind the content within which the record of a DICOM object mostly ends."""

Footer = dict[str, Any]
_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class Record:
    """One whole record. `offset` and `size` are those of its content within the segment's file."""

    segment: str
    offset: int
    size: int
    footer: Footer
    end: int
    digest: str = ""
    """SHA-256 of the content as it was read, in hex; empty where it was not asked for."""

    @property
    def received_at(self) -> str:
        """When it arrived, by its footer; empty where that does not say."""
        return str(self.footer.get("received_at", "")) if isinstance(self.footer, dict) else ""


@dataclass(frozen=True)
class Damage:
    """A part of a segment in which no whole record could be read."""

    segment: str
    offset: int
    end: int
    message: str
    torn: bool
    """The record extends past the end of the file: its write was interrupted, and it was never acknowledged."""


@dataclass(frozen=True)
class Purged:
    """A record whose content is erased, or is to be erased."""

    segment: str
    offset: int
    size: int
    end: int


Found = Record | Damage | Purged


def header(length: int) -> bytes:
    head = _HEADER.pack(RECORD_MAGIC, length)
    return head + _CRC.pack(crc32(head))


def tail(crc: int, footer: Footer) -> bytes:
    """What follows the content; `crc` is the CRC-32 of the content."""
    text = _encoder.encode(footer).encode()
    body = _CRC.pack(len(text)) + text
    return body + _CRC.pack(crc32(body, crc))


def content_crc(parts: Iterable[bytes | bytearray | memoryview], crc: int = 0) -> int:
    """The CRC-32 of some parts of a content; `crc`: that of the parts before them."""
    for part in parts:
        crc = crc32(part, crc)
    return crc


def scan(file: Slice, segment: str, start: int = len(SEGMENT_MAGIC), *, with_digests: bool = False) -> Iterator[Found]:
    """The records and the damage of a whole segment from `start`, in their order, in constant memory."""
    at = start
    while at < file.size:
        found = read(file, segment, at, file.size, with_digest=with_digests)
        if isinstance(found, Damage):
            end = _next_record(file, segment, found.end, file.size)
            found = replace(found, end=end, torn=found.torn and end == file.size)
        yield found
        at = found.end


def scan_unknown(file: Slice, segment: str, known: Iterator[tuple[int, int]]) -> Iterator[Found]:
    """As `scan` of a whole segment, but without the records in `known`, of which only magic and footer length are read.

    A known record that is marked as purged is yielded: its rows are older than its purge. `known` gives offset and size
    of contents, in the order of their offsets.
    """
    at, place = len(SEGMENT_MAGIC), next(known, None)
    while at < file.size:
        while place is not None and place[0] < at + HEADER_SIZE:
            place = next(known, None)
        if place is not None and place[0] == at + HEADER_SIZE and (end := _end_of_live(file, *place)):
            at = end
            continue
        found = next(scan(file, segment, at))
        yield found
        at = found.end


def read(file: Slice, segment: str, at: int, size: int, *, with_digest: bool = False) -> Found:
    """The record that begins at `at`, checked to its last byte.

    The end of damage is where to look for the next record: after the content where its length is certain, so that bytes
    inside an object are never taken for a record. (A footer cannot contain one: JSON escapes NUL.)
    """
    file.seek(at)
    head = file.read(HEADER_SIZE)
    if len(head) < HEADER_SIZE:
        return Damage(segment, at, size, "The record's header is cut off.", torn=True)
    magic, length = _HEADER.unpack(head[: _HEADER.size])
    is_purged = magic == PURGED_MAGIC
    if is_purged:
        head = RECORD_MAGIC + head[len(RECORD_MAGIC) :]
    if not head.startswith(RECORD_MAGIC) or _CRC.unpack(head[_HEADER.size :])[0] != crc32(head[: _HEADER.size]):
        return Damage(segment, at, at + 1, "The record's header is not what was written.", torn=False)
    offset = at + HEADER_SIZE
    if length == UNKNOWN_LENGTH or offset + length + 2 * _CRC.size > size:
        return Damage(segment, at, size, "The record is cut off.", torn=True)
    digest = hashlib.sha256() if with_digest else None
    return _read_rest(file, segment, offset, length, size, is_purged=is_purged, digest=digest)


def _read_rest(
    file: Slice,
    segment: str,
    offset: int,
    length: int,
    size: int,
    *,
    is_purged: bool,
    digest: "hashlib._Hash | None",
) -> Found:
    at = offset - HEADER_SIZE
    content_end = offset + length
    crc, left = 0, 0 if is_purged else length
    while left > 0 and (chunk := file.read(min(CHUNK, left))):
        crc = crc32(chunk, crc)
        if digest is not None:
            digest.update(chunk)
        left -= len(chunk)

    file.seek(content_end)
    head = file.read(_CRC.size)
    (footer_size,) = _CRC.unpack(head)
    end = content_end + _CRC.size + footer_size + _CRC.size
    if footer_size > MAX_FOOTER_SIZE or end > size:
        return Damage(segment, at, content_end, "The record's footer is cut off or changed.", torn=end > size)
    if is_purged:
        return Purged(segment, offset, length, end)
    text = file.read(footer_size)
    (written,) = _CRC.unpack(file.read(_CRC.size))
    if written != crc32(text, crc32(head, crc)):
        return Damage(segment, at, content_end, "The record's bytes are not those that were written.", torn=False)
    return Record(segment, offset, length, json.loads(text), end, digest.hexdigest() if digest else "")


def intact_content(read: bytes, size: int, digest: str) -> memoryview | None:
    """The content of `size` bytes that `read` begins with, if the record's check sum says that it is what was written.

    `digest`: of its data set, which the footer has to name: the record is the one that is meant. None if not, or if
    `read` ends before the record does.
    """
    end = size + _CRC.size
    if len(read) >= end:
        end += _CRC.unpack_from(read, size)[0]
    if len(read) < end + _CRC.size:
        return None
    view = memoryview(read)
    if crc32(view[:end]) != _CRC.unpack_from(read, end)[0] or read.find(digest.encode(), size, end) < 0:
        return None
    return view[:size]


def footer_place(head: bytes, at: int) -> tuple[int, int]:
    """Offset and size of the footer's text; `head`: the four bytes of its length, which begin at `at`."""
    length = _CRC.unpack(head)[0] if len(head) == _CRC.size else 0
    return at + _CRC.size, length if length <= MAX_FOOTER_SIZE else 0


def _end_of_live(file: Slice, offset: int, size: int) -> int:
    """The end of the record with this content; 0 if it is unknown, or the record is marked as purged.

    The record's bytes are not checked.
    """
    file.seek(offset + size)
    head = file.read(_CRC.size)
    if len(head) < _CRC.size or _CRC.unpack(head)[0] > MAX_FOOTER_SIZE:
        return 0
    end = offset + size + _CRC.size + _CRC.unpack(head)[0] + _CRC.size
    if end > file.size:
        return 0
    file.seek(offset - HEADER_SIZE)
    return 0 if file.read(len(PURGED_MAGIC)) == PURGED_MAGIC else end


def _next_record(file: Slice, segment: str, at: int, size: int) -> int:
    """Where the next whole record begins after damage, or the end of the file.

    Purged records are skipped: their content has no check sum, so bytes that look like one could be inside an object.
    """
    while at < size:
        file.seek(at)
        window = file.read(CHUNK)
        found = window.find(RECORD_MAGIC)
        if found < 0:
            at += max(1, len(window) - len(RECORD_MAGIC) + 1)
            if len(window) < CHUNK:
                return size
        elif isinstance(read(file, segment, at + found, size), Record):
            return at + found
        else:
            at += found + 1
    return size
