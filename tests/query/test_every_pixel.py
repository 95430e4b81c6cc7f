"""Every test file with pixels in every transfer syntax that we transcode to: what arrives is what is stored."""

import io
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import data_store
import numpy as np
import pydicom
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.pixels import pixel_array
from pydicom.uid import UID, ImplicitVRLittleEndian, RLELossless

from portal.dicom import sop_classes
from portal.errors import PortalError
from portal.query import retrieve
from portal.query.transcoding import TARGETS
from tests.query.test_transcoding import of_file

pytestmark = pytest.mark.usefixtures("site")

UNCOMPRESSED = TARGETS[:2]
SMALLEST_SIDE = 4
"""Rows that the encoders of JPEG 2000 and JPEG-LS need."""
MAX_QUICK_SAMPLES = 100_000
"""Samples of an object that is part of each run."""
FOLDERS = (Path(pydicom.__file__).parent / "data" / "test_files", Path(data_store.__file__).parent)
"""Files of the wheels of pydicom and pydicom-data."""


@cache
def decoded(path: Path) -> Any:
    """The pixels as pydicom decodes them; None for a file that is no object with pixels, or that it cannot decode."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return pixel_array(path)
        except Exception:
            return None


@cache
def files() -> list[Path]:
    return sorted(path for folder in FOLDERS for path in folder.rglob("*.dcm"))


def received(content: bytes, syntax: str) -> Dataset:
    """What a peer reads of a data set that was sent in a transfer syntax."""
    ds = read_dataset(io.BytesIO(content), syntax == ImplicitVRLittleEndian, True)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    return ds


def may_fail(source: Dataset, target: str) -> str:
    """The words with which an object is not sent in a transfer syntax; empty where it must be."""
    syntax = source.file_meta.TransferSyntaxUID
    if str(source.filename).endswith("too_short.dcm"):
        return "ends in the middle of its pixels"
    if target in UNCOMPRESSED:
        return "single bit" if source.get("BitsAllocated") == 1 and syntax.is_encapsulated else ""
    if syntax.is_encapsulated and syntax not in sop_classes.LOSSLESS_SYNTAXES:
        return "compressed with loss"
    if source.get("BitsAllocated") == 1:
        return "single bit"
    if source.get("BitsAllocated", 16) > 16 and target != RLELossless:
        return "does not hold such pixels"
    return "without loss" if source.Rows < SMALLEST_SIDE and target != RLELossless else ""


@pytest.mark.parametrize("target", TARGETS, ids=lambda uid: UID(uid).keyword)
def test_what_arrives_of_small_objects_has_the_pixels_that_are_stored_ps3_5_8_2(target: str) -> None:
    paths = [path for path in files() if (pixels := decoded(path)) is not None and pixels.size <= MAX_QUICK_SAMPLES]
    assert compare(paths, target) > 30


@pytest.mark.prove
@pytest.mark.timeout(900)
@pytest.mark.parametrize("target", TARGETS, ids=lambda uid: UID(uid).keyword)
def test_what_arrives_of_all_objects_has_the_pixels_that_are_stored_ps3_5_8_2(
    target: str, record_property: Callable[[str, object], None]
) -> None:
    record_property(
        "objects_with_equal_pixels", compare([path for path in files() if decoded(path) is not None], target)
    )


def compare(paths: list[Path], target: str) -> int:
    """Send each file in a transfer syntax: its pixels arrive, or it fails with the expected reason. How many came."""
    sent, problems = 0, []
    for path in paths:
        pixels = decoded(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source = dcmread(path)
            words = may_fail(source, target)
            try:
                with retrieve.transcode(of_file(path), target) as file:
                    ds = received(file.read(), target)
                if words:
                    problems.append((path.name, "was sent"))
                elif not np.array_equal(ds.pixel_array, pixels) or ds.SOPInstanceUID != source.SOPInstanceUID:
                    problems.append((path.name, "differs"))
                sent += 1
            except PortalError as error:
                if not words or words not in error.message:
                    problems.append((path.name, error.message))
    assert problems == []
    return sent
