"""The directory of a zip (APPNOTE 4.3, 4.4), read within bounds; one that is hostile is refused (docs/decisions/0094).

`zipfile` reads a directory into memory as it comes, and believes it. Here nothing of it is believed: every member lies
in bytes of its own, where its local header says the same as the directory.
"""

import itertools
import re
import stat
import struct
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import BinaryIO, NamedTuple

from portal.errors import BadValue

BEGINNINGS = (b"PK\x03\x04", b"PK\x05\x06")
"""The first bytes of a zip with members, and of an empty one. A zip behind other bytes is a file of another kind."""
STORED, DEFLATED = 0, 8
MAX_MEMBERS = 50_000
MAX_DIRECTORY_SIZE = 16 << 20
MAX_NAME_BYTES = 1024
MAX_RATIO = 50
"""Bytes of all members for each byte of the zip, above `ANY_RATIO_SIZE`: images hardly reach ten."""
ANY_RATIO_SIZE = 1 << 30
"""Bytes of all members up to which the ratio is not looked at: empty segmentations shrink a thousandfold."""

_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_UNSET_16, _UNSET_32 = 0xFFFF, 0xFFFFFFFF
_ENCRYPTED, _SIZES_BEHIND, _MASKED_HEADERS = 1 << 0, 1 << 3, 1 << 13
_UNIX = (3, 19)
"""Systems whose attributes have the kind of file: Unix, and macOS."""
_SIZES_64, _UNICODE_NAME = 0x0001, 0x7075
_SEPARATORS = re.compile(r"[/\\]")
_DRIVE = re.compile(r"[A-Za-z]:")
DAMAGED = "The zip is cut off or damaged, so nothing of it is kept. Create it again."


class Member(NamedTuple):
    """One member as the directory and its local header describe it; its packed bytes begin at `offset` of the zip."""

    name: str
    offset: int
    packed_size: int
    size: int
    crc: int
    method: int
    is_encrypted: bool
    modified: datetime | None = None
    """As the zip has it, taken for UTC; None for a moment that there never was."""

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/")

    @property
    def is_readable(self) -> bool:
        """Whether it is compressed in a way that is read here, and not encrypted."""
        return not self.is_encrypted and self.method in (STORED, DEFLATED)


class _Directory(NamedTuple):
    offset: int
    size: int
    members: int


def is_zip(head: bytes) -> bool:
    """Whether a file that begins with these four bytes is read as a zip."""
    return head[:4] in BEGINNINGS


def read(content: BinaryIO, size: int) -> list[Member]:
    """The members of a zip of `size` bytes, in the order of its directory.

    Raises BadValue, with what to do, for a zip that is damaged or hostile: too many members or too large ones, names
    that leave a folder or come twice, links, members that share bytes or contradict the directory.
    """
    directory = _find(content, size)
    members: list[Member] = []
    names: set[str] = set()
    extents: list[tuple[int, int]] = []
    for entry, name, extra in _entries(content, directory):
        member, extent = _member(content, entry, name, extra, directory.offset)
        if member.name in names:
            raise BadValue(f"The zip has two members {_shown(member.name)}. Give each a name of its own.")
        names.add(member.name)
        extents.append(extent)
        members.append(member)
    extents.sort()
    if any(end > begin for (_, end), (begin, _) in itertools.pairwise(extents)):
        raise BadValue("Members of the zip share bytes, which no program writes but to do harm. It is refused.")
    total = sum(member.size for member in members)
    if total > max(ANY_RATIO_SIZE, MAX_RATIO * size):
        raise BadValue(f"The zip is refused: it has {size:,} bytes, and {total:,} once it is unpacked.")
    return members


def _find(content: BinaryIO, size: int) -> _Directory:
    """The directory, which ends where the record of its end begins, and that record with the file."""
    tail_begin = max(0, size - _END.size - _UNSET_16)
    content.seek(tail_begin)
    tail = content.read(size - tail_begin)
    at = len(tail)
    while (at := tail.rfind(b"PK\x05\x06", 0, at)) >= 0:
        if at + _END.size <= len(tail):
            _, disk, first_disk, here, count, length, offset, comment = _END.unpack_from(tail, at)
            if at + _END.size + comment == len(tail):
                break
    else:
        raise BadValue(DAMAGED)
    end = tail_begin + at
    locator_at = end - _LOCATOR.size
    content.seek(max(0, locator_at))
    locator = content.read(_LOCATOR.size)
    if locator_at >= 0 and locator.startswith(b"PK\x06\x07"):
        _, _, end, _ = _LOCATOR.unpack(locator)
        if end + _END_64.size > locator_at:
            raise BadValue(DAMAGED)
        content.seek(end)
        magic, _, _, _, disk, first_disk, here, count, length, offset = _END_64.unpack(content.read(_END_64.size))
        if magic != b"PK\x06\x06":
            raise BadValue(DAMAGED)
    if (disk, first_disk) != (0, 0) or here != count:
        raise BadValue("The zip is one part of several. Create one zip of all.")
    if count > MAX_MEMBERS or length > MAX_DIRECTORY_SIZE:
        raise BadValue(f"The zip has more than {MAX_MEMBERS:,} members. Split it into smaller ones.")
    if offset + length != end or count * _ENTRY.size > length:
        raise BadValue(DAMAGED)
    return _Directory(offset, length, count)


def _entries(content: BinaryIO, directory: _Directory) -> Iterator[tuple[tuple[int, ...], bytes, bytes]]:
    """The fixed fields of each entry, its name, and its extra fields."""
    content.seek(directory.offset)
    data = content.read(directory.size)
    at = 0
    for _ in range(directory.members):
        if at + _ENTRY.size > len(data) or data[at : at + 4] != b"PK\x01\x02":
            raise BadValue(DAMAGED)
        entry = _ENTRY.unpack_from(data, at)[1:]
        name_length, extra_length, comment_length = entry[9:12]
        begin = at + _ENTRY.size
        at = begin + name_length + extra_length + comment_length
        if at > len(data):
            raise BadValue(DAMAGED)
        yield entry, data[begin : begin + name_length], data[begin + name_length : begin + name_length + extra_length]
    if at != len(data):
        raise BadValue(DAMAGED)


def _member(
    content: BinaryIO, entry: tuple[int, ...], raw_name: bytes, extra: bytes, limit: int
) -> tuple[Member, tuple[int, int]]:
    """The member of an entry, and where its local header begins and its packed bytes end, before `limit`."""
    made_by, _, flags, method, time, date, crc, packed_size, size = entry[:9]
    disk, _, attributes, begin = entry[12:16]
    name = _checked_name(raw_name, extra)
    kind = stat.S_IFMT(attributes >> 16) if made_by >> 8 in _UNIX else 0
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise BadValue(f"The member {_shown(name)} of the zip is a link or no plain file. Create the zip without it.")
    if _UNSET_32 in (size, packed_size, begin) or disk == _UNSET_16:
        size, packed_size, begin = _sizes_64(extra, size, packed_size, begin)

    content.seek(begin)
    head = content.read(_LOCAL.size)
    if len(head) < _LOCAL.size or not head.startswith(b"PK\x03\x04"):
        raise BadValue(DAMAGED)
    _, _, local_flags, local_method, _, _, local_crc, _, local_size, name_length, extra_length = _LOCAL.unpack(head)
    is_encrypted = bool(flags & (_ENCRYPTED | _MASKED_HEADERS))
    known_here = not (local_flags & _SIZES_BEHIND or is_encrypted or local_size == _UNSET_32)
    if (
        content.read(name_length) != raw_name
        or local_method != method
        or (local_flags ^ flags) & _ENCRYPTED
        or (known_here and (local_crc, local_size) != (crc, size))
    ):
        raise BadValue(f"The zip contradicts itself about its member {_shown(name)}. Create it again.")
    offset = begin + _LOCAL.size + name_length + extra_length
    end = offset + packed_size
    if end > limit or (method == STORED and not is_encrypted and packed_size != size):
        raise BadValue(DAMAGED)
    return Member(name, offset, packed_size, size, crc, method, is_encrypted, _moment(date, time)), (begin, end)


def _moment(date: int, time: int) -> datetime | None:
    """A moment in the format of MS-DOS (APPNOTE 4.4.6)."""
    try:
        day = (date >> 9) + 1980, date >> 5 & 15, date & 31
        return datetime(*day, time >> 11, time >> 5 & 63, 2 * (time & 31), tzinfo=UTC)
    except ValueError:
        return None


def _sizes_64(extra: bytes, *fields: int) -> tuple[int, int, int]:
    """Size, packed size and offset, of which those that are unset are in the 64-bit field (APPNOTE 4.5.3)."""
    field = _extra_field(extra, _SIZES_64)
    values = iter(struct.unpack_from(f"<{len(field) // 8}Q", field))
    found = [next(values, -1) if value == _UNSET_32 else value for value in fields]
    if min(found) < 0:
        raise BadValue(DAMAGED)
    return found[0], found[1], found[2]


def _extra_field(extra: bytes, wanted: int) -> bytes:
    """The value of an extra field; empty where there is none."""
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == wanted:
            return extra[at + 4 : at + 4 + length]
        at += 4 + length
    return b""


def _checked_name(raw: bytes, extra: bytes) -> str:
    """The name as text: UTF-8 where it is so, since macOS and Info-ZIP do not mark it, else code page 437.

    Raises BadValue for one that leaves its folder, or that no file could have.
    """
    if len(raw) > MAX_NAME_BYTES:
        raise BadValue(f"A member of the zip has a name of more than {MAX_NAME_BYTES:,} bytes. Shorten it.")
    unicode_field = _extra_field(extra, _UNICODE_NAME)
    if unicode_field[:5] == b"\x01" + struct.pack("<L", zlib.crc32(raw)):
        raw = unicode_field[5:]  # Info-ZIP's own (APPNOTE 4.6.9)
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        name = raw.decode("cp437")
    if not name or any(character < " " for character in name):
        raise BadValue(f"A member of the zip has the name {_shown(name)}, which no file can have.")
    if name[0] in "/\\" or _DRIVE.match(name) or ".." in _SEPARATORS.split(name):
        raise BadValue(f"The member {_shown(name)} of the zip would be unpacked outside of its folder. It is refused.")
    return name


def _shown(name: str) -> str:
    return repr(name[:64])
