"""Compressed objects whose pixels break a decoder, or take all the memory that there is."""

import struct

from archive_fixtures import an_object, vendor_file
from pydicom import Dataset, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import RLELossless

SIZE_MARKER = b"\xff\x4f\xff\x51"


def jpeg_2000(*, cut: bool = False, said: int = 0) -> Dataset:
    """An MR image whose codestream ends in the middle, or says to be so many pixels wide and high."""
    ds = dcmread(vendor_file("MR_small_jp2klossless.dcm"))
    (frame,) = generate_frames(ds.PixelData, number_of_frames=1)
    if cut:
        frame = frame[: len(frame) // 2]
    if said:
        at = frame.index(SIZE_MARKER) + 8
        size = struct.pack(">II", said, said)
        frame = frame[:at] + size + frame[at + 8 : at + 16] + size + frame[at + 24 :]
    ds.PixelData = encapsulate([frame])
    return ds


def rle(*, rows: int, columns: int = 64) -> Dataset:
    """An MR image of 64 rows and columns that says to have others."""
    ds = dcmread(vendor_file("MR_small_RLE.dcm"))
    ds.Rows, ds.Columns = rows, columns
    return ds


def large_frame() -> Dataset:
    """A frame of 96 MB that can be decoded: an MR image in its class, as the others here."""
    ds = an_object("MR_small.dcm", Rows=8000, Columns=6000, PixelData=bytes(2 * 8000 * 6000))
    ds.compress(RLELossless, generate_instance_uid=False)
    return ds


def many_frames(number: int) -> Dataset:
    """So many frames of 2 MiB each, of which almost nothing is left once they are compressed."""
    ds = an_object(Rows=1024, Columns=1024, PixelData=bytes(1 << 21))
    ds.compress(RLELossless, generate_instance_uid=False)
    ds.NumberOfFrames = number
    ds.PixelData = encapsulate(list(generate_frames(ds.PixelData, number_of_frames=1)) * number)
    return ds


def each() -> dict[str, Dataset]:
    """One of each kind, by what is wrong with it."""
    return {
        "a codec that panics": rle(rows=32),
        "a frame of 800 MB": rle(rows=20_000, columns=20_000),
        "rows and columns that nobody has": rle(rows=65_535, columns=65_535),
        "a codestream that ends in the middle": jpeg_2000(cut=True),
        "a codestream of 3.6 gigapixels": jpeg_2000(said=60_000),
    }
