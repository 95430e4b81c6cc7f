"""The directory of a zip: those that programs write are read, those that do harm are refused."""

import io
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from subprocess import run
from typing import BinaryIO, cast

import pytest

from portal.errors import BadValue
from portal.zip_members import directory
from portal.zip_members.directory import Member
from tests.fixtures.hostile.zips import Unseekable, a_zip

LINK = 0o120777 << 16


def read(content: bytes) -> list[Member]:
    return directory.read(io.BytesIO(content), len(content))


def names(content: bytes) -> list[str]:
    return [member.name for member in read(content)]


def with_zip_64() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as packed:
        with packed.open("a.dcm", "w", force_zip64=True) as member:
            member.write(b"one")
        packed.writestr("b.dcm", b"two")
    return target.getvalue()


def with_descriptors() -> bytes:
    target = Unseekable()
    with zipfile.ZipFile(cast(BinaryIO, target), "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.dcm", b"one" * 50)
        packed.writestr("b.dcm", b"two" * 50)
    return target.content


def many_at_an_offset_behind_4_gb() -> bytes:
    """An end record with 64-bit numbers, as Python writes it for more than 65,535 members, here for two."""
    content = a_zip({"a.dcm": b"one", "b.dcm": b"two"})
    end = content.rindex(b"PK\x05\x06")
    _, _, _, _, count, size, offset, _ = struct.unpack("<4s4H2LH", content[end : end + 22])
    end_64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    return (
        content[:end]
        + end_64
        + locator
        + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, *[0xFFFF] * 2, *[2**32 - 1] * 2, 0)
    )


def as_pyfilesystem_writes_it() -> bytes:
    """Permissions without a kind of file, and a folder of its own: what `fw ingest` uploads."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in (("1.2.3/", b""), ("a.dcm", b"one" * 50), ("b.dcm", b"two" * 50)):
            info = zipfile.ZipInfo(name)
            info.external_attr, info.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            if name.endswith("/"):
                info.external_attr |= 0x10
            packed.writestr(info, content)
    return target.getvalue()


@pytest.mark.parametrize(
    "make", [as_pyfilesystem_writes_it, with_zip_64, with_descriptors, many_at_an_offset_behind_4_gb]
)
def test_what_programs_write_is_read(make: Callable[[], bytes]) -> None:
    content = make()
    assert [name for name in names(content) if not name.endswith("/")] == ["a.dcm", "b.dcm"]
    with zipfile.ZipFile(io.BytesIO(content)) as packed:
        for member in read(content):
            info = packed.getinfo(member.name)
            assert (member.size, member.packed_size, member.crc) == (info.file_size, info.compress_size, info.CRC)


def test_the_zip_of_a_folder_by_info_zip_is_read(tmp_path: Path) -> None:
    (tmp_path / "serie").mkdir()
    (tmp_path / "serie" / "größe.dcm").write_bytes(b"one" * 500)
    run(["zip", "-q", "-r", "out.zip", "serie"], cwd=tmp_path, check=True)
    assert sorted(names((tmp_path / "out.zip").read_bytes())) == ["serie/", "serie/größe.dcm"]


def a_link() -> bytes:
    info = zipfile.ZipInfo("a.dcm")
    info.create_system, info.external_attr = 3, LINK
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as packed:
        packed.writestr(info, "/etc/passwd")
    return target.getvalue()


def two_names() -> bytes:
    return a_zip({"a.dcm": b"one", "b.dcm": b"two"}).replace(b"b.dcm", b"a.dcm")


def sharing_bytes() -> bytes:
    """Two entries of the directory with one local header, as in a quoted-overlap bomb."""
    content = a_zip({"a.dcm": b"one", "a.dcn": b"one"})
    first, second = content.index(b"PK\x01\x02"), content.rindex(b"PK\x01\x02")
    entry = bytearray(content[second:])
    entry[42:46] = content[first + 42 : first + 46]
    return content[:second] + bytes(entry)


def contradicting_its_header() -> bytes:
    content = a_zip({"a.dcm": b"one"})
    return content.replace(b"a.dcm", b"b.dcm", 1)


def a_bomb() -> bytes:
    """10 members that each say that they are a gigabyte."""
    content = a_zip({f"{number}.dcm": bytes(1000) for number in range(10)}, method=zipfile.ZIP_DEFLATED)
    return content.replace(struct.pack("<L", 1000), struct.pack("<L", 1 << 30))


def cut_off() -> bytes:
    return a_zip({"a.dcm": b"one" * 100})[:-30]


def with_something_behind() -> bytes:
    return a_zip({"a.dcm": b"one"}) + b"#!/bin/sh"


def with_something_between() -> bytes:
    content = a_zip({"a.dcm": b"one"})
    end = content.rindex(b"PK\x05\x06")
    return content[:end] + b"junk" + content[end:]


def with_too_many() -> bytes:
    content = a_zip({"a.dcm": b"one"})
    end = content.rindex(b"PK\x05\x06")
    count = struct.pack("<2H", 65_000, 65_000)
    return content[: end + 8] + count + content[end + 12 :]


HOSTILE: dict[str, tuple[bytes, str]] = {
    "up": (a_zip({"../a.dcm": b"one"}), "outside of its folder"),
    "up within": (a_zip({"x/../../a.dcm": b"one"}), "outside of its folder"),
    "up with backslashes": (a_zip({"x\\..\\..\\a.dcm": b"one"}), "outside of its folder"),
    "absolute": (a_zip({"/etc/passwd": b"one"}), "outside of its folder"),
    "drive": (a_zip({"C:a.dcm": b"one"}), "outside of its folder"),
    "control character": (a_zip({"a\n.dcm": b"one"}), "which no file can have"),
    "long name": (a_zip({"a" * 2000: b"one"}), "more than 1,024 bytes"),
    "link": (a_link(), "is a link"),
    "twice": (two_names(), "two members 'a.dcm'"),
    "shared header": (sharing_bytes(), "contradicts itself"),
    "contradiction": (contradicting_its_header(), "contradicts itself"),
    "bomb": (a_bomb(), "once it is unpacked"),
    "cut off": (cut_off(), "cut off or damaged"),
    "behind": (with_something_behind(), "cut off or damaged"),
    "between": (with_something_between(), "cut off or damaged"),
    "too many": (with_too_many(), "more than 50,000 members"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_or_damaged_zip_is_refused_in_a_sentence(name: str) -> None:
    content, message = HOSTILE[name]
    with pytest.raises(BadValue, match=message):
        read(content)


def test_members_that_share_bytes_under_their_own_headers_are_refused() -> None:
    inner = a_zip({"b.dcm": b"two"})
    header_of_b = inner[: inner.index(b"PK\x01\x02")]
    content = a_zip({"a.dcm": header_of_b, "b.dcm": b"two"})
    second = content.rindex(b"PK\x01\x02")
    entry = bytearray(content[second:])
    entry[42:46] = struct.pack("<L", content.index(header_of_b))
    with pytest.raises(BadValue, match="share bytes"):
        read(content[:second] + bytes(entry))


def test_no_mutation_of_a_zip_raises_anything_but_a_refusal() -> None:
    chance = random.Random(13)
    whole = with_zip_64()
    for _ in range(3000):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            content[chance.randrange(len(content))] = chance.choice((0, 1, 0x7F, 0xFF, chance.randrange(256)))
        try:
            for member in read(bytes(content)):
                assert 0 <= member.offset <= member.offset + member.packed_size <= len(content)
        except BadValue:
            continue
