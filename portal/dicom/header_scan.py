"""Scans a data set in little endian in one pass: the values for the index, and the header that is kept.

It takes what nearly every data set is: elements in the order of their tags, with known VRs, and lengths that fit. All
else is `Unusual`, and is left to the reader of elements, which is slower and bounded in every respect.
"""

import struct
from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

from portal.dicom import element_heads
from portal.dicom.element_heads import HEAD_SIZE, LONG_HEAD_SIZE, UNDEFINED_LENGTH
from portal.dicom.element_reader import PIXEL_TAGS
from portal.dicom.kept_headers import MAX_ELEMENT_SIZE, MAX_HEADER_SIZE, PIXEL_REPRESENTATION
from portal.dicom.sequence_scan import (
    SHORT_CODES,
    SQ,
    US_OR_SS,
    Buffer,
    Elements,
    Unusual,
    explicit_elements,
    explicit_head,
    explicit_start,
    implicit_elements,
    implicit_head,
    is_sequence,
    items,
    length_of_long_vr,
)

MAX_ELEMENTS = 5000
"""Of the top level."""
MAX_WALKED_SIZE = 96 << 10
"""Bytes of all sequences that are looked into: they have fewer elements than the bounded reader stops at."""
_GROUP_BEFORE_FIRST = 0x0007
"""Data sets of objects begin with group 0008."""
_PIXEL_GROUP = 0x7FE0
_MARKED_LENGTHS = ~0x1FFE
"""Bits that are set in each length that is odd, or 8 KiB and more: others can be kept as they are."""
_MARKED_VRS = ("SQ", US_OR_SS)

Wanted = Mapping[int, Container[int]]
"""Group → the numbers of its elements that are wanted."""


def by_group(tags: Iterable[int]) -> Wanted:
    groups: dict[int, set[int]] = {}
    for tag in tags:
        groups.setdefault(tag >> 16, set()).add(tag & 0xFFFF)
    return groups


class Scan(NamedTuple):
    """What a data set has before its pixels, or has at all."""

    values: dict[int, bytes]
    """Those of the wanted elements by tag, as encoded; empty where they are longer than MAX_ELEMENT_SIZE."""
    kept: bytes | None
    position: int
    """The offset of the pixels, or of the end."""
    implicit: bool


def scan(data: Buffer, size: int, wanted: Wanted) -> Scan:
    """Scan a data set of `size` bytes; `data` has its first ones, all that precede its pixels. Raises Unusual."""
    vr = bytes(data[4:6])
    implicit = not (vr.isalpha() and vr.isupper())
    try:
        values, kept, position = (_scan_implicit if implicit else _scan_explicit)(data, size, wanted)
    except struct.error:
        raise Unusual from None
    if position > len(data):
        raise Unusual
    return Scan({tag: bytes(value) for tag, value in values.items()}, kept, position, implicit)


class _Kept:
    """The header that is kept, so far."""

    def __init__(self) -> None:
        self.parts: list[Buffer] = []
        self.left = MAX_HEADER_SIZE
        """Bytes until it is full."""
        self._unwalked = MAX_WALKED_SIZE
        self.choices: list[int] = []
        """The parts that begin elements whose VR is US, or SS where pixels have a sign."""

    def take(self, size: int) -> None:
        """Room for elements that are kept. Raises Unusual where not all of them fit: which ones do?"""
        self.left -= size
        if self.left < 0:
            raise Unusual

    def add(self, *parts: Buffer) -> None:
        """Add one element unless it is too large."""
        size = sum(map(len, parts))
        if size <= min(MAX_ELEMENT_SIZE, self.left):
            self.parts += parts
            self.left -= size

    def may_fit(self, number: int, size: int) -> bool:
        """Whether an element may be kept that has so many bytes; a group length is not.

        Without its delimiters a sequence has at least half its length.
        """
        return number != 0 and size <= 2 * min(MAX_ELEMENT_SIZE, self.left)

    def walk(self, data: Buffer, offset: int, end: int, *, is_open: bool, elements: Elements) -> tuple[bytes, int]:
        """The items of a sequence, encoded, and the offset behind them. Raises Unusual."""
        encoded, end = items(data, offset, min(end, offset + self._unwalked), is_open, 0, elements)
        self._unwalked -= end - offset
        return encoded, end

    def encoded(self, pixel_representation: bytes) -> bytes | None:
        if int.from_bytes(pixel_representation[:2], "little") == 1:
            for number in self.choices:
                self.parts[number] = bytes(self.parts[number][:4]) + b"SS"
        return b"".join(self.parts) or None


def _scan_explicit(data: Buffer, size: int, wanted: Wanted) -> tuple[dict[int, Buffer], bytes | None, int]:
    values: dict[int, Buffer] = {}
    kept = _Kept()
    # Elements from `run` on are kept as they are, and copied together.
    at = run = 0
    last_group, last_number, numbers = _GROUP_BEFORE_FIRST, 0, wanted.get(_GROUP_BEFORE_FIRST, ())
    for _ in range(MAX_ELEMENTS):
        if at == size:
            break
        group, number, vr, length = explicit_head(data, at)
        if group == last_group and number > last_number and vr in SHORT_CODES and not length & _MARKED_LENGTHS:
            # Most elements. What follows is right for these too, but takes twice as long.
            last_number = number
            if number in numbers:
                values[group << 16 | number] = data[at + HEAD_SIZE : at + HEAD_SIZE + length]
            at += HEAD_SIZE + length
            continue
        if group >= _PIXEL_GROUP:
            break
        if group < last_group or (group == last_group and number <= last_number):
            raise Unusual
        last_group, last_number, numbers = group, number, wanted.get(group, ())
        offset, tag = at + HEAD_SIZE, group << 16 | number
        if vr not in SHORT_CODES:
            length, offset = length_of_long_vr(data, at, tag, vr), at + LONG_HEAD_SIZE
        end = offset + length
        if number in numbers:
            values[tag] = data[offset:end] if length <= MAX_ELEMENT_SIZE else b""
        if length & _MARKED_LENGTHS or vr == SQ or not number:
            kept.take(at - run)
            kept.parts.append(data[run:at])
            end = run = _add_explicit(kept, data, size, at, offset, length)
        at = end
    kept.take(at - run)
    kept.parts.append(data[run:at])
    return values, kept.encoded(b""), _skip_to_pixels(data, at, size, implicit=False)


def _add_explicit(kept: _Kept, data: Buffer, size: int, at: int, offset: int, length: int) -> int:
    """Add an element in Explicit VR to what is kept, unless it is not to be kept. Where it ends."""
    group, number, vr, _ = explicit_head(data, at)
    tag, end = group << 16 | number, offset + length
    if length == UNDEFINED_LENGTH:
        if vr != SQ:
            raise Unusual
        encoded, end = kept.walk(data, offset, size, is_open=True, elements=explicit_elements)
        if kept.may_fit(number, end - at):
            kept.add(element_heads.encode(tag, "SQ", len(encoded)), encoded)
    elif not kept.may_fit(number, end - at):
        return end
    elif vr == SQ:
        encoded, _ = kept.walk(data, offset, end, is_open=False, elements=explicit_elements)
        kept.add(element_heads.encode(tag, "SQ", len(encoded)), encoded)
    elif length & 1:
        head = element_heads.encode(tag, bytes(data[at + 4 : at + 6]).decode(), length + 1)
        kept.add(head, data[offset:end], b"\0")
    else:
        kept.add(data[at:end])
    return end


def _scan_implicit(data: Buffer, size: int, wanted: Wanted) -> tuple[dict[int, Buffer], bytes | None, int]:
    values: dict[int, Buffer] = {}
    kept = _Kept()
    parts = kept.parts
    # Elements from `run` on are kept; each long VR among them adds 4 bytes.
    at = run = added = 0
    last_group, last_number, numbers = _GROUP_BEFORE_FIRST, 0, wanted.get(_GROUP_BEFORE_FIRST, ())
    for _ in range(MAX_ELEMENTS):
        if at == size:
            break
        group, number, length = implicit_head(data, at)
        if group != last_group:
            if group >= _PIXEL_GROUP:
                break
            if group < last_group:
                raise Unusual
            last_group, numbers = group, wanted.get(group, ())
        elif number <= last_number:
            raise Unusual
        last_number, tag = number, group << 16 | number
        end = at + HEAD_SIZE + length
        if number in numbers:
            values[tag] = data[at + HEAD_SIZE : end] if length <= MAX_ELEMENT_SIZE else b""
        start, is_short, vr = explicit_start(tag)
        if length & _MARKED_LENGTHS or vr in _MARKED_VRS or not number:
            kept.take(at - run + added)
            end = run = _add_implicit(kept, data, size, at, length)
            added = 0
        elif is_short:
            parts += start, data[at + 4 : at + 6], data[at + HEAD_SIZE : end]
        else:
            parts += start, data[at + 4 : end]
            added += 4
        at = end
    kept.take(at - run + added)
    pixel_representation = bytes(values.get(PIXEL_REPRESENTATION, b""))
    return values, kept.encoded(pixel_representation), _skip_to_pixels(data, at, size, implicit=True)


def _add_implicit(kept: _Kept, data: Buffer, size: int, at: int, length: int) -> int:
    """Add an element in Implicit VR to what is kept, unless it is not to be kept. Where it ends."""
    group, number, _ = implicit_head(data, at)
    tag, offset = group << 16 | number, at + HEAD_SIZE
    is_open, end = length == UNDEFINED_LENGTH, offset + length
    vr = explicit_start(tag)[2]
    if is_sequence(data, offset, vr, is_open=is_open):
        if is_open:
            encoded, end = kept.walk(data, offset, size, is_open=True, elements=implicit_elements)
        if kept.may_fit(number, end - at):
            if not is_open:
                encoded, _ = kept.walk(data, offset, end, is_open=False, elements=implicit_elements)
            kept.add(element_heads.encode(tag, "SQ", len(encoded)), encoded)
        return end
    if is_open:
        raise Unusual
    if kept.may_fit(number, end - at):
        padding, number_of_parts = b"\0" * (length % 2), len(kept.parts)
        head = element_heads.encode(tag, vr[:2], length + len(padding))
        kept.add(head[:6], head[6:], data[offset:end], padding)
        if vr == US_OR_SS and len(kept.parts) > number_of_parts:
            kept.choices.append(number_of_parts)
    return end


def _skip_to_pixels(data: Buffer, at: int, size: int, *, implicit: bool) -> int:
    """The offset of the pixels, behind what group 7FE0 has before them, or of the end. Raises Unusual for all else."""
    last_number = -1
    while at != size:
        group, number, vr, length = explicit_head(data, at)
        if group << 16 | number in PIXEL_TAGS:
            return at
        if group != _PIXEL_GROUP or number <= last_number:
            raise Unusual
        offset, last_number = at + HEAD_SIZE, number
        if implicit:
            length = implicit_head(data, at)[2]
        elif vr not in SHORT_CODES:
            length = length_of_long_vr(data, at, group << 16 | number, vr)
            offset = at + LONG_HEAD_SIZE
        if length == UNDEFINED_LENGTH:
            raise Unusual
        at = offset + length
    return at
