"""Heads of data elements: tag, VR and length as they are encoded (PS3.5 7.1)."""

import struct
from typing import NamedTuple

UNDEFINED_LENGTH = 0xFFFFFFFF
MAX_SHORT_LENGTH = 0xFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
ITEM_GROUP = 0xFFFE
PIXEL_DATA = 0x7FE00010

LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
"""VRs whose length has 4 bytes, behind 2 that are reserved (PS3.5 7.1.2)."""
VRS = LONG_VRS | frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())

HEAD_SIZE = 8
LONG_HEAD_SIZE = 12
"""Bytes of the head of an element in Explicit VR whose VR is one of LONG_VRS."""


class Head(NamedTuple):
    """The head of an element, an item or a delimiter; `size` is the number of its own bytes."""

    tag: int
    vr: str | None
    """None in Implicit VR."""
    length: int
    size: int


class HeadDecoder:
    """Reads heads in one byte order."""

    def __init__(self, *, is_little_endian: bool) -> None:
        order = "<" if is_little_endian else ">"
        self._implicit = struct.Struct(f"{order}HHL").unpack_from
        self._explicit = struct.Struct(f"{order}HH2sH").unpack_from
        self._long = struct.Struct(f"{order}L").unpack_from

    def implicit(self, data: bytes) -> Head:
        """The head in Implicit VR, the form that items and delimiters have in every encoding (PS3.5 7.5)."""
        group, element, length = self._implicit(data)
        return Head(group << 16 | element, None, length, HEAD_SIZE)

    def illegal(self, data: bytes, room: int) -> Head | None:
        """The head of an element whose VR consists of printable characters, but is none, such as "??"; as of UN.

        Some systems write such VRs, with lengths of 2 bytes. None where the head may be one in Implicit VR, whose value
        fits into `room` bytes.
        """
        group, element, vr, length = self._explicit(data)
        if vr.isascii() and vr.decode().isprintable() and self.implicit(data).length > room:
            return Head(group << 16 | element, "UN", length, HEAD_SIZE)
        return None

    def explicit(self, data: bytes) -> Head:
        """The head in Explicit VR; `data` has at least `explicit_size` bytes."""
        group, element, vr, length = self._explicit(data)
        if vr not in LONG_VRS:
            return Head(group << 16 | element, vr.decode(), length, HEAD_SIZE)
        (length,) = self._long(data, HEAD_SIZE)
        return Head(group << 16 | element, vr.decode(), length, LONG_HEAD_SIZE)


def explicit_size(data: bytes) -> int:
    """The size of the head in Explicit VR that begins with these 8 bytes; 0 where they contain no VR."""
    vr = data[4:6]
    if vr in LONG_VRS:
        return LONG_HEAD_SIZE
    return HEAD_SIZE if vr.isalpha() and vr.isupper() else 0


def encode(tag: int, vr: str, length: int, *, implicit: bool = False) -> bytes:
    """A head in little endian. A value that is too long for its VR becomes UN (PS3.5 6.2.2)."""
    group, element = tag >> 16, tag & 0xFFFF
    if implicit:
        return struct.pack("<HHI", group, element, length)
    if vr.encode() in LONG_VRS:
        return struct.pack("<HH2sxxI", group, element, vr.encode(), length)
    if length > MAX_SHORT_LENGTH:
        return struct.pack("<HH2sxxI", group, element, b"UN", length)
    return struct.pack("<HH2sH", group, element, vr.encode(), length)
