"""Two objects side by side: each element of their headers with both values, and whether their pixels are the same."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, cast

from pydicom import DataElement, Dataset

from portal import elements, header, runtime
from portal.errors import PortalError
from portal.models import File

LARGEST_PIXELS = 256_000_000
"""Bytes of pixels that a page compares; larger ones are told by their size alone."""
MOST_ROWS = 3000
OF_THE_PATIENT_AND_STUDY = frozenset(
    (
        *(0x00100000 + element for element in (0x10, 0x20, 0x21, 0x30, 0x40)),
        *(0x00200000 + element for element in (0x0D, 0x0E, 0x10, 0x11)),
        *(0x00080000 + element for element in (0x20, 0x30, 0x50, 0x60, 0x90, 0x80, 0x1030, 0x103E)),
    )
)
"""What two objects of one series have in common, where they are not to be the same object."""

State = Literal["equal", "differs", "here", "held"]
Pixels = Literal["equal", "differs", "none", "unknown"]
Key = tuple[tuple[int, int], ...]
"""The tag, after the tags and item numbers of the sequences around it."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One element. `state` says whether it differs, or which of the two objects alone has it."""

    tag: str
    name: str
    depth: int
    here: str
    held: str
    state: State


@dataclass(frozen=True, kw_only=True)
class Comparison:
    rows: tuple[Row, ...]
    pixels: Pixels
    pixels_sentence: str
    cut: bool
    """There are more elements than are compared."""

    @property
    def different(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.state != "equal")


@dataclass(frozen=True, kw_only=True)
class _Side:
    found: dict[Key, tuple[DataElement | None, str]]
    size: int
    digest: str | None
    """Of all from the pixels on; None where there are none, or too many to be read for a page."""
    transfer_syntax: str


def compare(here: File, held: File, *, neighbours: bool = False) -> Comparison:
    """What the two files say. Raises NotDicom or Damaged where one of them cannot be read.

    `neighbours`: they are two objects of one study, of which only what they must share is compared.
    """
    one, other = _side(here), _side(held)
    keys = sorted({*one.found, *other.found})
    if neighbours:
        keys = [key for key in keys if len(key) == 1 and key[0][0] in OF_THE_PATIENT_AND_STUDY]
    rows = tuple(_row(key, one.found.get(key), other.found.get(key)) for key in keys[:MOST_ROWS])
    pixels, sentence = _pixels(one, other)
    if neighbours:
        pixels, sentence = "none", ""
    return Comparison(rows=rows, pixels=pixels, pixels_sentence=sentence, cut=len(keys) > MOST_ROWS)


def _side(file: File) -> _Side:
    blob = file.blob
    with runtime.archive().open(blob.segment, blob.offset, blob.size) as content:
        parsed, _ = header.read_file(cast(BinaryIO, content), blob.size)
        size = blob.size - content.tell()
        digest = content.digest() if 0 < size <= LARGEST_PIXELS else None
        return _Side(
            found=dict(_elements(parsed.dataset, ())),
            size=size,
            digest=digest,
            transfer_syntax=parsed.transfer_syntax,
        )


def _elements(dataset: Dataset, above: Key) -> Iterator[tuple[Key, tuple[DataElement | None, str]]]:
    """A sequence as its number of items, then what is in each."""
    for tag in sorted(dataset.keys()):
        key = (*above, (int(tag), 0))
        try:
            element = dataset[tag]
            shown = elements.shown(element)
        except (*elements.UNREADABLE, PortalError):
            yield key, (None, "(cannot be read)")
            continue
        yield key, (element, shown)
        if element.VR == "SQ":
            for number, item in enumerate(element.value, 1):
                yield from _elements(item, (*above, (int(tag), number)))


def _row(key: Key, here: tuple[DataElement | None, str] | None, held: tuple[DataElement | None, str] | None) -> Row:
    tag = key[-1][0]
    return Row(
        tag=f"({tag >> 16:04X},{tag & 0xFFFF:04X})",
        name=elements.name(tag),
        depth=len(key) - 1,
        here=here[1] if here else "",
        held=held[1] if held else "",
        state=_state(here, held),
    )


def _state(here: tuple[DataElement | None, str] | None, held: tuple[DataElement | None, str] | None) -> State:
    if here is None or held is None:
        return "held" if here is None else "here"
    return "equal" if here[1] == held[1] and _same(here[0], held[0]) else "differs"


def _same(one: DataElement | None, other: DataElement | None) -> bool:
    """A sequence is the same here where it has as many items: what differs in them has rows of its own."""
    if one is None or other is None:
        return one is other
    values: tuple[Any, Any] = (one.value, other.value)
    if one.VR == other.VR == "SQ":
        return len(values[0]) == len(values[1])
    try:
        return bool(values[0] == values[1])
    except elements.UNREADABLE:
        return False


def _pixels(one: _Side, other: _Side) -> tuple[Pixels, str]:
    if not one.size and not other.size:
        return "none", "Neither object has pixels."
    if one.transfer_syntax != other.transfer_syntax:
        return "unknown", "Not compared: they are in different transfer syntaxes."
    if one.size != other.size:
        return "differs", "The pixels differ, and so does their length."
    if one.digest is None or other.digest is None:
        return "unknown", "Not compared: the pixels are too large for a page."
    if one.digest == other.digest:
        return "equal", "The pixels are the same, byte for byte."
    return "differs", "The pixels differ."
