"""Scans for the end of a data set in little endian: whether its last element ends where its bytes end."""

import struct

from portal.dicom.element_heads import (
    HEAD_SIZE,
    ITEM,
    ITEM_END,
    ITEM_GROUP,
    LONG_HEAD_SIZE,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
)
from portal.dicom.element_reader import PIXEL_TAGS
from portal.dicom.sequence_scan import (
    SHORT_CODES,
    SQ,
    Buffer,
    Unusual,
    explicit_head,
    implicit_head,
    length_of_long_vr,
)

MAX_ELEMENTS = 5000
"""Of the top level."""
MAX_INNER_ELEMENTS = 1_000_000
"""Of a sequence, or fragments of pixels."""
_FIRST_TAG = 0x00080000


def is_plainly_whole(data: Buffer, at: int, size: int, *, implicit: bool) -> bool:
    """Whether the elements from an offset on end at `size`, in the order of their tags; `data` may lack large values.

    Nothing is said of a data set that is not plainly whole: the reader of elements judges it.
    """
    previous = _FIRST_TAG - 1
    try:
        for _ in range(MAX_ELEMENTS):
            if at >= size:
                break
            group, number, vr, length = explicit_head(data, at)
            tag, offset = group << 16 | number, at + HEAD_SIZE
            if tag <= previous or group == ITEM_GROUP:
                return False
            if implicit:
                length = implicit_head(data, at)[2]
            elif vr not in SHORT_CODES:
                length, offset = length_of_long_vr(data, at, tag, vr), at + LONG_HEAD_SIZE
            if length != UNDEFINED_LENGTH:
                at = offset + length
            elif implicit or vr == SQ or tag in PIXEL_TAGS:
                at = _end_of_items(data, offset, implicit=implicit, are_fragments=tag in PIXEL_TAGS)
            else:
                return False
            previous = tag
    except (Unusual, struct.error):
        return False
    return at == size


def _end_of_items(data: Buffer, at: int, *, implicit: bool, are_fragments: bool) -> int:
    """Where a sequence ends that a delimiter ends, or compressed pixels. What has a length is skipped."""
    # The delimiters to come, of the innermost item or sequence last.
    delimiters = [SEQUENCE_END]
    for _ in range(MAX_INNER_ELEMENTS):
        group, number, vr, length = explicit_head(data, at)
        tag, offset, is_in_item = group << 16 | number, at + HEAD_SIZE, delimiters[-1] == ITEM_END
        if implicit or group == ITEM_GROUP:
            length = implicit_head(data, at)[2]
        elif vr not in SHORT_CODES:
            length, offset = length_of_long_vr(data, at, tag, vr), at + LONG_HEAD_SIZE
        at = offset
        if tag == delimiters[-1] and not length:
            delimiters.pop()
            if not delimiters:
                return at
        elif is_in_item == (group == ITEM_GROUP) or (tag != ITEM and not is_in_item):
            break
        elif length != UNDEFINED_LENGTH:
            at += length
        elif are_fragments:
            break
        elif tag == ITEM:
            delimiters.append(ITEM_END)
        elif implicit or vr == SQ:
            delimiters.append(SEQUENCE_END)
        else:
            break
    raise Unusual
