"""Writing to and reading from the segments of one archive."""

import contextlib
import fcntl
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from portal.archive import records
from portal.archive.holes import Hole
from portal.archive.records import Footer, Found
from portal.archive.remote import Remote
from portal.archive.slices import Slice
from portal.archive.streams import Stream
from portal.archive.writers import NewRecord, Part, Place, Writer, disk_errors, sync_folder
from portal.errors import Damaged

SEGMENT_SIZE = 1 << 30
READ_NOTE_SECONDS = 60.0
"""Seconds between two updates of the time when a segment was last read."""
SEGMENT_SUFFIX = ".seg"
_NAME = re.compile(r"[A-Za-z0-9_.-]+\.seg")
_HOST = re.sub(r"[^A-Za-z0-9_]", "_", socket.gethostname())[:64] or "host"


class Archive:
    """All segments of one folder. Safe to use from any number of threads and processes at once."""

    def __init__(self, root: Path, segment_size: int = SEGMENT_SIZE, remote: Remote | None = None) -> None:
        self.root = root
        self.remote = remote
        """Reads closed segments that are no longer on this disk."""
        self._segment_size = segment_size
        self._noted_reads: dict[str, float] = {}
        self._lock = threading.Lock()
        self._segment: Writer | None = None
        self._owner = 0

    def append(self, content: list[Part], footer: Footer) -> Place:
        """Write one record and return its place once it is on the disk. Raises NoSpace if the disk is full."""
        size = sum(len(part) for part in content)
        return self.append_all([NewRecord(content, size, records.content_crc(content), footer)])[0]

    def append_all(self, new: Sequence[NewRecord]) -> list[Place]:
        """Write some records at once; all are on the disk when this returns, or none counts. Raises NoSpace."""
        encoded = [record.parts for record in new]
        with disk_errors():
            with self._lock:
                segment = self._current()
                at = segment.write([part for parts in encoded for part in parts])
                end = segment.end
            try:
                segment.sync(end)
            except OSError:
                # Nothing more may be appended to this segment.
                with self._lock:
                    if self._segment is segment:
                        self._segment = None
                raise
        places = []
        for record, parts in zip(new, encoded, strict=True):
            places.append(Place(segment.path.name, at + records.HEADER_SIZE, record.size))
            at += sum(len(part) for part in parts)
        return places

    def stream(self) -> Stream:
        """A record of unknown length, in its own segment, so that memory does not grow with it."""
        with disk_errors():
            return Stream(self._create())

    def path(self, segment: str) -> Path:
        """The file of a segment. Raises Damaged for a name that the archive never gives: it could leave the folder."""
        if not _NAME.fullmatch(segment):
            raise Damaged(f"The index names {segment[:80]!r}, which is not a segment of the archive.")
        return self.root / segment

    def is_here(self, segment: str) -> bool:
        """Whether a segment is read from this disk."""
        return self.remote is None or self.path(segment).exists()

    def open(self, segment: str, offset: int, size: int) -> Slice:
        """The content as a file to read. Raises Damaged if the segment is gone or too short.

        A segment that is only in the bucket is not read before the returned slice is.
        """
        path = self.path(segment)
        try:
            local = Slice(path, offset, size)
            if local.is_whole():
                self.note_read(path)
                return local
            local.close()
            problem = f"Segment {segment} is shorter than the index says."
        except OSError as error:
            problem = f"Segment {segment} cannot be read: {error.strerror}."
        remote = self.remote.open(segment, offset, size) if self.remote else None
        if remote is None:
            raise Damaged(f"{problem} Restore it from a backup.")
        return remote

    @contextlib.contextmanager
    def reader(self) -> Iterator["Reader"]:
        """A reader of many small contents, open while the block runs."""
        reader = Reader(self)
        try:
            yield reader
        finally:
            reader.close()

    def is_purged(self, segment: str, offset: int) -> bool:
        """Whether the record whose content begins at `offset` is marked as purged, in a segment on this disk."""
        with contextlib.suppress(OSError), Slice(self.path(segment), offset - records.HEADER_SIZE, 4) as magic:
            return magic.read() == records.PURGED_MAGIC
        return False

    def segments(self) -> list[str]:
        """Names of all segments on this disk, sorted."""
        return sorted(name for name in os.listdir(self.root) if name.endswith(SEGMENT_SUFFIX))

    def scan(self, segment: str) -> Iterator[Found]:
        """Records and damage of a segment."""
        with self._whole(segment) as file:
            yield from records.scan(file, segment)

    def scan_unknown(self, segment: str, known: Iterator[tuple[int, int]]) -> Iterator[Found]:
        """Damage of a segment, and its records except those in `known` (offset and size of each content)."""
        with self._whole(segment) as file:
            yield from records.scan_unknown(file, segment, known)

    @contextlib.contextmanager
    def at_rest(self, segment: str) -> Iterator[bool]:
        """Whether no process appends to this segment. If so, its lock is held while the block runs.

        False for a segment that is not on this disk.
        """
        try:
            descriptor = os.open(self.path(segment), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            yield False
            return
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                is_locked = False
            else:
                is_locked = True
            yield is_locked
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def purging(self, segment: str) -> Iterator[Hole | None]:
        """To mark and erase records of a segment; on the disk when the block ends. None if it is not on this disk."""
        try:
            descriptor = os.open(self.path(segment), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            yield None
            return
        try:
            yield Hole(descriptor)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, segment: str) -> None:
        """Delete a segment that is no longer needed, if it is on this disk."""
        self.path(segment).unlink(missing_ok=True)
        sync_folder(self.root)

    def cut(self, segment: str, end: int) -> None:
        """Cut off a torn tail; a segment without any record left is deleted."""
        path = self.path(segment)
        if end <= len(records.SEGMENT_MAGIC):
            path.unlink()
        else:
            os.truncate(path, end)
        sync_folder(self.root)

    def sync(self) -> None:
        """Return when the names in the folder are on the disk."""
        sync_folder(self.root)

    def close(self) -> None:
        """Close the segment that this process appends to."""
        with self._lock:
            self._retire()

    def _current(self) -> Writer:
        """The segment to append to: a new one when the last is full, and after a fork: the last is the parent's."""
        if self._segment is not None and self._owner != os.getpid():
            self._segment = None
        if self._segment is not None and self._segment.end >= self._segment_size:
            self._retire()
        if self._segment is None:
            self._segment = self._create()
            self._owner = os.getpid()
        return self._segment

    def _create(self) -> Writer:
        """A new segment under a name that was never used: process ids repeat, and the bucket may hold old names."""
        while True:
            with contextlib.suppress(FileExistsError):
                return Writer(self.root / f"{_HOST}-{os.getpid()}-{secrets.token_hex(6)}.seg")

    def _whole(self, segment: str) -> Slice:
        path = self.path(segment)
        try:
            return Slice(path, 0, path.stat().st_size)
        except FileNotFoundError:
            if self.remote and (remote := self.remote.whole(segment)):
                return remote
            raise

    def note_read(self, path: Path) -> None:
        """Record the read, so that the least recently read copies are dropped first. Once a minute is enough."""
        moment = time.monotonic()
        if self.remote is None or moment - self._noted_reads.get(path.name, -READ_NOTE_SECONDS) < READ_NOTE_SECONDS:
            return
        self._noted_reads[path.name] = moment
        with contextlib.suppress(OSError):
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))

    def _retire(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None and self._owner == os.getpid():
            with contextlib.suppress(OSError):  # a caller that waits for a record of it gets the same error
                segment.sync(segment.end)
            segment.close()


class Reader:
    """Reads whole contents one after the other, and keeps the last segment open: the next one is mostly in it too."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._segment = ""
        self._descriptor = -1
        self._files: dict[str, str] = {}

    def file(self, segment: str) -> str:
        """The path of a segment, for a reader in another process; empty if it is not on this disk."""
        if segment not in self._files:
            found = ""
            with contextlib.suppress(Damaged):
                path = self._archive.path(segment)
                if path.exists():
                    self._archive.note_read(path)
                    found = str(path)
            self._files[segment] = found  # only once it is known: an error of the disk is asked for again
        return self._files[segment]

    def read(self, segment: str, offset: int, size: int) -> bytes:
        """All of one content. Raises as `Archive.open` and its reading do."""
        try:
            content = os.pread(self._open(segment), size, offset)
        except OSError:
            content = b""
        if len(content) == size:
            return content
        with self._archive.open(segment, offset, size) as file:
            return file.read()

    def read_record(self, segment: str, offset: int, size: int, digest: str) -> memoryview | None:
        """All of one record's content, read and compared with the record's check sum at once.

        `digest`: of its data set. None if that does not say whether it is intact: only `read` and the digest then do.
        """
        try:
            read = os.pread(self._open(segment), size + records.COMMON_TAIL_SIZE, offset)
        except OSError:
            return None
        return records.intact_content(read, size, digest)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._segment, self._descriptor = "", -1

    def _open(self, segment: str) -> int:
        if segment != self._segment:
            self.close()
            path = self._archive.path(segment)
            self._descriptor, self._segment = os.open(path, os.O_RDONLY | os.O_CLOEXEC), segment
            self._archive.note_read(path)
        return self._descriptor
