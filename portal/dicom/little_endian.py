"""Writing the elements of a parsed data set anew in little endian, value by value, without a look at what they say."""

import io
import struct
from collections.abc import Sequence
from typing import BinaryIO

from pydicom import Dataset
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.tag import Tag

from portal.dicom import raw_values
from portal.errors import PortalError

UNDEFINED_LENGTH = 0xFFFFFFFF
MAX_SHORT_LENGTH = 0xFFFF
CHUNK_SIZE = 8 << 20
"""Bytes of a deferred value that are copied at once; a multiple of every word size."""
PIXEL_DATA = 0x7FE00010
_BITS_ALLOCATED = 0x00280100
_LONG_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})


class DatasetWriter:
    """Writes data sets to `target` in one transfer syntax.

    Values that were not read (pydicom's `defer_size`) are copied from `source`, chunk by chunk.
    """

    def __init__(self, target: BinaryIO, source: BinaryIO, *, implicit: bool) -> None:
        self._target = target
        self._source = source
        self._implicit = implicit
        self._signed = False
        self._bits = 0

    def write(self, dataset: Dataset) -> None:
        """All elements of a data set; the group lengths, which would no longer be true, are left out (PS3.5 7.2)."""
        # On these the VR and the word size of other elements depend (PS3.5 A).
        self._signed = raw_values.is_signed(dataset)
        self._bits = raw_values.unsigned_short(dataset, _BITS_ALLOCATED)
        self._elements(self._target, dataset)

    def header(self, target: BinaryIO, tag: int, vr: str, length: int) -> None:
        """Tag, VR and length of an element. A value that is too long for its VR becomes UN (PS3.5 6.2.2)."""
        target.write(struct.pack("<HH", tag >> 16, tag & 0xFFFF))
        if self._implicit:
            target.write(struct.pack("<I", length))
        elif vr in _LONG_VRS or length > MAX_SHORT_LENGTH:
            target.write(struct.pack("<2sxxI", (vr if vr in _LONG_VRS else "UN").encode(), length))
        else:
            target.write(struct.pack("<2sH", vr.encode(), length))

    def _elements(self, target: BinaryIO, dataset: Dataset) -> None:
        for tag in sorted(dataset.keys()):
            if tag.element != 0:
                self._element(target, dataset, tag)

    def _element(self, target: BinaryIO, dataset: Dataset, tag: int) -> None:
        element = raw_values.stored_element(dataset, tag)
        vr = self._vr(element)
        if vr == "SQ":
            self._sequence(target, tag, self._items(dataset, element))
        elif not isinstance(element, RawDataElement):
            self._converted(target, element)
        elif element.length == UNDEFINED_LENGTH:
            raise PortalError(f"Element {Tag(tag)} holds compressed pixels within a sequence, which stay as they are.")
        elif element.value is None:
            self._copy(target, element, vr)
        else:
            self.header(target, tag, vr, len(element.value) + len(element.value) % 2)
            target.write(self._bytes(element, vr) + b"\0" * (len(element.value) % 2))

    def _vr(self, element: DataElement | RawDataElement) -> str:
        vr = raw_values.known_vr(element.tag) if element.VR is None else element.VR
        return raw_values.resolve_vr(vr, signed=self._signed)

    def _items(self, dataset: Dataset, element: DataElement | RawDataElement) -> Sequence[Dataset]:
        if isinstance(element, RawDataElement):
            if element.value is None and element.length:
                self._source.seek(element.value_tell)
                element = element._replace(value=self._source.read(element.length))
            dataset[element.tag] = element
        items: Sequence[Dataset] = dataset[element.tag].value or ()
        return items

    def _sequence(self, target: BinaryIO, tag: int, items: Sequence[Dataset]) -> None:
        content = io.BytesIO()
        for item in items:
            inner = io.BytesIO()
            self._elements(inner, item)
            content.write(struct.pack("<HHI", 0xFFFE, 0xE000, inner.tell()))
            content.write(inner.getvalue())
        # Without a VR, only an undefined length tells the reader of a private element that it is a sequence.
        delimited = self._implicit and Tag(tag).is_private
        self.header(target, tag, "SQ", UNDEFINED_LENGTH if delimited else content.tell())
        target.write(content.getvalue())
        if delimited:
            target.write(struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))

    def _converted(self, target: BinaryIO, element: DataElement) -> None:
        """An element that was set by us, or that pydicom converts while it reads."""
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, self._implicit
        write_data_element(buffer, element)
        target.write(buffer.getvalue())

    def _copy(self, target: BinaryIO, element: RawDataElement, vr: str) -> None:
        self.header(target, element.tag, vr, element.length + element.length % 2)
        self._source.seek(element.value_tell)
        left = element.length
        while left:
            part = self._source.read(min(left, CHUNK_SIZE))
            if not part:
                raise PortalError("The data set ends in the middle of an element; it can only be sent as it is.")
            target.write(self._bytes(element._replace(value=part), vr))
            left -= len(part)
        target.write(b"\0" * (element.length % 2))

    def _bytes(self, element: RawDataElement, vr: str) -> bytes:
        wide = element.tag == PIXEL_DATA and vr == "OW" and self._bits > 16
        return raw_values.to_little_endian(element, vr, word_size=self._bits // 8 if wide else 0)
