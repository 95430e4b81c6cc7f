"""Values of stored headers read by hand, many times as fast as by way of a data set: of one level, and short."""

import struct
from collections.abc import Mapping

from portal.dicom import character_sets, raw_values
from portal.dicom.element_heads import HEAD_SIZE, LONG_HEAD_SIZE, LONG_VRS, UNDEFINED_LENGTH, VRS
from portal.dicom.query_attributes import SPECIFIC_CHARACTER_SET
from portal.query.responses import Value

MAX_LENGTH = 4096
PIXEL_GROUP = 0x7FE0
_UNUSUAL_VRS = ("AT", "SQ", "UN")
_explicit_head, _length = struct.Struct("<HH2sH").unpack_from, struct.Struct("<I").unpack_from


def is_simple(tag: int, vr: str) -> bool:
    """Whether a key can be answered by hand: no sequence, and nothing private, whose owner has to be looked for."""
    return not tag >> 16 & 1 and tag >> 16 != PIXEL_GROUP and vr not in _UNUSUAL_VRS


def read(header: bytes, keys: Mapping[int, str], *, is_whole: bool = True) -> dict[int, Value] | None:
    """The values of simple keys, given with their VRs, of a header in Explicit VR Little Endian; else empty ones.

    None for a header or a value that is not of the usual kind, which the reader of data sets reads then, and where the
    header is not whole and ends before the last key. Numbers are bytes, as they are encoded.
    """
    values = {tag: Value(vr) for tag, vr in keys.items()}
    terms: tuple[str, ...] = ()
    position, end, last = 0, len(header), max(keys)
    before = 0
    while position + HEAD_SIZE <= end:
        group, element, code, length = _explicit_head(header, position)
        tag, size = group << 16 | element, HEAD_SIZE
        if tag > last:
            return values
        if code in LONG_VRS:
            if position + LONG_HEAD_SIZE > end:
                return None
            (length,), size = _length(header, position + HEAD_SIZE), LONG_HEAD_SIZE
        position += size
        if tag <= before or code not in VRS or length == UNDEFINED_LENGTH or position + length > end:
            return None
        if tag == SPECIFIC_CHARACTER_SET:
            terms = character_sets.parse(character_sets.decode(header[position : position + length], ()))
        elif tag in values:
            value = _value(code.decode(), header[position : position + length], terms)
            if value is None:
                return None
            values[tag] = value
        position, before = position + length, tag
    return values if position == end and is_whole else None


def _value(vr: str, raw: bytes, terms: tuple[str, ...]) -> Value | None:
    if len(raw) > MAX_LENGTH or vr in _UNUSUAL_VRS:
        return None
    if vr in raw_values.STRING_VRS:
        text = character_sets.decode(raw, terms if vr in raw_values.TEXT_VRS else (), person_name=vr == "PN")
        return Value(vr, text="\\".join(raw_values.split(text, vr)))
    if len(raw) % raw_values.WORD_SIZES.get(vr, 1):
        return None
    return Value(vr, other=raw)
