"""Writing to and reading from the segments of one archive."""

import contextlib
import fcntl
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from portal.archive import records
from portal.archive.holes import Hole
from portal.archive.records import Footer, Found
from portal.archive.remote import Remote
from portal.archive.slices import Slice
from portal.archive.writers import Part, Place, Stream, Writer, disk_errors, sync_folder
from portal.errors import Damaged

SEGMENT_SIZE = 1 << 30
READ_NOTE_SECONDS = 60.0
"""Seconds between two notes that a segment was read."""
SEGMENT_SUFFIX = ".seg"
_NAME = re.compile(r"[A-Za-z0-9_.-]+\.seg")
_HOST = re.sub(r"[^A-Za-z0-9_]", "_", socket.gethostname())[:64] or "host"


class Archive:
    """All segments of one folder. Safe to use from any number of threads and processes at once."""

    def __init__(self, root: Path, segment_size: int = SEGMENT_SIZE, remote: Remote | None = None) -> None:
        self.root = root
        self.remote = remote
        """Where closed segments are read that are not here any more."""
        self._segment_size = segment_size
        self._looked: dict[str, float] = {}
        self._lock = threading.Lock()
        self._segment: Writer | None = None
        self._owner = 0

    def append(self, content: list[Part], footer: Footer) -> Place:
        """Write one record and return its place when it is on the disk. Raises NoSpace where the disk is full."""
        size = sum(len(part) for part in content)
        record: list[Part] = [records.header(size), *content, records.tail(records.content_crc(content), footer)]
        with disk_errors():
            with self._lock:
                segment = self._current()
                start = segment.write(record)
                end = segment.end
            self._sync(segment, end)
        return Place(segment.path.name, start + records.HEADER_SIZE, size)

    def stream(self) -> "Stream":
        """A record of unknown length, in a segment of its own: memory does not grow with it."""
        with disk_errors():
            return Stream(self._create())

    def path(self, segment: str) -> Path:
        """The file of a segment. The name is one of ours; anything else is refused before it touches a path."""
        if not _NAME.fullmatch(segment):
            raise Damaged(f"The index names {segment[:80]!r}, which is no segment of the archive.")
        return self.root / segment

    def is_here(self, segment: str) -> bool:
        """Whether a segment is read from this disk."""
        return self.remote is None or self.path(segment).exists()

    def open(self, segment: str, offset: int, size: int) -> Slice:
        """The content as a file to read. Raises Damaged where the segment is gone or shorter than that.

        What lies in the bucket alone is reached for when it is read.
        """
        path = self.path(segment)
        try:
            here = Slice(path, offset, size)
            if here.is_whole():
                self.note_read(path)
                return here
            here.close()
            wrong = f"Segment {segment} is shorter than the index says."
        except OSError as error:
            wrong = f"Segment {segment} cannot be read: {error.strerror}."
        found = self.remote.open(segment, offset, size) if self.remote else None
        if found is None:
            raise Damaged(f"{wrong} Restore it from a backup.")
        return found

    @contextlib.contextmanager
    def reader(self) -> Iterator["Reader"]:
        """Reads many small contents, for as long as the block runs."""
        reader = Reader(self)
        try:
            yield reader
        finally:
            reader.close()

    def is_purged(self, segment: str, offset: int) -> bool:
        """Whether the record whose content begins there is marked as purged, in a segment that is here."""
        with contextlib.suppress(OSError), Slice(self.path(segment), offset - records.HEADER_SIZE, 4) as magic:
            return magic.read() == records.PURGED_MAGIC
        return False

    def segments(self) -> list[str]:
        """Names of all segments that are here, in the order of their names."""
        return sorted(name for name in os.listdir(self.root) if name.endswith(SEGMENT_SUFFIX))

    def scan(self, segment: str) -> Iterator[Found]:
        """Records and damage of a segment."""
        with self._whole(segment) as file:
            yield from records.scan(file, segment)

    def scan_unknown(self, segment: str, known: Iterator[tuple[int, int]]) -> Iterator[Found]:
        """Damage of a segment, and its records but for those at the offsets and of the sizes in `known`."""
        with self._whole(segment) as file:
            yield from records.scan_unknown(file, segment, known)

    @contextlib.contextmanager
    def at_rest(self, segment: str) -> Iterator[bool]:
        """Whether no process appends to this segment; for as long as the block runs, none is to take it for at rest.

        One that is not here (any more) is not.
        """
        try:
            descriptor = os.open(self.path(segment), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            yield False
            return
        try:
            yield _try_lock(descriptor)
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def purging(self, segment: str) -> Iterator[Hole | None]:
        """To mark and erase records of a segment, on the disk when the block is left; None where it is not here."""
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
        """Delete a segment of which nothing is needed; one that is not here stays so."""
        self.path(segment).unlink(missing_ok=True)
        sync_folder(self.root)

    def cut(self, segment: str, end: int) -> None:
        """Cut a torn tail off; a segment of which nothing is left goes away."""
        path = self.path(segment)
        if end <= len(records.SEGMENT_MAGIC):
            path.unlink()
        else:
            os.truncate(path, end)
        sync_folder(self.root)

    def sync(self) -> None:
        """Have the folder's names on the disk."""
        sync_folder(self.root)

    def close(self) -> None:
        """Let go of the segment that this process appends to."""
        with self._lock:
            self._retire()

    def _current(self) -> Writer:
        """The segment to append to: a new one after a fork, for it belongs to the parent, and when the last is full."""
        if self._segment is not None and self._owner != os.getpid():
            self._segment = None
        if self._segment is not None and self._segment.end >= self._segment_size:
            self._retire()
        if self._segment is None:
            self._segment = self._create()
            self._owner = os.getpid()
        return self._segment

    def _create(self) -> Writer:
        """Under a name that none has had, here or elsewhere: process numbers come again, and copies here may go."""
        while True:
            with contextlib.suppress(FileExistsError):
                return Writer(self.root / f"{_HOST}-{os.getpid()}-{secrets.token_hex(6)}.seg")

    def _whole(self, segment: str) -> Slice:
        path = self.path(segment)
        try:
            return Slice(path, 0, path.stat().st_size)
        except FileNotFoundError:
            if self.remote and (found := self.remote.whole(segment)):
                return found
            raise

    def note_read(self, path: Path) -> None:
        """When a segment was read last: those go first that were not for long. Once a minute is enough."""
        moment = time.monotonic()
        if self.remote is None or moment - self._looked.get(path.name, -READ_NOTE_SECONDS) < READ_NOTE_SECONDS:
            return
        self._looked[path.name] = moment
        with contextlib.suppress(OSError):
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))

    def _sync(self, segment: Writer, end: int) -> None:
        try:
            segment.sync(end)
        except OSError:
            # Nothing more goes into this segment.
            with self._lock:
                if self._segment is segment:
                    self._segment = None
            raise

    def _retire(self) -> None:
        segment, self._segment = self._segment, None
        if segment is not None and self._owner == os.getpid():
            with contextlib.suppress(OSError):  # whoever waits for a record of it meets the same error
                segment.sync(segment.end)
            segment.close()


class Reader:
    """Whole contents, one after the other: the segment of the last one stays open, where the next one mostly is too."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._segment = ""
        self._descriptor = -1
        self._files: dict[str, str] = {}

    def file(self, segment: str) -> str:
        """The file of a segment that is here, for a reader in another process; empty where it is not."""
        if segment not in self._files:
            self._files[segment] = self._found(segment)
        return self._files[segment]

    def _found(self, segment: str) -> str:
        with contextlib.suppress(Damaged):
            path = self._archive.path(segment)
            if path.exists():
                self._archive.note_read(path)
                return str(path)
        return ""

    def read(self, segment: str, offset: int, size: int) -> bytes:
        """All of one content. Raises as `Archive.open` and its reading do."""
        try:
            found = os.pread(self._opened(segment), size, offset)
        except OSError:
            found = b""
        if len(found) == size:
            return found
        with self._archive.open(segment, offset, size) as content:
            return content.read()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._segment, self._descriptor = "", -1

    def _opened(self, segment: str) -> int:
        if segment != self._segment:
            self.close()
            path = self._archive.path(segment)
            self._descriptor, self._segment = os.open(path, os.O_RDONLY | os.O_CLOEXEC), segment
            self._archive.note_read(path)
        return self._descriptor


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
