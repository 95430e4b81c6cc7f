"""Reading closed segments that are only in a bucket: by blocks, each compared with its digest before it is cached."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from portal.archive.block_cache import BlockCache
from portal.archive.slices import Slice

BLOCK_SIZE = 4 << 20
"""Bytes that one read of the bucket gets."""
RECENT_BLOCKS = 4
"""Blocks that a process keeps in memory: objects of a series are neighbours, and each is read twice."""
READ_LOCKS = 16
"""Locks that the blocks share, so that two threads do not read the same block at once."""
DIGEST_SIZE = hashlib.sha256().digest_size


@dataclass(frozen=True, kw_only=True)
class KnownSegment:
    """What is known of a segment in the bucket."""

    size: int
    digests: bytes = b""
    """SHA-256 of each block, concatenated; empty for a segment that was not read through yet."""
    block: int = BLOCK_SIZE

    def span(self, number: int) -> tuple[int, int]:
        """Offset and size of a block."""
        start = number * self.block
        return start, min(self.block, self.size - start)

    def digest(self, number: int) -> bytes:
        return self.digests[number * DIGEST_SIZE : (number + 1) * DIGEST_SIZE]

    def fits(self, number: int, content: bytes) -> bool:
        """Whether the content has the digest of the block."""
        return hashlib.sha256(content).digest() == self.digest(number)


class RemoteStore(Protocol):
    """The part of the bucket that reading needs."""

    def known(self, segment: str) -> KnownSegment | None: ...

    def fetch(self, segment: str, offset: int, size: int) -> bytes:
        """Exactly these bytes. Raises Unreachable while it does not answer, Damaged where it no longer has them."""

    def record_damage(self, segment: str, message: str) -> None:
        """Record that the bucket returns other bytes than were stored there."""


class Remote:
    """Reads segments of a bucket. Safe to use from any number of threads."""

    def __init__(self, store: RemoteStore, blocks: BlockCache) -> None:
        self.blocks = blocks
        self._store = store
        self._lock = threading.Lock()
        self._read_locks = [threading.Lock() for _ in range(READ_LOCKS)]
        self._recent: OrderedDict[tuple[str, int, bytes], bytes] = OrderedDict()

    def open(self, segment: str, offset: int, size: int) -> Slice | None:
        """A part of a segment; None if the bucket is not known to have it. Nothing is read yet."""
        known = self._store.known(segment)
        if known is None or known.size < offset + size:
            return None
        return Slice(_Source(self, segment, known), offset, size)

    def whole(self, segment: str) -> Slice | None:
        known = self._store.known(segment)
        return None if known is None else Slice(_Source(self, segment, known), 0, known.size)

    def read(self, segment: str, known: KnownSegment, number: int) -> bytes:
        """One block: from memory, from this disk, or from the bucket. Of two threads at once, only one reads it."""
        key = (segment, number, known.digest(number))
        with self._read_locks[hash(key) % READ_LOCKS]:
            with self._lock:
                if key in self._recent:
                    self._recent.move_to_end(key)
                    return self._recent[key]
            content, is_valid = self._find(segment, known, number)
            if is_valid:
                with self._lock:
                    self._recent[key] = content
                    while len(self._recent) > RECENT_BLOCKS:
                        self._recent.popitem(last=False)
            return content

    def _find(self, segment: str, known: KnownSegment, number: int) -> tuple[bytes, bool]:
        """A block, and whether its digest is right.

        A wrong block is returned too, but cached nowhere: the digest of each object decides what is served, so that one
        changed byte makes one object unreadable and not its neighbours.
        """
        start, size = known.span(number)
        if not known.digests:
            return self._store.fetch(segment, start, size), True
        cached = self.blocks.get(segment, number)
        if cached is not None:
            if known.fits(number, cached):
                return cached, True
            self.blocks.remove(segment, number)
        for _ in range(2):  # the network may have changed the bytes, not the store
            content = self._store.fetch(segment, start, size)
            if known.fits(number, content):
                self.blocks.put(segment, number, content)
                return content, True
        self._store.record_damage(segment, f"The bucket returns other bytes than were stored, from byte {start:,} on.")
        return content, False


class _Source:
    """One segment, of which the current block is in memory."""

    def __init__(self, remote: Remote, segment: str, known: KnownSegment) -> None:
        self._remote, self._segment, self._known = remote, segment, known
        self._number, self._content = -1, b""

    def read(self, size: int, at: int) -> bytes:
        number, start = divmod(at, self._known.block)
        if at >= self._known.size:
            return b""
        if number != self._number:
            self._content = self._remote.read(self._segment, self._known, number)
            self._number = number
        return self._content[start : start + size]

    def size(self) -> int:
        return self._known.size

    def close(self) -> None:
        self._content, self._number = b"", -1


def block_spans(size: int, block: int = BLOCK_SIZE) -> Iterator[tuple[int, int]]:
    """Offset and size of each block of a segment."""
    return ((start, min(block, size - start)) for start in range(0, size, block))
