"""Decoding on the way out, for a destination that takes only uncompressed syntaxes (PS3.5 A.1, A.2, 10)."""

import logging
import threading
import zlib
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from typing import Any, BinaryIO, Protocol, cast

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    UID,
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
)

from portal import raw_values, runtime
from portal.archive import Slice
from portal.errors import PortalError
from portal.reencoding import PIXEL_DATA, Writer

log = logging.getLogger(__name__)

IN_MEMORY = 16 << 20
"""Bytes up to which a result stays in memory; a larger one lies in a temporary file without a name."""
DEFERRED = 1 << 20
"""Bytes of a value that is copied rather than read."""
LARGEST_INFLATED = 4 << 30
LARGEST_FRAME = 1 << 30
LONGEST_VALUE = 0xFFFFFFFE
CHUNK = 1 << 20

_ALWAYS_LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit)
_FRAGMENT_TABLES = (0x7FE00001, 0x7FE00002)
"""The extended offset table, which is about fragments that are no more."""
_ICON_IMAGE_SEQUENCE = 0x00880200
_UNDECODABLE = (*raw_values.UNREADABLE, MemoryError, RuntimeError, zlib.error)
"""What pydicom and the codecs raise."""

# Decoding takes memory and all of a core: one object at a time in a process.
_turn = threading.BoundedSemaphore(1)


class _Source(Protocol):
    """What is read of an `Outgoing`."""

    @property
    def transfer_syntax_uid(self) -> str: ...
    @property
    def sop_instance_uid(self) -> str: ...
    def open(self) -> Slice: ...


def transcode(outgoing: _Source, transfer_syntax_uid: str) -> BinaryIO:
    """The data set of an `Outgoing`, without file meta, in Explicit or Implicit VR Little Endian.

    Returns a binary file that stands at its first byte; read it to its end in chunks and close it. The SOP Instance
    UID stays; pixels that were compressed with loss keep LossyImageCompression 01. One object is decoded at a time,
    frame by frame, so a call may wait for others. Raises PortalError with the reason where it cannot be done, which
    fails this one object alone.
    """
    if transfer_syntax_uid not in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        raise PortalError(f"Nothing is transcoded to {UID(transfer_syntax_uid).name}.")
    source = UID(outgoing.transfer_syntax_uid)
    if source not in AllTransferSyntaxes:
        raise PortalError(f"The transfer syntax {source} is not known here, so the object is sent in it or not at all.")
    result = _temporary()
    try:
        with _turn, outgoing.open() as stored:
            _transcode(cast(BinaryIO, stored), source, result, implicit=transfer_syntax_uid == ImplicitVRLittleEndian)
    except BaseException as error:
        result.close()
        if not is_undecodable(error):
            raise
        log.warning("instance %s cannot be decoded from %s: %s", outgoing.sop_instance_uid, source, error)
        raise PortalError(f"The object cannot be decoded from {source.name}.") from error
    result.seek(0)
    return result


def is_undecodable(error: BaseException) -> bool:
    """Whether pydicom or a codec gave up on the bytes. A codec in Rust panics with what is no Exception."""
    return isinstance(error, _UNDECODABLE) or type(error).__module__ == "pyo3_runtime"


def _temporary() -> BinaryIO:
    return cast(BinaryIO, SpooledTemporaryFile(IN_MEMORY, dir=str(runtime.current().run)))


def _transcode(stored: BinaryIO, syntax: UID, result: BinaryIO, *, implicit: bool) -> None:
    if syntax == DeflatedExplicitVRLittleEndian:
        with _temporary() as inflated:
            _inflate(stored, inflated)
            inflated.seek(0)
            _transcode(inflated, UID(ExplicitVRLittleEndian), result, implicit=implicit)
        return
    compressed = syntax.is_encapsulated
    dataset = read_dataset(
        stored,
        syntax == ImplicitVRLittleEndian,
        syntax != ExplicitVRBigEndian,
        defer_size=None if compressed else DEFERRED,
    )
    writer = Writer(result, stored, implicit=implicit)
    if compressed and PIXEL_DATA in dataset:
        _decode(dataset, syntax, writer, result)
    else:
        writer.write(dataset)


def _inflate(stored: BinaryIO, inflated: BinaryIO) -> None:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    size = 0
    while not inflater.eof and (packed := inflater.unconsumed_tail or stored.read(CHUNK)):
        part = inflater.decompress(packed, CHUNK)
        size += len(part)
        if size > LARGEST_INFLATED:
            raise PortalError("The deflated data set is larger than 4 GB once inflated.")
        inflated.write(part)


def _decode(dataset: Dataset, syntax: UID, writer: Writer, result: BinaryIO) -> None:
    """Elements before the pixels, the pixels frame by frame, elements after them."""
    frames = _frames(dataset, syntax)
    first, properties = next(frames)
    count = int(dataset.get("NumberOfFrames") or 1)
    size = len(first) * count
    if size > LONGEST_VALUE:
        raise PortalError("The decoded pixels are longer than the 4 GB that one element can hold.")
    vr = "OW" if properties["bits_allocated"] > 8 else "OB"
    after = _split(dataset)
    _describe(dataset, properties, syntax)
    writer.write(dataset)
    writer.header(result, PIXEL_DATA, vr, size + size % 2)
    written = result.write(first)
    for frame, _ in frames:
        written += result.write(frame)
    if written != size:
        raise PortalError("The object has another number of frames than it says.")
    result.write(b"\0" * (size % 2))
    writer.write(after)


def _frames(dataset: Dataset, syntax: UID) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Each frame decoded, with what its pixels are now. Only JPEG that lost something already is made RGB."""
    if dataset.BitsAllocated < 8:
        raise PortalError("Compressed pixels of a single bit cannot be decoded.")
    if dataset.Rows * dataset.Columns * dataset.SamplesPerPixel * (dataset.BitsAllocated // 8) > LARGEST_FRAME:
        raise PortalError("A frame of this object is larger than 1 GB once decoded.")
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise PortalError(f"{syntax.name} cannot be decoded; the destination has to take it as it is.") from error
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    for pixels, properties in decoder.iter_array(dataset, raw=syntax not in _ALWAYS_LOSSY):
        yield pixels.astype(pixels.dtype.newbyteorder("<"), copy=False).tobytes(), cast("dict[str, Any]", properties)


def _split(dataset: Dataset) -> Dataset:
    """Take the pixels and what follows them out of the data set; return what follows."""
    after = Dataset()
    for tag in [tag for tag in dataset.keys() if tag >= PIXEL_DATA]:  # noqa: SIM118 (iterating a Dataset converts)
        if tag > PIXEL_DATA:
            after[tag] = dataset.get_item(tag)
        del dataset[tag]
    for other in (*_FRAGMENT_TABLES, _ICON_IMAGE_SEQUENCE):
        # The icon is compressed like the image itself, and an object may do without (PS3.3 C.7.6.1.1.6).
        if other in dataset:
            del dataset[other]
    return after


def _describe(dataset: Dataset, properties: dict[str, Any], syntax: UID) -> None:
    """Let the Image Pixel elements say what the pixels are now (PS3.3 C.7.6.3)."""
    dataset.PhotometricInterpretation = str(properties["photometric_interpretation"])
    if properties["samples_per_pixel"] > 1:
        dataset.PlanarConfiguration = 0
    if properties["bits_allocated"] != dataset.BitsAllocated:
        dataset.BitsAllocated = properties["bits_allocated"]
    if syntax in _ALWAYS_LOSSY and dataset.get("LossyImageCompression") in (None, "", "00"):
        dataset.LossyImageCompression = "01"
