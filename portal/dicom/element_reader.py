"""Reads the elements of a data set one after another, within bounds, whatever its bytes hold (PS3.5 7).

pydicom's reader keeps each value in memory and recurses into each sequence. This one keeps no value, has a list of
levels instead of recursion, and stops at a number of elements, so that no object costs more than a second or a few
megabytes. Bytes that break the rules are read as pydicom reads them, and illegal VRs such as "??" as DCMTK does.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Literal, NamedTuple

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from portal.dicom import raw_values
from portal.dicom.element_heads import (
    HEAD_SIZE,
    ITEM,
    ITEM_END,
    LONG_HEAD_SIZE,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    HeadDecoder,
    explicit_size,
)

MAX_ELEMENTS = 250_000
"""Of all levels, items included, but without the content of skipped sequences."""
MAX_TOP_LEVEL_ELEMENTS = 20_000
MAX_DEPTH = 32
MAX_INFLATED_SIZE = 16 << 20
"""Bytes of a deflated data set that are read: a zip bomb inflates a thousandfold."""
MAX_SEARCHED_SIZE = 16 << 20
"""Bytes that are searched for the end of a value of undefined length that does not consist of items."""
WINDOW_SIZE = 64 << 10
FRAGMENT_WINDOW_SIZE = 4 << 10
"""Of large fragments only the heads are read."""
CHUNK_SIZE = 256 << 10

PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})

StopReason = Literal["", "elements", "depth", "broken"]


class Element(NamedTuple):
    """An element, or the start of an item, whose tag is ITEM. Its head begins at `start`, its value at `offset`."""

    depth: int
    """The number of sequences around it."""
    tag: int
    vr: str | None
    """As encoded; SQ for everything that is read as a sequence; None where Implicit VR leaves it to a dictionary."""
    length: int
    """As encoded."""
    start: int
    offset: int
    implicit: bool


class _Level(NamedTuple):
    """A data set or an item with elements, a sequence with items, or a value with fragments."""

    holds: Literal["elements", "items", "fragments"]
    end: int
    implicit: bool
    is_open: bool = False
    """Whether a delimiter ends it, and `end` is that of the level around it."""


class ElementReader:
    """Iterates once over the elements of the data set that begins at the file's position and has `size` bytes.

    Ends before the pixels, at the end of the bytes, or at a bound, which `stopped` then names. `position` is the byte
    it has reached. With `deep` it yields the elements of all levels; without, those of the top level, and it skips
    sequences of defined length.
    """

    def __init__(
        self,
        file: BinaryIO,
        *,
        size: int,
        transfer_syntax_uid: str,
        deep: bool = False,
        max_elements: int = MAX_ELEMENTS,
        implicit: bool | None = None,
    ) -> None:
        self._file, self.position = file, file.tell()
        self.begin, self.end = self.position, self.position + size
        if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
            self._file, self.begin, self.position = inflate(file, size), 0, 0
            self.end = self._file.seek(0, io.SEEK_END)
        self.is_in_place = transfer_syntax_uid != DeflatedExplicitVRLittleEndian
        """Whether offsets count in the file itself: not for a deflated data set."""
        self.stopped: StopReason = ""

        self.is_little_endian = transfer_syntax_uid != ExplicitVRBigEndian
        self._heads = HeadDecoder(is_little_endian=self.is_little_endian)
        order = "<" if self.is_little_endian else ">"
        self._item_tag, self._end_tag = (
            struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF) for tag in (ITEM, SEQUENCE_END)
        )

        # Elements so far, and the number to stop at, which the caller may change between two elements.
        self.count, self.max_elements = 0, max_elements
        self._deep = deep
        self._top_level_elements = 0
        self._window, self._window_start = b"", 0
        shown = self._looks_implicit(self.position) if implicit is None else implicit
        self.is_implicit = transfer_syntax_uid == ImplicitVRLittleEndian if shown is None else shown
        """Whether the elements of the top level are in Implicit VR, which the first one shows."""
        self.is_cut = False
        """Whether the bytes have ended within an element, an item or a sequence, so far."""
        self._top_level = _Level("elements", self.end, self.is_implicit)
        self._levels = [self._top_level]
        self._reads_on = False

    def rest(self) -> Iterator[Element]:
        """After the iteration: from the pixels to the end, and what a smaller number of elements has left out."""
        if self.stopped in ("", "elements"):
            self.stopped, self.max_elements, self._reads_on = "", MAX_ELEMENTS, True
            self._levels = self._levels or [self._top_level]
            yield from self

    def bytes_at(self, offset: int, length: int, *, window: int = WINDOW_SIZE) -> bytes:
        """Bytes of the data set; fewer at its end."""
        at = offset - self._window_start
        if at < 0 or at + length > len(self._window):
            left = self.end - offset
            if left <= 0 or length <= 0:
                return b""
            self._file.seek(offset)
            self._window, self._window_start, at = self._file.read(min(max(length, window), left)), offset, 0
        return self._window[at : at + length]

    def value(self, element: Element, limit: int) -> bytes | None:
        """The value as encoded; None where it is longer than the limit, or of undefined length."""
        return self.bytes_at(element.offset, element.length) if element.length <= limit else None

    def length_of(self, element: Element) -> int:
        """How many bytes of its value the data set has."""
        return max(0, min(element.length, self.end - element.offset))

    def __iter__(self) -> Iterator[Element]:
        levels = self._levels
        while self.count < self.max_elements:
            self.count += 1
            while levels and self.position + HEAD_SIZE > levels[-1].end:
                level = levels.pop()
                self.is_cut |= self._is_cut_at(level)
                self.position = level.end
            if not levels:
                return
            is_top_level = len(levels) == 1
            self._top_level_elements += is_top_level
            if self._top_level_elements > MAX_TOP_LEVEL_ELEMENTS:
                break
            element = self._element(levels[-1]) if levels[-1].holds == "elements" else self._item(levels[-1])
            if self.stopped or not levels:
                return
            if element is not None and (self._deep or is_top_level):
                yield element
        self.stopped = "elements"

    def _element(self, level: _Level) -> Element | None:
        """Step over one element, or into it; None at the end of an item. At the end of everything no level is left."""
        start, data = self.position, self.bytes_at(self.position, LONG_HEAD_SIZE)
        # Implicit VR where there is no VR: some writers encode items so.
        size = 0 if level.implicit else explicit_size(data)
        if len(data) < max(size, HEAD_SIZE):
            self.stopped = "broken"
            return None
        head = self._heads.explicit(data) if size else None
        if head is None and not level.implicit:
            head = self._heads.illegal(data, level.end - start - HEAD_SIZE)
        tag, vr, length, size = head or self._heads.implicit(data)
        depth, offset = (len(self._levels) - 1) // 2, start + size
        element = Element(depth, tag, vr, length, start, offset, vr is None)

        if depth == 0 and not self._reads_on and (tag == ITEM_END or tag in PIXEL_TAGS):
            self.position = start
            self._levels.clear()
            return None
        if tag == ITEM_END and depth:
            self.position = offset
            self._levels.pop()
            return None
        if tag in (ITEM, ITEM_END, SEQUENCE_END):  # where none can be: skipped
            self.position = self._end_of(offset, length % UNDEFINED_LENGTH, level)
            return None
        if length == UNDEFINED_LENGTH:
            return self._undefined(element, level)

        end = self._end_of(offset, length, level)
        if not self._deep or not self._is_sequence(element) or depth == MAX_DEPTH:
            self.position = end
            return element
        self.position = offset
        self._levels.append(_Level("items", end, level.implicit))
        return element._replace(vr="SQ")

    def _undefined(self, element: Element, level: _Level) -> Element | None:
        """Step into a value that ends with a delimiter: a sequence, fragments, or what writers have made of it."""
        first_tag = self.bytes_at(element.offset, 4)
        is_unknown = element.vr is None and raw_values.known_vr(element.tag) == "UN"
        self.position = element.offset
        if self._is_sequence(element) or (first_tag == self._item_tag and is_unknown):
            if element.depth == MAX_DEPTH:
                self.stopped = "depth"
                return None
            self._levels.append(_Level("items", level.end, level.implicit, is_open=True))
            return element._replace(vr="SQ")
        if first_tag in (self._item_tag, self._end_tag):
            self._levels.append(_Level("fragments", level.end, level.implicit, is_open=True))
            return element

        # Bytes that are no items: the value ends at the next delimiter.
        at, last = self.position, min(level.end, self.position + MAX_SEARCHED_SIZE)
        while at + HEAD_SIZE <= last:
            found = self.bytes_at(at, min(CHUNK_SIZE, last - at)).find(self._end_tag)
            if found >= 0:
                self.position = at + found + HEAD_SIZE
                return element
            at += CHUNK_SIZE - HEAD_SIZE
        self.stopped = "broken"
        return element

    def _item(self, level: _Level) -> Element | None:
        """Step into one item, or over one fragment; None at the end of the sequence."""
        start = self.position
        window = FRAGMENT_WINDOW_SIZE if level.holds == "fragments" else WINDOW_SIZE
        data = self.bytes_at(start, HEAD_SIZE, window=window)
        if len(data) < HEAD_SIZE:
            self.stopped = "broken"
            return None
        tag, _, length, _ = self._heads.implicit(data)
        self.position = start + HEAD_SIZE
        if tag == SEQUENCE_END:
            self._levels.pop()
            return None
        if tag != ITEM or (level.holds == "fragments" and length == UNDEFINED_LENGTH):
            self.stopped = "broken"
            return None
        is_open = length == UNDEFINED_LENGTH
        end = level.end if is_open else self._end_of(self.position, length, level)
        if level.holds == "fragments":
            self.position = end
            return None
        depth = len(self._levels) // 2
        implicit = level.implicit or bool(self._looks_implicit(self.position))
        self._levels.append(_Level("elements", end, implicit, is_open))
        return Element(depth, ITEM, None, length, start, start + HEAD_SIZE, level.implicit)

    def _end_of(self, offset: int, length: int, level: _Level) -> int:
        # Within an item or a sequence that has a length, and all of its bytes, nothing is missing.
        self.is_cut |= level.end == self.end and offset + length > self.end
        return min(offset + length, level.end)

    def _is_cut_at(self, level: _Level) -> bool:
        """Whether bytes are missing at the end of a level, which is reached without a delimiter."""
        if level is not self._top_level:
            return level.is_open and level.end == self.end
        # Some writers add a NUL behind a last value of odd length: all values are of even length (PS3.5 7.1.1).
        rest = self.bytes_at(self.position, self.end - self.position)
        return any(rest) or (bool(rest) and (self.end - self.begin) % 2 == 1)

    def _is_sequence(self, element: Element) -> bool:
        """UN of undefined length is a sequence as well (PS3.5 6.2.2 note 2)."""
        if element.vr == "UN":
            return element.length == UNDEFINED_LENGTH or raw_values.known_vr(element.tag) == "SQ"
        return element.vr == "SQ" or (element.vr is None and raw_values.known_vr(element.tag) == "SQ")

    def _looks_implicit(self, start: int) -> bool | None:
        """By the first element of a data set or an item, whose encoding may differ from that of the level around it."""
        vr = self.bytes_at(start, 6)[4:]
        return None if len(vr) < 2 else not (vr.isalpha() and vr.isupper())


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
