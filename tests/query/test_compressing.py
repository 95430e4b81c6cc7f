"""Objects that are compressed without loss, for a destination that takes no uncompressed ones."""

import struct
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from portal.errors import PortalError
from portal.pixels.sandbox import DATA_LIMIT
from portal.query import retrieve
from tests.fixtures.archive import an_object, encode, vendor_file
from tests.query.test_transcoding import of_dataset, of_file, outgoing, plain, transcoded

pytestmark = pytest.mark.usefixtures("site")

TARGETS = [JPEG2000Lossless, JPEGLSLossless, RLELossless]
each_target = pytest.mark.parametrize("target", TARGETS, ids=["JPEG 2000", "JPEG-LS", "RLE"])
PIXELS = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF)
ITEM, END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


@each_target
def test_each_frame_is_one_fragment_behind_an_empty_offset_table_ps3_5_a_4(target: str) -> None:
    path = vendor_file("emri_small.dcm")
    with retrieve.transcode(of_file(path), target) as file:
        content = file.read()
    place = content.index(PIXELS) + len(PIXELS)
    assert content[place : place + 8] == ITEM + bytes(4)
    lengths = []
    place += 8
    while content[place : place + 4] == ITEM:
        lengths.append(int.from_bytes(content[place + 4 : place + 8], "little"))
        place += 8 + lengths[-1]
    assert content[place : place + 8] == END + bytes(4)
    assert len(lengths) == 10
    assert all(length % 2 == 0 for length in lengths)


@each_target
@pytest.mark.parametrize("name", ["rtplan.dcm", "waveform_ecg.dcm", "MR_small_bigendian.dcm", "examples_palette.dcm"])
def test_values_are_the_same_in_a_compressed_syntax(name: str, target: str) -> None:
    path = vendor_file(name)
    original, result = dcmread(path), transcoded(of_file(path), target)
    assert list(plain(result)) == list(plain(original))
    assert result.get("LossyImageCompression") == original.get("LossyImageCompression")


@each_target
@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL"])
@pytest.mark.parametrize("planes", [0, 1])
def test_colours_keep_their_space_and_their_planes_are_told_ps3_5_8_2(
    tmp_path: Path, kind: str, planes: int, target: str
) -> None:
    ds = an_object("SC_rgb.dcm", PhotometricInterpretation=kind, PlanarConfiguration=planes)
    result = transcoded(of_dataset(tmp_path, encode(ds), ExplicitVRLittleEndian), target)
    assert (result.PhotometricInterpretation, result.PlanarConfiguration) == (kind, int(target == RLELossless))
    assert np.array_equal(result.pixel_array, ds.pixel_array)


def signed_of_12_bits() -> Dataset:
    ds = an_object("CT_small.dcm", BitsStored=12, HighBit=11)
    ds.PixelData = np.clip(ds.pixel_array, -2048, 2047).astype("<i2").tobytes()
    return ds


def with_more_than_the_stored_bits() -> Dataset:
    ds = an_object("CT_small.dcm", BitsStored=12, HighBit=11, PixelRepresentation=0)
    ds.PixelData = (np.arange(128 * 128, dtype="<u2") * 7).tobytes()
    return ds


@each_target
@pytest.mark.parametrize("make", [signed_of_12_bits, with_more_than_the_stored_bits])
def test_every_bit_of_a_sample_is_kept(tmp_path: Path, make: type[Dataset], target: str) -> None:
    ds = make()
    with retrieve.transcode(of_dataset(tmp_path, encode(ds), ExplicitVRLittleEndian), target) as file:
        (tmp_path / "compressed").write_bytes(file.read())
    again = transcoded(outgoing(tmp_path / "compressed", 0, target), ExplicitVRLittleEndian)
    assert again.PixelData == ds.PixelData


@pytest.mark.parametrize("name", ["SC_rgb_jpeg_dcmtk.dcm", "JPEG2000.dcm"])
def test_what_was_compressed_with_loss_is_not_compressed_again(name: str) -> None:
    with pytest.raises(PortalError, match="compressed with loss"):
        retrieve.transcode(of_file(vendor_file(name)), RLELossless)


@pytest.mark.parametrize(
    ("name", "target", "words"),
    [
        ("SC_rgb_32bit.dcm", JPEG2000Lossless, "does not hold such pixels: RGB, 3 samples, 32 of 32 bits"),
        ("SC_rgb_32bit.dcm", JPEGLSLossless, "does not hold such pixels: RGB, 3 samples, 32 of 32 bits"),
        ("liver.dcm", RLELossless, "Pixels of a single bit"),
        ("SC_rgb_small_odd.dcm", JPEGLSLossless, "cannot be compressed to JPEG-LS Lossless .* without loss"),
    ],
)
def test_pixels_that_a_compressed_syntax_does_not_hold_fail_with_the_reason(name: str, target: str, words: str) -> None:
    with pytest.raises(PortalError, match=words):
        retrieve.transcode(of_file(vendor_file(name)), target)


@pytest.mark.parametrize("target", [JPEG2000Lossless, JPEGLSLossless])
def test_signed_samples_beyond_their_stored_bits_are_not_sent_as_other_values(tmp_path: Path, target: str) -> None:
    ds = an_object("CT_small.dcm", BitsStored=12, HighBit=11)
    ds.PixelData = np.full((128, 128), 4095, dtype="<i2").tobytes()
    with pytest.raises(PortalError, match="do not fit in their 12 stored bits"):
        retrieve.transcode(of_dataset(tmp_path, encode(ds), ExplicitVRLittleEndian), target)


def test_fewer_frames_than_declared_are_not_compressed(tmp_path: Path) -> None:
    ds = an_object("emri_small.dcm", NumberOfFrames=11)
    with pytest.raises(PortalError, match="number of frames differs"):
        retrieve.transcode(of_dataset(tmp_path, encode(ds), ExplicitVRLittleEndian), RLELossless)


@pytest.mark.prove
def test_an_object_that_is_larger_than_the_memory_of_a_decoder_is_compressed_frame_by_frame(tmp_path: Path) -> None:
    ds = an_object(Rows=1024, Columns=1024, NumberOfFrames=DATA_LIMIT // (2 << 20) + 10)
    ds.PixelData = bytes(2 << 20) * ds.NumberOfFrames
    source = of_dataset(tmp_path, encode(ds), ExplicitVRLittleEndian)
    result = transcoded(source, RLELossless)
    assert len(list(generate_frames(result.PixelData, number_of_frames=ds.NumberOfFrames))) == ds.NumberOfFrames
