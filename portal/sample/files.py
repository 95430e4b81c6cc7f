"""The sample data: vendor files that the pydicom wheel ships."""

from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

REQUIRED_ATTRIBUTES = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
FOLDERS = {"vendor files": "test_files", "files in odd character sets": "charset_files"}


@dataclass(frozen=True, kw_only=True)
class SampleFile:
    """A file that can be sent by C-STORE: its data set has a SOP Class and the UIDs of all levels."""

    path: Path
    kind: str
    sop_class_uid: str
    sop_instance_uid: str


def list_all() -> list[SampleFile]:
    """All sample files: first one for each SOP Instance UID, then the others, each part by path."""
    files = []
    for kind, folder in FOLDERS.items():
        root = Path(pydicom.__file__).parent / "data" / folder
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            try:
                ds = pydicom.dcmread(path, specific_tags=list(REQUIRED_ATTRIBUTES), stop_before_pixels=True)
            except InvalidDicomError:
                continue
            if all(ds.get(keyword) for keyword in REQUIRED_ATTRIBUTES) and ds.file_meta.get("TransferSyntaxUID"):
                sop_class, sop_instance = str(ds.SOPClassUID), str(ds.SOPInstanceUID)
                files.append(SampleFile(path=path, kind=kind, sop_class_uid=sop_class, sop_instance_uid=sop_instance))
    first = {file.sop_instance_uid: file for file in reversed(files)}
    return sorted(files, key=lambda file: first[file.sop_instance_uid] is not file)
