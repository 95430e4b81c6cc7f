"""The tasks of the decoder process: rendering, transcoding and comparing vendor pixels.

Each task reads its objects frame by frame, so that memory does not grow with the number of frames.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import zip_longest
from typing import Any, BinaryIO, cast

import numpy as np
from pydicom import Dataset
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options, iter_pixels
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
)

from portal.dicom.element_heads import PIXEL_DATA, UNDEFINED_LENGTH
from portal.dicom.little_endian import DatasetWriter
from portal.errors import PortalError
from portal.pixels import rendering
from portal.pixels.protocol import Content

DEFER_SIZE = 1 << 20
"""Bytes from which on a value is copied rather than read."""
ENCAPSULATED_DEFER_SIZE = 16 << 20
"""The same before compressed pixels, where the table of frame offsets has to be read."""
MAX_FRAME_SIZE = 1 << 30
MAX_VALUE_LENGTH = 0xFFFFFFFE

_ALWAYS_LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit)
_FRAGMENT_TABLES = (0x7FE00001, 0x7FE00002)
"""The extended offset table: decoded pixels have no fragments."""
_ICON_IMAGE_SEQUENCE = 0x00880200


def render(contents: Sequence[Content], result: BinaryIO, *, frame: int, side: int) -> None:
    """A PNG of one frame of a DICOM file."""
    result.write(rendering.render(contents[0].open(), frame, side))


def same_frames(contents: Sequence[Content], result: BinaryIO) -> None:
    """Whether two DICOM files have equal pixels, once decoded: one byte, 0 or 1."""
    frames = zip_longest(*(iter_pixels(content.open()) for content in contents))
    same = all(a is not None and b is not None and np.array_equal(a, b) for a, b in frames)
    result.write(bytes([same]))


def transcode(contents: Sequence[Content], result: BinaryIO, *, syntax: str, implicit: bool) -> None:
    """A data set, without file meta and not deflated, in Explicit or Implicit VR Little Endian."""
    stored = contents[0].open()
    compressed = UID(syntax).is_encapsulated
    dataset = read_dataset(
        stored,
        syntax == ImplicitVRLittleEndian,
        syntax != ExplicitVRBigEndian,
        stop_when=_at_pixels if compressed else None,
        defer_size=ENCAPSULATED_DEFER_SIZE if compressed else DEFER_SIZE,
    )
    writer = DatasetWriter(result, contents[0].open(), implicit=implicit)
    head = stored.read(12) if compressed else b""
    if not head:
        writer.write(dataset)
        return

    # The elements behind the pixels (PS3.5 A.4).
    file = contents[0].open()
    file.seek(stored.tell())
    length = int.from_bytes(head[8:], "little")
    if length != UNDEFINED_LENGTH:
        file.seek(length, 1)
    else:
        while (item := file.read(8))[:4] == b"\xfe\xff\x00\xe0":
            file.seek(int.from_bytes(item[4:], "little"), 1)
        if item[:4] != b"\xfe\xff\xdd\xe0":
            raise EOFError("The fragments have no end.")
    rest = read_dataset(file, False, True, defer_size=DEFER_SIZE)

    _Frames(dataset, stored, UID(syntax)).write(writer, result)
    writer.write(rest)


TASKS: dict[str, Callable[..., None]] = {"render": render, "same_frames": same_frames, "transcode": transcode}


def _at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:  # noqa: ARG001 (pydicom's signature)
    return int(tag) == PIXEL_DATA


class _Frames:
    """The decoded frames of a data set. Only JPEG, which is lossy already, is converted to RGB."""

    def __init__(self, dataset: Dataset, stored: BinaryIO, syntax: UID) -> None:
        if dataset.BitsAllocated < 8:
            raise PortalError("Compressed pixels of a single bit cannot be decoded.")
        if dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * (dataset.BitsAllocated // 8) > MAX_FRAME_SIZE:
            raise PortalError("A frame of this object is larger than 1 GB once decoded.")
        try:
            self._decoder = get_decoder(syntax)
        except NotImplementedError as error:
            message = f"{syntax.name} cannot be decoded; the destination has to accept it unchanged."
            raise PortalError(message) from error
        self._is_lossy = syntax in _ALWAYS_LOSSY
        self._dataset, self._stored = dataset, stored
        self._options = as_pixel_options(dataset, transfer_syntax_uid=syntax)

    def __iter__(self) -> Iterator[tuple[bytes, dict[str, Any]]]:
        """Each frame in little endian, and the properties of its pixels now."""
        for pixels, properties in self._decoder.iter_array(self._stored, raw=not self._is_lossy, **self._options):
            little_endian = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)
            yield little_endian.tobytes(), cast("dict[str, Any]", properties)

    def write(self, writer: DatasetWriter, result: BinaryIO) -> None:
        """Write the elements before the pixels, and the pixels frame by frame."""
        dataset, frames = self._dataset, iter(self)
        first, properties = next(frames)
        size = len(first) * int(dataset.get("NumberOfFrames") or 1)
        if size > MAX_VALUE_LENGTH:
            raise PortalError("The decoded pixels are longer than the 4 GB that one element can hold.")

        # Let the Image Pixel elements describe the decoded pixels (PS3.3 C.7.6.3).
        for other in (*_FRAGMENT_TABLES, _ICON_IMAGE_SEQUENCE):
            # The icon is compressed like the image itself, and it is optional (PS3.3 C.7.6.1.1.6).
            if other in dataset:
                del dataset[other]
        dataset.PhotometricInterpretation = str(properties["photometric_interpretation"])
        if properties["samples_per_pixel"] > 1:
            dataset.PlanarConfiguration = 0
        if properties["bits_allocated"] != dataset.BitsAllocated:
            dataset.BitsAllocated = properties["bits_allocated"]
        if self._is_lossy and dataset.get("LossyImageCompression") in (None, "", "00"):
            dataset.LossyImageCompression = "01"
        writer.write(dataset)

        writer.write_head(result, PIXEL_DATA, "OW" if properties["bits_allocated"] > 8 else "OB", size + size % 2)
        written = result.write(first)
        for frame, _ in frames:
            written += result.write(frame)
        if written != size:
            raise PortalError("The number of frames differs from the one that the object declares.")
        result.write(b"\0" * (size % 2))
