"""Reads the elements of a data set one after another, within bounds, whatever its bytes say (PS3.5 7).

pydicom's reader keeps each value in memory and calls itself for each level of a sequence. This one keeps no value, has
a list instead of a call for each level, and stops at a number of elements, so that no object costs more than a second
or a few megabytes. How it takes what breaks the rules follows pydicom.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Literal, NamedTuple

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from portal.dicom import raw_values

MAX_ELEMENTS = 250_000
"""Of all levels, with the items of sequences, but without what is in a sequence that is skipped."""
MAX_TOP_LEVEL_ELEMENTS = 20_000
MAX_DEPTH = 32
MAX_INFLATED_SIZE = 16 << 20
"""Bytes of a deflated data set that are looked at: a bomb inflates a thousandfold."""
MAX_SEARCHED_SIZE = 16 << 20
"""Bytes that are searched for the end of a value of undefined length that does not consist of items."""
WINDOW_SIZE = 64 << 10
CHUNK_SIZE = 256 << 10

UNDEFINED_LENGTH = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
LONG_VRS = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
"""VRs whose length has 4 bytes, behind 2 that are reserved (PS3.5 7.1.2)."""
VRS = LONG_VRS | frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())

StopReason = Literal["", "elements", "depth", "broken"]


class Element(NamedTuple):
    """One element, or the beginning of an item, whose tag is ITEM. Its value begins at `offset` of the data set."""

    depth: int
    """The number of sequences around it."""
    tag: int
    vr: str | None
    """As encoded; SQ for whatever is read as a sequence; None where Implicit VR leaves it to a dictionary."""
    length: int
    """As encoded."""
    start: int
    offset: int
    implicit: bool


class _Level(NamedTuple):
    """What the reader is within: elements of a data set or an item, items of a sequence, or fragments of a value."""

    holds: Literal["elements", "items", "fragments"]
    end: int
    implicit: bool


class ElementReader:
    """Iterates once over the elements of the data set that begins where the file stands and has `size` bytes.

    Ends before the pixels, at the end of the bytes, or at a bound: then `stopped` says at which. `position` is where it
    has come to. With `deep` all levels are given, without it the top one, and sequences of defined length are skipped.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        size: int,
        transfer_syntax_uid: str,
        deep: bool = False,
        max_elements: int = MAX_ELEMENTS,
    ) -> None:
        self._file, self.position = file, file.tell()
        self.end = self.position + size
        if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
            self._file, self.position = inflate(file, size), 0
            self.end = self._file.seek(0, io.SEEK_END)
        self.is_in_place = transfer_syntax_uid != DeflatedExplicitVRLittleEndian
        """Whether offsets are those of the file, which is so unless the data set is deflated."""
        self.stopped: StopReason = ""
        self.is_little_endian = transfer_syntax_uid != ExplicitVRBigEndian
        self._order: Literal["little", "big"] = "little" if self.is_little_endian else "big"
        order = "<" if self.is_little_endian else ">"
        self._implicit_head = struct.Struct(f"{order}HHL").unpack_from
        self._explicit_head = struct.Struct(f"{order}HH2sH").unpack_from
        self._long = struct.Struct(f"{order}L").unpack_from
        self._delimiter = struct.pack(f"{order}HH", SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF)
        # Elements so far, and at which number to stop: whoever iterates may change that between two elements.
        self.count, self.max_elements = 0, max_elements
        self._deep = deep
        self._top_level_elements = 0
        self._window, self._window_start = b"", 0
        implicit = self._looks_implicit(self.position)
        if implicit is None:
            implicit = transfer_syntax_uid == ImplicitVRLittleEndian
        self._levels = [_Level("elements", self.end, implicit)]

    def bytes_at(self, offset: int, length: int) -> bytes:
        """Bytes of the data set; fewer at its end."""
        at = offset - self._window_start
        if at < 0 or at + length > len(self._window):
            left = self.end - offset
            if left <= 0 or length <= 0:
                return b""
            self._file.seek(offset)
            self._window, self._window_start, at = self._file.read(min(max(length, WINDOW_SIZE), left)), offset, 0
        return self._window[at : at + length]

    def value(self, element: Element, limit: int) -> bytes | None:
        """The value as it stands in the bytes; None where it is longer than the limit, or of undefined length."""
        return self.bytes_at(element.offset, element.length) if element.length <= limit else None

    def length_of(self, element: Element) -> int:
        """Bytes of its value that are there."""
        return max(0, min(element.length, self.end - element.offset))

    def __iter__(self) -> Iterator[Element]:
        levels = self._levels
        while self.count < self.max_elements:
            self.count += 1
            while levels and self.position + 8 > levels[-1].end:
                self.position = levels.pop().end
            if not levels:
                return
            is_top_level = len(levels) == 1
            self._top_level_elements += is_top_level
            if self._top_level_elements > MAX_TOP_LEVEL_ELEMENTS:
                break
            found = self._element(levels[-1]) if levels[-1].holds == "elements" else self._item(levels[-1])
            if self.stopped or not levels:
                return
            if found is not None and (self._deep or is_top_level):
                yield found
        self.stopped = "elements"

    def _element(self, level: _Level) -> Element | None:
        """Step over one element, or into it; None at the end of an item. No level is left at the end of all."""
        element = self._head(level)
        if element is None:
            return None
        if element.tag == ITEM_END or (element.depth == 0 and element.tag in PIXEL_TAGS):
            self._leave(element)
            return None
        if element.tag in (ITEM, SEQUENCE_END):  # where none can be: passed by, as if it were not there
            self.position = min(element.offset + element.length % UNDEFINED_LENGTH, level.end)
            return None
        if element.length != UNDEFINED_LENGTH:
            end = min(element.offset + element.length, level.end)
            if not self._deep or not self._is_sequence(element) or element.depth == MAX_DEPTH:
                self.position = end
                return element
            self.position = element.offset
            self._levels.append(_Level("items", end, level.implicit))
            return element._replace(vr="SQ")
        return self._undefined(element, level)

    def _head(self, level: _Level) -> Element | None:
        """Tag, VR and length at the position. What is no VR is taken for Implicit VR, as some write it in items."""
        start, data, implicit = self.position, self.bytes_at(self.position, 12), level.implicit
        depth = (len(self._levels) - 1) // 2
        if len(data) < 8:
            self.stopped = "broken"
            return None
        if not implicit:
            group, number, vr, length = self._explicit_head(data)
            if vr in LONG_VRS:
                if len(data) < 12:
                    self.stopped = "broken"
                    return None
                (length,) = self._long(data, 8)
                return Element(depth, group << 16 | number, vr.decode(), length, start, start + 12, False)
            if vr.isalpha() and vr.isupper():
                return Element(depth, group << 16 | number, vr.decode(), length, start, start + 8, False)
        group, number, length = self._implicit_head(data)
        return Element(depth, group << 16 | number, None, length, start, start + 8, True)

    def _leave(self, element: Element) -> None:
        """The end of an item, or of all that is read."""
        if len(self._levels) > 1:
            self.position = element.offset
            self._levels.pop()
        else:
            self.position = element.start
            self._levels.clear()

    def _undefined(self, element: Element, level: _Level) -> Element | None:
        """A value that ends with a delimiter: a sequence, fragments, or what writers have made of it."""
        head = self.bytes_at(element.offset, 8)
        tag = self._tag(head)
        self.position = element.offset
        if self._is_sequence(element) or (tag == ITEM and raw_values.known_vr(element.tag) == "UN" and not element.vr):
            if element.depth == MAX_DEPTH:
                self.stopped = "depth"
                return None
            self._levels.append(_Level("items", level.end, level.implicit))
            return element._replace(vr="SQ")
        if tag in (ITEM, SEQUENCE_END):
            self._levels.append(_Level("fragments", level.end, level.implicit))
        else:
            self._search_end(level.end)
        return element

    def _search_end(self, end: int) -> None:
        """Go behind the next delimiter."""
        at, last = self.position, min(end, self.position + MAX_SEARCHED_SIZE)
        while at + 8 <= last:
            found = self.bytes_at(at, min(CHUNK_SIZE, last - at)).find(self._delimiter)
            if found >= 0:
                self.position = at + found + 8
                return
            at += CHUNK_SIZE - 8
        self.stopped = "broken"

    def _item(self, level: _Level) -> Element | None:
        """Step into one item, or over one fragment; None at the end of the sequence."""
        start = self.position
        data = self.bytes_at(start, 8)
        if len(data) < 8:
            self.stopped = "broken"
            return None
        group, number, length = self._implicit_head(data)
        tag = group << 16 | number
        self.position = start + 8
        if tag == SEQUENCE_END:
            self._levels.pop()
            return None
        if tag != ITEM or (level.holds == "fragments" and length == UNDEFINED_LENGTH):
            self.stopped = "broken"
            return None
        end = level.end if length == UNDEFINED_LENGTH else min(self.position + length, level.end)
        if level.holds == "fragments":
            self.position = end
            return None
        depth = len(self._levels) // 2
        implicit = level.implicit or bool(self._looks_implicit(self.position))
        self._levels.append(_Level("elements", end, implicit))
        return Element(depth, ITEM, None, length, start, start + 8, level.implicit)

    def _is_sequence(self, element: Element) -> bool:
        """UN of undefined length is a sequence as well (PS3.5 6.2.2 note 2)."""
        if element.vr == "UN":
            return element.length == UNDEFINED_LENGTH or raw_values.known_vr(element.tag) == "SQ"
        return element.vr == "SQ" or (element.vr is None and raw_values.known_vr(element.tag) == "SQ")

    def _looks_implicit(self, start: int) -> bool | None:
        """By the first element of a data set or an item, which may be in another encoding than what is around it."""
        vr = self.bytes_at(start, 6)[4:]
        return None if len(vr) < 2 else not (vr.isalpha() and vr.isupper())

    def _tag(self, head: bytes) -> int:
        if len(head) < 4:
            return 0
        return int.from_bytes(head[:2], self._order) << 16 | int.from_bytes(head[2:4], self._order)


def inflate(file: BinaryIO, size: int, *, limit: int = MAX_INFLATED_SIZE) -> io.BytesIO:
    """The first bytes of a deflated data set, up to a limit; fewer where the rest cannot be inflated."""
    inflater, out = zlib.decompressobj(-zlib.MAX_WBITS), io.BytesIO()
    end = file.tell() + size
    while not inflater.eof and out.tell() < limit:
        packed = inflater.unconsumed_tail or file.read(min(CHUNK_SIZE, end - file.tell()))
        if not packed:
            break
        try:
            out.write(inflater.decompress(packed, min(CHUNK_SIZE, limit - out.tell())))
        except zlib.error:
            break
    return out
