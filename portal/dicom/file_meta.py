"""The file meta information of a Part 10 file (PS3.10 7.1): reading and writing it."""

import struct
from dataclasses import dataclass
from typing import BinaryIO

from pydicom.uid import ImplicitVRLittleEndian

from portal.dicom.element_reader import LONG_VRS, VRS
from portal.errors import BadValue, NotDicom

PREAMBLE_SIZE = 128
MAGIC = b"DICM"
OFFSET = PREAMBLE_SIZE + len(MAGIC)
GROUP, TRANSFER_SYNTAX = 0x0002, 0x0010
MAX_SIZE = 1 << 16


@dataclass(frozen=True, kw_only=True)
class FileMeta:
    """The file meta information (PS3.10 7.1): where the data set begins, and how it is encoded."""

    dataset_offset: int
    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str


def read(file: BinaryIO) -> FileMeta:
    """The meta of a Part 10 file, which stands at its first byte. Raises NotDicom where there is none."""
    head = file.read(PREAMBLE_SIZE + len(MAGIC))
    if head[PREAMBLE_SIZE:] != MAGIC:
        raise NotDicom("The file has no DICM mark after 128 bytes, so it is no DICOM file (PS3.10 7.1).")
    if head.startswith((b"MZ", b"\x7fELF")):
        raise BadValue("The preamble holds a program, so the file is refused. Write it again with an empty preamble.")
    values, length = _elements(file.read(MAX_SIZE))

    def value(element: int) -> str:
        return values.get(element, b"").decode("ascii", "replace").rstrip("\0 ")

    return FileMeta(
        dataset_offset=OFFSET + length,
        transfer_syntax_uid=value(TRANSFER_SYNTAX),
        sop_class_uid=value(0x0002),
        sop_instance_uid=value(0x0003),
    )


def write(*, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """What makes a Part 10 file of a data set that came by C-STORE: an empty preamble and the meta."""
    elements = b"".join(
        (
            struct.pack("<HH2s2xI", 0x0002, 0x0001, b"OB", 2) + b"\x00\x01",
            _ui(0x0002, sop_class_uid),
            _ui(0x0003, sop_instance_uid),
            _ui(0x0010, transfer_syntax_uid),
            _ui(0x0012, IMPLEMENTATION_CLASS_UID),
            struct.pack("<HH2sH", 0x0002, 0x0013, b"SH", len(IMPLEMENTATION_VERSION)) + IMPLEMENTATION_VERSION,
        )
    )
    group_length = struct.pack("<HH2sHI", 0x0002, 0x0000, b"UL", 4, len(elements))
    return bytes(PREAMBLE_SIZE) + MAGIC + group_length + elements


IMPLEMENTATION_CLASS_UID = "2.25.192338012468137914063185103296417214085"
"""A UID of our own, derived from a UUID (PS3.5 B.2)."""
IMPLEMENTATION_VERSION = b"PORTICO 1 "


def transfer_syntax_of(meta: FileMeta) -> str:
    """The transfer syntax of a file; the default one where it names none (PS3.5 10.1)."""
    return meta.transfer_syntax_uid or ImplicitVRLittleEndian


def _elements(data: bytes) -> tuple[dict[int, bytes], int]:
    """Values of group 0002 by element number, and how many bytes they take. Always Explicit VR Little Endian.

    They end where the group length says, so that nothing in the data set changes them. Elements of group 0002 behind
    that are passed by: some writers add elements and leave the group length as it was. One that leaves out the transfer
    syntax is wrong, as one that is absent, and the group is read until another one begins.
    """
    values: dict[int, bytes] = {}
    at, told_end = 0, _told_end(data)
    while at + 8 <= len(data):
        group, element, vr, length = struct.unpack_from("<HH2sH", data, at)
        is_behind = at >= told_end and TRANSFER_SYNTAX in values
        if group != GROUP or (is_behind and vr not in VRS):
            break
        begin = at + 8
        if vr in LONG_VRS:
            (length,) = struct.unpack_from("<I", data, begin) if begin + 4 <= len(data) else (len(data),)
            begin += 4
        if begin + length > len(data):
            raise NotDicom("The file meta information is cut off or larger than 64 KiB.")
        if not is_behind:
            values[element] = data[begin : begin + length]
        at = begin + length
    return values, at


def _told_end(data: bytes) -> int:
    """Where the elements end by their group length (0002,0000), which is the first of them if there is one."""
    if len(data) < 12 or data[:8] != struct.pack("<HH2sH", GROUP, 0, b"UL", 4):
        return len(data)
    (length,) = struct.unpack_from("<I", data, 8)
    return 12 + int(length)


def _ui(element: int, uid: str) -> bytes:
    value = uid.encode("ascii")
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HH2sH", 0x0002, element, b"UI", len(value)) + value
