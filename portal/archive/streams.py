"""One large record, written to the disk past the page cache while its next bytes arrive (docs/decisions/0115)."""

import errno
import mmap
import os
import zlib
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from portal.archive import records
from portal.archive.records import Footer
from portal.archive.slices import Slice
from portal.archive.writers import Part, Place, Writer, disk_errors

BLOCK = 2 << 20
"""Bytes that are written at once. Blocks lie at multiples of it, which every disk accepts for direct writes."""


class Stream:
    """One record that is written as it arrives: durable when `commit` returns, deleted by `abort`.

    Two buffers take turns: a thread writes one of them while the caller fills the other.
    """

    def __init__(self, segment: Writer) -> None:
        self._segment = segment
        self._direct = _open_direct(segment.path)
        self._crc = 0
        self.size = 0
        self._start = segment.write([records.header(records.UNKNOWN_LENGTH)])
        # Anonymous memory is aligned as direct writes need it, and shared: a fork during a write copies none of it.
        self._buffers = [memoryview(mmap.mmap(-1, BLOCK)) for _ in range(2)]
        head = records.SEGMENT_MAGIC + records.header(records.UNKNOWN_LENGTH)
        self._buffers[0][: len(head)] = head
        self._filled = len(head)
        self._at = 0
        """Where the buffer that is being filled belongs in the file."""
        self._thread = ThreadPoolExecutor(1, "stream")
        self._writing: Future[None] | None = None

    @property
    def path(self) -> Path:
        return self._segment.path

    def write(self, chunk: Part) -> None:
        """Add bytes; they are copied. Raises NoSpace, also for a block that came before."""
        left = memoryview(chunk)
        self._crc = zlib.crc32(left, self._crc)
        self.size += len(left)
        while left:
            part = left[: BLOCK - self._filled]
            self._buffers[0][self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            left = left[len(part) :]
            if self._filled == BLOCK:
                self._wait()
                self._writing = self._thread.submit(self._write, self._buffers[0], self._at)
                self._buffers.reverse()
                self._at += BLOCK
                self._filled = 0

    def content(self) -> Slice:
        """All bytes so far, as a file; more may follow."""
        self._finish(b"")
        return Slice(self.path, self._start + records.HEADER_SIZE, self.size)

    def commit(self, footer: Footer) -> Place:
        """Close the record; it is on the disk when this returns."""
        self._finish(records.tail(self._crc, footer))
        with disk_errors():
            self._segment.sync(self._segment.end)
            # The length is written last: until then the record counts as torn.
            self._segment.overwrite(records.header(self.size), self._start)
        self._close()
        return Place(self.path.name, self._start + records.HEADER_SIZE, self.size)

    def abort(self) -> None:
        self.path.unlink(missing_ok=True)
        self._close()

    def _wait(self) -> None:
        """Return when the other buffer is written. Raises what its thread did."""
        with disk_errors():
            if self._writing is not None:
                self._writing.result()

    def _finish(self, tail: bytes) -> None:
        """Write what waits in the buffer. Its block is written again, whole, if more bytes follow."""
        self._wait()
        self._segment.end = self._at
        with disk_errors():
            self._segment.write([self._buffers[0][: self._filled], tail])

    def _write(self, block: memoryview, offset: int) -> None:
        written = 0
        if self._direct is not None:
            try:
                written = os.pwrite(self._direct, block, offset)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                # The file system takes no direct writes after all: this block goes through the page cache.
        if written < BLOCK:
            self._segment.end = offset + written
            self._segment.write([block[written:]])
            self._segment.begin_sync(offset + written, offset + BLOCK)

    def _close(self) -> None:
        self._thread.shutdown()
        if self._direct is not None:
            os.close(self._direct)
            self._direct = None
        self._segment.close()


def _open_direct(path: Path) -> int | None:
    """A descriptor for writes past the page cache; None where the file system has none (open(2), EINVAL)."""
    try:
        return os.open(path, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return None
