"""The tasks of the decoder process: rendering, transcoding and comparing vendor pixels.

Each task reads its objects frame by frame, so that memory does not grow with the number of frames.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, zip_longest
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
    RLELossless,
)

from portal.dicom import element_heads, sop_classes
from portal.dicom.element_heads import ITEM, PIXEL_DATA, SEQUENCE_END, UNDEFINED_LENGTH
from portal.dicom.little_endian import DatasetWriter
from portal.errors import PortalError
from portal.pixels import encoding, rendering
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


def transcode(contents: Sequence[Content], result: BinaryIO, *, syntax: str, target: str) -> None:
    """A data set, without file meta and not deflated, in Explicit or Implicit VR Little Endian, or compressed."""
    source, compress = UID(syntax), target in encoding.TARGETS
    stored = contents[0].open()
    is_split = compress or source.is_encapsulated
    form = source == ImplicitVRLittleEndian, source != ExplicitVRBigEndian
    dataset = read_dataset(
        stored,
        *form,
        stop_when=_at_pixels if is_split else None,
        defer_size=ENCAPSULATED_DEFER_SIZE if source.is_encapsulated else DEFER_SIZE,
    )
    writer = DatasetWriter(result, contents[0].open(), implicit=target == ImplicitVRLittleEndian)
    head = stored.read(8) if is_split else b""
    if not head:
        writer.write(dataset)
        return
    vr = "" if source.is_implicit_VR else head[4:6].decode("latin-1")
    length = int.from_bytes(stored.read(4) if vr else head[4:], "little" if form[1] else "big")

    # The elements behind the pixels (PS3.5 A.4).
    file = contents[0].open()
    file.seek(stored.tell())
    if length != UNDEFINED_LENGTH:
        file.seek(length, 1)
    else:
        while (item := file.read(8))[:4] == b"\xfe\xff\x00\xe0":
            file.seek(int.from_bytes(item[4:], "little"), 1)
        if item[:4] != b"\xfe\xff\xdd\xe0":
            raise PortalError("The data set ends in the middle of its pixels; it can only be sent unchanged.")
    rest = read_dataset(file, *form, defer_size=DEFER_SIZE)

    frames = _Frames(dataset, stored, source, vr=vr, length=length)
    if compress:
        frames.compress(writer, result, UID(target))
    else:
        frames.write(writer, result)
    writer.write(rest)


TASKS: dict[str, Callable[..., None]] = {"render": render, "same_frames": same_frames, "transcode": transcode}


def _at_pixels(tag: BaseTag, vr: str | None, length: int) -> bool:  # noqa: ARG001 (pydicom's signature)
    return int(tag) == PIXEL_DATA


class _Frames:
    """The decoded frames of a data set. Only JPEG, which is lossy already, is converted to RGB."""

    def __init__(self, dataset: Dataset, stored: BinaryIO, syntax: UID, *, vr: str, length: int) -> None:
        """`stored` is at the value of the pixels, which has this VR and length."""
        if dataset.BitsAllocated < 8:
            raise PortalError("Pixels of a single bit can be sent as they are stored alone.")
        if dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * (dataset.BitsAllocated // 8) > MAX_FRAME_SIZE:
            raise PortalError("A frame of this object is larger than 1 GB once decoded.")
        try:
            self._decoder = get_decoder(syntax)
        except NotImplementedError as error:
            message = f"{syntax.name} cannot be decoded; the destination has to accept it unchanged."
            raise PortalError(message) from error
        self._is_lossy = syntax in _ALWAYS_LOSSY
        self._dataset, self._stored, self._syntax = dataset, stored, syntax
        self._options = as_pixel_options(dataset, transfer_syntax_uid=syntax)
        if syntax in encoding.TARGETS or not syntax.is_encapsulated:
            self._options["correct_unused_bits"] = False  # an overlay may lie in them (PS3.5 8.1.1)
        if not syntax.is_encapsulated:
            self._options |= {"pixel_keyword": "PixelData", "pixel_vr": vr or "OW"}
            frames = int(dataset.get("NumberOfFrames") or 1)
            if length < frames * _stored_frame_size(dataset):
                raise PortalError("The number of frames differs from the one that the object declares.")

    def __iter__(self) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Each frame in little endian, and the properties of its pixels now."""
        for pixels, properties in self._decoder.iter_array(self._stored, raw=not self._is_lossy, **self._options):
            little_endian = pixels.astype(pixels.dtype.newbyteorder("<"), copy=False)
            yield little_endian, cast("dict[str, Any]", properties)

    def write(self, writer: DatasetWriter, result: BinaryIO) -> None:
        """Write the elements before the pixels, and the pixels frame by frame."""
        frames = iter(self)
        pixels, properties = next(frames)
        first = pixels.tobytes()
        size = len(first) * int(self._dataset.get("NumberOfFrames") or 1)
        if size > MAX_VALUE_LENGTH:
            raise PortalError("The decoded pixels are longer than the 4 GB that one element can hold.")
        self._write_description(writer, properties, planar_configuration=0)

        writer.write_head(result, PIXEL_DATA, "OW" if properties["bits_allocated"] > 8 else "OB", size + size % 2)
        written = result.write(first)
        for frame, _ in frames:
            written += result.write(frame.tobytes())
        if written != size:
            raise PortalError("The number of frames differs from the one that the object declares.")
        result.write(b"\0" * (size % 2))

    def compress(self, writer: DatasetWriter, result: BinaryIO, target: UID) -> None:
        """Write the elements before the pixels, and each frame as one fragment behind an empty table of offsets, which
        needs no frame to be kept until the last one is encoded (PS3.5 A.4)."""
        if self._syntax.is_encapsulated and self._syntax not in sop_classes.LOSSLESS_SYNTAXES:
            raise PortalError(f"What was compressed with loss ({self._syntax.name}) is only sent so or uncompressed.")
        frames = iter(self)
        pixels, properties = next(frames)
        encoding.require_possible(target, properties)
        self._write_description(writer, properties, planar_configuration=1 if target == RLELossless else 0)

        writer.write_head(result, PIXEL_DATA, "OB", UNDEFINED_LENGTH)
        result.write(element_heads.encode(ITEM, "", 0, implicit=True))
        number = 0
        for frame, described in chain([(pixels, properties)], frames):
            number += 1
            encoded = encoding.encode(frame, target, described)
            result.write(element_heads.encode(ITEM, "", len(encoded) + len(encoded) % 2, implicit=True))
            result.write(encoded)
            result.write(b"\0" * (len(encoded) % 2))
        if number != int(self._dataset.get("NumberOfFrames") or 1):
            raise PortalError("The number of frames differs from the one that the object declares.")
        result.write(element_heads.encode(SEQUENCE_END, "", 0, implicit=True))

    def _write_description(self, writer: DatasetWriter, pixels: dict[str, Any], *, planar_configuration: int) -> None:
        """The elements before the pixels: those of the Image Pixel module describe what follows (PS3.3 C.7.6.3)."""
        dataset = self._dataset
        # The icon is compressed like the image itself, and it is optional (PS3.3 C.7.6.1.1.6).
        for other in (*_FRAGMENT_TABLES, *((_ICON_IMAGE_SEQUENCE,) if self._syntax.is_encapsulated else ())):
            if other in dataset:
                del dataset[other]
        dataset.PhotometricInterpretation = str(pixels["photometric_interpretation"])
        if pixels["samples_per_pixel"] > 1:
            dataset.PlanarConfiguration = planar_configuration
        if pixels["bits_allocated"] != dataset.BitsAllocated:
            dataset.BitsAllocated = pixels["bits_allocated"]
        if self._is_lossy and dataset.get("LossyImageCompression") in (None, "", "00"):
            dataset.LossyImageCompression = "01"
        writer.write(dataset)


def _stored_frame_size(dataset: Dataset) -> int:
    """Bytes of an uncompressed frame; with half of the colours in YBR_FULL_422 (PS3.3 C.7.6.3.1.2)."""
    size = int(dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * (dataset.BitsAllocated // 8))
    return size * 2 // 3 if dataset.PhotometricInterpretation == "YBR_FULL_422" else size
