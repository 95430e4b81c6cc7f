"""What a data set must be that comes by C-STORE: whole, in its transfer syntax, and without file meta (PS3.4 B.2.3)."""

import struct
import zlib
from collections.abc import Mapping
from typing import BinaryIO

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from portal.dicom import end_scan, file_meta
from portal.dicom.element_reader import CHUNK_SIZE, MAX_INFLATED_SIZE, ElementReader
from portal.dicom.kept_headers import Extent
from portal.errors import NotDicom

MAX_SCANNED_SIZE = 8 << 20
"""Bytes of a data set with many elements that are read at once, to see its end."""
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
    is_plainly_whole = False
    if reader.stopped == "elements" and reader.is_in_place and reader.is_little_endian:
        size = reader.end - reader.begin
        beginning = reader.bytes_at(reader.begin, min(size, MAX_SCANNED_SIZE))
        is_plainly_whole = end_scan.is_plainly_whole(beginning, 0, size, implicit=reader.is_implicit)
    if reader.is_implicit == is_implicit and not is_plainly_whole:
        found += reader.rest()
    # Some writers leave out the VR of single elements, or fill the last block with NULs, which read as empty elements.
    others = sum(each.implicit != is_implicit for each in found if each.tag)
    if reader.is_implicit != is_implicit or 2 * others > len(found):
        wanted = "Implicit" if is_implicit else "Explicit"
        raise NotDicom(f"The data set is not in {wanted} VR as its context requires.")
    if any(each.tag >> 16 == file_meta.GROUP for each in found):
        raise NotDicom("The data set has elements of group 0002, which is for files.")
    if is_all_read and (reader.is_cut or reader.stopped == "broken"):
        raise NotDicom("The data set is cut off: it ends within an element.")


def is_rest_whole(file: BinaryIO, size: int, *, implicit: bool) -> bool:
    """Whether nothing is missing or unusual from the pixels, at the file's position, to the end; in little endian.

    The bytes before it must be even in number, as those of elements are.
    """
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    reader = ElementReader(file, size=size, transfer_syntax_uid=syntax, implicit=implicit)
    is_usual = all(each.tag >> 16 != file_meta.GROUP and each.implicit == implicit for each in reader.rest())
    return is_usual and not reader.is_cut and not reader.stopped


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
