"""The elements of a DICOM object as text: tag, keyword, VR and value, without the pixels."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, BinaryIO, NamedTuple

from pydicom import DataElement, Dataset
from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRLittleEndian

from portal.dicom import file_meta, raw_values
from portal.dicom.element_heads import ITEM, UNDEFINED_LENGTH
from portal.dicom.element_reader import MAX_DEPTH, ElementReader
from portal.dicom.element_reader import Element as EncodedElement
from portal.dicom.kept_headers import PIXEL_REPRESENTATION
from portal.dicom.query_attributes import SPECIFIC_CHARACTER_SET
from portal.dicom.same_content import ElementPath

MAX_ROWS = 5000
MAX_DISPLAY_LENGTH = 256
TAG_DIGITS = 8
_HEX = re.compile(r"[0-9a-f]")
_TAG = re.compile(r"[(\s]*[0-9a-f]{4}[,\s]*[0-9a-f]{4}[)\s]*")
MAX_VALUE_SIZE = 4 << 10
"""Bytes of a value that are read: more than are displayed, and a multiple of every word size."""


@dataclass(frozen=True, kw_only=True)
class Element:
    """One row of the header viewer; `depth` is the number of sequences around it."""

    depth: int
    tag: str
    keyword: str
    vr: str
    value: str


class DisplayValue(NamedTuple):
    """The displayed text of a value, and its first bytes."""

    text: str
    beginning: bytes


def read(content: BinaryIO, size: int) -> list[Element]:
    """The elements of a Part 10 file in their order, long values cut. Raises NotDicom for another file."""
    content.seek(0)
    meta = file_meta.read(content)
    content.seek(file_meta.OFFSET)
    length = meta.dataset_offset - file_meta.OFFSET
    rows = _Rows(ElementReader(content, size=length, transfer_syntax_uid=ExplicitVRLittleEndian)).read()
    content.seek(meta.dataset_offset)
    syntax, size = file_meta.transfer_syntax_of(meta), size - meta.dataset_offset
    return rows + _Rows(ElementReader(content, size=size, transfer_syntax_uid=syntax, deep=True)).read()


def display_values(content: BinaryIO, size: int) -> dict[ElementPath, DisplayValue]:
    """The elements of a Part 10 file before its pixels, by their paths.

    Raises NotDicom, BadValue.
    """
    content.seek(0)
    meta = file_meta.read(content)
    content.seek(meta.dataset_offset)
    syntax = file_meta.transfer_syntax_of(meta)
    rows = _Rows(ElementReader(content, size=size - meta.dataset_offset, transfer_syntax_uid=syntax, deep=True))
    values = [row.value for row in rows.read()]
    return {
        path: DisplayValue(text, rows.beginnings.get(number, b""))
        for number, (path, text) in enumerate(zip(rows.paths, values, strict=True))
    }


def matching(rows: Sequence[Element], search: str) -> Sequence[Element]:
    """The elements whose tag, keyword, VR or value contains the text; a tag is found in every notation."""
    if not search:
        return rows
    text = search.casefold()
    digits = "".join(_HEX.findall(text))
    tag = digits if len(digits) == TAG_DIGITS and _TAG.fullmatch(text) else ""
    return [
        row
        for row in rows
        if (tag and "".join(_HEX.findall(row.tag.casefold())) == tag)
        or any(text in part.casefold() for part in (row.tag, row.keyword, row.vr, row.value))
    ]


@dataclass
class _Level:
    """What decoding the values of a data set or an item depends on."""

    encodings: Any
    creators: Dataset = field(default_factory=Dataset)
    """Its private creators, by which the VRs of private elements are known."""


class _Rows:
    """The rows of a data set, read one after another."""

    def __init__(self, reader: ElementReader) -> None:
        self._reader = reader
        self._rows: list[Element] = []
        self.paths: list[ElementPath] = []
        self.beginnings: dict[int, bytes] = {}
        """By the number of the row: the first bytes of its value."""
        self._levels = [_Level(default_encoding)]
        self._sequences: list[tuple[int, int, int]] = []
        """Those around the current element: the row and the tag of each, and the number of its items so far."""
        self._signed = False

    def read(self) -> list[Element]:
        for element in self._reader:
            depth = element.depth
            self._end_sequences(depth)
            if element.tag == ITEM:
                row, tag, items = self._sequences[-1]
                self._sequences[-1] = row, tag, items + 1
                self._levels[depth:] = [_Level(self._levels[depth - 1].encodings)]
                continue
            if len(self._rows) == MAX_ROWS:
                break

            self.paths.append((*((around, items) for _, around, items in self._sequences), (element.tag, 0)))
            if element.vr == "SQ":
                if depth < MAX_DEPTH:
                    self._sequences.append((len(self._rows), element.tag, 0))
                vr, value = "SQ", "(nested too deeply to be displayed)"
            else:
                try:
                    vr, value = self._value(element)
                except raw_values.PARSE_ERRORS:
                    vr, value = "", "(cannot be read)"
            tag, keyword = BaseTag(element.tag), keyword_of(element.tag)
            shown_tag = f"({tag.group:04X},{tag.element:04X})"
            self._rows.append(Element(depth=depth, tag=shown_tag, keyword=keyword, vr=vr, value=value))
        self._end_sequences(0, at_least=len(self._rows) == MAX_ROWS)
        return self._rows

    def _end_sequences(self, depth: int, *, at_least: bool = False) -> None:
        """Fill in the number of items of the sequences that end before this depth: it is known only at their ends."""
        while len(self._sequences) > depth:
            row, _, items = self._sequences.pop()
            value = _counted(items, "item")
            self._rows[row] = replace(self._rows[row], value=f"(at least {value[1:]}" if at_least else value)

    def _value(self, encoded: EncodedElement) -> tuple[str, str]:
        """VR and value as they are displayed. Notes what the values of other elements depend on."""
        level, vr = self._levels[encoded.depth], encoded.vr
        if encoded.length == UNDEFINED_LENGTH:
            return vr or raw_values.known_vr(encoded.tag), "(fragments)"
        known = raw_values.known_vr(encoded.tag)
        if vr in (None, "UN") and known != "UN":
            vr = raw_values.resolve_vr(known, signed=self._signed)
        value = self._reader.bytes_at(encoded.offset, min(encoded.length, MAX_VALUE_SIZE))
        self.beginnings[len(self._rows)] = value[:MAX_DISPLAY_LENGTH]
        raw = RawDataElement(
            BaseTag(encoded.tag), vr, len(value), value, 0, encoded.implicit, self._reader.is_little_endian
        )
        element = convert_raw_data_element(raw, encoding=level.encodings, ds=level.creators)

        if element.tag == SPECIFIC_CHARACTER_SET:
            level.encodings = convert_encodings(element.value or "ISO_IR 6")
        elif element.tag == PIXEL_REPRESENTATION:
            self._signed = element.value == 1
        elif raw_values.is_private_creator(element.tag):
            level.creators[element.tag] = element

        length = self._reader.length_of(encoded)
        return element.VR, _counted(length, "byte") if isinstance(element.value, bytes) else display_value(element)


def keyword_of(tag: int) -> str:
    """The keyword of an element; empty where the standard has none for it."""
    return "Private" if BaseTag(tag).is_private else keyword_for_tag(tag)


def display_value(element: DataElement) -> str:
    """The value in one line, cut where it is long; for a sequence its number of items, for bytes their number."""
    value: Any = element.value
    if element.VR == "SQ":
        return _counted(len(value), "item")
    if value is None:
        return ""
    if isinstance(value, bytes):
        return _counted(len(value), "byte")
    values: Iterable[Any] = islice(value, MAX_DISPLAY_LENGTH) if isinstance(value, MultiValue | list) else [value]
    text = "\\".join(str(single)[: MAX_DISPLAY_LENGTH + 1] for single in values)
    text = "".join(character if character.isprintable() else " " for character in text[: MAX_DISPLAY_LENGTH + 1])
    return text if len(text) <= MAX_DISPLAY_LENGTH else f"{text[:MAX_DISPLAY_LENGTH]}…"


def _counted(number: int, what: str) -> str:
    return f"({number} {what}{'' if number == 1 else 's'})"
