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
from portal.dicom.raw_values import TEXT_VRS, UNSPLIT_VRS


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
    if syntax.is_deflated:
        deflater = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        encoded = deflater.compress(encoded) + deflater.flush()
    return encoded + b"\0" * (len(encoded) % 2)


def can_encode(answer: Answer, terms: Sequence[str]) -> bool:
    """Whether the answer can be encoded in these character sets, without reading the object's own."""
    texts = [(text, person_name) for text, person_name in _texts(answer) if not text.isascii()]
    return all(character_sets.encode(text, terms, person_name=person_name) is not None for text, person_name in texts)


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
        return value.text
    encoded: list[str | bytes | PersonName] = []
    for text in [value.text] if value.vr in UNSPLIT_VRS else value.text.split("\\"):
        raw = character_sets.encode(text, terms, person_name=value.vr == "PN")
        if raw is None:
            raise LookupError("the character sets were chosen for another answer")
        if value.vr == "PN":
            encoded.append(PersonName(raw, convert_encodings(list(terms)), validation_mode=IGNORE))
        else:
            encoded.append(text if text.isascii() else raw)
    return encoded[0] if len(encoded) == 1 else encoded
