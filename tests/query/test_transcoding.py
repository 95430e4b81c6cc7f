import io
import resource
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSNearLossless,
    RLELossless,
)

from portal.archive import Slice
from portal.dicom import file_meta
from portal.errors import NoSpace, PortalError
from portal.query import retrieve
from portal.settings import Settings
from tests.fixtures.archive import an_object, encode, vendor_file
from tests.fixtures.hostile import pixels as hostile_pixels

pytestmark = pytest.mark.usefixtures("site")

BOTH = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
VENDOR_FILES = [
    "CT_small.dcm",  # Explicit VR Little Endian
    "MR_small_implicit.dcm",
    "MR_small_bigendian.dcm",
    "SC_rgb_small_odd_big_endian.dcm",
    "SC_rgb_32bit_2frame.dcm",
    "ExplVR_BigEnd.dcm",
    "image_dfl.dcm",  # deflated
    "MR_small_RLE.dcm",
    "SC_rgb_rle_2frame.dcm",
    "JPEG-LL.dcm",
    "JPEG2000.dcm",
    "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_small_odd_jpeg.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm",
    "examples_ybr_color.dcm",  # 30 frames
    "emri_small_jpeg_2k_lossless.dcm",  # 10 frames
    "rtplan.dcm",
    "reportsi.dcm",
    "waveform_ecg.dcm",
    "nested_priv_SQ.dcm",
    "UN_sequence.dcm",
]


DESCRIBING = {"PhotometricInterpretation", "PlanarConfiguration", "LossyImageCompression"}


@dataclass(frozen=True)
class Outgoing:
    """One instance as `retrieve` plans it, but in a file of the test's own."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    path: Path
    offset: int

    def open(self) -> Slice:
        return Slice(self.path, self.offset, self.path.stat().st_size - self.offset)


def outgoing(path: Path, offset: int, syntax: str, sop_class: str = "1.2", uid: str = "1.2.3") -> Outgoing:
    return Outgoing(sop_class, uid, syntax, path, offset)


def of_file(path: Path) -> Outgoing:
    meta = file_meta.read(io.BytesIO(path.read_bytes()))
    return outgoing(path, meta.dataset_offset, meta.transfer_syntax_uid, meta.sop_class_uid, meta.sop_instance_uid)


def of_dataset(tmp_path: Path, data: bytes, syntax: str) -> Outgoing:
    path = tmp_path / "dataset"
    path.write_bytes(data)
    return outgoing(path, 0, syntax)


def transcoded(source: Outgoing, syntax: str) -> Dataset:
    with retrieve.transcode(source, syntax) as file:
        ds = read_dataset(io.BytesIO(file.read()), syntax == ImplicitVRLittleEndian, True)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    return ds


def plain(ds: Dataset) -> Iterator[tuple[Any, Any]]:
    """All values but the pixels, what describes them, and private ones, which have no VR in an implicit syntax."""
    for element in ds.iterall():
        apart = element.tag.is_private or element.tag.group == 0x7FE0 or element.tag.element == 0
        if not apart and element.VR not in ("SQ", "UN", "OW") and element.keyword not in DESCRIBING:
            yield element.tag, element.value


@pytest.mark.parametrize("syntax", BOTH, ids=["explicit", "implicit"])
@pytest.mark.parametrize("name", VENDOR_FILES)
def test_values_and_decoded_pixels_of_vendor_files_stay_the_same(name: str, syntax: str) -> None:
    path = vendor_file(name)
    original, result = dcmread(path), transcoded(of_file(path), syntax)
    assert list(plain(result)) == list(plain(original))
    if "PixelData" in original and "BitsAllocated" in original:
        assert np.array_equal(result.pixel_array, original.pixel_array)


@pytest.mark.parametrize("syntax", BOTH, ids=["explicit", "implicit"])
def test_the_sop_instance_uid_stays(syntax: str) -> None:
    path = vendor_file("JPEG2000.dcm")
    assert transcoded(of_file(path), syntax).SOPInstanceUID == dcmread(path).SOPInstanceUID


def test_pixels_that_lost_something_still_say_so() -> None:
    path = vendor_file("SC_rgb_jpeg_dcmtk.dcm")
    source = dcmread(path)
    assert source.get("LossyImageCompression") in (None, "01")
    result = transcoded(of_file(path), ExplicitVRLittleEndian)
    assert result.LossyImageCompression == "01"
    assert result.PhotometricInterpretation == "RGB"
    assert transcoded(of_file(vendor_file("MR_small_RLE.dcm")), BOTH[0]).get("LossyImageCompression") is None


def test_colours_that_were_compressed_without_loss_are_not_converted(tmp_path: Path) -> None:
    ds = an_object("SC_rgb_small_odd.dcm")
    ds.PhotometricInterpretation = "YBR_FULL"
    pixels = ds.PixelData
    ds.compress(RLELossless, generate_instance_uid=False)
    result = transcoded(of_dataset(tmp_path, encode(ds), RLELossless), ExplicitVRLittleEndian)
    assert result.PhotometricInterpretation == "YBR_FULL"
    assert result.PixelData == pixels


def test_decoded_pixels_have_the_vr_and_the_even_length_of_the_standard() -> None:
    wide = transcoded(of_file(vendor_file("MR_small_RLE.dcm")), ExplicitVRLittleEndian)
    narrow = transcoded(of_file(vendor_file("SC_rgb_small_odd_jpeg.dcm")), ExplicitVRLittleEndian)
    assert (wide.get_item("PixelData").VR, narrow.get_item("PixelData").VR) == ("OW", "OB")
    assert len(narrow.PixelData) % 2 == 0
    assert narrow.PlanarConfiguration == 0


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_large_big_endian_pixels_are_turned_word_by_word(tmp_path: Path, bits: int) -> None:
    pixels = np.arange(1024 * 1024 + 2, dtype=f"<u{bits // 8}")
    ds = Dataset()
    ds.BitsAllocated = bits
    # 8-bit pixels in OW lie two in a word, so they too change places (PS3.5 8.1.1, D).
    ds.add_new("PixelData", "OW", pixels.view(f"<u{max(bits // 8, 2)}").byteswap().tobytes())
    target = DicomBytesIO()
    target.is_little_endian, target.is_implicit_VR = False, False
    write_dataset(target, ds)
    source = of_dataset(tmp_path, target.getvalue(), ExplicitVRBigEndian)
    assert transcoded(source, ExplicitVRLittleEndian).get_item("PixelData").value == pixels.tobytes()


def test_text_that_no_set_explains_comes_out_as_the_bytes_that_it_is(tmp_path: Path) -> None:
    data = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 192" + b"\x10\x00\x10\x00PN\x06\x00J\xe9r\xf4me"
    with retrieve.transcode(of_dataset(tmp_path, data, ExplicitVRLittleEndian), ImplicitVRLittleEndian) as file:
        assert b"J\xe9r\xf4me" in file.read()


def test_a_value_too_long_for_its_vr_becomes_un(tmp_path: Path) -> None:
    text = b"x" * 70_000
    data = struct.pack("<HHI", 0x0010, 0x4000, len(text)) + text
    with retrieve.transcode(of_dataset(tmp_path, data, ImplicitVRLittleEndian), ExplicitVRLittleEndian) as file:
        assert file.read() == b"\x10\x00\x00\x40UN\x00\x00" + struct.pack("<I", len(text)) + text


def test_a_private_sequence_is_still_one_for_a_reader_without_vrs() -> None:
    ds = transcoded(of_file(vendor_file("nested_priv_SQ.dcm")), ImplicitVRLittleEndian)
    assert len(ds[0x00010001].value) == 1


def test_large_pixels_are_copied_in_parts(tmp_path: Path) -> None:
    ds = an_object(Rows=2048, Columns=2600)
    ds.PixelData = bytes(range(256)) * (2048 * 2600 * 2 // 256)
    source = of_dataset(tmp_path, encode(ds), ExplicitVRLittleEndian)
    assert transcoded(source, ImplicitVRLittleEndian).PixelData == ds.PixelData


@pytest.mark.parametrize(
    ("syntax", "words"),
    [
        ("1.2.840.10008.1.2.4.102", "MPEG-4 AVC/H.264 High Profile .* cannot be decoded"),
        ("1.2.840.10008.1.2.4.94", "is unknown"),
        ("1.2.3.4", "is unknown"),
        ("", "is unknown"),
    ],
)
def test_what_cannot_be_decoded_fails_with_its_reason(tmp_path: Path, syntax: str, words: str) -> None:
    ds = an_object()
    ds.PixelData = encapsulate([b"\0\1\2\3"])
    ds["PixelData"].is_undefined_length = True
    with pytest.raises(PortalError, match=words):
        retrieve.transcode(of_dataset(tmp_path, encode(ds), syntax), ExplicitVRLittleEndian)


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEG2000, JPEGLSNearLossless, DeflatedExplicitVRLittleEndian])
def test_nothing_is_transcoded_to_a_syntax_that_loses_something(syntax: str) -> None:
    with pytest.raises(PortalError, match="Objects are not transcoded to"):
        retrieve.transcode(of_file(vendor_file("CT_small.dcm")), syntax)


def test_broken_compressed_pixels_fail_with_a_sentence(tmp_path: Path) -> None:
    ds = an_object()
    ds.PixelData = encapsulate([b"no JPEG at all!!"])
    ds["PixelData"].is_undefined_length = True
    with pytest.raises(PortalError, match="cannot be decoded from JPEG 2000"):
        retrieve.transcode(of_dataset(tmp_path, encode(ds), JPEG2000Lossless), ExplicitVRLittleEndian)


def test_a_codec_that_panics_fails_this_one_object_alone(tmp_path: Path) -> None:
    ds = dcmread(vendor_file("MR_small_RLE.dcm"))
    ds.Rows = 32
    with pytest.raises(PortalError, match="cannot be decoded from RLE Lossless"):
        retrieve.transcode(of_dataset(tmp_path, encode(ds), RLELossless), ExplicitVRLittleEndian)


def test_rows_and_columns_that_no_memory_could_hold_are_refused(tmp_path: Path) -> None:
    ds = an_object("SC_rgb_jpeg_dcmtk.dcm", Rows=65535, Columns=65535)
    with pytest.raises(PortalError, match="larger than 1 GB"):
        retrieve.transcode(of_dataset(tmp_path, encode(ds), JPEGBaseline8Bit), ExplicitVRLittleEndian)


def test_fewer_frames_than_announced_fail_with_a_sentence(tmp_path: Path) -> None:
    ds = dcmread(vendor_file("SC_rgb_rle_2frame.dcm"))
    ds.NumberOfFrames = 3
    with pytest.raises(PortalError):
        retrieve.transcode(of_dataset(tmp_path, encode(ds), RLELossless), ExplicitVRLittleEndian)


def test_a_deflated_data_set_that_is_cut_off_fails_or_gives_what_is_there(tmp_path: Path) -> None:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(encode(an_object())) + packer.flush()
    source = of_dataset(tmp_path, b"\xff" * 64 + packed, DeflatedExplicitVRLittleEndian)
    with pytest.raises(PortalError, match="cannot be decoded from Deflated"):
        retrieve.transcode(source, ExplicitVRLittleEndian)


def test_a_disk_without_room_for_the_decoded_object_fails_it_in_words(tmp_path: Path) -> None:
    source = of_dataset(tmp_path, encode(hostile_pixels.many_frames(9)), RLELossless)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        with pytest.raises(NoSpace, match="cannot be written to the disk while it is sent"):
            retrieve.transcode(source, ExplicitVRLittleEndian)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_no_temporary_file_is_left(site: Settings) -> None:
    before = set(site.run.iterdir())
    with retrieve.transcode(of_file(vendor_file("examples_ybr_color.dcm")), ExplicitVRLittleEndian) as file:
        assert file.read(4)
    assert set(site.run.iterdir()) == before
