"""What the index keeps of a data set: read from its bytes, without its pixels and within bounds."""

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

from portal import character_sets, kept_headers, person_names, raw_values, uids
from portal.element_reader import LONG_VRS, MAX_DEPTH, MAX_ELEMENTS, MAX_TOP_LEVEL_ELEMENTS, Reader, Stop
from portal.errors import BadValue, NotDicom
from portal.kept_headers import Extent

pydicom.config.settings.reading_validation_mode = IGNORE
# It remarks on each value that breaks a rule, and quotes it, which may be a patient's name.
logging.getLogger("pydicom").setLevel(logging.CRITICAL)
warnings.filterwarnings("ignore", module="pydicom")

PREAMBLE = 128
MAGIC = b"DICM"
META_OFFSET = PREAMBLE + len(MAGIC)
LONGEST_META = 1 << 16
MAX_VALUE_SIZE = 16 << 10
"""Bytes of a value that is indexed; a longer one counts as absent."""
LAST_INDEXED = 0x00280011
"""Columns, the last of the elements that are indexed."""
MAX_LATER_ELEMENTS = 20_000
"""Elements that are read after those, only for what is kept of the header: an enhanced object has millions."""
_UIDS = {0x00080016, 0x00080018, 0x0020000D, 0x0020000E}
_BOUNDS: dict[Stop, str] = {
    "elements": f"has more elements than are read ({MAX_ELEMENTS:,}, and {MAX_TOP_LEVEL_ELEMENTS:,} at its top level)",
    "depth": f"has sequences that are nested more deeply than {MAX_DEPTH} levels",
}


@dataclass(frozen=True, kw_only=True)
class Meta:
    """The file meta information (PS3.10 7.1): where the data set begins, and how it is encoded."""

    dataset_offset: int
    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, kw_only=True)
class Header:
    """The elements that are indexed. Text is in NFC, dates and times as recorded, an absent element is empty."""

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
    """The elements as Explicit VR Little Endian, without large values: what return keys are answered from."""


def read_meta(file: BinaryIO) -> Meta:
    """The meta of a Part 10 file, which stands at its first byte. Raises NotDicom where there is none."""
    head = file.read(PREAMBLE + len(MAGIC))
    if head[PREAMBLE:] != MAGIC:
        raise NotDicom("The file has no DICM mark after 128 bytes, so it is no DICOM file (PS3.10 7.1).")
    if head.startswith((b"MZ", b"\x7fELF")):
        raise BadValue("The preamble holds a program, so the file is refused. Write it again with an empty preamble.")
    values, length = _meta_elements(file.read(LONGEST_META))

    def value(element: int) -> str:
        return values.get(element, b"").decode("ascii", "replace").rstrip("\0 ")

    return Meta(
        dataset_offset=META_OFFSET + length,
        transfer_syntax_uid=value(0x0010),
        sop_class_uid=value(0x0002),
        sop_instance_uid=value(0x0003),
    )


def write_meta(*, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """What makes a Part 10 file of a data set that came by C-STORE: an empty preamble and the meta."""
    elements = b"".join(
        (
            struct.pack("<HH2s2xI", 0x0002, 0x0001, b"OB", 2) + b"\x00\x01",
            _ui(0x0002, sop_class_uid),
            _ui(0x0003, sop_instance_uid),
            _ui(0x0010, transfer_syntax_uid),
            _ui(0x0012, IMPLEMENTATION_CLASS_UID),
            struct.pack("<HH2sH", 0x0002, 0x0013, b"SH", len(IMPLEMENTATION_VERSION)) + IMPLEMENTATION_VERSION,
        )
    )
    group_length = struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(elements))
    return bytes(PREAMBLE) + MAGIC + group_length + elements


IMPLEMENTATION_CLASS_UID = "2.25.192338012468137914063185103296417214085"
"""A UID of our own, derived from a UUID (PS3.5 B.2)."""
IMPLEMENTATION_VERSION = b"PORTICO 1 "


def read(file: BinaryIO, *, size: int, transfer_syntax_uid: str) -> Header:
    """The header of a data set that begins where the file stands and has `size` bytes.

    Leaves the file where the pixels begin, unless the data set is deflated. Raises NotDicom where it lacks one of the
    four UIDs that the index needs (PS3.4 B.2.3), or a bound ends the reading before the elements that are indexed.
    """
    reader = Reader(file, size=size, transfer_syntax_uid=transfer_syntax_uid)
    elements = top_level(reader)
    bound = _BOUNDS.get(reader.stopped)
    if bound and not (elements.keys() >= _UIDS and max(elements) > LAST_INDEXED):
        raise NotDicom(f"The data set {bound} before those that are indexed, so it cannot be read.")
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
        patient_id=values.text("PatientID"),
        issuer=values.text("IssuerOfPatientID"),
        sex=values.text("PatientSex"),
        birth_date=values.text("PatientBirthDate"),
        study_date=values.text("StudyDate"),
        study_time=values.text("StudyTime"),
        accession=values.text("AccessionNumber"),
        study_id=values.text("StudyID"),
        study_description=values.text("StudyDescription"),
        referring=person_names.clean(values.text("ReferringPhysicianName")),
        modality=values.text("Modality"),
        series_number=values.text("SeriesNumber"),
        series_description=values.text("SeriesDescription"),
        body_part=values.text("BodyPartExamined"),
        series_date=values.text("SeriesDate"),
        series_time=values.text("SeriesTime"),
        number=values.text("InstanceNumber"),
        content_date=values.text("ContentDate"),
        content_time=values.text("ContentTime"),
        timezone=values.text("TimezoneOffsetFromUTC"),
        rows=values.short("Rows"),
        columns=values.short("Columns"),
        frames=values.count("NumberOfFrames"),
        kept=kept_headers.encode(reader, elements),
    )


def top_level(reader: Reader) -> dict[int, Extent]:
    """The elements of the top level by their tags, the last one where a tag is repeated."""
    elements: dict[int, Extent] = {}
    last = None
    for element in reader:
        if last is not None:
            elements[last.tag] = last, element.start
        if element.tag > LAST_INDEXED and (last is None or last.tag <= LAST_INDEXED):
            reader.max_elements = min(reader.max_elements, reader.count + MAX_LATER_ELEMENTS)
        last = element
    if last is not None:
        elements[last.tag] = last, reader.position
    return elements


def read_file(content: BinaryIO, size: int) -> tuple[Header, int]:
    """Header of a Part 10 file of `size` bytes, and where its data set begins.

    Raises NotDicom, or BadValue for a preamble that holds a program.
    """
    content.seek(0)
    meta = read_meta(content)
    content.seek(meta.dataset_offset)
    size -= meta.dataset_offset
    return read(content, size=size, transfer_syntax_uid=syntax_of(meta)), meta.dataset_offset


def syntax_of(meta: Meta) -> str:
    """The transfer syntax of a file; the default one where it names none (PS3.5 10.1)."""
    return meta.transfer_syntax_uid or ImplicitVRLittleEndian


class _Values:
    """Reads single elements of the top level by keyword, leniently: vendor files break rules in every one."""

    def __init__(self, reader: Reader, elements: dict[int, Extent]) -> None:
        self._reader, self._elements = reader, elements
        self._order = "<" if reader.is_little_endian else ">"
        self._terms: tuple[str, ...] = ()
        self._terms = character_sets.parse(self.text("SpecificCharacterSet"))

    def text(self, keyword: str) -> str:
        """The value as NFC text; several values stay joined by backslashes."""
        vr = dictionary_VR(tag_for_keyword(keyword) or 0)
        terms = self._terms if vr in raw_values.TEXT_VRS else ()
        text = character_sets.decode(self._raw(keyword), terms, person_name=vr == "PN")
        return unicodedata.normalize("NFC", text).replace("\0", "").strip(" ")

    def uid(self, keyword: str) -> str:
        text = self._raw(keyword).decode("latin-1")
        if not text.strip("\0 "):
            raise NotDicom(f"The data set has no {keyword}.")
        return uids.clean(text, name=keyword)

    def short(self, keyword: str) -> int | None:
        raw = self._raw(keyword)
        if len(raw) < 2:
            return None
        (number,) = struct.unpack(f"{self._order}H", raw[:2])
        return int(number)

    def count(self, keyword: str) -> int | None:
        text = self.text(keyword)
        return int(text) if text.isdecimal() and len(text) < 10 else None

    def _raw(self, keyword: str) -> bytes:
        found = self._elements.get(tag_for_keyword(keyword) or 0)
        return b"" if found is None else self._reader.value(found[0], MAX_VALUE_SIZE) or b""


def _meta_elements(data: bytes) -> tuple[dict[int, bytes], int]:
    """Values of group 0002 by element number, and how many bytes they take. Always Explicit VR Little Endian."""
    values: dict[int, bytes] = {}
    at = 0
    while at + 8 <= len(data):
        group, element, vr, length = struct.unpack_from("<HH2sH", data, at)
        if group != 0x0002:
            break
        begin = at + 8
        if vr in LONG_VRS:
            (length,) = struct.unpack_from("<I", data, begin) if begin + 4 <= len(data) else (len(data),)
            begin += 4
        if begin + length > len(data):
            raise NotDicom("The file meta information is cut off or larger than 64 KiB.")
        values[element] = data[begin : begin + length]
        at = begin + length
    return values, at


def _ui(element: int, uid: str) -> bytes:
    value = uid.encode("ascii")
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", 0x0002, element, b"UI", len(value)) + value
