"""Appending to one segment, and its way to the disk."""

import contextlib
import ctypes
import errno
import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from portal.archive import records
from portal.archive.records import Footer
from portal.errors import NoSpace

Part = bytes | bytearray | memoryview
_BEGIN_WRITE = 2  # SYNC_FILE_RANGE_WRITE (sync_file_range(2)), which Python does not have
_sync_file_range: Any = getattr(ctypes.CDLL(None), "sync_file_range", None)


@dataclass(frozen=True)
class Place:
    """Where the content of a record is: `size` bytes from `offset` of the segment's file."""

    segment: str
    offset: int
    size: int


class NewRecord(NamedTuple):
    """A record to be written: its content in parts, their size together and their CRC-32."""

    content: Sequence[Part]
    size: int
    crc: int
    footer: Footer

    @property
    def parts(self) -> list[Part]:
        """All bytes of the record."""
        return [records.header(self.size), *self.content, records.tail(self.crc, self.footer)]


class Writer:
    """One file that only this process appends to; it stays locked (flock) while it is open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self._syncing = threading.Lock()
        self.end = 0
        """The end of the last record that was written whole."""
        self._synced = 0
        self._failed: OSError | None = None
        self.write([records.SEGMENT_MAGIC])
        sync_folder(path.parent)

    def write(self, parts: list[Part]) -> int:
        """Write at the end and return the offset of the first byte. After a failure nothing of it is left."""
        start = at = self.end
        try:
            left = [memoryview(part) for part in parts]
            while left:
                written = os.pwritev(self._descriptor, left[: os.sysconf("SC_IOV_MAX")], at)
                at += written
                # The kernel may have taken less than all: drop from the front what was written.
                while left and written >= len(left[0]):
                    written -= len(left.pop(0))
                if written:
                    left[0] = left[0][written:]
        except OSError:
            os.ftruncate(self._descriptor, start)
            raise
        self.end = at  # only now: a concurrent sync must not count bytes as synced that are still being written
        return start

    def overwrite(self, data: bytes, offset: int) -> None:
        """Replace bytes that were written before; on the disk when this returns."""
        os.pwrite(self._descriptor, data, offset)
        os.fdatasync(self._descriptor)

    def begin_sync(self, begin: int, end: int) -> None:
        """Have the kernel begin to write these bytes to the disk, so that a later `sync` has less to wait for."""
        if _sync_file_range is not None:
            _sync_file_range(self._descriptor, ctypes.c_int64(begin), ctypes.c_int64(end - begin), _BEGIN_WRITE)

    def sync(self, end: int) -> None:
        """Return when all bytes before `end` are on the disk. Concurrent callers share one fdatasync.

        Once it failed, it fails for all later callers: the kernel reports lost pages once, and then marks them clean.
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
