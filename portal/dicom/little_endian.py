"""Writes the elements of a parsed data set in little endian, value by value, without interpreting them."""

import io
from collections.abc import Sequence
from typing import BinaryIO

from pydicom import Dataset
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element

from portal.dicom import element_heads, raw_values
from portal.dicom.element_heads import ITEM, PIXEL_DATA, SEQUENCE_END, UNDEFINED_LENGTH
from portal.errors import PortalError

CHUNK_SIZE = 8 << 20
"""Bytes of a deferred value that are copied at once; a multiple of every word size."""
_BITS_ALLOCATED = 0x00280100


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
        """All elements of a data set, without group lengths, which would no longer be correct (PS3.5 7.2)."""
        # The VR and the word size of other elements depend on these (PS3.5 A).
        self._signed = raw_values.is_signed(dataset)
        self._bits = raw_values.unsigned_short(dataset, _BITS_ALLOCATED)
        self._elements(self._target, dataset)

    def write_head(self, target: BinaryIO, tag: int, vr: str, length: int) -> None:
        """Tag, VR and length of an element. A value that is too long for its VR becomes UN (PS3.5 6.2.2)."""
        target.write(element_heads.encode(tag, vr, length, implicit=self._implicit))

    def _elements(self, target: BinaryIO, dataset: Dataset) -> None:
        for tag in sorted(dataset.keys()):
            if tag.element == 0:
                continue
            element = raw_values.stored_element(dataset, tag)
            vr = raw_values.known_vr(tag) if element.VR is None else element.VR
            vr = raw_values.resolve_vr(vr, signed=self._signed)
            if vr == "SQ":
                self._sequence(target, dataset, element)
            elif not isinstance(element, RawDataElement):
                # Set by us, or converted by pydicom while it reads.
                buffer = DicomBytesIO()
                buffer.is_little_endian, buffer.is_implicit_VR = True, self._implicit
                write_data_element(buffer, element)
                target.write(buffer.getvalue())
            elif element.length == UNDEFINED_LENGTH:
                raise PortalError(
                    f"Element {tag} contains compressed pixels within a sequence, which stay as they are."
                )
            elif element.value is None:
                self._copy(target, element, vr)
            else:
                self.write_head(target, tag, vr, len(element.value) + len(element.value) % 2)
                target.write(self._bytes(element, vr) + b"\0" * (len(element.value) % 2))

    def _sequence(self, target: BinaryIO, dataset: Dataset, element: DataElement | RawDataElement) -> None:
        tag = element.tag
        if isinstance(element, RawDataElement):
            if element.value is None and element.length:
                self._source.seek(element.value_tell)
                element = element._replace(value=self._source.read(element.length))
            dataset[tag] = element
        items: Sequence[Dataset] = dataset[tag].value or ()

        content = io.BytesIO()
        for item in items:
            inner = io.BytesIO()
            self._elements(inner, item)
            content.write(element_heads.encode(ITEM, "", inner.tell(), implicit=True))
            content.write(inner.getvalue())
        # Without a VR, only an undefined length tells the reader of a private element that it is a sequence.
        delimited = self._implicit and tag.is_private
        self.write_head(target, tag, "SQ", UNDEFINED_LENGTH if delimited else content.tell())
        target.write(content.getvalue())
        if delimited:
            target.write(element_heads.encode(SEQUENCE_END, "", 0, implicit=True))

    def _copy(self, target: BinaryIO, element: RawDataElement, vr: str) -> None:
        """Copy a value that was not read from the source."""
        self.write_head(target, element.tag, vr, element.length + element.length % 2)
        self._source.seek(element.value_tell)
        left = element.length
        while left:
            part = self._source.read(min(left, CHUNK_SIZE))
            if not part:
                raise PortalError("The data set ends in the middle of an element; it can only be sent unchanged.")
            target.write(self._bytes(element._replace(value=part), vr))
            left -= len(part)
        target.write(b"\0" * (element.length % 2))

    def _bytes(self, element: RawDataElement, vr: str) -> bytes:
        wide = element.tag == PIXEL_DATA and vr == "OW" and self._bits > 16
        return raw_values.to_little_endian(element, vr, word_size=self._bits // 8 if wide else 0)
