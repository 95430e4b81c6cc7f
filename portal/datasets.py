"""pydicom's data sets of what came from outside, made within bounds: large values stay where they are."""

from collections.abc import Collection
from typing import BinaryIO

from pydicom import DataElement, Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag

from portal import header
from portal.element_reader import Reader
from portal.kept_headers import Extent

MAX_VALUE_SIZE = 64 << 10
MAX_SIZE = 16 << 20
"""Bytes of all values together."""


def read_file(content: BinaryIO, size: int) -> Dataset:
    """The elements of a Part 10 file before its pixels, where the file is left. Raises NotDicom, BadValue."""
    content.seek(0)
    meta = header.read_meta(content)
    content.seek(meta.dataset_offset)
    reader = Reader(content, size=size - meta.dataset_offset, transfer_syntax_uid=header.syntax_of(meta))
    dataset = of_elements(reader, header.top_level(reader), limit=MAX_SIZE)
    if reader.is_in_place:
        content.seek(reader.position)
    return dataset


def of_elements(
    reader: Reader, elements: dict[int, Extent], *, limit: int = MAX_VALUE_SIZE, tags: Collection[int] = ()
) -> Dataset:
    """The elements, or those of these tags. The value of one that is larger than the limit is None, its length told.

    So it is for those, in the order of their tags, with which all together would be larger than 16 MiB.
    """
    found: dict[BaseTag, DataElement | RawDataElement] = {}
    left = MAX_SIZE
    for tag in sorted(tags or elements):
        if tag not in elements:
            continue
        element, end = elements[tag]
        size = end - element.offset
        value = reader.bytes_at(element.offset, size) if size <= min(limit, left) else None
        left -= len(value or b"")
        found[BaseTag(tag)] = RawDataElement(
            BaseTag(tag), element.vr, size, value, element.offset, element.implicit, reader.is_little_endian
        )
    return Dataset(found)
