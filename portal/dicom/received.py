"""What a data set must be that comes by C-STORE: whole, in its transfer syntax, and without file meta (PS3.4 B.2.3)."""

import struct
import zlib
from collections.abc import Mapping
from typing import BinaryIO

from pydicom.uid import ImplicitVRLittleEndian

from portal.dicom import file_meta
from portal.dicom.element_heads import HEAD_SIZE, ITEM, ITEM_GROUP, LONG_HEAD_SIZE, SEQUENCE_END, UNDEFINED_LENGTH
from portal.dicom.element_reader import CHUNK_SIZE, MAX_INFLATED_SIZE, ElementReader
from portal.dicom.header_scan import Scan
from portal.dicom.kept_headers import Extent
from portal.dicom.sequence_scan import (
    SHORT_CODES,
    Buffer,
    Unusual,
    explicit_head,
    implicit_head,
    length_of_long_vr,
)
from portal.errors import NotDicom

MAX_FRAGMENTS = 5000
"""Of compressed pixels: more are counted by the reader of elements."""
MAX_CHECKED_SIZE = 64 << 20
"""Bytes up to which a deflated data set is inflated to see its end."""


def check(
    reader: ElementReader, elements: Mapping[int, Extent], transfer_syntax_uid: str, *, is_all_read: bool = True
) -> None:
    """Read on to the end. Raises NotDicom for a data set that must not be acknowledged.

    `elements` are those that the reader has found before the pixels. What is behind a bound of the reader is not
    checked, nor is the end of a data set that is not all read.
    """
    is_implicit = transfer_syntax_uid == ImplicitVRLittleEndian
    found = [element for element, _ in elements.values()]
    if reader.is_implicit == is_implicit:
        found += reader.rest()
    # A run of NULs at the end reads as elements without a tag: some writers fill their last block with them.
    if reader.is_implicit != is_implicit or any(each.tag and each.implicit != is_implicit for each in found):
        wanted = "Implicit" if is_implicit else "Explicit"
        raise NotDicom(f"The data set is not in {wanted} VR as its context requires.")
    if any(each.tag >> 16 == file_meta.GROUP for each in found):
        raise NotDicom("The data set has elements of group 0002, which is for files.")
    if is_all_read and (reader.is_cut or reader.stopped == "broken"):
        raise NotDicom("The data set is cut off: it ends within an element.")


def is_inflated_whole(file: BinaryIO, size: int) -> bool:
    """Whether all of a deflated data set, which begins at the file's position, is within the bytes that are read of it.

    Raises NotDicom for a stream that is cut off or damaged, or that other bytes follow than one NUL (PS3.5 A.5) and
    gzip's checksum and size, which some writers leave there.
    """
    inflater, end = zlib.decompressobj(-zlib.MAX_WBITS), file.tell() + size
    inflated = checksum = 0
    while not inflater.eof and inflated <= MAX_CHECKED_SIZE:
        packed = inflater.unconsumed_tail or file.read(min(CHUNK_SIZE, end - file.tell()))
        if not packed:
            raise NotDicom("The deflated data set is cut off.")
        try:
            chunk = inflater.decompress(packed, CHUNK_SIZE)
        except zlib.error as error:
            raise NotDicom("The deflated data set is damaged.") from error
        inflated, checksum = inflated + len(chunk), zlib.crc32(chunk, checksum)
    if inflater.eof:
        trailer = struct.pack("<LL", checksum, inflated % (1 << 32))
        rest = inflater.unused_data + file.read(min(len(trailer) + 1, end - file.tell()))
        if rest.removeprefix(trailer) not in (b"", b"\0"):
            raise NotDicom("Other bytes follow the deflated data set.")
    return inflated <= MAX_INFLATED_SIZE


def is_plainly_whole(data: Buffer, found: Scan, size: int) -> bool:
    """Whether the data set plainly ends where its last element ends; `data` has all of it, or its first bytes."""
    at, previous = found.position, 0
    try:
        while at < size:
            group, number, vr, length = explicit_head(data, at)
            tag, offset = group << 16 | number, at + HEAD_SIZE
            if tag <= previous or group == ITEM_GROUP:
                return False
            if found.implicit:
                length = implicit_head(data, at)[2]
            elif vr not in SHORT_CODES:
                length, offset = length_of_long_vr(data, at, tag, vr), at + LONG_HEAD_SIZE
            at = _end_of_fragments(data, offset) if length == UNDEFINED_LENGTH else offset + length
            previous = tag
    except (Unusual, struct.error):
        return False
    return at == size


def _end_of_fragments(data: Buffer, at: int) -> int:
    """Where the value of compressed pixels ends that begins here. Raises Unusual."""
    for _ in range(MAX_FRAGMENTS):
        group, number, length = implicit_head(data, at)
        at += HEAD_SIZE + length
        if group << 16 | number != ITEM:
            if group << 16 | number == SEQUENCE_END and not length:
                return at
            break
    raise Unusual
