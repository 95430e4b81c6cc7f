"""pydicom data sets of objects from outside, made within bounds: large values are not read."""

from pydicom import DataElement, Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag

from portal.dicom.element_reader import ElementReader
from portal.dicom.kept_headers import Extent

MAX_VALUE_SIZE = 64 << 10
MAX_TOTAL_SIZE = 16 << 20
"""Bytes of all values together."""


def from_elements(reader: ElementReader, elements: dict[int, Extent], *, limit: int = MAX_VALUE_SIZE) -> Dataset:
    """The elements of the top level. A value larger than the limit is None, with its length kept.

    So is each value, in the order of tags, with which all together would exceed 16 MiB.
    """
    raw_elements: dict[BaseTag, DataElement | RawDataElement] = {}
    remaining = MAX_TOTAL_SIZE
    for tag in sorted(elements):
        element, end = elements[tag]
        size = end - element.offset
        value = reader.bytes_at(element.offset, size) if size <= min(limit, remaining) else None
        remaining -= len(value or b"")
        raw_elements[BaseTag(tag)] = RawDataElement(
            BaseTag(tag), element.vr, size, value, element.offset, element.implicit, reader.is_little_endian
        )
    return Dataset(raw_elements)
