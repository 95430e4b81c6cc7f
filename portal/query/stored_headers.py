"""Values that the index does not have, such as sequences and private elements, from an object's stored header."""

import io
import logging
from collections.abc import Iterator, Sequence
from typing import BinaryIO, cast

from pydicom import Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from portal.dicom import character_sets, datasets, raw_values
from portal.dicom.element_heads import LONG_HEAD_SIZE, HeadDecoder, explicit_size
from portal.dicom.element_reader import ElementReader
from portal.dicom.header import top_level_elements
from portal.dicom.query_attributes import SPECIFIC_CHARACTER_SET
from portal.errors import Damaged, Unreachable
from portal.models.retrieve_queries import StoredInstance
from portal.query.header_values import Header
from portal.query.responses import Answer, Value
from portal.zip_members import object_content

log = logging.getLogger(__name__)
_HEADS = HeadDecoder(is_little_endian=True)

MAX_VALUE_SIZE = 64 << 10
"""Bytes of a value; a larger one is returned empty."""
START_SIZE = 32 << 10
"""Bytes of a data set in which nearly all elements before the pixels are."""


def parse(header_bytes: bytes, *, implicit: bool = False) -> Dataset:
    """A header in little endian, as the index stores it in Explicit VR; empty if it cannot be read."""
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return _read(io.BytesIO(header_bytes), len(header_bytes), syntax)


def character_set_terms(header_bytes: bytes) -> tuple[str, ...]:
    """The character sets that such a header declares, among its first elements."""
    position, tag, value = 0, 0, b""
    while tag < SPECIFIC_CHARACTER_SET and explicit_size(head := header_bytes[position : position + LONG_HEAD_SIZE]):
        tag, _, length, size = _HEADS.explicit(head)
        value = header_bytes[position + size : position + size + length]
        position += size + length
    return character_sets.parse(character_sets.decode(value, ())) if tag == SPECIFIC_CHARACTER_SET else ()


def read_instance(stored: StoredInstance) -> Dataset:
    """The elements of one instance before its pixels; empty if they cannot be read."""
    try:
        with object_content.open_place(stored.place) as file:
            return _read(cast(BinaryIO, file), stored.place.size, stored.transfer_syntax)
    except (Damaged, Unreachable):
        log.warning("the header of instance %s cannot be read", stored.sop_uid)
        return Dataset()


def start_of(stored: StoredInstance) -> Header | None:
    """The start of an instance's data set; None unless it is in little endian, not deflated, and can be read."""
    syntax = UID(stored.transfer_syntax)
    if syntax.is_private or not syntax.is_little_endian or syntax.is_deflated:
        return None
    try:
        with object_content.open_place(stored.place) as file:
            return Header(file.read(START_SIZE), syntax.is_implicit_VR, stored.place.size <= START_SIZE)
    except (Damaged, Unreachable):
        return None


def _read(source: BinaryIO, size: int, transfer_syntax_uid: str) -> Dataset:
    reader = ElementReader(source, size=size, transfer_syntax_uid=transfer_syntax_uid)
    return datasets.from_elements(reader, top_level_elements(reader), limit=MAX_VALUE_SIZE)


def values_for(header: Dataset, request: Dataset, tags: Sequence[int]) -> dict[int, Value]:
    """The header's values for these keys of the request; empty for those that it does not have."""
    return dict(_values(header, request, tags, raw_values.character_set_terms(header)))


def _values(
    header: Dataset, request: Dataset, tags: Sequence[int], terms: Sequence[str]
) -> Iterator[tuple[int, Value]]:
    for tag in tags:
        if raw_values.is_private_creator(tag):
            texts = raw_values.texts(request, tag, "LO", raw_values.character_set_terms(request))
            yield tag, Value("LO", text="".join(texts))
            continue
        header_tag = _header_tag(header, request, tag)
        vr = raw_values.vr_of(request, tag)
        yield tag, _value(header, header_tag, request, tag, terms) if header_tag in header else Value(vr)
        creator = _creator(tag)
        if creator and creator not in request and creator in header:
            yield creator, Value("LO", text="\\".join(raw_values.texts(header, creator, "LO", terms)))


def _creator(tag: int) -> int:
    """The tag of the private creator that a private element belongs to (PS3.5 7.8.1); 0 for all others."""
    group, element = tag >> 16, tag & 0xFFFF
    return group << 16 | element >> 8 if group % 2 and element >= 0x1000 else 0


def _header_tag(header: Dataset, request: Dataset, tag: int) -> int:
    """The key's tag in the header, where a private element may be in another block than in the request; 0 if none."""
    creator = _creator(tag)
    if not creator or creator not in request:
        return tag
    wanted = raw_values.texts(request, creator, "LO", raw_values.character_set_terms(request))
    for block in range(0x10, 0x100):
        header_creator = creator & 0xFFFF0000 | block
        if header_creator in header and raw_values.texts(header, header_creator, "LO", ()) == wanted:
            return tag & 0xFFFF00FF | block << 8
    return 0


def _value(header: Dataset, header_tag: int, request: Dataset, tag: int, terms: Sequence[str]) -> Value:
    """Text with its backslashes, items, or a number or bytes as pydicom takes them, in little endian order."""
    vr = raw_values.vr_of(header, header_tag)
    try:
        if vr == "SQ":
            # Each item has the keys of the request's item or, if that is empty, all of its own (PS3.4 C.2.2.2.6).
            requested = request[Tag(tag)].value if raw_values.vr_of(request, tag) == "SQ" else None
            requested_item = requested[0] if requested else Dataset()
            items: list[Answer] = []
            for item in header[Tag(header_tag)].value or ():
                keys = requested_item if len(requested_item) else item
                # The whole answer is in one character set, which its top level names.
                tags = [int(key) for key in sorted(keys.keys()) if key.element != 0 and key != SPECIFIC_CHARACTER_SET]
                items.append(dict(_values(item, keys, tags, raw_values.character_set_terms(item, terms))))
            return Value("SQ", items=tuple(items))

        if vr in raw_values.STRING_VRS:
            return Value(vr, text="\\".join(raw_values.texts(header, header_tag, vr, terms)))
        element = raw_values.stored_element(header, header_tag)
        if not isinstance(element, RawDataElement):
            return Value(vr, other=element.value)
        if element.value is None:
            return Value(vr)
        if vr in raw_values.WORD_SIZES and vr.startswith("O"):
            return Value(vr, other=raw_values.to_little_endian(element, vr))
        header[Tag(header_tag)] = element._replace(VR=vr)
        return Value(vr, other=header[Tag(header_tag)].value)
    except raw_values.PARSE_ERRORS:
        log.warning("element %08x of a stored header cannot be read", header_tag)
        return Value(vr)
