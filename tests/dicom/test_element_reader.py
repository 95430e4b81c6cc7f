"""The reader of elements finds what pydicom finds, and ends where that would not."""

import io
import zlib
from collections.abc import Iterator

import pytest
from pydicom import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from portal.dicom import element_reader, file_meta
from portal.dicom.element_heads import ITEM
from portal.dicom.element_reader import PIXEL_TAGS, ElementReader
from tests.fixtures.hostile import objects as hostile


def found_by_pydicom(dataset: Dataset, depth: int = 0) -> Iterator[tuple[int, int]]:
    """Depth and tag of each element and item."""
    for tag in sorted(dataset.keys()):
        element = dataset[tag]
        yield depth, int(tag)
        for item in element.value if element.VR == "SQ" else ():
            yield depth + 1, ITEM
            yield from found_by_pydicom(item, depth + 1)


def parsed_by_pydicom(data: bytes, syntax: str) -> Dataset:
    plain = zlib.decompress(data, -zlib.MAX_WBITS) if syntax == DeflatedExplicitVRLittleEndian else data
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    return read_dataset(io.BytesIO(plain), implicit, little, stop_when=lambda tag, _vr, _length: tag in PIXEL_TAGS)


def reader_of(data: bytes, *, syntax: str = ExplicitVRLittleEndian, deep: bool = True) -> ElementReader:
    return ElementReader(io.BytesIO(data), size=len(data), transfer_syntax_uid=syntax, deep=deep)


def test_it_finds_the_elements_that_pydicom_finds_in_each_of_its_files() -> None:
    for path in hostile.vendor_files():
        content = path.read_bytes()
        meta = file_meta.read(io.BytesIO(content))
        data, syntax = content[meta.dataset_offset :], file_meta.transfer_syntax_of(meta)
        reader = reader_of(data, syntax=syntax)
        read = sorted((each.depth, each.tag) for each in reader)
        assert (read, reader.stopped) == (sorted(found_by_pydicom(parsed_by_pydicom(data, syntax))), ""), path.name


def test_a_deflated_data_set_is_inflated_up_to_a_bound() -> None:
    packed = zlib.compress(hostile.element(0x00420011, "OB", bytes(40 << 20)), wbits=-zlib.MAX_WBITS)
    reader = reader_of(packed, syntax=DeflatedExplicitVRLittleEndian)
    assert [each.tag for each in reader] == [0x00420011]
    assert reader.end == element_reader.MAX_INFLATED_SIZE
    assert list(reader_of(b"\xff" * 100, syntax=DeflatedExplicitVRLittleEndian)) == []


ENDS = {
    "many": (hostile.tiny_elements(300_000), "elements"),
    "many at the top level": (hostile.tiny_elements(30_000, within=False), "elements"),
    "deep": (hostile.nested(33, defined=False), "depth"),
    "deep, of defined length": (hostile.nested(400), ""),
    "no item": (hostile.sequence(0x0040A730, b"no item here....", defined=False), "broken"),
    "no end": (hostile.element(0x00091010, "UN", b"x" * 100, length=hostile.UNDEFINED_LENGTH), "broken"),
    "half a head": (b"\x09\x00\x10\x10OB\0\0", "broken"),
    "past the end": (hostile.element(0x00091010, "OB", b"", length=1 << 31), ""),
    "empty": (b"", ""),
    "one byte": (b"\x09", ""),
}


@pytest.mark.parametrize("name", ENDS)
def test_it_ends_at_its_bounds_and_where_the_bytes_make_no_sense(name: str) -> None:
    data, stopped = ENDS[name]
    reader = reader_of(data)
    for _ in reader:
        pass
    assert reader.stopped == stopped
    assert reader.position <= len(data)
