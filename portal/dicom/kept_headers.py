"""What the index keeps of a header to answer return keys from: its elements as Explicit VR Little Endian."""

import io
import struct
from collections.abc import Mapping

from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

from portal.dicom import raw_values
from portal.dicom.element_reader import ITEM, LONG_VRS, MAX_DEPTH, UNDEFINED_LENGTH, Element, ElementReader

MAX_ELEMENT_SIZE = 16 << 10
MAX_HEADER_SIZE = 64 << 10
PIXEL_REPRESENTATION = 0x00280103
_LEFT_OUT = frozenset({0x0002, 0x7FE0, 0xFFFE})
"""Groups of the meta, of pixels, and of delimiters."""

Extent = tuple[Element, int]
"""An element, and where it ends."""


def encode(reader: ElementReader, elements: Mapping[int, Extent]) -> bytes | None:
    """The elements of the top level by their tags, but for large ones, until 64 KiB are full.

    Group lengths are left out, and sequences that hold compressed pixels or are nested more deeply than they are read.
    """
    signed = _is_signed(reader, elements)
    kept = bytearray()
    for tag in sorted(elements):
        room = min(MAX_ELEMENT_SIZE, MAX_HEADER_SIZE - len(kept))
        element, end = elements[tag]
        # A sequence is at most half as long without its delimiters, so that a longer one need not be looked at.
        if not tag & 0xFFFF or tag >> 16 in _LEFT_OUT or end - element.start > 2 * room:
            continue
        encoded = _encoded(reader, element, end, signed=signed)
        if len(encoded) <= room:
            kept += encoded
    return bytes(kept) or None


def _is_signed(reader: ElementReader, elements: Mapping[int, Extent]) -> bool:
    if PIXEL_REPRESENTATION not in elements:
        return False
    value = reader.value(elements[PIXEL_REPRESENTATION][0], MAX_ELEMENT_SIZE) or b""
    return int.from_bytes(value[:2], "little" if reader.is_little_endian else "big") == 1


def _encoded(reader: ElementReader, element: Element, end: int, *, signed: bool) -> bytes:
    """One element with all that is in it; nothing where it cannot be written."""
    content = reader.bytes_at(element.start, end - element.start)
    if _is_written_alike(reader, element):
        return content + b"\0" * (len(content) % 2)
    syntax = ExplicitVRLittleEndian if reader.is_little_endian else ExplicitVRBigEndian
    inner = ElementReader(io.BytesIO(content), size=len(content), transfer_syntax_uid=syntax, deep=True)
    writer = _Writer(inner, signed=signed)
    for each in inner:
        if each.depth == MAX_DEPTH or (each.length == UNDEFINED_LENGTH and each.vr != "SQ" and each.tag != ITEM):
            return b""
        writer.write(each)
    return b"" if inner.stopped else writer.written()


def _is_written_alike(reader: ElementReader, element: Element) -> bool:
    """Whether its bytes can be taken as they stand."""
    return (
        reader.is_little_endian
        and element.vr not in (None, "SQ", "UN")
        and element.length <= MAX_ELEMENT_SIZE
        and not element.length % 2
    )


class _Writer:
    """Writes elements, items and sequences with their lengths, which are known only at their ends."""

    def __init__(self, reader: ElementReader, *, signed: bool) -> None:
        self._reader, self._signed = reader, signed
        self._out = bytearray()
        self._open: list[tuple[int, int]] = []
        """How deep each open sequence or item is, items counted, and where what is in it begins."""

    def write(self, element: Element) -> None:
        is_item = element.tag == ITEM
        depth = 2 * element.depth - is_item
        self._close(depth)
        group, number = element.tag >> 16, element.tag & 0xFFFF
        if is_item:
            self._out += struct.pack("<HHI", group, number, 0)
        elif element.vr == "SQ":
            self._out += struct.pack("<HH2sxxI", group, number, b"SQ", 0)
        elif number or not element.depth:
            self._value(element)
        if is_item or element.vr == "SQ":
            self._open.append((depth, len(self._out)))

    def written(self) -> bytes:
        self._close(0)
        return bytes(self._out)

    def _close(self, depth: int) -> None:
        """End what is at this depth and below."""
        while self._open and self._open[-1][0] >= depth:
            begin = self._open.pop()[1]
            struct.pack_into("<I", self._out, begin - 4, len(self._out) - begin)

    def _value(self, element: Element) -> None:
        vr = element.vr or raw_values.known_vr(element.tag)
        vr = raw_values.resolve_vr(vr, signed=self._signed)
        raw = self._reader.bytes_at(element.offset, element.length)
        value = raw if self._reader.is_little_endian else raw_values.swap_bytes(raw, vr)
        value += b"\0" * (len(value) % 2)
        encoded = vr.encode()
        if encoded in LONG_VRS:
            head = struct.pack("<HH2sxxI", element.tag >> 16, element.tag & 0xFFFF, encoded, len(value))
        else:
            head = struct.pack("<HH2sH", element.tag >> 16, element.tag & 0xFFFF, encoded, len(value))
        self._out += head + value
