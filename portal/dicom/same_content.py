"""Whether two encoded data sets say the same: equal elements and pixels, however the sender encoded them.

Senders re-encode what they pass on: with or without group lengths, padding and lengths of sequences, with other padding
of values (design decision 3). Both are read once, side by side, in bounded memory.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

import numpy as np
from pydicom.datadict import keyword_for_tag
from pydicom.tag import BaseTag

from portal.dicom import raw_values
from portal.dicom.element_stream import ElementStream, Event

MAX_TEXT_SIZE = 64 << 10
"""Bytes of a text whose padding is looked at value by value."""
CHUNK_SIZE = 64 << 10
MAX_DIFFERENCES = 5000
MAX_KEYWORDS = 5
PIXEL_GROUP = 0x7FE0
PIXEL_DATA = 0x7FE00010
_OFFSET_TABLES = (0x7FE00001, 0x7FE00002)
_NEVER_SPLIT = raw_values.UNSPLIT_VRS | {"UC"}
_PADDING = b"\0 "

ElementPath = tuple[tuple[int, int], ...]
"""A tag, after the tags and item numbers of the sequences around it."""


class EncodedDataset(NamedTuple):
    """A data set: its bytes begin where the content stands."""

    content: BinaryIO
    size: int
    transfer_syntax: str


@dataclass
class Differences:
    """What differs, an element with all that is in it as one; `pixels` also where they are only encoded otherwise."""

    keys: list[ElementPath] = field(default_factory=list)
    pixels: bool = False
    compressed: bool = False
    """The pixels that differ are compressed: only decoding says whether they are others."""

    def __bool__(self) -> bool:
        return bool(self.keys) or self.pixels

    @property
    def keywords(self) -> str:
        """The first of them as people know them, and that there are more."""
        tags = self.tags
        names = [_name(tag) for tag in tags[:MAX_KEYWORDS]]
        if self.pixels:
            names.append(_name(PIXEL_DATA))
        return ", ".join(names) + (" and more" if len(tags) > MAX_KEYWORDS else "")

    @property
    def tags(self) -> list[int]:
        """The elements of the data set itself that differ, or have something in them that does."""
        return sorted({key[0][0] for key in self.keys})


def differences(
    one: EncodedDataset,
    other: EncodedDataset,
    *,
    ignored: frozenset[int] = frozenset(),
    pixels: bool = True,
    at_most: int = MAX_DIFFERENCES,
) -> Differences:
    """Compare two data sets. Those of `ignored` tags are left out, and all of group 7FE0 unless `pixels`.

    The comparison ends where more than `at_most` elements differ. Raises NotDicom where one of the two cannot be read
    to its end, as of a data set that has too many elements.
    """
    walk = _Walk(one, other, ignored=ignored, pixels=pixels, at_most=at_most)
    with contextlib.suppress(_Enough):
        walk.level(())
    return walk.found


class _Enough(Exception):
    """More differs than was asked for."""


class _Walk:
    """Goes through both, element by element of the same tag."""

    def __init__(
        self, one: EncodedDataset, other: EncodedDataset, *, ignored: frozenset[int], pixels: bool, at_most: int
    ) -> None:
        self._one, self._other = (ElementStream(*side) for side in (one, other))
        self._ignored, self._pixels, self._at_most = ignored, pixels, at_most
        self.found = Differences()

    def level(self, above: ElementPath) -> None:
        """The elements of a data set or an item, in their order."""
        one, other = self._next(self._one), self._next(self._other)
        while one.kind != "end" or other.kind != "end":
            if other.kind == "end" or (one.kind != "end" and one.tag < other.tag):
                self._alone(self._one, one, above)
                one = self._next(self._one)
            elif one.kind == "end" or other.tag < one.tag:
                self._alone(self._other, other, above)
                other = self._next(self._other)
            else:
                self._element(one, other, (*above, (one.tag, 0)))
                one, other = self._next(self._one), self._next(self._other)

    def _next(self, stream: ElementStream) -> Event:
        """The next element that counts."""
        while True:
            event = stream.next()
            left_out = event.tag in _OFFSET_TABLES or event.tag in self._ignored
            if not left_out and (self._pixels or event.tag >> 16 != PIXEL_GROUP):
                return event
            _leave(stream, event)

    def _alone(self, stream: ElementStream, event: Event, above: ElementPath) -> None:
        self._note((*above, (event.tag, 0)))
        _leave(stream, event)

    def _note(self, key: ElementPath, *, compressed: bool = False) -> None:
        if key[0][0] >> 16 == PIXEL_GROUP:
            self.found.pixels, self.found.compressed = True, compressed
        else:
            self.found.keys.append(key)
        if len(self.found.keys) > self._at_most:
            raise _Enough

    def _element(self, one: Event, other: Event, key: ElementPath) -> None:
        kinds = {one.kind, other.kind}
        if kinds == {"element"}:
            self._values(one, other, key)
        elif kinds == {"sequence"}:
            self._items(key)
        elif kinds == {"fragments"}:
            self._fragments(key)
        elif kinds == {"sequence", "element"}:
            (self._one if one.kind == "element" else self._other).read_items()
            self._items(key)
        else:
            self._note(key)
            _leave(self._one, one)
            _leave(self._other, other)

    def _values(self, one: Event, other: Event, key: ElementPath) -> None:
        vr = other.vr if one.vr == "UN" else one.vr
        if vr in raw_values.STRING_VRS and max(one.length, other.length) <= MAX_TEXT_SIZE:
            texts = [_unpadded(stream.read(MAX_TEXT_SIZE), vr) for stream in (self._one, self._other)]
            same = texts[0] == texts[1]
        else:
            same = _same_bytes(*(_chunks(stream, vr) for stream in (self._one, self._other)))
        if not same:
            self._note(key)

    def _items(self, key: ElementPath) -> None:
        depths = self._one.depth - 1, self._other.depth - 1
        number = 0
        while True:
            number += 1
            ended = [stream.next().kind == "end" for stream in (self._one, self._other)]
            if any(ended):
                break
            self.level((*key[:-1], (key[-1][0], number)))
        self._one.leave(depths[0])
        self._other.leave(depths[1])
        if not all(ended):
            self._note(key)

    def _fragments(self, key: ElementPath) -> None:
        depths = self._one.depth - 1, self._other.depth - 1
        same = _same_bytes(_of_fragments(self._one), _of_fragments(self._other))
        self._one.leave(depths[0])
        self._other.leave(depths[1])
        if not same:
            self._note(key, compressed=True)


def _name(tag: int) -> str:
    return keyword_for_tag(tag) or str(BaseTag(tag))


def _leave(stream: ElementStream, event: Event) -> None:
    if event.kind in ("sequence", "fragments"):
        stream.leave(stream.depth - 1)


def _chunks(stream: ElementStream, vr: str) -> Iterator[bytes]:
    """The value in little endian."""
    size = raw_values.WORD_SIZES.get(vr, 1) if stream.is_big_endian else 1
    while chunk := stream.read(CHUNK_SIZE):
        whole = len(chunk) - len(chunk) % size
        yield np.frombuffer(chunk[:whole], f"u{size}").byteswap().tobytes() + chunk[whole:]


def _of_fragments(stream: ElementStream) -> Iterator[bytes]:
    """The compressed frames one behind the other; the first fragment is the Basic Offset Table (PS3.5 A.4)."""
    if stream.next().kind == "end":
        return
    while stream.next().kind != "end":
        while chunk := stream.read(CHUNK_SIZE):
            yield chunk


def _same_bytes(one: Iterator[bytes], other: Iterator[bytes]) -> bool:
    """Byte by byte, but for one byte of padding at the end."""
    left = right = b""
    while True:
        left, right = left or next(one, b""), right or next(other, b"")
        if not left or not right:
            rest = (left or right) + next(one, b"") + next(other, b"")
            return rest in (b"", b"\0", b" ")
        size = min(len(left), len(right))
        if left[:size] != right[:size]:
            return False
        left, right = left[size:], right[size:]


def _unpadded(value: bytes, vr: str) -> list[bytes]:
    """The values of a text without what is padding in its VR (PS3.5 6.2)."""
    if vr in _NEVER_SPLIT:
        return [value.rstrip(_PADDING)]
    return [part.strip(_PADDING) for part in value.split(b"\\")]
