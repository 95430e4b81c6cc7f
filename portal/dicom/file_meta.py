"""The file meta information of a Part 10 file (PS3.10 7.1): reading and writing it."""

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO

from pydicom.uid import ImplicitVRLittleEndian

from portal.dicom import element_heads
from portal.dicom.element_heads import LONG_VRS, VRS
from portal.errors import BadValue, NotDicom

PREAMBLE_SIZE = 128
MAGIC = b"DICM"
OFFSET = PREAMBLE_SIZE + len(MAGIC)
GROUP, TRANSFER_SYNTAX = 0x0002, 0x0010
MAX_SIZE = 1 << 16


@dataclass(frozen=True, kw_only=True)
class FileMeta:
    """Where the data set begins and how it is encoded, from the file meta information."""

    dataset_offset: int
    transfer_syntax_uid: str
    sop_class_uid: str
    sop_instance_uid: str


def read(file: BinaryIO) -> FileMeta:
    """The meta of a Part 10 file, read from its first byte. Raises NotDicom where there is none."""
    head = file.read(PREAMBLE_SIZE + len(MAGIC))
    if head[PREAMBLE_SIZE:] != MAGIC:
        raise NotDicom("The file has no DICM prefix after 128 bytes, so it is not a DICOM file (PS3.10 7.1).")
    if head.startswith((b"MZ", b"\x7fELF")):
        raise BadValue("The preamble contains a program, so the file is refused. Save it again with an empty preamble.")
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
    """Empty preamble and meta information: prepended to a data set, they make a Part 10 file (PS3.10 7.1)."""
    elements = b"".join(
        (
            _VERSION,
            _uid(0x0002, sop_class_uid),
            _element(0x0003, "UI", sop_instance_uid.encode("ascii")),
            _uid(0x0010, transfer_syntax_uid),
            _IMPLEMENTATION,
        )
    )
    return _BEGINNING + struct.pack("<I", len(elements)) + elements


IMPLEMENTATION_CLASS_UID = "2.25.192338012468137914063185103296417214085"
"""Derived from a UUID (PS3.5 B.2)."""
IMPLEMENTATION_VERSION = b"PORTICO 1 "


def transfer_syntax_of(meta: FileMeta) -> str:
    """The transfer syntax of a file; the default one where it names none (PS3.5 10.1)."""
    return meta.transfer_syntax_uid or ImplicitVRLittleEndian


def _elements(data: bytes) -> tuple[dict[int, bytes], int]:
    """Values of group 0002 by element number, and the bytes they take. Always Explicit VR Little Endian.

    They end at the group length (0002,0000), so that nothing in the data set changes them. Elements of group 0002
    behind it are skipped: some writers add elements without changing the group length. Without a group length, or with
    one that excludes the transfer syntax, the group is read until another one begins.
    """
    group_end = len(data)
    if data[:8] == struct.pack("<HH2sH", GROUP, 0, b"UL", 4) and len(data) >= 12:
        group_end = 12 + int(struct.unpack_from("<I", data, 8)[0])

    values: dict[int, bytes] = {}
    at = 0
    while at + 8 <= len(data):
        group, element, vr, length = struct.unpack_from("<HH2sH", data, at)
        is_behind = at >= group_end and TRANSFER_SYNTAX in values
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


def _element(number: int, vr: str, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return element_heads.encode(GROUP << 16 | number, vr, len(value)) + value


@lru_cache(maxsize=1024)
def _uid(number: int, uid: str) -> bytes:
    """An element whose value many files share."""
    return _element(number, "UI", uid.encode("ascii"))


_BEGINNING = bytes(PREAMBLE_SIZE) + MAGIC + _element(0x0000, "UL", bytes(4))[:-4]
"""Everything before the value of the group length."""
_VERSION = _element(0x0001, "OB", b"\x00\x01")
_IMPLEMENTATION = _element(0x0012, "UI", IMPLEMENTATION_CLASS_UID.encode("ascii")) + _element(
    0x0013, "SH", IMPLEMENTATION_VERSION
)
