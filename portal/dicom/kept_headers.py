"""The elements of a header that the index keeps for return keys, encoded as Explicit VR Little Endian."""

import io
import struct
from collections.abc import Mapping

from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from portal.dicom import element_heads, raw_values
from portal.dicom.element_heads import ITEM, UNDEFINED_LENGTH
from portal.dicom.element_reader import MAX_DEPTH, Element, ElementReader

MAX_ELEMENT_SIZE = 16 << 10
MAX_HEADER_SIZE = 64 << 10
MAX_WALKED_SIZE = 256 << 10
"""Bytes of all elements that are looked into and encoded anew: most of them can be too large to be kept."""
PIXEL_REPRESENTATION = 0x00280103
_EXCLUDED_GROUPS = frozenset({0x0002, 0x7FE0, 0xFFFE})
"""The file meta, pixels, and delimiters."""

Extent = tuple[Element, int]
"""An element, and the offset of its end."""


def encode(reader: ElementReader, elements: Mapping[int, Extent]) -> bytes | None:
    """The elements of the top level in the order of their tags, without large ones, until 64 KiB are full.

    Group lengths are left out, and sequences that contain compressed pixels or exceed the depth that is read.
    """
    signed = False
    if PIXEL_REPRESENTATION in elements:
        value = reader.value(elements[PIXEL_REPRESENTATION][0], MAX_ELEMENT_SIZE) or b""
        signed = int.from_bytes(value[:2], "little" if reader.is_little_endian else "big") == 1
    kept, unwalked = bytearray(), MAX_WALKED_SIZE
    for tag in sorted(elements):
        room = min(MAX_ELEMENT_SIZE, MAX_HEADER_SIZE - len(kept))
        element, end = elements[tag]
        # Without its delimiters a sequence has at least half its length, so a longer one cannot fit.
        if not tag & 0xFFFF or tag >> 16 in _EXCLUDED_GROUPS or end - element.start > 2 * room:
            continue
        is_plain = element.vr not in (None, "SQ", "UN") and element.length <= MAX_ELEMENT_SIZE
        if reader.is_little_endian and is_plain and not element.length % 2:
            content = reader.bytes_at(element.start, end - element.start)
            encoded = content + b"\0" * (len(content) % 2)
        elif end - element.start <= unwalked:
            encoded = _encoded(reader, element, end, signed=signed)
            unwalked -= end - element.start
        else:
            continue
        if len(encoded) <= room:
            kept += encoded
    return bytes(kept) or None


def _encoded(reader: ElementReader, element: Element, end: int, *, signed: bool) -> bytes:
    """One element with everything in it; empty where it cannot be written."""
    content = reader.bytes_at(element.start, end - element.start)
    syntax = ExplicitVRLittleEndian if reader.is_little_endian else ExplicitVRBigEndian
    inner = ElementReader(
        io.BytesIO(content), size=len(content), transfer_syntax_uid=syntax, deep=True, implicit=element.implicit
    )
    writer = _Writer(inner, signed=signed)
    for each in inner:
        if each.depth == MAX_DEPTH or (each.length == UNDEFINED_LENGTH and each.vr != "SQ" and each.tag != ITEM):
            return b""
        writer.write(each)
    return b"" if inner.stopped else writer.written()


class _Writer:
    """Writes elements, items and sequences; fills in the lengths of items and sequences at their ends."""

    def __init__(self, reader: ElementReader, *, signed: bool) -> None:
        self._reader, self._signed = reader, signed
        self._out = bytearray()
        self._open: list[tuple[int, int]] = []
        """The depth of each open sequence or item, items counted as levels, and the offset of its content."""

    def write(self, element: Element) -> None:
        is_item = element.tag == ITEM
        depth = 2 * element.depth - is_item
        self._close(depth)
        if is_item or element.vr == "SQ":
            self._out += element_heads.encode(element.tag, "SQ", 0, implicit=is_item)
            self._open.append((depth, len(self._out)))
        elif element.tag & 0xFFFF or not element.depth:
            vr = element.vr or raw_values.known_vr(element.tag)
            vr = raw_values.resolve_vr(vr, signed=self._signed)
            raw = self._reader.bytes_at(element.offset, element.length)
            value = raw if self._reader.is_little_endian else raw_values.swap_bytes(raw, vr)
            value += b"\0" * (len(value) % 2)
            self._out += element_heads.encode(element.tag, vr, len(value)) + value

    def written(self) -> bytes:
        self._close(0)
        return bytes(self._out)

    def _close(self, depth: int) -> None:
        """End the levels at this depth and below."""
        while self._open and self._open[-1][0] >= depth:
            begin = self._open.pop()[1]
            struct.pack_into("<I", self._out, begin - 4, len(self._out) - begin)
