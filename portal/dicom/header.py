"""The header of a data set, for the index: read from its bytes, without the pixels and within bounds."""

import logging
import struct
import unicodedata
import warnings
from dataclasses import dataclass
from typing import BinaryIO

import pydicom
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import ImplicitVRLittleEndian

from portal.dicom import character_sets, file_meta, kept_headers, person_names, raw_values, uids
from portal.dicom.element_heads import VRS
from portal.dicom.element_reader import MAX_DEPTH, MAX_ELEMENTS, MAX_TOP_LEVEL_ELEMENTS, ElementReader, StopReason
from portal.dicom.kept_headers import Extent
from portal.errors import NotDicom

pydicom.config.settings.reading_validation_mode = IGNORE
# pydicom warns of each value that breaks a rule, and quotes it, which may be a patient's name.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module="pydicom")

MAX_VALUE_SIZE = 16 << 10
"""Bytes of a value that is indexed; a longer one counts as absent."""
LAST_INDEXED_TAG = 0x00280011
"""Columns: no indexed element has a higher tag."""
MAX_LATER_ELEMENTS = 20_000
"""Elements that are read behind it, for the stored header alone: an enhanced object has millions."""
_UIDS = {0x00080016, 0x00080018, 0x0020000D, 0x0020000E}
_BOUNDS: dict[StopReason, str] = {
    "elements": f"has more elements than are read ({MAX_ELEMENTS:,}, and {MAX_TOP_LEVEL_ELEMENTS:,} at its top level)",
    "depth": f"has sequences that are nested more deeply than {MAX_DEPTH} levels",
}


_TEXTS = {
    "patient_id": "PatientID",
    "issuer": "IssuerOfPatientID",
    "sex": "PatientSex",
    "birth_date": "PatientBirthDate",
    "study_date": "StudyDate",
    "study_time": "StudyTime",
    "accession": "AccessionNumber",
    "study_id": "StudyID",
    "study_description": "StudyDescription",
    "modality": "Modality",
    "series_number": "SeriesNumber",
    "series_description": "SeriesDescription",
    "body_part": "BodyPartExamined",
    "series_date": "SeriesDate",
    "series_time": "SeriesTime",
    "number": "InstanceNumber",
    "content_date": "ContentDate",
    "content_time": "ContentTime",
    "timezone": "TimezoneOffsetFromUTC",
}
"""Field of Header → keyword of the element whose text it is."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """The indexed elements. Text is in NFC, dates and times are as encoded, an absent element is empty."""

    sop_class: str
    sop_uid: str
    study_uid: str
    series_uid: str
    transfer_syntax: str
    patient_name: str
    patient_id: str
    issuer: str
    sex: str
    birth_date: str
    study_date: str
    study_time: str
    accession: str
    study_id: str
    study_description: str
    referring: str
    modality: str
    series_number: str
    series_description: str
    body_part: str
    series_date: str
    series_time: str
    number: str
    content_date: str
    content_time: str
    timezone: str
    rows: int | None
    columns: int | None
    frames: int | None
    kept: bytes | None
    """The elements as Explicit VR Little Endian, without large values: return keys are answered from them."""


def read(file: BinaryIO, *, size: int, transfer_syntax_uid: str, is_strict: bool = False) -> Header:
    """The header of a data set that begins at the file's position and has `size` bytes.

    Leaves the file at the pixels, unless the data set is deflated. Raises NotDicom where it lacks one of the four UIDs
    that the index needs (PS3.4 B.2.3), or reaches a bound before the last indexed element; with `is_strict` also where
    its encoding plainly contradicts the transfer syntax, or where it has elements of group 0002.
    """
    reader = ElementReader(file, size=size, transfer_syntax_uid=transfer_syntax_uid)
    if is_strict:
        _check_encoding(reader, transfer_syntax_uid)
    elements = top_level_elements(reader)
    if is_strict and any(tag >> 16 == file_meta.GROUP for tag in elements):
        raise NotDicom("The data set contains elements of group 0002, which belong in a file only.")
    bound = _BOUNDS.get(reader.stopped)
    if bound and not (elements.keys() >= _UIDS and max(elements) > LAST_INDEXED_TAG):
        raise NotDicom(f"The data set {bound} before the last indexed element, so it cannot be read.")
    if reader.is_in_place:
        file.seek(reader.position)
    values = _Values(reader, elements)
    return Header(
        sop_class=values.uid("SOPClassUID"),
        sop_uid=values.uid("SOPInstanceUID"),
        study_uid=values.uid("StudyInstanceUID"),
        series_uid=values.uid("SeriesInstanceUID"),
        transfer_syntax=transfer_syntax_uid,
        patient_name=person_names.clean(values.text("PatientName")),
        referring=person_names.clean(values.text("ReferringPhysicianName")),
        rows=values.unsigned_short("Rows"),
        columns=values.unsigned_short("Columns"),
        frames=values.count("NumberOfFrames"),
        kept=kept_headers.encode(reader, elements),
        **{name: values.text(keyword) for name, keyword in _TEXTS.items()},
    )


def top_level_elements(reader: ElementReader) -> dict[int, Extent]:
    """The elements of the top level by tag; of a repeated tag the last one."""
    elements: dict[int, Extent] = {}
    last = None
    for element in reader:
        if last is not None:
            elements[last.tag] = last, element.start
        if element.tag > LAST_INDEXED_TAG and (last is None or last.tag <= LAST_INDEXED_TAG):
            reader.max_elements = min(reader.max_elements, reader.count + MAX_LATER_ELEMENTS)
        last = element
    if last is not None:
        elements[last.tag] = last, reader.position
    return elements


def read_file(content: BinaryIO, size: int) -> tuple[Header, int]:
    """Header of a Part 10 file of `size` bytes, and the offset of its data set.

    Raises NotDicom, or BadValue for a preamble that contains a program.
    """
    content.seek(0)
    meta = file_meta.read(content)
    content.seek(meta.dataset_offset)
    size -= meta.dataset_offset
    return read(content, size=size, transfer_syntax_uid=file_meta.transfer_syntax_of(meta)), meta.dataset_offset


class _Values:
    """Reads single elements of the top level by keyword, leniently: vendor files break rules in every element."""

    def __init__(self, reader: ElementReader, elements: dict[int, Extent]) -> None:
        self._reader, self._elements = reader, elements
        self._order = "<" if reader.is_little_endian else ">"
        self._terms: tuple[str, ...] = ()
        self._terms = character_sets.parse(self.text("SpecificCharacterSet"))

    def text(self, keyword: str) -> str:
        """The value as NFC text; several values are joined by backslashes."""
        vr = dictionary_VR(tag_for_keyword(keyword) or 0)
        terms = self._terms if vr in raw_values.TEXT_VRS else ()
        text = character_sets.decode(self._raw(keyword), terms, person_name=vr == "PN")
        return unicodedata.normalize("NFC", text).replace("\0", "").strip(" ")

    def uid(self, keyword: str) -> str:
        text = self._raw(keyword).decode("latin-1")
        if not text.strip("\0 "):
            raise NotDicom(f"The data set has no {keyword}.")
        return uids.clean(text, name=keyword)

    def unsigned_short(self, keyword: str) -> int | None:
        raw = self._raw(keyword)
        if len(raw) < 2:
            return None
        (number,) = struct.unpack(f"{self._order}H", raw[:2])
        return int(number)

    def count(self, keyword: str) -> int | None:
        text = self.text(keyword)
        return int(text) if text.isdecimal() and len(text) < 10 else None

    def _raw(self, keyword: str) -> bytes:
        extent = self._elements.get(tag_for_keyword(keyword) or 0)
        return b"" if extent is None else self._reader.value(extent[0], MAX_VALUE_SIZE) or b""


def _check_encoding(reader: ElementReader, transfer_syntax_uid: str) -> None:
    """By the first element, in which VR or length are the same bytes. Raises NotDicom where only the other one fits.

    An element that fits both encodings or neither is accepted: some vendors write an unknown VR.
    """
    start = reader.position
    head = reader.bytes_at(start, 8)
    if len(head) < 8:
        return
    (length,) = struct.unpack("<I" if reader.is_little_endian else ">I", head[4:])
    fits_explicit, fits_implicit = head[4:6] in VRS, start + 8 + length <= reader.end
    if transfer_syntax_uid == ImplicitVRLittleEndian and fits_explicit and not fits_implicit:
        raise NotDicom("The data set is in Explicit VR, but its presentation context is Implicit VR.")
    if transfer_syntax_uid != ImplicitVRLittleEndian and fits_implicit and not fits_explicit:
        raise NotDicom("The data set is in Implicit VR, but its presentation context is Explicit VR.")
