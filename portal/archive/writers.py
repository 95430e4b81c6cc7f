"""Appending to one segment: records as they come, or one that is streamed."""

import contextlib
import errno
import fcntl
import os
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from portal.archive import records
from portal.archive.records import Footer
from portal.errors import NoSpace

Part = bytes | bytearray | memoryview


@dataclass(frozen=True)
class Place:
    """Where a record's content lies: `size` bytes from `offset` of the segment's file."""

    segment: str
    offset: int
    size: int


class Writer:
    """One file that this process alone appends to; it stays locked (flock) for as long as it is open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self._syncing = threading.Lock()
        self.end = 0
        """Behind the last record that was written whole."""
        self._synced = 0
        self._failed: OSError | None = None
        self.write([records.SEGMENT_MAGIC])
        sync_folder(path.parent)

    def write(self, parts: list[Part]) -> int:
        """Write at the end and return where that began. On failure nothing stays of it."""
        start = at = self.end
        try:
            left = [memoryview(part) for part in parts]
            while left:
                at += _advance(left, os.pwritev(self._descriptor, left[: os.sysconf("SC_IOV_MAX")], at))
        except OSError:
            os.ftruncate(self._descriptor, start)
            raise
        self.end = at  # not before: a sync meanwhile would count as synced what another record may yet stand in
        return start

    def overwrite(self, data: bytes, offset: int) -> None:
        """Replace bytes that are there already; on the disk when this returns."""
        os.pwrite(self._descriptor, data, offset)
        os.fdatasync(self._descriptor)

    def sync(self, end: int) -> None:
        """Return when all bytes before `end` are on the disk. Callers that come together share one fdatasync.

        Once that failed it fails for all who come later: the kernel tells of lost pages once, and calls them clean.
        """
        with self._syncing:
            if self._synced >= end:
                return
            if self._failed is not None:
                raise OSError(self._failed.errno, self._failed.strerror)
            written = self.end
            try:
                os.fdatasync(self._descriptor)
                if not os.fstat(self._descriptor).st_nlink:
                    raise OSError(errno.ENOENT, f"{self.path.name} was deleted while it was written to")
            except OSError as error:
                self._failed = error
                raise
            self._synced = written

    def close(self) -> None:
        with self._syncing:
            os.close(self._descriptor)


class Stream:
    """One record that is written as it arrives; it is there when `commit` returns, and gone after `abort`."""

    def __init__(self, segment: Writer) -> None:
        self._segment = segment
        self._crc = 0
        self.size = 0
        self._start = segment.write([records.header(records.UNKNOWN_LENGTH)])

    @property
    def path(self) -> Path:
        return self._segment.path

    @property
    def offset(self) -> int:
        """Where the content begins in the file."""
        return self._start + records.HEADER_SIZE

    def write(self, chunk: Part) -> None:
        with disk_errors():
            self._segment.write([chunk])
        self._crc = zlib.crc32(chunk, self._crc)
        self.size += len(chunk)

    def commit(self, footer: Footer) -> Place:
        """Close the record; it is on the disk when this returns. The length goes in last; before, it reads as torn."""
        with disk_errors():
            self._segment.write([records.tail(self._crc, footer)])
            self._segment.sync(self._segment.end)
            self._segment.overwrite(records.header(self.size), self._start)
        self._segment.close()
        return Place(self.path.name, self.offset, self.size)

    def abort(self) -> None:
        self.path.unlink(missing_ok=True)
        self._segment.close()


@contextlib.contextmanager
def disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace("The archive's disk is full. Free some space; nothing of this object was kept.") from error
        raise


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _advance(parts: list[memoryview], written: int) -> int:
    """Drop from the front what has been written; the kernel may have taken less than all."""
    left = written
    while parts and left >= len(parts[0]):
        left -= len(parts.pop(0))
    if left:
        parts[0] = parts[0][left:]
    return written
