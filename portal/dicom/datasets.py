"""pydicom's data sets of what came from outside, made within bounds: large values stay where they are."""

from pydicom import DataElement, Dataset
from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag

from portal.dicom.element_reader import ElementReader
from portal.dicom.kept_headers import Extent

MAX_VALUE_SIZE = 64 << 10
MAX_TOTAL_SIZE = 16 << 20
"""Bytes of all values together."""


def from_elements(reader: ElementReader, elements: dict[int, Extent], *, limit: int = MAX_VALUE_SIZE) -> Dataset:
    """The elements of the top level. The value of one that is larger than the limit is None, its length told.

    So it is for those, in the order of their tags, with which all together would be larger than 16 MiB.
    """
    found: dict[BaseTag, DataElement | RawDataElement] = {}
    left = MAX_TOTAL_SIZE
    for tag in sorted(elements):
        element, end = elements[tag]
        size = end - element.offset
        value = reader.bytes_at(element.offset, size) if size <= min(limit, left) else None
        left -= len(value or b"")
        found[BaseTag(tag)] = RawDataElement(
            BaseTag(tag), element.vr, size, value, element.offset, element.implicit, reader.is_little_endian
        )
    return Dataset(found)
