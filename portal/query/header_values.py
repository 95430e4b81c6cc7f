"""Values of stored headers read by hand, many times as fast as by way of a data set."""

import struct
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from portal.dicom import character_sets, raw_values
from portal.dicom.element_heads import HEAD_SIZE, LONG_HEAD_SIZE, LONG_VRS, UNDEFINED_LENGTH, VRS
from portal.dicom.query_attributes import SPECIFIC_CHARACTER_SET
from portal.query.responses import Value

MAX_LENGTH = 4096
PIXEL_GROUP = 0x7FE0
PIXEL_REPRESENTATION = 0x00280103
_UNUSUAL_VRS = ("AT", "SQ", "UN")
_explicit_head, _length = struct.Struct("<HH2sH").unpack_from, struct.Struct("<I").unpack_from
_implicit_head = struct.Struct("<HHI").unpack_from


class Header(NamedTuple):
    """A data set in little endian, or the start of one."""

    encoded: bytes
    is_implicit: bool = False
    is_whole: bool = True


class _Unusual(Exception):
    """The reader of data sets has to read this header."""


def is_simple(tag: int, vr: str) -> bool:
    """Whether `read` can answer a key: no sequence, and nothing private, whose owner has to be looked for."""
    return not tag >> 16 & 1 and tag >> 16 != PIXEL_GROUP and vr not in _UNUSUAL_VRS


def read(header: Header, keys: Mapping[int, str]) -> dict[int, Value] | None:
    """The values of simple keys, given with their VRs; an empty one for what the header does not have.

    None for a header or a value that is not of the usual kind, and where the header is not whole and ends before the
    last key. Numbers are bytes, as they are encoded.
    """
    values = {tag: Value(vr) for tag, vr in keys.items()}
    terms: tuple[str, ...] = ()
    try:
        for tag, vr, _, begin, end in _elements(header, max(keys)):
            if tag == SPECIFIC_CHARACTER_SET:
                terms = character_sets.parse(character_sets.decode(header.encoded[begin:end], ()))
            elif tag in values:
                values[tag] = _value(vr, header.encoded[begin:end], terms)
    except _Unusual:
        return None
    return values


def only(header: Header, tags: Collection[int]) -> bytes | None:
    """The elements that are needed for the values of any keys, as they are encoded; None for an unusual header.

    With them go those on which the values depend, and the owners of private elements.
    """
    wanted = {*tags, SPECIFIC_CHARACTER_SET, PIXEL_REPRESENTATION}
    private = {tag >> 16 for tag in tags if tag >> 16 & 1}
    last = max(*wanted, *(group << 16 | 0xFFFF for group in private))
    if last >> 16 >= PIXEL_GROUP:
        return None
    try:
        return b"".join(
            header.encoded[start:end]
            for tag, _, start, _, end in _elements(header, last)
            if tag in wanted or tag >> 16 in private
        )
    except _Unusual:
        return None


def _elements(header: Header, last: int) -> Iterator[tuple[int, str, int, int, int]]:
    """Tag, VR, start, start of the value and end of each element of the top level, up to the one with tag `last`."""
    encoded, position, end, before = header.encoded, 0, len(header.encoded), 0
    vr_of_first = encoded[4:6]
    if header.is_implicit and vr_of_first.isalpha() and vr_of_first.isupper():
        raise _Unusual
    while position + HEAD_SIZE <= end:
        start, size = position, HEAD_SIZE
        if header.is_implicit:
            group, element, length = _implicit_head(encoded, position)
            vr = raw_values.known_vr(group << 16 | element)
        else:
            group, element, code, length = _explicit_head(encoded, position)
            if code not in VRS or (code in LONG_VRS and position + LONG_HEAD_SIZE > end):
                raise _Unusual
            if code in LONG_VRS:
                (length,), size = _length(encoded, position + HEAD_SIZE), LONG_HEAD_SIZE
            vr = code.decode()
        tag = group << 16 | element
        if tag > last:
            return
        position += size + length
        if tag <= before or length == UNDEFINED_LENGTH or position > end:
            raise _Unusual
        yield tag, vr, start, start + size, position
        before = tag
    if position != end or not header.is_whole:
        raise _Unusual


def _value(vr: str, raw: bytes, terms: tuple[str, ...]) -> Value:
    if len(raw) > MAX_LENGTH or vr in _UNUSUAL_VRS or " or " in vr:
        raise _Unusual
    if vr in raw_values.STRING_VRS:
        text = character_sets.decode(raw, terms if vr in raw_values.TEXT_VRS else (), person_name=vr == "PN")
        return Value(vr, text="\\".join(raw_values.split(text, vr)))
    if len(raw) % raw_values.WORD_SIZES.get(vr, 1):
        raise _Unusual
    return Value(vr, other=raw)
