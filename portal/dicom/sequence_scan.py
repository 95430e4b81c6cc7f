"""Scans the items of a sequence in little endian, and encodes them for a kept header: lengths instead of delimiters.

Like the scan of the header it takes what is usual, and raises `Unusual` for what the reader of elements is for.
"""

import struct
from collections.abc import Callable
from functools import lru_cache

from portal.dicom import element_heads, raw_values
from portal.dicom.element_heads import (
    HEAD_SIZE,
    ITEM,
    ITEM_END,
    ITEM_GROUP,
    LONG_HEAD_SIZE,
    LONG_VRS,
    MAX_SHORT_LENGTH,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    VRS,
)

Buffer = bytes | memoryview
Elements = Callable[[Buffer, int, int, bool, int], tuple[bytes, int]]
"""Of data, begin, end, whether a delimiter ends them, and depth: the elements of an item encoded, and their end."""

MAX_DEPTH = 8
MAX_ITEMS = MAX_ITEM_ELEMENTS = 500
US_OR_SS = "US or SS"

explicit_head = struct.Struct("<HHHH").unpack_from
"""Group, element number, VR, and the length if the VR is a short one."""
implicit_head = struct.Struct("<HHL").unpack_from
"""Group, element number and length."""
long_length = struct.Struct("<HL").unpack_from
"""The reserved bytes behind a long VR, and the length."""


class Unusual(Exception):
    """The bytes are for the reader of elements."""


def _code(vr: bytes) -> int:
    """A VR as `explicit_head` has it."""
    return int.from_bytes(vr, "little")


SHORT_CODES = frozenset(_code(vr) for vr in VRS - LONG_VRS)
LONG_CODES = frozenset(_code(vr) for vr in LONG_VRS)
SQ, UN = _code(b"SQ"), _code(b"UN")
_ITEM_TAG = b"\xfe\xff\x00\xe0"


@lru_cache(maxsize=8192)
def explicit_start(tag: int) -> tuple[bytes, bool, str]:
    """How an element in Implicit VR begins in Explicit VR, up to its length; whether the VR is short; the VR.

    The VR is US_OR_SS where Pixel Representation decides; it begins as US then.
    """
    known = raw_values.known_vr(tag)
    vr = known if known == US_OR_SS else raw_values.resolve_vr(known, signed=False)
    head = element_heads.encode(tag, vr[:2], 0)
    is_short = len(head) == HEAD_SIZE
    return head[: -2 if is_short else -4], is_short, vr


def length_of_long_vr(data: Buffer, at: int, tag: int, vr: int) -> int:
    """The length of the element that begins here; its VR is no short one. Raises Unusual."""
    reserved, length = long_length(data, at + 6)
    if vr not in LONG_CODES or (vr == UN and (reserved or raw_values.known_vr(tag) == "SQ")):
        raise Unusual
    return int(length)


def items(data: Buffer, at: int, end: int, is_delimited: bool, depth: int, elements: Elements) -> tuple[bytes, int]:
    """The items of a sequence, their elements encoded by `elements`, and the offset behind them. Raises Unusual."""
    encoded: list[bytes] = []
    for _ in range(MAX_ITEMS):
        if at == end and not is_delimited:
            return b"".join(encoded), at
        group, number, length = implicit_head(data, at)
        tag, at = group << 16 | number, at + HEAD_SIZE
        if tag == SEQUENCE_END and is_delimited and not length and at <= end:
            return b"".join(encoded), at
        is_open = length == UNDEFINED_LENGTH
        item_end = end if is_open else at + length
        if tag != ITEM or depth == MAX_DEPTH or at > end or item_end > end:
            break
        content, at = elements(data, at, item_end, is_open, depth + 1)
        encoded += element_heads.encode(ITEM, "", len(content), implicit=True), content
    raise Unusual


def explicit_elements(data: Buffer, at: int, end: int, is_delimited: bool, depth: int) -> tuple[bytes, int]:
    """The elements of an item in Explicit VR, encoded, and the offset behind them. Raises Unusual."""
    encoded: list[Buffer] = []
    run = at
    for _ in range(MAX_ITEM_ELEMENTS):
        if at == end and not is_delimited:
            encoded.append(data[run:at])
            return b"".join(encoded), at
        group, number, vr, length = explicit_head(data, at)
        tag, offset = group << 16 | number, at + HEAD_SIZE
        if tag == ITEM_END and is_delimited and not vr and not length and offset <= end:
            encoded.append(data[run:at])
            return b"".join(encoded), offset
        if vr not in SHORT_CODES:
            reserved, length = long_length(data, at + 6)
            offset = at + LONG_HEAD_SIZE
            if vr not in LONG_CODES or reserved or not number or (vr == UN and raw_values.known_vr(tag) == "SQ"):
                break
        is_open = vr == SQ and length == UNDEFINED_LENGTH
        after = end if is_open else offset + length
        # An odd value needs padding.
        if group == ITEM_GROUP or after > end or (length & 1 and not is_open):
            break
        if not number:
            # Group lengths would no longer be correct.
            encoded.append(data[run:at])
            run = after
        elif vr == SQ:
            content, after = items(data, offset, after, is_open, depth, explicit_elements)
            encoded += data[run:at], element_heads.encode(tag, "SQ", len(content)), content
            run = after
        at = after
    raise Unusual


def implicit_elements(data: Buffer, at: int, end: int, is_delimited: bool, depth: int) -> tuple[bytes, int]:
    """The elements of an item in Implicit VR, encoded in Explicit VR, and the offset behind them. Raises Unusual."""
    encoded: list[Buffer] = []
    for _ in range(MAX_ITEM_ELEMENTS):
        if at == end and not is_delimited:
            return b"".join(encoded), at
        group, number, length = implicit_head(data, at)
        tag, offset = group << 16 | number, at + HEAD_SIZE
        if tag == ITEM_END and is_delimited and not length and offset <= end:
            return b"".join(encoded), offset
        start, is_short, vr = explicit_start(tag)
        is_open = length == UNDEFINED_LENGTH
        after = end if is_open else offset + length
        if group == ITEM_GROUP or after > end or vr == US_OR_SS:
            break
        if is_sequence(data, offset, vr, is_open=is_open):
            content, at = items(data, offset, after, is_open, depth, implicit_elements)
            encoded += element_heads.encode(tag, "SQ", len(content)), content
            continue
        if length & 1 or (is_short and length > MAX_SHORT_LENGTH):
            break
        if number:  # A group length would no longer be correct.
            encoded += start, data[at + 4 : at + 6] if is_short else data[at + 4 : offset], data[offset:after]
        at = after
    raise Unusual


def is_sequence(data: Buffer, offset: int, vr: str, *, is_open: bool) -> bool:
    """Whether an element in Implicit VR is a sequence: by the dictionary, or a private one by its first item."""
    return vr == "SQ" or (is_open and vr == "UN" and data[offset : offset + 4] == _ITEM_TAG)
