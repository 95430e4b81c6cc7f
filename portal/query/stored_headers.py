"""What the index does not have: sequences, private elements and all else, from the stored header of an object."""

import io
import logging
from collections.abc import Iterator, Sequence
from typing import BinaryIO, cast

from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from portal import runtime
from portal.dicom import datasets, raw_values
from portal.dicom.element_reader import ElementReader
from portal.dicom.header import top_level_elements
from portal.dicom.query_attributes import SPECIFIC_CHARACTER_SET
from portal.errors import Damaged, Unreachable
from portal.models.retrieve_queries import StoredInstance
from portal.query.responses import Answer, Value

log = logging.getLogger(__name__)

MAX_VALUE_SIZE = 64 << 10
"""Bytes of a value that is still returned; a larger one comes back empty."""


def parse(header_bytes: bytes) -> Dataset:
    """A header as the index keeps it (Explicit VR Little Endian); empty where it cannot be read."""
    return _read(io.BytesIO(header_bytes), len(header_bytes), ExplicitVRLittleEndian)


def read_instance(stored: StoredInstance) -> Dataset:
    """The elements of one instance before its pixels; empty where they cannot be read."""
    try:
        with runtime.archive().open(stored.segment, stored.offset, stored.size) as file:
            return _read(cast(BinaryIO, file), stored.size, stored.transfer_syntax)
    except (Damaged, Unreachable):
        log.warning("the header of instance %s cannot be read", stored.sop_uid)
        return Dataset()


def _read(source: BinaryIO, size: int, transfer_syntax_uid: str) -> Dataset:
    reader = ElementReader(source, size=size, transfer_syntax_uid=transfer_syntax_uid)
    return datasets.from_elements(reader, top_level_elements(reader), limit=MAX_VALUE_SIZE)


def values_for(header: Dataset, request: Dataset, tags: Sequence[int]) -> dict[int, Value]:
    """The header's values of these keys of the request; empty ones where it has none."""
    return dict(_values(header, request, tags, raw_values.character_set_terms(header)))


def _values(
    header: Dataset, request: Dataset, tags: Sequence[int], terms: Sequence[str]
) -> Iterator[tuple[int, Value]]:
    for tag in tags:
        if raw_values.is_private_creator(tag):
            yield (
                tag,
                Value(
                    "LO", text="".join(raw_values.texts(request, tag, "LO", raw_values.character_set_terms(request)))
                ),
            )
            continue
        there = _place(header, request, tag)
        vr = raw_values.vr_of(request, tag)
        yield tag, _value(header, there, request, tag, terms) if there in header else Value(vr)
        creator = _creator(tag)
        if creator and creator not in request and creator in header:
            yield creator, Value("LO", text="\\".join(raw_values.texts(header, creator, "LO", terms)))


def _creator(tag: int) -> int:
    """The tag of the private creator that a private element belongs to (PS3.5 7.8.1); 0 for all others."""
    group, element = tag >> 16, tag & 0xFFFF
    return group << 16 | element >> 8 if group % 2 and element >= 0x1000 else 0


def _place(header: Dataset, request: Dataset, tag: int) -> int:
    """Where the header has this key: a private element may lie in another block than in the request."""
    creator = _creator(tag)
    if not creator or creator not in request:
        return tag
    wanted = raw_values.texts(request, creator, "LO", raw_values.character_set_terms(request))
    for block in range(0x10, 0x100):
        here = creator & 0xFFFF0000 | block
        if here in header and raw_values.texts(header, here, "LO", ()) == wanted:
            return tag & 0xFFFF00FF | block << 8
    return 0


def _value(header: Dataset, there: int, request: Dataset, tag: int, terms: Sequence[str]) -> Value:
    vr = raw_values.vr_of(header, there)
    try:
        if vr == "SQ":
            return Value("SQ", items=tuple(_items(header, there, request, tag, terms)))
        if vr in raw_values.STRING_VRS:
            return Value(vr, text="\\".join(raw_values.texts(header, there, vr, terms)))
        return Value(vr, other=_other(header, there, vr))
    except raw_values.PARSE_ERRORS:
        log.warning("element %08x of a stored header cannot be read", there)
        return Value(vr)


def _items(header: Dataset, there: int, request: Dataset, tag: int, terms: Sequence[str]) -> Iterator[Answer]:
    """The items, each with the keys of the request's item, or with all that it has (PS3.4 C.2.2.2.6)."""
    asked = request[Tag(tag)].value if raw_values.vr_of(request, tag) == "SQ" else None
    item = asked[0] if asked else Dataset()
    for found in header[Tag(there)].value or ():
        wanted = item if len(item) else found
        tags = [int(each) for each in sorted(wanted.keys()) if each.element != 0]
        yield dict(_values(found, wanted, _without_character_set(tags), raw_values.character_set_terms(found, terms)))


def _without_character_set(tags: Sequence[int]) -> list[int]:
    """The whole answer is in one character set, which stands at its top."""
    return [tag for tag in tags if tag != SPECIFIC_CHARACTER_SET]


def _other(header: Dataset, tag: int, vr: str) -> object:
    """A value that is no text, as pydicom takes it; bytes in little endian order."""
    element = raw_values.stored_element(header, tag)
    if not isinstance(element, RawDataElement):
        return element.value
    if element.value is None:
        return None
    if vr in raw_values.WORD_SIZES and vr.startswith("O"):
        return raw_values.to_little_endian(element, vr)
    header[Tag(tag)] = element._replace(VR=vr)
    return header[Tag(tag)].value
