import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portal.archive import Archive, Record, streams
from portal.errors import NoSpace

BEHIND_THEM = [0, streams.MAX_BUFFERED]
"""Streams that are open already: those that come behind so many have no buffers."""
CONTENT = os.urandom(1 << 16) * 85  # some blocks, and a part of one


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


@pytest.fixture
def fail(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Has the kernel refuse the write of a block at an offset, or any from 0, with an error."""

    def install(number: int, offset: int) -> None:
        write = os.pwrite

        def pwrite(descriptor: int, data: bytes, at: int) -> int:
            if at >= offset and len(data) == streams.BLOCK:
                raise OSError(number, os.strerror(number))
            return write(descriptor, data, at)

        monkeypatch.setattr(os, "pwrite", pwrite)

    return install


def streamed(archive: Archive, sizes: list[int]) -> bytes:
    """What a stream keeps that is given pieces of these sizes in turn, as it is read back."""
    stream, at, turn = archive.stream(), 0, 0
    digest = hashlib.sha256()
    stream.add_digests(digest)
    buffer = bytearray(max(sizes))
    while at < len(CONTENT):
        piece = CONTENT[at : at + sizes[turn % len(sizes)]]
        buffer[: len(piece)] = piece  # the sender uses its buffer again
        stream.write(memoryview(buffer)[: len(piece)])
        at, turn = at + len(piece), turn + 1
    stream.settle()
    assert digest.digest() == hashlib.sha256(CONTENT).digest()
    place = stream.commit({"n": 1})
    [found] = archive.scan(place.segment)
    assert isinstance(found, Record)
    assert (found.offset, found.size, found.footer) == (place.offset, len(CONTENT), {"n": 1})
    with archive.open(place.segment, place.offset, place.size) as content:
        return content.read()


@pytest.fixture(params=BEHIND_THEM, ids=lambda number: f"behind {number}")
def others(request: pytest.FixtureRequest, archive: Archive) -> Iterator[None]:
    opened = [archive.stream() for _ in range(request.param)]
    yield
    for stream in opened:
        stream.abort()


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("sizes", [[1 << 20], [16_372], [5_000_000, 1, 4095], [streams.BLOCK - 24, streams.BLOCK]])
def test_a_stream_keeps_every_byte_whatever_pieces_it_comes_in(archive: Archive, sizes: list[int]) -> None:
    assert streamed(archive, sizes) == CONTENT


@pytest.mark.usefixtures("others")
def test_what_has_come_so_far_is_read_and_hashed_and_more_may_follow(archive: Archive) -> None:
    stream = archive.stream()
    whole, rest = hashlib.sha256(), hashlib.sha256()
    stream.add_digests(whole)
    for end in (10, 4096, streams.BLOCK - 24, streams.BLOCK, 2 * streams.BLOCK + 5, len(CONTENT)):
        stream.write(CONTENT[stream.size : end])
        for _ in range(2):
            with stream.content() as content:
                assert content.read() == CONTENT[:end]
            assert whole.digest() == hashlib.sha256(CONTENT[:end]).digest()
        if end == streams.BLOCK:
            stream.add_digests(rest)
    assert rest.digest() == hashlib.sha256(CONTENT[streams.BLOCK :]).digest()
    place = stream.commit({})
    with archive.open(place.segment, place.offset, place.size) as content:
        assert content.read() == CONTENT


def test_a_file_system_without_direct_writes_keeps_every_byte_too(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def without(path: str, flags: int, *more: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "Invalid argument")
        return opened(path, flags, *more)

    monkeypatch.setattr(os, "open", without)
    assert streamed(archive, [1 << 20]) == CONTENT


def test_a_file_system_that_refuses_a_direct_write_keeps_every_byte_too(
    archive: Archive, fail: Callable[[int, int], None]
) -> None:
    fail(errno.EINVAL, 0)
    assert streamed(archive, [1 << 20]) == CONTENT


def test_a_disk_that_is_full_behind_the_sender_is_told_with_the_next_bytes_and_for_good(
    archive: Archive, fail: Callable[[int, int], None]
) -> None:
    fail(errno.ENOSPC, streams.BLOCK)
    stream = archive.stream()
    with pytest.raises(NoSpace):
        stream.write(bytes((streams.BUFFERS + 2) * streams.BLOCK))
    for again in (stream.settle, lambda: stream.commit({})):
        with pytest.raises(NoSpace):
            again()
    stream.abort()
    assert archive.segments() == []


def test_a_disk_that_is_full_for_the_last_block_is_told_before_the_record_is_kept(
    archive: Archive, fail: Callable[[int, int], None]
) -> None:
    fail(errno.ENOSPC, streams.BLOCK)
    stream = archive.stream()
    stream.write(bytes(2 * streams.BLOCK))
    with pytest.raises(NoSpace):
        stream.commit({})
    stream.abort()
    assert archive.segments() == []
