"""The objects of the DIMSE bench: made by a seeded generator, with other UIDs for each round."""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
XA_IMAGE = "1.2.840.10008.5.1.4.1.1.12.1"
UID_PREFIX = b"2.25."
FIRST_ROUND = 1_000_000
ROUND_DIGITS = 7
FILLER = "1415926535897932384626"
STUDY, SERIES, INSTANCE, FRAME_OF_REFERENCE = range(1, 5)
SENDERS = 4
"""Each work lies in so many folders, one for each of several senders at once."""
PIECE = 1 << 20
META_LENGTH_ENDS = 144
"""Offset where the value of (0002,0000) ends: the rest of the file meta information has that length (PS3.10 7.1)."""
SOP_INSTANCE = b"\x02\x00\x03\x00UI"
PRIVATE_ELEMENTS = 130


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is sent: so many objects in so many studies, each with so many series."""

    name: str
    instances: int
    rows: int = 512
    columns: int = 512
    studies: int = 1
    series: int = 1
    frames: int = 0
    """0: CT with two bytes a pixel; else XA with one."""

    @property
    def sop_class(self) -> str:
        return XA_IMAGE if self.frames else CT_IMAGE

    def smaller(self, part: int) -> "Work":
        """So many times smaller: with fewer frames, else with fewer objects."""
        if self.frames:
            return replace(self, frames=max(1, self.frames // part))
        studies = max(1, self.studies // part)
        return replace(self, studies=studies, instances=max(studies, self.instances // part))


@dataclass(frozen=True)
class Source:
    """A work on the disk."""

    work: Work
    folder: Path
    header_size: int
    """Bytes before the pixels: only there are UIDs."""

    @property
    def folders(self) -> list[Path]:
        return [self.folder / str(sender) for sender in range(SENDERS)]

    def objects(self) -> dict[str, Path]:
        """Path of each object by its SOP Instance UID."""
        return {uid: path for path in sorted(self.folder.glob("*/*.dcm")) for uid, _ in [read(path)]}

    def study_uid(self, number: int, round_: int) -> str:
        return uid_of(STUDY, number, round_)

    @property
    def megabytes(self) -> float:
        return sum(path.stat().st_size for path in self.folder.glob("*/*.dcm")) / 1e6

    def give_new_uids(self, round_: int) -> None:
        """Write the round into each UID, in place: as many bytes as before."""
        digits = str(FIRST_ROUND + round_).encode()
        for path in self.folder.glob("*/*.dcm"):
            with path.open("r+b") as file:
                header = file.read(self.header_size)
                file.seek(0)
                parts = header.split(UID_PREFIX)
                file.write(UID_PREFIX.join([parts[0], *(digits + part[ROUND_DIGITS:] for part in parts[1:])]))


def uid_of(kind: int, number: int, round_: int = 0) -> str:
    """A UID of 43 characters (PS3.5 B.2), as long as those of scanners."""
    return f"2.25.{FIRST_ROUND + round_}{kind}{number:08}{FILLER}"


def make(work: Work, folder: Path) -> Source:
    """Write the objects of a work; the same bytes each time."""
    dice = np.random.default_rng(len(work.name) + work.instances)
    pixels = work.rows * work.columns * (work.frames or 2)
    value = (b"OB" if work.frames else b"OW") + b"\0\0" + pixels.to_bytes(4, "little")
    head = _header(work) + b"\xe0\x7f\x10\x00" + value
    for number in range(work.instances):
        study = number * work.studies // work.instances
        series = number * work.studies * work.series // work.instances
        path = folder / str(number * SENDERS // work.instances) / f"{number:05}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(_numbered(head, study, series, number))
            for at in range(0, pixels, PIECE):
                file.write(dice.bytes(min(PIECE, pixels - at)))
    return Source(work, folder, len(head))


def read(path: Path) -> tuple[str, int]:
    """SOP Instance UID of a file, and the offset of its data set."""
    with path.open("rb") as file:
        return split(file.read(2048))


def split(content: bytes) -> tuple[str, int]:
    """SOP Instance UID of the file meta information, and the offset of the data set that follows it."""
    ends = META_LENGTH_ENDS + int.from_bytes(content[META_LENGTH_ENDS - 4 : META_LENGTH_ENDS], "little")
    at = content.index(SOP_INSTANCE, 0, ends) + len(SOP_INSTANCE)
    size = int.from_bytes(content[at : at + 2], "little")
    return content[at + 2 : at + 2 + size].rstrip(b"\0").decode(), ends


@dataclass(frozen=True)
class Stored:
    """A part of a file that a server has written: a file of its own, or a record of a segment."""

    path: Path
    offset: int = 0
    size: int = 0
    """0: until the end of the file."""

    def is_same(self, source: Path) -> bool:
        """Whether the data set has the bytes of the source's, from the first to the last."""
        with source.open("rb") as ours, self.path.open("rb") as theirs:
            a = mmap.mmap(ours.fileno(), 0, access=mmap.ACCESS_READ)
            b = mmap.mmap(theirs.fileno(), 0, access=mmap.ACCESS_READ)
            with a, b:
                begin = split(a[:2048])[1]
                start = self.offset + split(b[self.offset : self.offset + 2048])[1]
                size = len(a) - begin
                if (self.offset + self.size if self.size else len(b)) - start != size:
                    return False
                pieces = range(0, size, PIECE)
                return all(
                    a[begin + at : begin + min(at + PIECE, size)] == b[start + at : start + min(at + PIECE, size)]
                    for at in pieces
                )


def in_files(folder: Path) -> Iterator[tuple[str, Stored]]:
    """The DICOM files of a folder, by their SOP Instance UIDs."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                begin = file.read(2048)
            if begin[128:132] == b"DICM":
                yield split(begin)[0], Stored(path)


def _numbered(head: bytes, study: int, series: int, number: int) -> bytes:
    for kind, which in ((STUDY, study), (SERIES, series), (INSTANCE, number), (FRAME_OF_REFERENCE, study)):
        head = head.replace(uid_of(kind, 0).encode(), uid_of(kind, which).encode())
    day = f"{2018 + study % 8}{study // 8 % 12 + 1:02}{study // 96 % 28 + 1:02}"
    for old, new in (
        ("@PATIENT", f"P{study:07}"),
        ("@SURNAME", f"B{study:07}"),
        ("@ACCESSN", f"A{study:07}"),
        ("@STUDYID", f"{study:08}"),
        ("19010203", day),
        ("1234567890", f"{number + 1:010}"),
    ):
        head = head.replace(old.encode(), new.encode())
    return head


def _header(work: Work) -> bytes:
    """File meta information and data set without the pixels: some 250 elements, half of them a vendor's own."""
    ds = Dataset()
    for keyword, value in _elements(work):
        setattr(ds, keyword, value)
    ds.ProcedureCodeSequence = Sequence([_code("CTTHX", "CT Thorax")])
    ds.RequestAttributesSequence = Sequence([Dataset()])
    ds.RequestAttributesSequence[0].ScheduledProcedureStepID = "SPS1"
    ds.RequestAttributesSequence[0].RequestedProcedureID = "RP1"
    ds.ReferencedImageSequence = Sequence([Dataset()])
    ds.ReferencedImageSequence[0].ReferencedSOPClassUID = work.sop_class
    ds.ReferencedImageSequence[0].ReferencedSOPInstanceUID = uid_of(INSTANCE, 0)
    for number in range(PRIVATE_ELEMENTS):
        block = ds.private_block((0x0019, 0x0021, 0x0043)[number % 3], "BENCH VENDOR 01", create=True)
        block.add_new(
            number // 3, ("DS", "LO", "SS", "IS")[number % 4], ("1.25", f"value {number}", number, "42")[number % 4]
        )
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out = BytesIO()
    dcmwrite(out, ds, enforce_file_format=True)
    return out.getvalue()


def _elements(work: Work) -> Iterator[tuple[str, object]]:
    yield from {
        "SpecificCharacterSet": "ISO_IR 100",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "InstanceCreationDate": "20260102",
        "InstanceCreationTime": "101500",
        "SOPClassUID": work.sop_class,
        "SOPInstanceUID": uid_of(INSTANCE, 0),
        "StudyDate": "19010203",
        "SeriesDate": "19010203",
        "AcquisitionDate": "19010203",
        "ContentDate": "19010203",
        "StudyTime": "101500.000",
        "SeriesTime": "101501.000",
        "AcquisitionTime": "101502.000",
        "ContentTime": "101503.000",
        "AccessionNumber": "@ACCESSN",
        "Modality": "XA" if work.frames else "CT",
        "Manufacturer": "BENCH MEDICAL SYSTEMS",
        "InstitutionName": "Hospital of the bench",
        "InstitutionAddress": "1 Bench Street",
        "ReferringPhysicianName": "Referring^Physician",
        "StationName": "BENCH01",
        "StudyDescription": "Thorax",
        "SeriesDescription": "axial 1.0 lung",
        "InstitutionalDepartmentName": "Radiology",
        "PhysiciansOfRecord": "Record^Physician",
        "PerformingPhysicianName": "Performing^Physician",
        "OperatorsName": "Operator^One",
        "ManufacturerModelName": "Model 64",
        "PatientName": "@SURNAME^Anna",
        "PatientID": "@PATIENT",
        "IssuerOfPatientID": "BENCH",
        "PatientBirthDate": "19700101",
        "PatientSex": "F",
        "PatientAge": "056Y",
        "PatientSize": "1.70",
        "PatientWeight": "70",
        "BodyPartExamined": "CHEST",
        "DeviceSerialNumber": "0815",
        "SoftwareVersions": ["V1.0", "V2.0"],
        "ProtocolName": "Thorax routine",
        "ContrastBolusAgent": "none",
        "ScanOptions": "HELICAL",
        "SliceThickness": "1.0",
        "KVP": "120",
        "DataCollectionDiameter": "500",
        "ReconstructionDiameter": "360",
        "DistanceSourceToDetector": "949",
        "DistanceSourceToPatient": "541",
        "GantryDetectorTilt": "0",
        "TableHeight": "150",
        "RotationDirection": "CW",
        "ExposureTime": "500",
        "XRayTubeCurrent": "200",
        "Exposure": "100",
        "FilterType": "BODY FILTER",
        "GeneratorPower": "24",
        "FocalSpots": "1.2",
        "ConvolutionKernel": "LUNG",
        "PatientPosition": "HFS",
        "StudyInstanceUID": uid_of(STUDY, 0),
        "SeriesInstanceUID": uid_of(SERIES, 0),
        "StudyID": "@STUDYID",
        "SeriesNumber": "1",
        "AcquisitionNumber": "1",
        "InstanceNumber": "1234567890",
        "ImagePositionPatient": ["-180.0", "-180.0", "100.0"],
        "ImageOrientationPatient": ["1", "0", "0", "0", "1", "0"],
        "FrameOfReferenceUID": uid_of(FRAME_OF_REFERENCE, 0),
        "PositionReferenceIndicator": "SN",
        "SliceLocation": "100.0",
        "ImageComments": "made for the bench",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": work.rows,
        "Columns": work.columns,
        "PixelSpacing": ["0.703125", "0.703125"],
        "BitsAllocated": 8 if work.frames else 16,
        "BitsStored": 8 if work.frames else 12,
        "HighBit": 7 if work.frames else 11,
        "PixelRepresentation": 0,
        "WindowCenter": "40",
        "WindowWidth": "400",
        "RescaleIntercept": "-1024",
        "RescaleSlope": "1",
        "RequestingPhysician": "Requesting^Physician",
        "RequestedProcedureDescription": "CT Thorax",
        "PerformedProcedureStepStartDate": "19010203",
        "PerformedProcedureStepStartTime": "101500",
        "PerformedProcedureStepID": "PPS1",
        "PerformedProcedureStepDescription": "Thorax routine",
    }.items()
    if work.frames:
        yield "NumberOfFrames", str(work.frames)


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "99BENCH", meaning
    return code
