"""The header of a data set, for the index: read from its bytes, without the pixels and within bounds."""

import logging
import unicodedata
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO, Literal

import pydicom
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from portal.dicom import (
    character_sets,
    end_scan,
    file_meta,
    header_scan,
    kept_headers,
    person_names,
    raw_values,
    received,
    uids,
)
from portal.dicom.element_reader import MAX_DEPTH, MAX_ELEMENTS, MAX_TOP_LEVEL_ELEMENTS, ElementReader, StopReason
from portal.dicom.header_scan import Scan
from portal.dicom.kept_headers import PIXEL_REPRESENTATION, Extent
from portal.dicom.query_attributes import SPECIFIC_CHARACTER_SET
from portal.dicom.sequence_scan import Unusual
from portal.errors import NotDicom

pydicom.config.settings.reading_validation_mode = IGNORE
# pydicom warns of each value that breaks a rule, and quotes it, which may be a patient's name.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module="pydicom")

MAX_VALUE_SIZE = 16 << 10
"""Bytes of a value that is indexed; a longer one counts as absent."""
LAST_INDEXED_TAG = 0x00280011
"""Columns: no indexed element has a higher tag."""
SCANNED_SIZES = (64 << 10, 1 << 20)
"""Bytes that nearly every header has at most, and those that have tables or a vendor's protocol."""
MAX_LATER_ELEMENTS = 20_000
"""Elements that are read behind it, for the stored header alone: an enhanced object has millions."""
_BOUNDS: dict[StopReason, str] = {
    "elements": f"has more elements than are read ({MAX_ELEMENTS:,}, and {MAX_TOP_LEVEL_ELEMENTS:,} at its top level)",
    "depth": f"has sequences that are nested more deeply than {MAX_DEPTH} levels",
}


_UIDS = {
    "sop_class": "SOPClassUID",
    "sop_uid": "SOPInstanceUID",
    "study_uid": "StudyInstanceUID",
    "series_uid": "SeriesInstanceUID",
}
_NAMES = {"patient_name": "PatientName", "referring": "ReferringPhysicianName"}
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
_NUMBERS = {"rows": "Rows", "columns": "Columns", "frames": "NumberOfFrames"}
_TAGS = {field: tag_for_keyword(keyword) or 0 for field, keyword in (_UIDS | _NAMES | _TEXTS | _NUMBERS).items()}
"""Field of Header → tag of its element."""
_UID_TAGS = {_TAGS[field] for field in _UIDS}
_ENCODED_TEXTS = tuple((field, _TAGS[field], dictionary_VR(_TAGS[field]) in raw_values.TEXT_VRS) for field in _TEXTS)
"""Field and tag of each text, and whether it is in the character sets of the data set."""
INDEXED_TAGS = frozenset(_TAGS.values()) | {SPECIFIC_CHARACTER_SET, PIXEL_REPRESENTATION}
_WANTED = header_scan.by_group(INDEXED_TAGS)
_NOT_SCANNED = (ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)


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
    it is cut off, is not in its transfer syntax, or has elements of group 0002.
    """
    begin = file.tell()
    found = _scan(file, size, transfer_syntax_uid, is_strict=is_strict)
    if found is None:
        file.seek(begin)
        return read_bounded(file, size=size, transfer_syntax_uid=transfer_syntax_uid, is_strict=is_strict)
    file.seek(begin + found.position)
    return _header(found.values, transfer_syntax_uid, found.kept)


def _scan(file: BinaryIO, size: int, transfer_syntax_uid: str, *, is_strict: bool) -> Scan | None:
    """What a scan finds; None for a data set that has to be read element by element."""
    begin, is_implicit = file.tell(), transfer_syntax_uid == ImplicitVRLittleEndian
    for window in SCANNED_SIZES if transfer_syntax_uid not in _NOT_SCANNED else ():
        file.seek(begin)
        data = file.read(min(size, window))
        try:
            found = header_scan.scan(data, size, _WANTED)
        except Unusual:
            if len(data) < window:
                break
            continue
        if is_strict and found.implicit != is_implicit:
            break
        if not is_strict or end_scan.is_plainly_whole(data, found.position, size, implicit=is_implicit):
            return found
        file.seek(begin + found.position)
        if found.position % 2 == 0 and received.is_rest_whole(file, size - found.position, implicit=is_implicit):
            return found
        break
    return None


def read_bounded(file: BinaryIO, *, size: int, transfer_syntax_uid: str, is_strict: bool = False) -> Header:
    """As `read`, element by element and within bounds: for all data sets that a scan does not take."""
    begin = file.tell()
    reader = ElementReader(file, size=size, transfer_syntax_uid=transfer_syntax_uid)
    elements = top_level_elements(reader)
    bound, position = _BOUNDS.get(reader.stopped), reader.position
    if is_strict:
        file.seek(begin)
        is_all_read = reader.is_in_place or received.is_inflated_whole(file, size)
        received.check(reader, elements, transfer_syntax_uid, is_all_read=is_all_read)
    if bound and not (elements.keys() >= _UID_TAGS and max(elements) > LAST_INDEXED_TAG):
        raise NotDicom(f"The data set {bound} before the last indexed element, so it cannot be read.")
    values = {tag: reader.value(elements[tag][0], MAX_VALUE_SIZE) or b"" for tag in elements.keys() & INDEXED_TAGS}
    kept = kept_headers.encode(reader, elements)
    if reader.is_in_place:
        file.seek(position)
    return _header(values, transfer_syntax_uid, kept, is_little_endian=reader.is_little_endian)


def _header(
    values: Mapping[int, bytes], transfer_syntax_uid: str, kept: bytes | None, *, is_little_endian: bool = True
) -> Header:
    """The header of encoded values, read leniently: vendor files break rules in every element."""
    terms = character_sets.parse(_text(values.get(SPECIFIC_CHARACTER_SET, b"")))
    fields = {
        field: _text(values[tag], terms if is_encoded else ()) if tag in values else ""
        for field, tag, is_encoded in _ENCODED_TEXTS
    }
    for field, keyword in _UIDS.items():
        fields[field] = _uid(values.get(_TAGS[field], b""), keyword)
    for field in _NAMES:
        fields[field] = person_names.clean(_text(values.get(_TAGS[field], b""), terms, person_name=True))
    rows, columns = (values.get(_TAGS[field], b"")[:2] for field in ("rows", "columns"))
    order: Literal["little", "big"] = "little" if is_little_endian else "big"
    frames = _text(values.get(_TAGS["frames"], b""))
    return Header(
        transfer_syntax=transfer_syntax_uid,
        rows=int.from_bytes(rows, order) if len(rows) == 2 else None,
        columns=int.from_bytes(columns, order) if len(columns) == 2 else None,
        frames=int(frames) if frames.isdecimal() and len(frames) < 10 else None,
        kept=kept,
        **fields,
    )


def _text(raw: bytes, terms: Sequence[str] = (), *, person_name: bool = False) -> str:
    """The value as NFC text; several values are joined by backslashes."""
    text = character_sets.decode(raw, terms, person_name=person_name)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return text.replace("\0", "").strip(" ")


# Most objects have the SOP Class, the study and the series of another one.
@lru_cache(maxsize=256)
def _uid(raw: bytes, keyword: str) -> str:
    text = raw.decode("latin-1")
    if not text.strip("\0 "):
        raise NotDicom(f"The data set has no {keyword}.")
    return uids.clean(text, name=keyword)


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
