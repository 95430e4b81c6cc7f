"""The vendor files that the pydicom wheel ships: what the sample site is fed with."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

REQUIRED_ATTRIBUTES = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
FOLDERS = {"vendor files": "test_files", "files in odd character sets": "charset_files"}


@dataclass(frozen=True, kw_only=True)
class SampleFile:
    """A file that a C-STORE can carry: its data set has a class and the UIDs of all three levels."""

    path: Path
    kind: str
    sop_class_uid: str
    sop_instance_uid: str


def list_all() -> list[SampleFile]:
    """All of them: first one for each SOP Instance UID, then the rest, each part by path."""
    found = [one for kind, folder in FOLDERS.items() for one in _in_folder(kind, folder)]
    first = {one.sop_instance_uid: one for one in reversed(found)}
    return sorted(found, key=lambda one: first[one.sop_instance_uid] is not one)


def _in_folder(kind: str, folder: str) -> Iterator[SampleFile]:
    root = Path(pydicom.__file__).parent / "data" / folder
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        try:
            ds = pydicom.dcmread(path, specific_tags=list(REQUIRED_ATTRIBUTES), stop_before_pixels=True)
        except InvalidDicomError:
            continue
        if all(ds.get(keyword) for keyword in REQUIRED_ATTRIBUTES) and ds.file_meta.get("TransferSyntaxUID"):
            yield SampleFile(
                path=path, kind=kind, sop_class_uid=str(ds.SOPClassUID), sop_instance_uid=str(ds.SOPInstanceUID)
            )
