"""What the index keeps of a data set: read from its bytes, without its pixels."""

import io
import struct
import unicodedata
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

import pydicom
from pydicom import Dataset, charset
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from portal import character_sets, person_names, reencoding, uids
from portal.errors import BadValue, NotDicom, PortalError

pydicom.config.settings.reading_validation_mode = IGNORE

PREAMBLE = 128
MAGIC = b"DICM"
LONGEST_META = 1 << 16
LARGEST_INFLATED = 64 << 20
"""Bytes of a deflated data set that are looked at (a bomb inflates a thousandfold)."""
LARGEST_KEPT_ELEMENT = 16 << 10
LARGEST_KEPT_HEADER = 64 << 10
_PIXELS = (Tag(0x7FE0, 0x0008), Tag(0x7FE0, 0x0009), Tag(0x7FE0, 0x0010))
_LONG_VRS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_UNREADABLE = (
    EOFError,
    OSError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    NotImplementedError,
    struct.error,
)
"""What pydicom raises on bytes that it cannot make sense of."""
_TEXT_VRS = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")


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
    dataset: Dataset
    """Everything before the pixels, for `kept`."""

    def kept(self) -> bytes | None:
        """The elements as Explicit VR Little Endian, without large values: what return keys are answered from."""
        return _kept(self.dataset)


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
        dataset_offset=PREAMBLE + len(MAGIC) + length,
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

    Raises NotDicom where it cannot be parsed, or lacks one of the four UIDs that the index needs (PS3.4 B.2.3).
    """
    dataset = _parse(file, size, transfer_syntax_uid)
    values = _Values(dataset, big_endian=transfer_syntax_uid == ExplicitVRBigEndian)
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
        dataset=dataset,
    )


def read_file(content: BinaryIO, size: int) -> tuple[Header, int]:
    """Header of a Part 10 file of `size` bytes, and where its data set begins.

    Raises NotDicom, or BadValue for a preamble that holds a program.
    """
    content.seek(0)
    meta = read_meta(content)
    content.seek(meta.dataset_offset)
    syntax = meta.transfer_syntax_uid or ImplicitVRLittleEndian
    return read(content, size=size - meta.dataset_offset, transfer_syntax_uid=syntax), meta.dataset_offset


class _Values:
    """Reads single elements of a parsed data set by keyword, leniently: vendor files break rules in every one."""

    def __init__(self, dataset: Dataset, *, big_endian: bool) -> None:
        self._dataset = dataset
        self._order = ">" if big_endian else "<"
        self._terms = character_sets.parse(self._declared())

    def text(self, keyword: str) -> str:
        """The value as NFC text; several values stay joined by backslashes."""
        raw = self._raw(keyword)
        if isinstance(raw, str):
            text = raw
        else:
            vr = dictionary_VR(Tag(keyword))
            terms = self._terms if vr in _TEXT_VRS else ()
            text = character_sets.decode(raw, terms, person_name=vr == "PN")
        return unicodedata.normalize("NFC", text).replace("\0", "").strip(" ")

    def _declared(self) -> Any:
        try:
            return self._dataset.get("SpecificCharacterSet")
        except _UNREADABLE:
            return None

    def uid(self, keyword: str) -> str:
        raw = self._raw(keyword)
        text = raw if isinstance(raw, str) else raw.decode("latin-1")
        if not text.strip("\0 "):
            raise NotDicom(f"The data set has no {keyword}.")
        return uids.clean(text, name=keyword)

    def short(self, keyword: str) -> int | None:
        raw = self._raw(keyword)
        if isinstance(raw, str) or len(raw) < 2:
            return None
        (number,) = struct.unpack(f"{self._order}H", raw[:2])
        return int(number)

    def count(self, keyword: str) -> int | None:
        text = self.text(keyword)
        return int(text) if text.isdecimal() and len(text) < 10 else None

    def _raw(self, keyword: str) -> bytes | str:
        try:
            element: Any = self._dataset.get_item(keyword)
        except _UNREADABLE:
            return b""
        if element is None or element.value is None:
            return b""
        return element.value if isinstance(element, RawDataElement) else str(element.value)


def _parse(file: BinaryIO, size: int, transfer_syntax_uid: str) -> Dataset:
    source = file
    if transfer_syntax_uid == DeflatedExplicitVRLittleEndian:
        source = io.BytesIO(_inflate(file.read(min(size, LARGEST_INFLATED))))
    try:
        dataset = read_dataset(
            source,
            transfer_syntax_uid == ImplicitVRLittleEndian,
            transfer_syntax_uid != ExplicitVRBigEndian,
            stop_when=_at_pixels,
        )
    except _UNREADABLE as error:
        raise NotDicom("The data set cannot be parsed.") from error
    except RecursionError as error:
        raise NotDicom("The data set's sequences are nested too deeply.") from error
    return dataset


def _at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:  # noqa: ARG001 (pydicom's signature)
    return tag in _PIXELS


def _inflate(data: bytes) -> bytes:
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, LARGEST_INFLATED)
    except zlib.error as error:
        raise NotDicom("The data set is said to be deflated, but cannot be inflated.") from error


def encodings(dataset: Dataset) -> list[str]:
    """Python's names of the data set's character sets (PS3.3 C.12.1.1.2); the default where they are unknown."""
    try:
        return charset.convert_encodings(dataset.get("SpecificCharacterSet", "ISO_IR 6") or "ISO_IR 6")
    except _UNREADABLE:
        return ["iso8859"]


def _kept(dataset: Dataset) -> bytes | None:
    kept = io.BytesIO()
    for tag in sorted(dataset.keys()):
        if tag.group in (0x0002, 0x7FE0):
            continue
        element = _encoded(dataset, tag)
        if len(element) <= LARGEST_KEPT_ELEMENT and kept.tell() + len(element) <= LARGEST_KEPT_HEADER:
            kept.write(element)
    return kept.getvalue() or None


def _encoded(dataset: Dataset, tag: BaseTag) -> bytes:
    """One element as Explicit VR Little Endian; nothing where vendor data defeat the encoder."""
    try:
        return reencoding.element(dataset, tag)
    except (*_UNREADABLE, PortalError):
        return b""


def _meta_elements(data: bytes) -> tuple[dict[int, bytes], int]:
    """Values of group 0002 by element number, and how many bytes they take. Always Explicit VR Little Endian."""
    values: dict[int, bytes] = {}
    at = 0
    while at + 8 <= len(data):
        group, element, vr, length = struct.unpack_from("<HH2sH", data, at)
        if group != 0x0002:
            break
        begin = at + 8
        if vr in _LONG_VRS:
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
