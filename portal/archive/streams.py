"""One large record, hashed and written past the page cache while its next bytes arrive (docs/decisions/0115)."""

import contextlib
import errno
import hashlib
import mmap
import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from portal.archive import records
from portal.archive.checksums import crc32
from portal.archive.records import Footer
from portal.archive.slices import Slice
from portal.archive.writers import Part, Place, Writer, disk_errors

BLOCK = 1 << 20
"""Bytes that are written at once. Blocks lie at multiples of it, which every disk accepts for direct writes."""
BUFFERS = 4
"""Blocks that are in memory at once: one is filled, the others are on their way."""
MAX_BUFFERED = 4
"""Streams of a process that have buffers and threads; further ones hash and write each part as it comes."""

_buffered = threading.Semaphore(MAX_BUFFERED)


class Stream:
    """One record that is written as it arrives: durable when `commit` returns, deleted by `abort`.

    While the caller fills one of its buffers, one thread hashes and another one writes those that are full, in order.
    A stream that finds too many others has neither.
    """

    def __init__(self, segment: Writer) -> None:
        self._segment = segment
        self._direct: int | None = None
        # A file system may have no direct writes (open(2), EINVAL).
        with contextlib.suppress(OSError):
            self._direct = os.open(segment.path, os.O_WRONLY | os.O_DIRECT | os.O_CLOEXEC)
        self._crc = 0
        self._digests: tuple[hashlib._Hash, ...] = ()
        self.size = 0
        self._start = segment.write([records.header(records.UNKNOWN_LENGTH)])
        self._is_buffered = _buffered.acquire(blocking=False)
        # Anonymous memory is aligned as direct writes need it, and shared: a fork during a write copies none of it.
        # Pages that are never written take none.
        self._buffers = deque(memoryview(mmap.mmap(-1, BLOCK)) for _ in range(BUFFERS))
        head = records.SEGMENT_MAGIC + records.header(records.UNKNOWN_LENGTH)
        self._buffers[0][: len(head)] = head
        self._filled = self._hashed = len(head)
        """Bytes of the buffer that is being filled, and how many of them are hashed, or are no content."""
        self._at = 0
        """Where that buffer belongs in the file."""
        self._hasher, self._writer = ThreadPoolExecutor(1, "hasher"), ThreadPoolExecutor(1, "writer")
        self._pending: deque[tuple[Future[None], Future[None]]] = deque()

    @property
    def path(self) -> Path:
        return self._segment.path

    def add_digests(self, *digests: "hashlib._Hash") -> None:
        """Give all bytes from here on to these too; they are complete after `settle`."""
        self._hash_rest()
        self._digests += digests

    def write(self, chunk: Part) -> None:
        """Add bytes; they are copied. Raises NoSpace, also for a block that came before."""
        left = memoryview(chunk)
        self.size += len(left)
        if not self._is_buffered:
            self._hash(left)
            with disk_errors():
                self._segment.write([left])
            return
        while left:
            part = left[: BLOCK - self._filled]
            self._buffers[0][self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            left = left[len(part) :]
            if self._filled == BLOCK:
                block = self._buffers[0]
                hashed = self._hasher.submit(self._hash, block[self._hashed :])
                self._pending.append((hashed, self._writer.submit(self._write, block, self._at)))
                self._await(BUFFERS - 1)
                self._buffers.rotate(-1)
                self._at += BLOCK
                self._filled = self._hashed = 0

    def settle(self) -> None:
        """Return when all bytes so far are in the file and in the digests; more may follow. Raises NoSpace."""
        self._hash_rest()
        self._write_rest(b"")

    def content(self) -> Slice:
        """All bytes so far, as a file; more may follow."""
        self.settle()
        return Slice(self.path, self._start + records.HEADER_SIZE, self.size)

    def commit(self, footer: Footer) -> Place:
        """Close the record; it is on the disk when this returns."""
        self._hash_rest()
        self._write_rest(records.tail(self._crc, footer))
        with disk_errors():
            self._segment.sync(self._segment.end)
            # The length is written last: until then the record counts as torn.
            self._segment.overwrite(records.header(self.size), self._start)
        self._close()
        return Place(self.path.name, self._start + records.HEADER_SIZE, self.size)

    def abort(self) -> None:
        self.path.unlink(missing_ok=True)
        self._close()

    def _await(self, left: int) -> None:
        """Return when at most so many blocks are still on their way. Raises NoSpace; once it did, each time."""
        with disk_errors():
            while len(self._pending) > left:
                for one in self._pending[0]:
                    one.result()
                self._pending.popleft()

    def _hash_rest(self) -> None:
        if self._is_buffered:
            self._await(0)
            self._hash(self._buffers[0][self._hashed : self._filled])
            self._hashed = self._filled

    def _write_rest(self, tail: bytes) -> None:
        """Write what waits in the buffer. Its block is written again, whole, if more bytes follow."""
        waiting = self._buffers[0][: self._filled] if self._is_buffered else b""
        if self._is_buffered:
            self._segment.end = self._at
        with disk_errors():
            self._segment.write([waiting, tail])

    def _hash(self, part: memoryview) -> None:
        self._crc = crc32(part, self._crc)
        for digest in self._digests:
            digest.update(part)

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
        if self._is_buffered:
            _buffered.release()
        self._hasher.shutdown()
        self._writer.shutdown()
        if self._direct is not None:
            os.close(self._direct)
            self._direct = None
        self._segment.close()
