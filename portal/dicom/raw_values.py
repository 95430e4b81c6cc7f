"""Encoded values of a data set: their VR, their text, their byte order."""

import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import cast

import numpy as np
from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.errors import BytesLengthException
from pydicom.multival import MultiValue
from pydicom.tag import Tag

from portal.dicom import character_sets
from portal.dicom.query_attributes import SPECIFIC_CHARACTER_SET

TEXT_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""VRs whose bytes depend on the Specific Character Set (PS3.5 6.1.2.3)."""
STRING_VRS = TEXT_VRS | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UI", "UR"}
UNSPLIT_VRS = frozenset({"LT", "ST", "UR", "UT"})
"""VRs in which a backslash is an ordinary character."""
LEADING_SPACE_VRS = UNSPLIT_VRS | {"UC"}
"""VRs whose leading spaces are no padding (PS3.5 6.2)."""
WORD_SIZES = (
    dict.fromkeys(("AT", "OW", "SS", "US"), 2)
    | dict.fromkeys(("FL", "OF", "OL", "SL", "UL"), 4)
    | dict.fromkeys(("FD", "OD", "OV", "SV", "UV"), 8)
)
"""Bytes of one number of these VRs, whose order big endian reverses."""


PARSE_ERRORS = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)
"""What pydicom raises for bytes that it cannot parse."""

_PIXEL_REPRESENTATION = 0x00280103


def stored_element(dataset: Dataset, tag: int) -> DataElement | RawDataElement:
    """The element as the data set holds it: raw, unless pydicom or its creator has converted it already."""
    return cast("DataElement | RawDataElement", dataset.get_item(Tag(tag), keep_deferred=True))


def vr_of(dataset: Dataset, tag: int) -> str:
    """The VR of an element of the data set: as encoded, else by the dictionary, else UN."""
    vr = stored_element(dataset, tag).VR
    if vr is None or vr == "UN":
        vr = known_vr(tag)
    return resolve_vr(str(vr), signed=is_signed(dataset))


def is_signed(dataset: Dataset) -> bool:
    """Whether its pixels are signed, on which the VR of other elements depends."""
    return unsigned_short(dataset, _PIXEL_REPRESENTATION) == 1


def unsigned_short(dataset: Dataset, tag: int) -> int:
    """The value of a US element; 0 where there is none."""
    element = stored_element(dataset, tag) if tag in dataset else None
    if not isinstance(element, RawDataElement):
        return element.value if element is not None and isinstance(element.value, int) else 0
    return int.from_bytes((element.value or b"")[:2], "little" if element.is_little_endian else "big")


@lru_cache(maxsize=4096)
def known_vr(tag: int) -> str:
    """The VR that the dictionary has for a tag, which may be a choice of several; UN where it has none."""
    try:
        return dictionary_VR(tag)
    except KeyError:
        return "UN"


def resolve_vr(vr: str, *, signed: bool) -> str:
    """One VR where the dictionary has a choice, as in Implicit VR Little Endian (PS3.5 A.1)."""
    if vr == "US or SS":
        return "SS" if signed else "US"
    return "OW" if " or " in vr else vr


def is_private_creator(tag: int) -> bool:
    """Whether the element names the owner of a block of private elements (PS3.5 7.8.1)."""
    return bool(tag >> 16 & 1) and 0x10 <= tag & 0xFFFF <= 0xFF


def character_set_terms(dataset: Dataset, inherited: Sequence[str] = ()) -> tuple[str, ...]:
    """The character sets that a data set or an item declares, else those of the data set around it."""
    if SPECIFIC_CHARACTER_SET not in dataset:
        return tuple(inherited)
    return character_sets.parse(_joined(dataset, SPECIFIC_CHARACTER_SET, "CS", ()))


def texts(dataset: Dataset, tag: int, vr: str, terms: Sequence[str]) -> tuple[str, ...]:
    """The values of an element as texts without their padding, whatever its VR; a number as its digits."""
    return split(_joined(dataset, tag, vr, terms), vr)


def split(joined: str, vr: str) -> tuple[str, ...]:
    """The values of a text without their padding."""
    parts = [joined] if vr in UNSPLIT_VRS else joined.split("\\")
    unpadded = (part.rstrip("\0 ") for part in parts)
    return tuple(unpadded if vr in LEADING_SPACE_VRS else (part.lstrip(" ") for part in unpadded))


def to_little_endian(element: RawDataElement, vr: str, *, word_size: int = 0) -> bytes:
    """The bytes of a value in little endian. Pixels may have another word size than their VR."""
    raw = element.value or b""
    return raw if element.is_little_endian else swap_bytes(raw, vr, word_size=word_size)


def swap_bytes(raw: bytes, vr: str, *, word_size: int = 0) -> bytes:
    """The bytes of a big endian value in little endian."""
    size = word_size or WORD_SIZES.get(vr, 1)
    if size == 1:
        return raw
    whole = len(raw) - len(raw) % size
    return np.frombuffer(raw[:whole], f"u{size}").byteswap().tobytes() + raw[whole:]


def _joined(dataset: Dataset, tag: int, vr: str, terms: Sequence[str]) -> str:
    """All values of an element as one text, joined by backslashes."""
    element = stored_element(dataset, tag)
    if isinstance(element, RawDataElement) and vr in STRING_VRS:
        return character_sets.decode(element.value or b"", terms if vr in TEXT_VRS else (), person_name=vr == "PN")
    value = dataset[Tag(tag)].value
    if isinstance(value, bytes):
        return character_sets.decode(value, terms, person_name=vr == "PN")
    if value is None:
        return ""
    values = value if isinstance(value, MultiValue | list | tuple) else (value,)
    return "\\".join(str(each) for each in values)
