"""Files that are changed where their structure is: tags, VRs, lengths, nesting, values, character sets and meta."""

import io
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass

import hostile_objects as hostile
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from portal.dicom import file_meta, header
from portal.dicom.element_reader import UNDEFINED_LENGTH, Element, Reader
from portal.errors import PortalError

PIXELS_KEPT = 2048
"""Bytes from the pixels on that a file keeps: the others only take time."""
VRS = b"AE AS AT CS DA DS DT FD FL IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV ZZ \0\0"
CHARACTER_SETS = (
    b"ISO_IR 192",
    b"ISO_IR 100",
    b"GB18030",
    b"\\ISO 2022 IR 87\\ISO 2022 IR 159",
    b"ISO 2022 IR 149\\\\ISO_IR 6",
    b"ISO_IR 99999",
    b"\\" * 300,
)
SYNTAXES = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    "1.2.3.4",
    "",
)
TAGS = (0x00080005, 0x00080016, 0x00080018, 0x0020000D, 0x0020000E, 0x00100010, 0x00100020, 0x00080020, 0x00080030)
MORE_TAGS = (0x00280103, 0x00280010, 0x00280008, 0x00283010, 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD, 0x7FE00010, 0x00020010)


@dataclass(frozen=True)
class Original:
    """A file, with where its data set begins and where each element of it stands."""

    name: str
    content: bytes
    begins: int
    header: header.Header
    elements: tuple[Element, ...]
    is_little_endian: bool


def originals() -> list[Original]:
    """pydicom's files that are indexed."""
    found = []
    for path in hostile.vendor_files():
        content = path.read_bytes()
        try:
            parsed, begins = header.read_file(io.BytesIO(content), len(content))
        except PortalError:
            continue
        if parsed.transfer_syntax != DeflatedExplicitVRLittleEndian:
            file = io.BytesIO(content)
            file.seek(begins)
            size, syntax = len(content) - begins, parsed.transfer_syntax
            reader = Reader(file, size=size, transfer_syntax_uid=syntax, deep=True)
            elements, content = tuple(reader), content[: reader.position + PIXELS_KEPT]
            found.append(Original(path.name, content, begins, parsed, elements, reader.is_little_endian))
    return found


@dataclass(frozen=True)
class Mutation:
    """A changed file, and what a C-STORE of it says."""

    original: Original
    content: bytes
    sop_instance_uid: str

    @property
    def data_set(self) -> bytes:
        """What stands where the original's data set begins; something, since a C-STORE without one waits for it."""
        return self.content[self.original.begins :] or bytes(2)


def mutate(original: Original, number: int, seed: int) -> Mutation:
    """The file with one to three changes; the same for the same number and seed. Half have a UID of their own."""
    chance = random.Random(f"{seed} {number}")
    content, uid = original.content, original.header.sop_uid
    if chance.random() < 0.5:
        uid = f"1.{number}{seed}".ljust(len(uid), "1")[: len(uid)]
        content = content.replace(original.header.sop_uid.encode(), uid.encode())
    for _ in range(chance.randint(1, 3)):
        content = chance.choice(CHANGES)(original, content, chance)
    return Mutation(original, content, uid)


def _element(original: Original, content: bytes, chance: random.Random) -> Element:
    """One that still lies within the content."""
    element = chance.choice(original.elements)
    return element if element.offset + 8 < len(content) else original.elements[0]


def _put(content: bytes, at: int, new: bytes) -> bytes:
    return content[:at] + new + content[at + len(new) :]


def _replace_tag(original: Original, content: bytes, chance: random.Random) -> bytes:
    tag = chance.choice((*TAGS, *MORE_TAGS, chance.getrandbits(32)))
    order = "<" if original.is_little_endian else ">"
    at = _element(original, content, chance).start
    return _put(content, at, struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF))


def _replace_vr(original: Original, content: bytes, chance: random.Random) -> bytes:
    vr = chance.choice(VRS.split(b" "))
    return _put(content, _element(original, content, chance).start + 4, vr)


def _replace_length(original: Original, content: bytes, chance: random.Random) -> bytes:
    element = _element(original, content, chance)
    length = chance.choice((0, 1, 3, element.length + 1, element.length - 1, len(content), 1 << 31, UNDEFINED_LENGTH))
    size = 4 if element.implicit or element.offset - element.start == 12 else 2
    order = "little" if original.is_little_endian else "big"
    new = (length % (1 << 8 * size)).to_bytes(size, order)
    return _put(content, element.offset - size, new)


def _replace_value(original: Original, content: bytes, chance: random.Random) -> bytes:
    element = _element(original, content, chance)
    length = min(element.length, 64)
    new = chance.choice((bytes(length), b"\x1b$B\\=^" * 11, b"9" * length, chance.randbytes(length), b"\xff" * length))
    return _put(content, element.offset, new[:length])


def _resize_value(original: Original, content: bytes, chance: random.Random) -> bytes:
    """More or fewer bytes than the length says."""
    at = _element(original, content, chance).offset
    if chance.random() < 0.5:
        return content[:at] + content[at + chance.randint(1, 40) :]
    return content[:at] + chance.randbytes(chance.randint(1, 40)) + content[at:]


def _swap_values(original: Original, content: bytes, chance: random.Random) -> bytes:
    one, other = _element(original, content, chance), _element(original, content, chance)
    size = min(one.length, other.length, 64)
    first, second = content[one.offset :][:size], content[other.offset :][:size]
    return _put(_put(content, one.offset, second), other.offset, first)


def _repeat_element(original: Original, content: bytes, chance: random.Random) -> bytes:
    one, other = _element(original, content, chance), _element(original, content, chance)
    copied = content[one.start : one.offset + min(one.length, 4096)]
    return content[: other.start] + copied * chance.randint(1, 3) + content[other.start :]


def _insert(original: Original, content: bytes, chance: random.Random) -> bytes:
    """Something of which pydicom's reader is known to fail, or that nobody expects there."""
    new: bytes = chance.choice(
        (
            hostile.nested(chance.choice((2, 40, 400))),
            hostile.nested(chance.choice((2, 40, 400)), defined=False),
            hostile.short_pixel_representation(),
            hostile.element(0x00080005, "CS", chance.choice(CHARACTER_SETS)),
            hostile.element(0x00091010, "UN", b"x" * 10, length=UNDEFINED_LENGTH),
            hostile.element(0x00100010, "PN", b"\x1b$)C\xb1^=" * 200),
            hostile.text(0x00100020, "LO", "../../etc/passwd\\<script>"),
            hostile.text(0x00080020, "DA", chance.choice(("00000000", "20209999", "-1", "9" * 60))),
            hostile.text(0x00080201, "SH", chance.choice(("+9999", "nowhere", "-0000"))),
            hostile.text(0x00280008, "IS", chance.choice(("-1", "9" * 12, "1e9", "\u0660"))),
        )
    )
    at = _element(original, content, chance).start
    return content[:at] + new + content[at:]


def _truncate(original: Original, content: bytes, chance: random.Random) -> bytes:
    return content[: chance.randint(0, len(content))]


def _change_meta(original: Original, content: bytes, chance: random.Random) -> bytes:
    syntax = chance.choice(SYNTAXES)
    if chance.random() < 0.7:
        uids = {"sop_class_uid": original.header.sop_class, "sop_instance_uid": original.header.sop_uid}
        return file_meta.write(**uids, transfer_syntax_uid=syntax) + content[original.begins :]
    at = chance.randint(0, original.begins - 1)
    return _put(content, at, chance.randbytes(chance.randint(1, 8)))


def _change_preamble(_original: Original, content: bytes, chance: random.Random) -> bytes:
    return chance.choice((b"MZ" + content[2:], b"\x7fELF" + content[4:], content[128:], content[132:], content[:131]))


CHANGES: tuple[Callable[[Original, bytes, random.Random], bytes], ...] = (
    _replace_tag,
    _replace_vr,
    _replace_length,
    _replace_length,
    _replace_value,
    _resize_value,
    _swap_values,
    _repeat_element,
    _insert,
    _insert,
    _truncate,
    _change_meta,
    _change_preamble,
)
