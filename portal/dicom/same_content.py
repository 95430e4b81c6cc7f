"""Compares two encoded data sets: elements and pixels may be equal although the encodings differ.

Senders re-encode what they forward: with or without group lengths, padding and lengths of sequences, with other padding
of values (docs/decisions/0083). Both data sets are read once, side by side, in bounded memory.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from pydicom.datadict import keyword_for_tag
from pydicom.tag import BaseTag

from portal.dicom import raw_values
from portal.dicom.element_heads import PIXEL_DATA
from portal.dicom.element_stream import ElementStream, Event

MAX_TEXT_SIZE = 64 << 10
"""Bytes of a text whose values are compared one by one, without their padding."""
CHUNK_SIZE = 64 << 10
MAX_DIFFERENCES = 5000
MAX_KEYWORDS = 5
PIXEL_GROUP = 0x7FE0
_OFFSET_TABLES = (0x7FE00001, 0x7FE00002)
_PADDING = b"\0 "

ElementPath = tuple[tuple[int, int], ...]
"""The tag and item number of each sequence around an element, then its own tag and 0."""


class EncodedDataset(NamedTuple):
    """A data set, which begins at the position of `content`."""

    content: BinaryIO
    size: int
    transfer_syntax: str


@dataclass
class Differences:
    """The elements that differ; `pixels` also where only their encoding does."""

    paths: list[ElementPath] = field(default_factory=list)
    pixels: bool = False
    compressed: bool = False
    """The differing pixels are compressed: only decoding shows whether they are really different."""

    def __bool__(self) -> bool:
        return bool(self.paths) or self.pixels

    @property
    def keywords(self) -> str:
        """The first differing elements by keyword, and whether there are more."""
        tags = self.tags
        names = [_keyword(tag) for tag in tags[:MAX_KEYWORDS]]
        if self.pixels:
            names.append(_keyword(PIXEL_DATA))
        return ", ".join(names) + (" and more" if len(tags) > MAX_KEYWORDS else "")

    @property
    def tags(self) -> list[int]:
        """The elements of the top level that differ, or contain a difference."""
        return sorted({path[0][0] for path in self.paths})


def differences(
    one: EncodedDataset,
    other: EncodedDataset,
    *,
    ignored: frozenset[int] = frozenset(),
    pixels: bool = True,
    at_most: int = MAX_DIFFERENCES,
) -> Differences:
    """Compare two data sets, without the elements of `ignored` tags, and without group 7FE0 unless `pixels`.

    The comparison ends once more than `at_most` elements differ. Raises NotDicom where one of the two cannot be read
    to its end, for example because it has too many elements.
    """
    comparison = _Comparison(one, other, ignored=ignored, pixels=pixels, at_most=at_most)
    with contextlib.suppress(_Enough):
        comparison.level(())
    return comparison.differences


class _Enough(Exception):
    """More elements differ than were asked for."""


class _Comparison:
    """Walks both data sets side by side, by tag."""

    def __init__(
        self, one: EncodedDataset, other: EncodedDataset, *, ignored: frozenset[int], pixels: bool, at_most: int
    ) -> None:
        self._one, self._other = (ElementStream(*side) for side in (one, other))
        self._ignored, self._pixels, self._at_most = ignored, pixels, at_most
        self.differences = Differences()

    def level(self, above: ElementPath) -> None:
        """Compare the elements of a data set or an item, in their order."""
        one, other = self._next(self._one), self._next(self._other)
        while one.kind != "end" or other.kind != "end":
            if other.kind == "end" or (one.kind != "end" and one.tag < other.tag):
                self._only_in(self._one, one, above)
                one = self._next(self._one)
            elif one.kind == "end" or other.tag < one.tag:
                self._only_in(self._other, other, above)
                other = self._next(self._other)
            else:
                self._element(one, other, (*above, (one.tag, 0)))
                one, other = self._next(self._one), self._next(self._other)

    def _next(self, stream: ElementStream) -> Event:
        """The next element that is compared."""
        while True:
            event = stream.next()
            is_ignored = event.tag in _OFFSET_TABLES or event.tag in self._ignored
            if not is_ignored and (self._pixels or event.tag >> 16 != PIXEL_GROUP):
                return event
            _leave(stream, event)

    def _only_in(self, stream: ElementStream, event: Event, above: ElementPath) -> None:
        self._note((*above, (event.tag, 0)))
        _leave(stream, event)

    def _note(self, path: ElementPath, *, compressed: bool = False) -> None:
        if path[0][0] >> 16 == PIXEL_GROUP:
            self.differences.pixels, self.differences.compressed = True, compressed
        else:
            self.differences.paths.append(path)
        if len(self.differences.paths) > self._at_most:
            raise _Enough

    def _element(self, one: Event, other: Event, path: ElementPath) -> None:
        """Compare two elements of the same tag."""
        kinds = {one.kind, other.kind}
        if kinds == {"element"}:
            self._values(one, other, path)
        elif kinds == {"sequence"}:
            self._items(path)
        elif kinds == {"fragments"}:
            depths = self._one.depth - 1, self._other.depth - 1
            same = _same_bytes(_fragments(self._one), _fragments(self._other))
            self._one.leave(depths[0])
            self._other.leave(depths[1])
            if not same:
                self._note(path, compressed=True)
        elif kinds == {"sequence", "element"}:
            (self._one if one.kind == "element" else self._other).read_items()
            self._items(path)
        else:
            self._note(path)
            _leave(self._one, one)
            _leave(self._other, other)

    def _values(self, one: Event, other: Event, path: ElementPath) -> None:
        vr = other.vr if one.vr == "UN" else one.vr
        streams = (self._one, self._other)
        if vr not in raw_values.STRING_VRS or max(one.length, other.length) > MAX_TEXT_SIZE:
            same = _same_bytes(*(_chunks(stream, vr) for stream in streams))
        else:
            # Without the padding of the VR (PS3.5 6.2).
            texts = [stream.read(MAX_TEXT_SIZE).rstrip(_PADDING) for stream in streams]
            if vr not in raw_values.LEADING_SPACE_VRS:
                texts = [b"\\".join(part.strip(_PADDING) for part in text.split(b"\\")) for text in texts]
            same = texts[0] == texts[1]
        if not same:
            self._note(path)

    def _items(self, path: ElementPath) -> None:
        depths = self._one.depth - 1, self._other.depth - 1
        number = 0
        while True:
            number += 1
            ended = [stream.next().kind == "end" for stream in (self._one, self._other)]
            if any(ended):
                break
            self.level((*path[:-1], (path[-1][0], number)))
        self._one.leave(depths[0])
        self._other.leave(depths[1])
        if not all(ended):
            self._note(path)


def _keyword(tag: int) -> str:
    return keyword_for_tag(tag) or str(BaseTag(tag))


def _leave(stream: ElementStream, event: Event) -> None:
    if event.kind in ("sequence", "fragments"):
        stream.leave(stream.depth - 1)


def _chunks(stream: ElementStream, vr: str) -> Iterator[bytes]:
    """The value in little endian, piece by piece."""
    while chunk := stream.read(CHUNK_SIZE):
        yield raw_values.swap_bytes(chunk, vr) if stream.is_big_endian else chunk


def _fragments(stream: ElementStream) -> Iterator[bytes]:
    """The compressed frames one after another, without the first fragment: the Basic Offset Table (PS3.5 A.4)."""
    if stream.next().kind == "end":
        return
    while stream.next().kind != "end":
        yield from _chunks(stream, "OB")


def _same_bytes(one: Iterator[bytes], other: Iterator[bytes]) -> bool:
    """Whether both are equal, except for one byte of padding at the end."""
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
