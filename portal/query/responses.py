"""One answer to a query: its values, and the identifier that encodes them in a character set that fits."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset
from pydicom import Sequence as Items
from pydicom.charset import convert_encodings
from pydicom.config import IGNORE
from pydicom.dataelem import DataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.tag import Tag
from pydicom.uid import UID
from pydicom.valuerep import PersonName

from portal.dicom import character_sets
from portal.dicom.query_attributes import SPECIFIC_CHARACTER_SET
from portal.dicom.raw_values import TEXT_VRS


@dataclass(frozen=True)
class Value:
    """The value of one key: text with backslashes between several values, or items, or numbers and bytes."""

    vr: str
    text: str = ""
    items: tuple["Answer", ...] = ()
    other: Any = None


Answer = Mapping[int, Value]


def to_dataset(answer: Answer, *, request: Sequence[str], stored: Sequence[str]) -> Dataset:
    """The data set of an answer, ready to be encoded. Its text outside ASCII is already encoded, as bytes.

    `request` and `stored` are the character sets of the request and of the object (`character_sets.choose`).
    """
    terms = character_sets.choose(list(_texts(answer)), request=request, stored=stored)
    dataset = _dataset(answer, terms)
    if terms:
        value = list(terms) if len(terms) > 1 else terms[0]
        dataset[Tag(SPECIFIC_CHARACTER_SET)] = DataElement(SPECIFIC_CHARACTER_SET, "CS", value)
    return dataset


def encode(dataset: Dataset, transfer_syntax_uid: str) -> bytes:
    """The data set as it crosses the wire (PS3.5 A)."""
    syntax, buffer = UID(transfer_syntax_uid), DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = syntax.is_little_endian, syntax.is_implicit_VR
    write_dataset(buffer, dataset)
    encoded = buffer.getvalue()
    return deflate(encoded) if syntax.is_deflated else encoded


def deflate(encoded: bytes) -> bytes:
    """An encoded data set as Deflated Explicit VR Little Endian has it (PS3.5 A.5)."""
    deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = deflater.compress(encoded) + deflater.flush()
    return packed + b"\0" * (len(packed) % 2)


def can_encode(answer: Answer, terms: Sequence[str]) -> bool:
    """Whether the answer can be encoded in these character sets, without reading the object's own."""
    return character_sets.fits(list(_texts(answer)), terms)


def _texts(answer: Answer) -> Iterator[tuple[str, bool]]:
    for value in answer.values():
        if value.vr in TEXT_VRS and value.text:
            yield value.text, value.vr == "PN"
        for item in value.items:
            yield from _texts(item)


def _dataset(answer: Answer, terms: Sequence[str]) -> Dataset:
    dataset = Dataset()
    for tag, value in sorted(answer.items()):
        # pydicom's conversion and validation would refuse values that vendors write, and take most of the time.
        dataset[Tag(tag)] = DataElement(tag, value.vr, _encoded(value, terms), already_converted=True)
    return dataset


def _encoded(value: Value, terms: Sequence[str]) -> Any:
    if value.vr == "SQ":
        return Items([_dataset(item, terms) for item in value.items])
    if value.other is not None:
        return value.other
    if value.vr not in TEXT_VRS:
        return value.text if is_latin_1(value.text) else ""
    raw = encoded_text(value.text, value.vr, terms)
    if value.vr != "PN":
        return raw  # not as a list, of which pydicom would encode the bytes again
    names = [PersonName(each, convert_encodings(list(terms)), validation_mode=IGNORE) for each in raw.split(b"\\")]
    return names[0] if len(names) == 1 else names


def encoded_text(text: str, vr: str, terms: Sequence[str]) -> bytes:
    """The text of an answer in its character sets, all values of it with their backslashes.

    A code string or a date outside ASCII breaks the standard: it goes out as it came, or empty where that is not
    possible.
    """
    if text.isascii():
        return text.encode("ascii")
    if vr not in TEXT_VRS:
        return text.encode("latin-1") if is_latin_1(text) else b""
    raw = character_sets.encode(text, terms, person_name=vr == "PN")
    if raw is None:
        raise LookupError("the character sets were chosen for another answer")
    return raw


def is_latin_1(text: str) -> bool:
    return not text or max(text) <= "\xff"
