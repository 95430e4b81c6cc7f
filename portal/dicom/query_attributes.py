"""The attributes that queries match and return from the index: their level, VR, table and column."""

from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Literal

from pydicom.datadict import dictionary_VR, tag_for_keyword

Table = Literal["study", "series", "instance"]


class Level(IntEnum):
    """Levels of the two information models (PS3.4 C.6.1.1, C.6.2.1), named as in (0008,0052)."""

    PATIENT = 0
    STUDY = 1
    SERIES = 2
    IMAGE = 3


@dataclass(frozen=True)
class Attribute:
    """One listed attribute. `matched` is False for counts, which are only returned."""

    tag: int
    vr: str
    level: Level
    table: Table
    column: str
    matched: bool = True


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise LookupError(keyword)
    return int(tag)


def _listed(level: Level, table: Table, columns: dict[str, str], *, matched: bool = True) -> dict[int, Attribute]:
    attributes = {}
    for keyword, column in columns.items():
        tag = _tag(keyword)
        attributes[tag] = Attribute(tag, dictionary_VR(tag), level, table, column, matched)
    return attributes


_PATIENT = {
    "PatientName": "patient_name",
    "PatientID": "patient_id",
    "IssuerOfPatientID": "issuer",
    "PatientSex": "sex",
    "PatientBirthDate": "birth_date",
}
_STUDY = {
    "StudyInstanceUID": "study_uid",
    "StudyDate": "date",
    "StudyTime": "time",
    "AccessionNumber": "accession",
    "StudyID": "study_id",
    "StudyDescription": "description",
    "ReferringPhysicianName": "referring",
    "ModalitiesInStudy": "modalities",
    "SOPClassesInStudy": "sop_classes",
}
_SERIES = {
    "SeriesInstanceUID": "series_uid",
    "Modality": "modality",
    "SeriesNumber": "number",
    "SeriesDescription": "description",
    "BodyPartExamined": "body_part",
    "SeriesDate": "date",
    "SeriesTime": "time",
}
_IMAGE = {
    "SOPInstanceUID": "sop_uid",
    "SOPClassUID": "sop_class",
    "InstanceNumber": "number",
    "ContentDate": "date",
    "ContentTime": "time",
    "Rows": "rows",
    "Columns": "columns",
    "NumberOfFrames": "frames",
    "AvailableTransferSyntaxUID": "transfer_syntax",
}
_PATIENT_COUNTS = {
    "NumberOfPatientRelatedStudies": "patient_studies",
    "NumberOfPatientRelatedSeries": "patient_series",
    "NumberOfPatientRelatedInstances": "patient_instances",
}
_STUDY_COUNTS = {"NumberOfStudyRelatedSeries": "n_series", "NumberOfStudyRelatedInstances": "n_instances"}

ATTRIBUTES = MappingProxyType(
    _listed(Level.PATIENT, "study", _PATIENT)
    | _listed(Level.STUDY, "study", _STUDY)
    | _listed(Level.SERIES, "series", _SERIES)
    | _listed(Level.IMAGE, "instance", _IMAGE)
    | _listed(Level.PATIENT, "study", _PATIENT_COUNTS, matched=False)
    | _listed(Level.STUDY, "study", _STUDY_COUNTS, matched=False)
    | _listed(Level.SERIES, "series", {"NumberOfSeriesRelatedInstances": "n_instances"}, matched=False)
)

UNIQUE_KEYS = MappingProxyType(
    {
        Level.PATIENT: ATTRIBUTES[_tag("PatientID")],
        Level.STUDY: ATTRIBUTES[_tag("StudyInstanceUID")],
        Level.SERIES: ATTRIBUTES[_tag("SeriesInstanceUID")],
        Level.IMAGE: ATTRIBUTES[_tag("SOPInstanceUID")],
    }
)
ISSUER_OF_PATIENT_ID = ATTRIBUTES[_tag("IssuerOfPatientID")]
MODALITIES_IN_STUDY = ATTRIBUTES[_tag("ModalitiesInStudy")]
SOP_CLASSES_IN_STUDY = ATTRIBUTES[_tag("SOPClassesInStudy")]
DATES_WITH_TIMES = MappingProxyType(
    {ATTRIBUTES[_tag(f"{of}Date")].tag: ATTRIBUTES[_tag(f"{of}Time")].tag for of in ("Study", "Series", "Content")}
)
"""The dates that have a time beside them, and its tag."""

SPECIFIC_CHARACTER_SET = 0x00080005
QUERY_RETRIEVE_LEVEL = 0x00080052
RETRIEVE_AE_TITLE = 0x00080054
INSTANCE_AVAILABILITY = 0x00080056
TIMEZONE_OFFSET = 0x00080201
