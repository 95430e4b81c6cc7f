"""Two objects side by side: each element of their headers with both values, and whether their pixels are equal."""

import contextlib
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pydicom.uid import UID, ExplicitVRBigEndian, ImplicitVRLittleEndian

from portal.dicom import elements, header
from portal.dicom.element_stream import TRAILING_PADDING
from portal.dicom.elements import DisplayValue
from portal.dicom.same_content import Differences, ElementPath
from portal.errors import BadValue, NotDicom, PortalError
from portal.ingest import duplicates, succession
from portal.models import CURRENT, Conflict, File, Instance, Series, Study, object_places
from portal.models.object_places import ObjectPlace
from portal.zip_members import object_content

MAX_PIXEL_BYTES = 256_000_000
"""Bytes of pixels that a page compares; of larger ones it gives the sizes alone."""
MAX_ROWS = 3000
PATIENT_AND_STUDY_TAGS = frozenset(
    (
        *(0x00100000 + element for element in (0x10, 0x20, 0x21, 0x30, 0x40)),
        *(0x00200000 + element for element in (0x0D, 0x0E, 0x10, 0x11)),
        *(0x00080000 + element for element in (0x20, 0x30, 0x50, 0x60, 0x90, 0x80, 0x1030, 0x103E)),
    )
)
"""The elements that two different objects of one series must share."""

State = Literal["equal", "differs", "here", "held"]
Pixels = Literal["equal", "differs", "none", "unknown"]


@dataclass(frozen=True, kw_only=True)
class ComparedElement:
    """One element. `state` says whether it differs, or which object has it if only one does."""

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
    """The two are different objects of one study: only the elements that they must share are compared."""
    cut: bool
    """There are more elements than are compared."""

    @property
    def different(self) -> tuple[ComparedElement, ...]:
        return tuple(row for row in self.rows if row.state != "equal")

    @property
    def headline(self) -> str:
        """What differs, in a few words."""
        if self.different:
            of = f"{'the first ' if self.cut else ''}{len(self.rows):,} elements"
            shared = " that the two must share" if self.neighbours else ""
            verb = "differs" if len(self.different) == 1 else "differ"
            pixels = ", and the pixel data" if self.pixels == "differs" else ""
            return f"{len(self.different):,} of {of}{shared} {verb}{pixels}"
        if self.neighbours:
            return "Nothing that the two must share differs"
        if self.pixels == "differs":
            return f"Only the pixel data differ: {_against(self.sizes)}"
        if self.pixels == "unknown":
            return "No element differs; the pixel data are not compared"
        return "No element differs, only how they are encoded"


@dataclass(frozen=True, kw_only=True)
class _Side:
    values: dict[ElementPath, DisplayValue]
    size: int
    """Bytes from the pixel data to the end of the file."""
    length: int
    """Value length of the pixel data; `size` where it is undefined, as for encapsulated frames."""
    transfer_syntax: str
    data_set: ObjectPlace


class ComparedObjects(NamedTuple):
    """The two sides of a conflict; of those that are in a zip, `members` are the names, `instances` the row numbers."""

    here: File | None
    held: File
    same_uid: bool
    members: tuple[str, str]
    instances: tuple[int | None, int | None]


def compared_objects(conflict: Conflict) -> ComparedObjects:
    """The existing object and the held one, and whether they have the same UID.

    Where no other object has the UID, the existing one is one of the study or series that the held one contradicts.
    """
    held: Instance | None = Instance.get_or_none(succession.is_object_of(conflict))
    other, same_uid = succession.rival(conflict), True
    if other is None:
        other, same_uid = (None if held is None else _neighbour(conflict, held)), False
    return ComparedObjects(
        None if other is None else other.file,
        conflict.file,
        same_uid,
        ("" if other is None else other.member, conflict.member),
        (_number_in_zip(other), _number_in_zip(held)),
    )


def _neighbour(conflict: Conflict, held: Instance) -> Instance | None:
    current = Instance.select().join(Series).join(Study).where(Instance.state == CURRENT)
    others = current.where(Study.project == conflict.project_id, ~succession.is_object_of(conflict))
    found: Instance | None = others.where(Study.study_uid == held.series.study.study_uid).first()
    return found or others.where(Series.series_uid == held.series.series_uid).first()


def _number_in_zip(instance: Instance | None) -> int | None:
    return None if instance is None or not instance.member else int(instance.id)


def compare(here: File, held: File, *, neighbours: bool = False, members: tuple[str, str] = ("", "")) -> Comparison:
    """Compare the headers and pixels of two files. Raises BadValue, naming them, where one or both cannot be read.

    `members`: names of the two objects, where the files are zips.
    `neighbours`: they are different objects of one study: only the elements that they must share are compared.
    """
    sides: list[_Side] = []
    errors: list[str] = []
    for name, file, member in (("The existing object", here, members[0]), ("The held object", held, members[1])):
        try:
            sides.append(_read(object_places.of_object(file, member)))
        except PortalError as error:
            errors.append(f"{name} cannot be read: {error.message}")
    if errors:
        raise BadValue(" ".join(errors))
    one, other = sides

    differences: Differences | None = None
    # As arriving objects are compared: elements that are only encoded differently are equal.
    with contextlib.suppress(NotDicom):
        differences = duplicates.differences(
            (one.data_set, one.transfer_syntax),
            (other.data_set, other.transfer_syntax),
            pixels=one.transfer_syntax == other.transfer_syntax and max(one.size, other.size) <= MAX_PIXEL_BYTES,
        )
    differing = None if differences is None else frozenset(differences.paths)
    keys = sorted({*one.values, *other.values, *(differing or ())})
    if neighbours:
        keys = [key for key in keys if len(key) == 1 and key[0][0] in PATIENT_AND_STUDY_TAGS]
    rows = tuple(_row(key, one.values.get(key), other.values.get(key), differing) for key in keys[:MAX_ROWS])
    pixels, message = _compare_pixels(one, other, differences)
    if neighbours:
        pixels, message = "none", ""
    sizes, cut = (one.length, other.length), len(keys) > MAX_ROWS
    return Comparison(rows=rows, pixels=pixels, pixels_message=message, sizes=sizes, neighbours=neighbours, cut=cut)


def _read(place: ObjectPlace) -> _Side:
    with object_content.open_to_seek(place) as content:
        parsed, dataset_offset = header.read_file(content, place.size)
        begin = content.tell()
        size = place.size - begin
        # The value length of the pixel data (PS3.5 7.1), if there is one and it is defined.
        head, syntax = content.read(12), parsed.transfer_syntax
        position = slice(4, 8) if syntax == ImplicitVRLittleEndian else slice(8, 12)
        length = int.from_bytes(head[position], "big" if syntax == ExplicitVRBigEndian else "little")
        if len(head) < 12 or length == 0xFFFFFFFF:
            length = size
        values = elements.display_values(content, place.size)
        # Group lengths and padding do not describe the object.
        meant = {key for key in values if key[-1][0] & 0xFFFF and key[-1][0] != TRAILING_PADDING}
        return _Side(
            values={key: value for key, value in values.items() if key in meant},
            size=size,
            length=min(length, size),
            transfer_syntax=syntax,
            data_set=object_places.behind(place, dataset_offset),
        )


def _row(
    key: ElementPath, here: DisplayValue | None, held: DisplayValue | None, differing: frozenset[ElementPath] | None
) -> ComparedElement:
    state: State
    if here is None and held is None:
        state = "differs"  # an element after the pixels, where no values are read
    elif here is None or held is None:
        state = "held" if here is None else "here"
    elif differing is not None:
        state = "differs" if key in differing else "equal"
    else:
        state = "equal" if here == held else "differs"
    tag = key[-1][0]
    return ComparedElement(
        tag=f"({tag >> 16:04X},{tag & 0xFFFF:04X})",
        name=elements.keyword_of(tag),
        depth=len(key) - 1,
        here=here.text if here else "",
        held=held.text if held else "",
        state=state,
    )


def _compare_pixels(one: _Side, other: _Side, differences: Differences | None) -> tuple[Pixels, str]:
    """The state of the pixels, and a sentence about it."""
    if not one.size and not other.size:
        return "none", "Neither object has pixel data."
    if one.transfer_syntax != other.transfer_syntax:
        names = [UID(side.transfer_syntax).name for side in (one, other)]
        return "unknown", f"Not compared: here they are in {names[0]}, held in {names[1]}."
    sizes = (one.length, other.length)
    if max(one.size, other.size) > MAX_PIXEL_BYTES:
        return "unknown", f"Not compared: {max(sizes):,} bytes are too many for a page."
    if differences is None:
        return "unknown", "Not compared: one of the two objects cannot be read to its end."
    if differences.pixels:
        return "differs", f"They differ: {_against(sizes)}."
    return "equal", "They are the same, byte for byte."


def _against(sizes: tuple[int, int]) -> str:
    here, held = sizes
    if here == held:
        return f"{here:,} bytes in both"
    return f"{here:,} bytes here against {held:,} held"
