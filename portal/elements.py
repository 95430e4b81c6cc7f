"""The elements of a DICOM object as a person reads them: tag, keyword, VR and value, without the pixels."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, BinaryIO

from pydicom import DataElement, Dataset
from pydicom.datadict import keyword_for_tag
from pydicom.filereader import read_dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from portal import header

MOST_ROWS = 5000
LONGEST_VALUE = 256
TAG_DIGITS = 8
_HEX = re.compile(r"[0-9a-f]")
_TAG = re.compile(r"[(\s]*[0-9a-f]{4}[,\s]*[0-9a-f]{4}[)\s]*")
_AFTER_PREAMBLE = header.PREAMBLE + len(header.MAGIC)
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, NotImplementedError, LookupError, OverflowError)
"""What pydicom raises at a value that breaks the rules of its VR; vendor files hold every kind."""


@dataclass(frozen=True, kw_only=True)
class Element:
    """One row of the header viewer; `depth` counts the sequences around it."""

    depth: int
    tag: str
    keyword: str
    vr: str
    value: str


def read(content: BinaryIO, size: int) -> list[Element]:
    """The elements of a Part 10 file in their order, each value cut to be read. Raises NotDicom for another file."""
    parsed, _ = header.read_file(content, size)
    content.seek(_AFTER_PREAMBLE)
    meta = read_dataset(content, False, True, stop_when=_past_meta)
    return [*_rows(meta, 0), *islice(_rows(parsed.dataset, 0), MOST_ROWS)]


def matching(rows: Sequence[Element], search: str) -> Sequence[Element]:
    """The elements whose tag, keyword, VR or value holds the text; a tag is found however it is written."""
    wanted = search.casefold()
    tag = "".join(_HEX.findall(wanted))
    as_tag = tag if len(tag) == TAG_DIGITS and _TAG.fullmatch(wanted) else ""
    return [row for row in rows if _holds(row, wanted, as_tag)] if wanted else rows


def _holds(row: Element, wanted: str, tag: str) -> bool:
    if tag and "".join(_HEX.findall(row.tag.casefold())) == tag:
        return True
    return any(wanted in part.casefold() for part in (row.tag, row.keyword, row.vr, row.value))


def _past_meta(tag: BaseTag, vr: str | None, length: int) -> bool:  # noqa: ARG001 (pydicom's signature)
    return tag.group != 0x0002


def _rows(dataset: Dataset, depth: int) -> Iterator[Element]:
    for tag in sorted(dataset.keys()):
        try:
            element = dataset[tag]
        except UNREADABLE:
            yield _row(tag, "", "(cannot be read)", depth)
            continue
        if element.VR == "SQ":
            yield _row(tag, "SQ", shown(element), depth)
            for item in element.value:
                yield from _rows(item, depth + 1)
        else:
            yield _row(tag, element.VR, shown(element), depth)


def _row(tag: BaseTag, vr: str, value: str, depth: int) -> Element:
    return Element(depth=depth, tag=f"({tag.group:04X},{tag.element:04X})", keyword=name(tag), vr=vr, value=value)


def name(tag: int) -> str:
    """The keyword of an element; empty where the standard has none for it."""
    return "Private" if BaseTag(tag).is_private else keyword_for_tag(tag)


def shown(element: DataElement) -> str:
    """The value in one line, cut to be read; of a sequence how many items it has, of bytes how many they are."""
    value: Any = element.value
    if element.VR == "SQ":
        return _counted(len(value), "item")
    if value is None:
        return ""
    if isinstance(value, bytes):
        return _counted(len(value), "byte")
    values: Iterable[Any] = islice(value, LONGEST_VALUE) if isinstance(value, MultiValue) else [value]
    text = "\\".join(str(single)[: LONGEST_VALUE + 1] for single in values)
    text = "".join(character if character.isprintable() else " " for character in text[: LONGEST_VALUE + 1])
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def _counted(number: int, what: str) -> str:
    return f"({number} {what}{'' if number == 1 else 's'})"
