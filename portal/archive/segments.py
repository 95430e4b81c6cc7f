"""Writing to and reading from the segments of one archive."""

import contextlib
import errno
import fcntl
import os
import re
import socket
import threading
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from portal.archive import records
from portal.archive.records import Damage, Footer, Record
from portal.archive.slices import Slice
from portal.errors import Damaged, NoSpace

SEGMENT_SIZE = 1 << 30
_NAME = re.compile(r"[A-Za-z0-9_.-]+\.seg")
_HOST = re.sub(r"[^A-Za-z0-9_]", "_", socket.gethostname())[:64] or "host"

Part = bytes | bytearray | memoryview


@dataclass(frozen=True)
class Place:
    """Where a record's content lies: `size` bytes from `offset` of the segment's file."""

    segment: str
    offset: int
    size: int


class _Segment:
    """One file that this process alone appends to; it stays locked (flock) for as long as it is open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self._syncing = threading.Lock()
        self.end = 0
        self._synced = 0
        self.write([records.SEGMENT_MAGIC])
        _sync_folder(path.parent)

    def write(self, parts: list[Part]) -> int:
        """Write at the end and return where that began. On failure nothing stays of it."""
        start = self.end
        try:
            left = [memoryview(part) for part in parts]
            while left:
                self.end += _advance(left, os.pwritev(self._descriptor, left[: os.sysconf("SC_IOV_MAX")], self.end))
        except OSError:
            self.end = start
            os.ftruncate(self._descriptor, start)
            raise
        return start

    def overwrite(self, data: bytes, offset: int) -> None:
        """Replace bytes that are there already; on the disk when this returns."""
        os.pwrite(self._descriptor, data, offset)
        os.fdatasync(self._descriptor)

    def sync(self, end: int) -> None:
        """Return when all bytes before `end` are on the disk. Callers that come together share one fdatasync."""
        with self._syncing:
            if self._synced < end:
                written = self.end
                os.fdatasync(self._descriptor)
                self._synced = written

    def close(self) -> None:
        with self._syncing:
            os.close(self._descriptor)


class Archive:
    """All segments of one folder. Safe to use from any number of threads and processes at once."""

    def __init__(self, root: Path, segment_size: int = SEGMENT_SIZE) -> None:
        self.root = root
        self._segment_size = segment_size
        self._lock = threading.Lock()
        self._segment: _Segment | None = None
        self._owner = 0

    def append(self, content: list[Part], footer: Footer) -> Place:
        """Write one record and return its place when it is on the disk. Raises NoSpace where the disk is full."""
        size = sum(len(part) for part in content)
        record: list[Part] = [records.header(size), *content, records.tail(records.crc_of(content), footer)]
        with _disk_errors():
            with self._lock:
                segment = self._current()
                start = segment.write(record)
                end = segment.end
            self._sync(segment, end)
        return Place(segment.path.name, start + records.HEADER_SIZE, size)

    def stream(self) -> "Stream":
        """A record of unknown length, in a segment of its own: memory does not grow with it."""
        with _disk_errors():
            return Stream(self._create())

    def path(self, segment: str) -> Path:
        """The file of a segment. The name is one of ours; anything else is refused before it touches a path."""
        if not _NAME.fullmatch(segment):
            raise Damaged(f"The index names {segment[:80]!r}, which is no segment of the archive.")
        return self.root / segment

    def open(self, segment: str, offset: int, size: int) -> Slice:
        """The content as a file to read. Raises Damaged where the segment is gone or shorter than that."""
        path = self.path(segment)
        try:
            whole = path.stat().st_size >= offset + size
            if whole:
                return Slice(path, offset, size)
        except OSError as error:
            raise Damaged(f"Segment {segment} cannot be read: {error.strerror}. Restore it from a backup.") from error
        raise Damaged(f"Segment {segment} is shorter than the index says. Restore it from a backup.")

    def segments(self) -> list[str]:
        """Names of all segments, in the order of their names."""
        return sorted(path.name for path in self.root.glob("*.seg"))

    def scan(self, segment: str, start: int | None = None) -> Iterator[Record | Damage]:
        """Records and damage of a segment, from the record that begins at `start`."""
        return records.scan(self.path(segment), len(records.SEGMENT_MAGIC) if start is None else start)

    @contextlib.contextmanager
    def at_rest(self, segment: str) -> Iterator[bool]:
        """Whether no process appends to this segment; for as long as the block runs, none is to take it for at rest."""
        descriptor = os.open(self.path(segment), os.O_RDWR | os.O_CLOEXEC)
        try:
            yield _try_lock(descriptor)
        finally:
            os.close(descriptor)

    def cut(self, segment: str, end: int) -> None:
        """Cut a torn tail off; a segment of which nothing is left goes away."""
        path = self.path(segment)
        if end <= len(records.SEGMENT_MAGIC):
            path.unlink()
        else:
            os.truncate(path, end)
        _sync_folder(self.root)

    def close(self) -> None:
        """Let go of the segment that this process appends to."""
        with self._lock:
            self._retire()

    def _current(self) -> _Segment:
        """The segment to append to: a new one after a fork, for it belongs to the parent, and when the last is full."""
        if self._segment is not None and self._owner != os.getpid():
            self._segment = None
        if self._segment is not None and self._segment.end >= self._segment_size:
            self._retire()
        if self._segment is None:
            self._segment = self._create()
            self._owner = os.getpid()
        return self._segment

    def _create(self) -> _Segment:
        number = 0
        while True:
            with contextlib.suppress(FileExistsError):
                return _Segment(self.root / f"{_HOST}-{os.getpid()}-{number}.seg")
            number += 1

    def _sync(self, segment: _Segment, end: int) -> None:
        try:
            segment.sync(end)
        except OSError:
            # After a failed fdatasync the kernel may call the lost pages clean: nothing more goes into this segment.
            with self._lock:
                if self._segment is segment:
                    self._segment = None
            raise

    def _retire(self) -> None:
        if self._segment is not None and self._owner == os.getpid():
            self._segment.sync(self._segment.end)
            self._segment.close()
        self._segment = None


class Stream:
    """One record that is written as it arrives; it is there when `commit` returns, and gone after `abort`."""

    def __init__(self, segment: _Segment) -> None:
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
        with _disk_errors():
            self._segment.write([chunk])
        self._crc = zlib.crc32(chunk, self._crc)
        self.size += len(chunk)

    def commit(self, footer: Footer) -> Place:
        """Close the record; it is on the disk when this returns. The length goes in last; before, it reads as torn."""
        with _disk_errors():
            self._segment.write([records.tail(self._crc, footer)])
            self._segment.sync(self._segment.end)
            self._segment.overwrite(records.header(self.size), self._start)
        self._segment.close()
        return Place(self.path.name, self.offset, self.size)

    def abort(self) -> None:
        self.path.unlink(missing_ok=True)
        self._segment.close()


def _advance(parts: list[memoryview], written: int) -> int:
    """Drop from the front what has been written; the kernel may have taken less than all."""
    left = written
    while parts and left >= len(parts[0]):
        left -= len(parts.pop(0))
    if left:
        parts[0] = parts[0][left:]
    return written


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoSpace("The archive's disk is full. Free some space; nothing of this object was kept.") from error
        raise
