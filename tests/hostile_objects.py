"""Objects that are odd, huge or made to do harm, as bytes: what writes DICOM by the rules cannot make them."""

import struct
from pathlib import Path

from archive_fixtures import CT_IMAGE_STORAGE
from pydicom.data import get_testdata_files
from pydicom.uid import ExplicitVRLittleEndian

from portal.dicom import file_meta
from portal.dicom.element_reader import LONG_VRS

UNDEFINED_LENGTH = 0xFFFFFFFF
STUDY, SERIES = "1.2.826.0.1.3680043.9.7.1", "1.2.826.0.1.3680043.9.7.2"
MR_IMAGE_STORAGE, ENHANCED_MR_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"


def element(tag: int, vr: str, value: bytes, *, length: int | None = None) -> bytes:
    """An element in Explicit VR Little Endian, also with a length that is not that of its value."""
    length = len(value) if length is None else length
    if vr.encode() in LONG_VRS:
        return struct.pack("<HH2sxxI", tag >> 16, tag & 0xFFFF, vr.encode(), length) + value
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), length) + value


def text(tag: int, vr: str, value: str) -> bytes:
    raw = value.encode()
    return element(tag, vr, raw + (b"\0" if vr == "UI" else b" ") * (len(raw) % 2))


def item(content: bytes, *, defined: bool = True) -> bytes:
    if defined:
        return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content
    return struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED_LENGTH) + content + struct.pack("<HHI", 0xFFFE, 0xE00D, 0)


def sequence(tag: int, items: bytes, *, defined: bool = True) -> bytes:
    if defined:
        return element(tag, "SQ", items)
    return element(tag, "SQ", items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0), length=UNDEFINED_LENGTH)


def an_object(*, uid: str, sop_class: str = CT_IMAGE_STORAGE, first: bytes = b"", last: bytes = b"") -> bytes:
    """The data set of an object that is indexed, with elements before and after those that the index needs."""
    return b"".join(
        (
            text(0x00080016, "UI", sop_class),
            text(0x00080018, "UI", uid),
            first,
            text(0x00100010, "PN", "Odd^Object"),
            text(0x00100020, "LO", "ODD"),
            text(0x0020000D, "UI", STUDY),
            text(0x0020000E, "UI", SERIES),
            last,
        )
    )


def as_file(
    data_set: bytes, *, uid: str, sop_class: str = CT_IMAGE_STORAGE, syntax: str = ExplicitVRLittleEndian
) -> bytes:
    return file_meta.write(sop_class_uid=sop_class, sop_instance_uid=uid, transfer_syntax_uid=syntax) + data_set


def nested(depth: int, *, defined: bool = True) -> bytes:
    """A Content Sequence in a Content Sequence, and so on."""
    content = b""
    for _ in range(depth):
        content = sequence(0x0040A730, item(content, defined=defined), defined=defined)
    return content


def short_pixel_representation() -> bytes:
    """One byte of Pixel Representation, on which the VR within the VOI LUT Sequence depends."""
    table = element(0x00283002, "US", struct.pack("<3H", 2, 0, 8)) + element(0x00283006, "OW", struct.pack("<2H", 0, 1))
    return element(0x00280103, "US", b"\1") + sequence(0x00283010, item(table))


def enhanced(frames: int, *, defined: bool = True) -> bytes:
    """The functional groups of an enhanced MR object: about 90 elements a frame (PS3.3 C.7.6.16)."""
    of_frame = b"".join(
        sequence(tag, item(b"".join(text(tag + 1 + number, "DS", "1.5") for number in range(9))), defined=defined)
        for tag in range(0x00189006, 0x00189100, 0x20)
    )
    return sequence(0x52009230, item(of_frame, defined=defined) * frames, defined=defined)


def tiny_elements(number: int, *, within: bool = True) -> bytes:
    """Elements of eight bytes: in one item of a sequence, or at the top level of private groups."""
    if within:
        return sequence(0x0040A730, item(element(0x00400555, "LO", b"") * number, defined=False), defined=False)
    tags = (group << 16 | 0x1000 + at for group in range(0x0009, 0x0010, 2) for at in range(0x8000))
    return b"".join(element(tag, "LO", b"") for tag, _ in zip(tags, range(number), strict=False))


def vendor_files() -> list[Path]:
    """All files of the pydicom wheel that are DICOM files, by name."""
    paths = {Path(path) for path in get_testdata_files()}
    return sorted(path for path in paths if path.is_file() and path.read_bytes()[128:132] == b"DICM")
