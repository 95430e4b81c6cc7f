"""The bytes of one object as they arrive: hashed on their way, in memory at first, beyond a limit in a segment."""

import hashlib
from typing import BinaryIO, cast

from portal import runtime
from portal.archive import Footer, NewRecord, Place, Stream, records
from portal.archive.slices import CHUNK
from portal.archive.writers import Part
from portal.content_reader import ContentReader
from portal.dicom import file_meta
from portal.errors import BadValue, NotDicom
from portal.ingest import disk_reserve

MAX_BYTES_IN_MEMORY = 16 << 20
"""Bytes up to which an object is kept in memory; a larger one is streamed into a segment of its own."""
BLOCK_SIZE = 256 << 10
"""Bytes that are hashed and written at once: threads that give way to each other for each fragment lose time."""


class ReceivedBytes:
    """All bytes of one object, behind the file meta information `head` where they are a bare data set."""

    def __init__(self, head: bytes = b"") -> None:
        self.memory_limit = MAX_BYTES_IN_MEMORY
        """Bytes up to which they stay in memory; less for one of several objects that are received at once."""
        self.size = len(head)
        self._blocks: list[Part] = [head] if head else []
        self._block = bytearray()
        self._stream: Stream | None = None
        self._digest = hashlib.sha256(head)
        self._crc = records.content_crc([head])
        self._data_set = hashlib.sha256() if head else None
        self._data_set_offset = len(head)

    def write(self, chunk: Part) -> None:
        """Add the next bytes, which are copied. Raises NoSpace where they no longer fit."""
        self.size += len(chunk)
        if self._stream is not None:
            # The disk is checked again with each CHUNK bytes.
            if self._stream.size // CHUNK != (self._stream.size + len(chunk)) // CHUNK:
                disk_reserve.check()
            self._stream.write(chunk)
            return
        if len(self._block) + len(chunk) > BLOCK_SIZE:
            self._end_block()
        self._block += chunk
        if len(self._block) >= min(BLOCK_SIZE, self.memory_limit):
            self._end_block()
        if self.size <= self.memory_limit:
            return
        self._end_block()
        self._stream = runtime.archive().stream()
        if self._data_set is None:
            self._find_data_set()
        for waiting in self._blocks:
            self._stream.write(waiting)
        self._stream.add_digests(self._digest, *([self._data_set] if self._data_set is not None else []))
        self._blocks = []

    @property
    def is_in_memory(self) -> bool:
        return self._stream is None

    @property
    def bytes_in_memory(self) -> int:
        return self.size if self._stream is None else 0

    @property
    def digest(self) -> str:
        """SHA-256 of all bytes so far, in hex."""
        self._settle()
        return self._digest.hexdigest()

    def data_set_digest(self, offset: int) -> str | None:
        """SHA-256 of the bytes from there on; None where it was not known in time that the data set begins there."""
        self._settle()
        if self._data_set is None or self._data_set_offset != offset:
            return None
        return self._data_set.hexdigest()

    def content(self) -> BinaryIO:
        """All bytes so far, as a file."""
        self._settle()
        if self._stream is not None:
            return cast(BinaryIO, self._stream.content())
        return cast(BinaryIO, BlockReader(self._blocks, self.size))

    def record(self, footer: Footer) -> NewRecord:
        """The record of bytes that are in memory."""
        self._end_block()
        return NewRecord(self._blocks, self.size, self._crc, footer)

    def commit(self, footer: Footer) -> Place:
        """Write the record; it is on the disk when this returns. Raises NoSpace."""
        if self._stream is not None:
            place = self._stream.commit(footer)
        else:
            disk_reserve.check(self.size)
            (place,) = runtime.archive().append_all([self.record(footer)])
        self._stream = None
        self._blocks = []
        return place

    def discard(self) -> None:
        """Forget the bytes; safe to call at any time, and after a commit."""
        if self._stream is not None:
            self._stream.abort()
        self._stream, self._blocks, self._block = None, [], bytearray()

    def _settle(self) -> None:
        """Return when all bytes so far are hashed."""
        if self._stream is not None:
            self._stream.settle()
        else:
            self._end_block()

    def _end_block(self) -> None:
        if not self._block:
            return
        block, self._block = self._block, bytearray()
        self._digest.update(block)
        if self._data_set is not None:
            self._data_set.update(block)
        self._crc = records.content_crc([block], self._crc)
        self._blocks.append(block)

    def _find_data_set(self) -> None:
        """Hash the data set of a whole file, if its first bytes tell where that begins."""
        with BlockReader(self._blocks, self.size) as content:
            try:
                self._data_set_offset = file_meta.read(cast(BinaryIO, content)).dataset_offset
            except (NotDicom, BadValue):
                return
            content.seek(self._data_set_offset)
            self._data_set = hashlib.sha256(content.read())


class BlockReader(ContentReader):
    """Some blocks of bytes, read like one file."""

    def __init__(self, blocks: list[Part], size: int) -> None:
        super().__init__(size)
        self._blocks = blocks

    def read_at(self, at: int, size: int) -> bytes:
        parts, start = [], 0
        for block in self._blocks:
            if start >= at + size:
                break
            if start + len(block) > at:
                parts.append(memoryview(block)[max(0, at - start) : at + size - start])
            start += len(block)
        return bytes(parts[0]) if len(parts) == 1 else b"".join(parts)
