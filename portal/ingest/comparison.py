"""Two objects side by side: each element of their headers with both values, and whether their pixels are the same."""

from dataclasses import dataclass
from typing import BinaryIO, Literal, cast

from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian

from portal import runtime
from portal.dicom import elements, header, same_content
from portal.dicom.element_stream import TRAILING_PADDING
from portal.dicom.elements import DisplayValue
from portal.dicom.same_content import Differences, ElementPath
from portal.errors import BadValue, NotDicom, PortalError
from portal.ingest import duplicates
from portal.models import File

MAX_PIXEL_BYTES = 256_000_000
"""Bytes of pixels that a page compares; larger ones are told by their size alone."""
MAX_ROWS = 3000
PATIENT_AND_STUDY_TAGS = frozenset(
    (
        *(0x00100000 + element for element in (0x10, 0x20, 0x21, 0x30, 0x40)),
        *(0x00200000 + element for element in (0x0D, 0x0E, 0x10, 0x11)),
        *(0x00080000 + element for element in (0x20, 0x30, 0x50, 0x60, 0x90, 0x80, 0x1030, 0x103E)),
    )
)
"""What two objects of one series have in common, where they are not to be the same object."""

State = Literal["equal", "differs", "here", "held"]
Pixels = Literal["equal", "differs", "none", "unknown"]
"""An element, where it can be read, and its value as a person reads it."""


@dataclass(frozen=True, kw_only=True)
class ComparedElement:
    """One element. `state` says whether it differs, or which of the two objects alone has it."""

    tag: str
    name: str
    depth: int
    here: str
    held: str
    state: State


@dataclass(frozen=True, kw_only=True)
class Comparison:
    rows: tuple[ComparedElement, ...]
    pixels: Pixels
    pixels_message: str
    sizes: tuple[int, int]
    """Bytes of the pixel data here and of those held."""
    neighbours: bool
    """Two objects of one study, of which only what they must share is compared."""
    cut: bool
    """There are more elements than are compared."""

    @property
    def different(self) -> tuple[ComparedElement, ...]:
        return tuple(row for row in self.rows if row.state != "equal")

    @property
    def headline(self) -> str:
        """What differs, in a few words."""
        if self.different:
            return f"{self._elements()}{', and the pixel data' if self.pixels == 'differs' else ''}"
        if self.neighbours:
            return "Nothing that the two must share differs"
        if self.pixels == "differs":
            return f"Only the pixel data differ: {_against(self.sizes)}"
        if self.pixels == "unknown":
            return "No element differs; the pixel data are not compared"
        return "No element differs, only how they are encoded"

    def _elements(self) -> str:
        number, verb = len(self.different), "differs" if len(self.different) == 1 else "differ"
        of = f"{'the first ' if self.cut else ''}{len(self.rows):,} elements"
        return f"{number:,} of {of}{' that the two must share' if self.neighbours else ''} {verb}"


@dataclass(frozen=True, kw_only=True)
class _Side:
    found: dict[ElementPath, DisplayValue]
    size: int
    """Of all from the pixels on."""
    length: int
    """Of the pixels as their element says it; as `size` where it says none, as for frames in fragments."""
    transfer_syntax: str


def compare(here: File, held: File, *, neighbours: bool = False) -> Comparison:
    """What the two files say. Raises BadValue, and says which, where one of them or both cannot be read.

    `neighbours`: they are two objects of one study, of which only what they must share is compared.
    """
    one, other = _both(here, held)
    found = _differences(here, held, one, other)
    differing = None if found is None else frozenset(found.paths)
    keys = sorted({*one.found, *other.found, *(differing or ())})
    if neighbours:
        keys = [key for key in keys if len(key) == 1 and key[0][0] in PATIENT_AND_STUDY_TAGS]
    rows = tuple(_row(key, one.found.get(key), other.found.get(key), differing) for key in keys[:MAX_ROWS])
    pixels, message = _pixels(one, other, found)
    if neighbours:
        pixels, message = "none", ""
    return Comparison(
        rows=rows,
        pixels=pixels,
        pixels_message=message,
        sizes=(one.length, other.length),
        neighbours=neighbours,
        cut=len(keys) > MAX_ROWS,
    )


def _both(here: File, held: File) -> tuple[_Side, _Side]:
    sides: list[_Side] = []
    troubles: list[str] = []
    for words, file in (("The object that is here", here), ("The held object", held)):
        try:
            sides.append(_side(file))
        except PortalError as error:
            troubles.append(f"{words} cannot be read: {error.message}")
    if troubles:
        raise BadValue(" ".join(troubles))
    return sides[0], sides[1]


def _side(file: File) -> _Side:
    blob = file.blob
    with runtime.archive().open(blob.segment, blob.offset, blob.size) as content:
        parsed, _ = header.read_file(cast(BinaryIO, content), blob.size)
        begin = content.tell()
        size = blob.size - begin
        length = _length(content.read(12), parsed.transfer_syntax)
        found = elements.display_values(cast(BinaryIO, content), blob.size)
        return _Side(
            found={
                key: shown for key, shown in found.items() if key[-1][0] & 0xFFFF and key[-1][0] != TRAILING_PADDING
            },
            size=size,
            length=size if length is None else min(length, size),
            transfer_syntax=parsed.transfer_syntax,
        )


def _counts(tag: int) -> bool:
    """Whether an element says something of the object: group lengths and padding do not."""
    return bool(tag & 0xFFFF) and tag != TRAILING_PADDING


def _differences(here: File, held: File, one: _Side, other: _Side) -> Differences | None:
    """As the archive compares what arrives: how the two are encoded does not count. None where that cannot be told."""
    pixels = one.transfer_syntax == other.transfer_syntax and max(one.size, other.size) <= MAX_PIXEL_BYTES
    try:
        with (
            duplicates.open_data_set(here.blob, one.transfer_syntax) as first,
            duplicates.open_data_set(held.blob, other.transfer_syntax) as second,
        ):
            return same_content.differences(first, second, pixels=pixels)
    except NotDicom:
        return None


def _length(head: bytes, transfer_syntax: str) -> int | None:
    """The value length at the beginning of an element (PS3.5 7.1); None where there is none, or an undefined one."""
    where = slice(4, 8) if transfer_syntax == ImplicitVRLittleEndian else slice(8, 12)
    length = int.from_bytes(head[where], "big" if transfer_syntax == ExplicitVRBigEndian else "little")
    return None if len(head) < 12 or length == 0xFFFFFFFF else length


def _row(
    key: ElementPath, here: DisplayValue | None, held: DisplayValue | None, differing: frozenset[ElementPath] | None
) -> ComparedElement:
    tag = key[-1][0]
    return ComparedElement(
        tag=f"({tag >> 16:04X},{tag & 0xFFFF:04X})",
        name=elements.keyword_of(tag),
        depth=len(key) - 1,
        here=here.text if here else "",
        held=held.text if held else "",
        state=_state(key, here, held, differing),
    )


def _state(
    key: ElementPath, here: DisplayValue | None, held: DisplayValue | None, differing: frozenset[ElementPath] | None
) -> State:
    if here is None and held is None:
        return "differs"  # behind the pixels, where no values are read
    if here is None or held is None:
        return "held" if here is None else "here"
    if differing is not None:
        return "differs" if key in differing else "equal"
    return "equal" if here == held else "differs"


def _pixels(one: _Side, other: _Side, found: Differences | None) -> tuple[Pixels, str]:
    if not one.size and not other.size:
        return "none", "Neither object has any."
    if one.transfer_syntax != other.transfer_syntax:
        names = [UID(side.transfer_syntax).name for side in (one, other)]
        return "unknown", f"Not compared: here they are in {names[0]}, held in {names[1]}."
    sizes = (one.length, other.length)
    if max(one.size, other.size) > MAX_PIXEL_BYTES:
        return "unknown", f"Not compared: {max(sizes):,} bytes are too many for a page."
    if found is None:
        return "unknown", "Not compared: one of the two objects cannot be read to its end."
    return (
        ("differs", f"They differ: {_against(sizes)}.")
        if found.pixels
        else ("equal", "They are the same, byte for byte.")
    )


def _against(sizes: tuple[int, int]) -> str:
    here, held = sizes
    if here == held:
        return f"{here:,} bytes in both"
    return f"{here:,} bytes here against {held:,} held"
