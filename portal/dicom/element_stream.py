"""Walks the elements of an encoded data set (PS3.5 7): forward only, in bounded memory, without interpreting values."""

import zlib
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from portal.dicom import raw_values
from portal.dicom.element_heads import (
    HEAD_SIZE,
    ITEM,
    ITEM_END,
    ITEM_GROUP,
    PIXEL_DATA,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    HeadDecoder,
    explicit_size,
)
from portal.errors import NotDicom

MAX_ELEMENTS = 200_000
MAX_DEPTH = 64
MAX_INFLATED_SIZE = 64 << 20
BUFFER_SIZE = 64 << 10

TRAILING_PADDING = 0xFFFCFFFC


class Event(NamedTuple):
    """One step: an element with its value to be read, or the start or end of something that contains others."""

    kind: str
    """element | sequence | item | fragments | fragment | end (of the innermost level)."""
    tag: int = 0
    vr: str = ""
    """As encoded, else by the dictionary, else UN."""
    length: int = 0
    """Bytes of the value, of an element or a fragment."""


END = Event("end")


@dataclass
class _Level:
    """An open list of elements, or of items."""

    has_items: bool
    end: int | None
    """The byte at which it ends; None where a delimiter ends it."""
    implicit: bool
    fragments: bool = False


class ElementStream:
    """`next()` returns the events of the `size` bytes of a data set, from the position of the source on.

    Group lengths and Data Set Trailing Padding are skipped: they say nothing of the object (PS3.5 7.2, PS3.10 7.2).
    Raises NotDicom where the bytes make no sense, and where they have too many or too deeply nested elements.
    """

    def __init__(self, source: BinaryIO, size: int, transfer_syntax: str) -> None:
        deflated = transfer_syntax == DeflatedExplicitVRLittleEndian
        self._bytes = _Inflated(source, size) if deflated else _Bytes(source, size)
        self.is_big_endian = transfer_syntax == ExplicitVRBigEndian
        self._heads = HeadDecoder(is_little_endian=not self.is_big_endian)
        self._levels = [_Level(False, None if deflated else size, transfer_syntax == ImplicitVRLittleEndian)]
        self._unread = 0
        self._elements = 0

    @property
    def depth(self) -> int:
        return len(self._levels)

    def next(self) -> Event:
        """The next event; unread bytes of the value before are skipped."""
        while True:
            self._bytes.skip(self._unread)
            self._unread = 0

            level, at = self._levels[-1], self._bytes.at
            if level.end is None:
                is_over = self.depth == 1 and self._bytes.is_over()
            elif at > level.end:
                raise NotDicom("An element is longer than the data set, item or sequence that contains it.")
            else:
                is_over = at == level.end or (self.depth == 1 and level.end - at < HEAD_SIZE)
            if is_over:
                if self.depth > 1:
                    self._levels.pop()
                return END

            event = self._opened(level)
            if event is not None:
                return event

    def read(self, size: int) -> bytes:
        """Up to `size` bytes of the value of the last element; none at its end."""
        data = self._bytes.read(min(size, self._unread))
        self._unread -= len(data)
        return data

    def read_items(self) -> None:
        """Treat the last value, of which nothing was read, as a sequence in Implicit VR (PS3.5 6.2.2)."""
        self._open(_Level(True, self._bytes.at + self._unread, implicit=True))
        self._unread = 0

    def leave(self, depth: int) -> None:
        """Skip everything until at most `depth` levels are open."""
        while self.depth > depth:
            self.next()

    def _opened(self, level: _Level) -> Event | None:
        """The element, item or delimiter that begins here; None where it is skipped."""
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            raise NotDicom(f"The data set has more than {MAX_ELEMENTS:,} elements.")
        data = self._bytes.exactly(HEAD_SIZE)
        head = self._heads.implicit(data)
        if head.tag >> 16 == ITEM_GROUP:
            return self._delimiter(level, head.tag, head.length)
        size = explicit_size(data)
        if self._elements == 1:
            # As pydicom does: some writers use another encoding than the transfer syntax names.
            level.implicit = not size
        if level.has_items:
            raise NotDicom("A sequence holds something else than items.")
        if not level.implicit:
            if not size:
                raise NotDicom("An element has no VR.")
            head = self._heads.explicit(data + self._bytes.exactly(size - HEAD_SIZE))

        tag, length = head.tag, head.length
        vr = head.vr or raw_values.resolve_vr(raw_values.known_vr(tag), signed=False)
        if not tag & 0xFFFF or tag == TRAILING_PADDING:
            self._await(length)
            return None
        undefined = length == UNDEFINED_LENGTH
        if undefined and (tag == PIXEL_DATA or (vr.startswith("O") and not level.implicit)):
            self._open(_Level(True, None, implicit=False, fragments=True))
            return Event("fragments", tag, vr)
        if undefined or vr == "SQ":
            implicit = level.implicit or vr == "UN"  # PS3.5 6.2.2, note 2
            self._open(_Level(True, self._end_of(length), implicit))
            return Event("sequence", tag, vr)
        self._await(length)
        return Event("element", tag, vr, length)

    def _delimiter(self, level: _Level, tag: int, length: int) -> Event:
        if tag == ITEM and level.fragments:
            self._await(length)
            return Event("fragment", length=length)
        if tag == ITEM and level.has_items:
            self._open(_Level(False, self._end_of(length), level.implicit))
            return Event("item")
        if level.end is None and self.depth > 1 and tag == (SEQUENCE_END if level.has_items else ITEM_END):
            self._levels.pop()
            return END
        raise NotDicom("The data set has an item or a delimiter where none is allowed.")

    def _end_of(self, length: int) -> int | None:
        if length == UNDEFINED_LENGTH:
            return None
        self._require(length)
        return self._bytes.at + length

    def _await(self, length: int) -> None:
        self._require(length)
        self._unread = length

    def _require(self, length: int) -> None:
        """No value may reach beyond the level that contains it."""
        end = next((level.end for level in reversed(self._levels) if level.end is not None), None)
        if end is not None and self._bytes.at + length > end:
            raise NotDicom("An element is longer than the data set, item or sequence that contains it.")

    def _open(self, level: _Level) -> None:
        if self.depth >= MAX_DEPTH:
            raise NotDicom(f"Sequences are nested more than {MAX_DEPTH} deep.")
        self._levels.append(level)


class _Bytes:
    """Reads forward with few calls; `at` counts from the first byte."""

    def __init__(self, source: BinaryIO, size: int) -> None:
        self._source, self._left = source, size
        self._buffer, self._used = b"", 0
        self.at = 0

    def exactly(self, size: int) -> bytes:
        data = self.read(size)
        if len(data) < size:
            raise NotDicom("The data set ends in the middle of an element.")
        return data

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; fewer only at the end."""
        parts = []
        while size > 0 and not self.is_over():
            part = self._buffer[self._used : self._used + size]
            self._used += len(part)
            self.at += len(part)
            size -= len(part)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def skip(self, size: int) -> None:
        while size > 0:
            part = min(size, max(len(self._buffer) - self._used, 0) or BUFFER_SIZE)
            if len(self.read(part)) < part:
                raise NotDicom("The data set ends in the middle of an element.")
            size -= part

    def is_over(self) -> bool:
        if self._used >= len(self._buffer):
            self._buffer, self._used = self._more(), 0
        return not self._buffer

    def _more(self) -> bytes:
        data = self._source.read(min(BUFFER_SIZE, self._left))
        self._left -= len(data)
        return data


class _Inflated(_Bytes):
    """The same for a deflated data set, of which at most MAX_INFLATED_SIZE bytes are read."""

    def __init__(self, source: BinaryIO, size: int) -> None:
        super().__init__(source, size)
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._inflated = 0

    def _more(self) -> bytes:
        data = b""
        while not data and not self._inflater.eof:
            packed = self._inflater.unconsumed_tail or super()._more()
            if not packed:
                break
            try:
                data = self._inflater.decompress(packed, BUFFER_SIZE)
            except zlib.error as error:
                raise NotDicom("The transfer syntax is deflated, but the data set cannot be inflated.") from error
        self._inflated += len(data)
        if self._inflated > MAX_INFLATED_SIZE:
            raise NotDicom(f"The data set inflates to more than {MAX_INFLATED_SIZE >> 20} MB.")
        return data
