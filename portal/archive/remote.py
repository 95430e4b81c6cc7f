"""Closed segments that lie in a bucket alone: read by blocks, each compared with its digest before it is kept."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from portal.archive.block_cache import BlockCache
from portal.archive.slices import Slice

BLOCK_SIZE = 4 << 20
"""Bytes that are read of the bucket at a time."""
RECENT_BLOCKS = 4
"""Blocks that a process keeps in memory: a series lies side by side, and each object is read twice."""
READ_LOCKS = 16
DIGEST_SIZE = hashlib.sha256().digest_size


@dataclass(frozen=True, kw_only=True)
class KnownSegment:
    """What is known of a segment in the bucket."""

    size: int
    digests: bytes = b""
    """SHA-256 of each block, one behind the other; empty for a segment that nobody has read through yet."""
    block: int = BLOCK_SIZE

    def span(self, number: int) -> tuple[int, int]:
        """Where a block begins, and its bytes."""
        start = number * self.block
        return start, min(self.block, self.size - start)

    def digest(self, number: int) -> bytes:
        return self.digests[number * DIGEST_SIZE : (number + 1) * DIGEST_SIZE]

    def fits(self, number: int, content: bytes) -> bool:
        """Whether these are the block's bytes."""
        return hashlib.sha256(content).digest() == self.digest(number)


class RemoteStore(Protocol):
    """The bucket, as far as reading needs it."""

    def known(self, segment: str) -> KnownSegment | None: ...

    def fetch(self, segment: str, offset: int, size: int) -> bytes:
        """Exactly these bytes. Raises Unreachable while it does not answer, Damaged where it has them no longer."""

    def complain(self, segment: str, message: str) -> None:
        """Write down that the bucket gives other bytes than were stored there."""


class Remote:
    """Reads segments of a bucket. Safe to use from any number of threads."""

    def __init__(self, shelf: RemoteStore, blocks: BlockCache) -> None:
        self.blocks = blocks
        self._shelf = shelf
        self._lock = threading.Lock()
        self._turns = [threading.Lock() for _ in range(READ_LOCKS)]
        self._recent: OrderedDict[tuple[str, int, bytes], bytes] = OrderedDict()

    def open(self, segment: str, offset: int, size: int) -> Slice | None:
        """A stretch of a segment; None where the bucket is not known to have it. Nothing is read yet."""
        known = self._shelf.known(segment)
        if known is None or known.size < offset + size:
            return None
        return Slice(_Source(self, segment, known), offset, size)

    def whole(self, segment: str) -> Slice | None:
        known = self._shelf.known(segment)
        return None if known is None else Slice(_Source(self, segment, known), 0, known.size)

    def read(self, segment: str, known: KnownSegment, number: int) -> bytes:
        """One block: from memory, from this disk, or from the bucket. Of two threads at once, one goes for it."""
        key = (segment, number, known.digest(number))
        with self._turns[hash(key) % READ_LOCKS]:
            with self._lock:
                if key in self._recent:
                    self._recent.move_to_end(key)
                    return self._recent[key]
            content, is_sure = self._find(segment, known, number)
            if is_sure:
                self._remember(key, content)
            return content

    def _find(self, segment: str, known: KnownSegment, number: int) -> tuple[bytes, bool]:
        """A block, and whether it is what it was. What is not is handed out all the same and kept nowhere: the
        object's own digest decides what is served, so that one changed byte takes one object away and not its
        neighbours."""
        start, size = known.span(number)
        if not known.digests:
            return self._shelf.fetch(segment, start, size), True
        kept = self.blocks.get(segment, number)
        if kept is not None:
            if known.fits(number, kept):
                return kept, True
            self.blocks.drop(segment, number)
        for _ in range(2):  # the way may have changed it, not the store
            content = self._shelf.fetch(segment, start, size)
            if known.fits(number, content):
                self.blocks.put(segment, number, content)
                return content, True
        self._shelf.complain(segment, f"The bucket gives other bytes than were stored there, from byte {start:,} on.")
        return content, False

    def _remember(self, key: tuple[str, int, bytes], content: bytes) -> None:
        with self._lock:
            self._recent[key] = content
            while len(self._recent) > RECENT_BLOCKS:
                self._recent.popitem(last=False)


class _Source:
    """One segment, of which the block at hand is in memory."""

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
    """Where each block of a segment begins, and its bytes."""
    return ((start, min(block, size - start)) for start in range(0, size, block))
