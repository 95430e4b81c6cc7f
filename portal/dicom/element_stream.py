"""Walks the elements of an encoded data set (PS3.5 7): forward only, in bounded memory, without a look at values."""

import struct
import zlib
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO, NamedTuple

from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from portal.dicom import raw_values
from portal.errors import NotDicom

MAX_ELEMENTS = 200_000
MAX_DEPTH = 64
MAX_INFLATED_SIZE = 64 << 20
BUFFER_SIZE = 64 << 10

UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
TRAILING_PADDING = 0xFFFCFFFC
_PIXEL_DATA = 0x7FE00010
_LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"))
_HEADER = 8


class Event(NamedTuple):
    """One step: an element with its value to be read, or the beginning or end of something that has others in it."""

    kind: str
    """element | sequence | item | fragments | fragment | end, of whatever began last."""
    tag: int = 0
    vr: str = ""
    """As encoded, else by the dictionary, else UN."""
    length: int = 0
    """Bytes of the value, of an element or a fragment."""


END = Event("end")


@dataclass
class _Level:
    """Something that is open: a list of elements, or of items."""

    has_items: bool
    end: int | None
    """Where it ends; None where a delimiter says it."""
    implicit: bool
    fragments: bool = False


class ElementStream:
    """`next()` gives the events of the `size` bytes of a data set from where the source stands.

    Group lengths and Data Set Trailing Padding are passed by: they say nothing of the object (PS3.5 7.2, PS3.10 7.2).
    Raises NotDicom where the bytes make no sense, and where they have too many or too deeply nested elements.
    """

    def __init__(self, source: BinaryIO, size: int, transfer_syntax: str) -> None:
        deflated = transfer_syntax == DeflatedExplicitVRLittleEndian
        self._bytes = _Inflated(source, size) if deflated else _Bytes(source, size)
        self.is_big_endian = transfer_syntax == ExplicitVRBigEndian
        self._order = ">" if self.is_big_endian else "<"
        self._levels = [_Level(False, None if deflated else size, transfer_syntax == ImplicitVRLittleEndian)]
        self._unread = 0
        self._elements = 0

    @property
    def depth(self) -> int:
        return len(self._levels)

    def next(self) -> Event:
        """The next event; what was not read of the value before is passed by."""
        while True:
            self._bytes.skip(self._unread)
            self._unread = 0
            event = self._closed() or self._opened()
            if event is not None:
                return event

    def read(self, size: int) -> bytes:
        """Up to so many bytes of the value of the element that came last; none at its end."""
        data = self._bytes.read(min(size, self._unread))
        self._unread -= len(data)
        return data

    def read_items(self) -> None:
        """Take the value that came last, of which nothing was read, for a sequence in Implicit VR (PS3.5 6.2.2)."""
        self._open(_Level(True, self._bytes.at + self._unread, implicit=True))
        self._unread = 0

    def leave(self, depth: int) -> None:
        """Pass by everything until no more than so many levels are open."""
        while self.depth > depth:
            self.next()

    def _closed(self) -> Event | None:
        """The end of the innermost level, if it is here."""
        level, at = self._levels[-1], self._bytes.at
        if level.end is None:
            if self.depth > 1 or not self._bytes.is_over():
                return None
        elif at < level.end and (self.depth > 1 or level.end - at >= _HEADER):
            return None
        elif at > level.end:
            raise NotDicom("An element is longer than what it lies in.")
        if self.depth > 1:
            self._levels.pop()
        return END

    def _opened(self) -> Event | None:
        """What begins here; None for what is passed by, the end for a delimiter."""
        self._elements += 1
        if self._elements > MAX_ELEMENTS:
            raise NotDicom(f"The data set has more than {MAX_ELEMENTS:,} elements.")
        level = self._levels[-1]
        head = self._bytes.exactly(_HEADER)
        group, element = struct.unpack_from(f"{self._order}HH", head)
        tag = group << 16 | element
        if group == 0xFFFE:
            return self._delimiter(level, tag, struct.unpack_from(f"{self._order}I", head, 4)[0])
        if self._elements == 1:
            # As pydicom does: some writers encode otherwise than the transfer syntax says.
            level.implicit = not _is_vr(head[4:6])
        if level.has_items:
            raise NotDicom("A sequence holds something else than items.")
        vr, length = self._vr_and_length(level, tag, head)
        if element == 0 or tag == TRAILING_PADDING:
            self._await(length)
            return None
        return self._element(level, tag, vr, length)

    def _delimiter(self, level: _Level, tag: int, length: int) -> Event:
        if tag == _ITEM and level.fragments:
            self._await(length)
            return Event("fragment", length=length)
        if tag == _ITEM and level.has_items:
            self._open(_Level(False, self._end_of(length), level.implicit))
            return Event("item")
        if level.end is None and self.depth > 1 and tag == (_SEQUENCE_END if level.has_items else _ITEM_END):
            self._levels.pop()
            return END
        raise NotDicom("An item or a delimiter stands where none can be.")

    def _vr_and_length(self, level: _Level, tag: int, head: bytes) -> tuple[str, int]:
        if level.implicit:
            return _known_vr(tag), struct.unpack_from(f"{self._order}I", head, 4)[0]
        vr = head[4:6]
        if not _is_vr(vr):
            raise NotDicom("An element has no VR.")
        if vr in _LONG_VRS:
            return vr.decode(), struct.unpack(f"{self._order}I", self._bytes.exactly(4))[0]
        return vr.decode(), struct.unpack_from(f"{self._order}H", head, 6)[0]

    def _element(self, level: _Level, tag: int, vr: str, length: int) -> Event:
        undefined = length == UNDEFINED_LENGTH
        if undefined and (tag == _PIXEL_DATA or (vr.startswith("O") and not level.implicit)):
            self._open(_Level(True, None, implicit=False, fragments=True))
            return Event("fragments", tag, vr)
        if undefined or vr == "SQ":
            implicit = level.implicit or vr == "UN"  # PS3.5 6.2.2, note 2
            self._open(_Level(True, self._end_of(length), implicit))
            return Event("sequence", tag, vr)
        self._await(length)
        return Event("element", tag, vr, length)

    def _end_of(self, length: int) -> int | None:
        if length == UNDEFINED_LENGTH:
            return None
        self._require(length)
        return self._bytes.at + length

    def _await(self, length: int) -> None:
        self._require(length)
        self._unread = length

    def _require(self, length: int) -> None:
        """No value may reach beyond what it lies in."""
        end = next((level.end for level in reversed(self._levels) if level.end is not None), None)
        if end is not None and self._bytes.at + length > end:
            raise NotDicom("An element is longer than what it lies in.")

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
        """So many bytes, or what is left."""
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
    """The same of a deflated data set, of which no more than so much is looked at."""

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
            data = self._inflate(packed)
        self._inflated += len(data)
        if self._inflated > MAX_INFLATED_SIZE:
            raise NotDicom(f"The data set inflates to more than {MAX_INFLATED_SIZE >> 20} MB.")
        return data

    def _inflate(self, packed: bytes) -> bytes:
        try:
            return self._inflater.decompress(packed, BUFFER_SIZE)
        except zlib.error as error:
            raise NotDicom("The data set is said to be deflated, but cannot be inflated.") from error


def _is_vr(data: bytes) -> bool:
    return data.isalpha() and data.isupper()


@lru_cache(maxsize=4096)
def _known_vr(tag: int) -> str:
    return raw_values.resolve_vr(raw_values.known_vr(Tag(tag)), signed=False)
