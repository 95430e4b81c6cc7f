"""How much memory the objects may take that a process receives at once, so that no number of senders swells it."""

import threading
from types import TracebackType
from typing import Self

from portal.ingest.incoming import Incoming

POOL_SIZE = 32 << 20
"""Bytes of all objects that are received at once, before they are on the disk."""
STEP = 256 << 10
LARGEST_SHARE = 16 << 20
"""Bytes of one object; whatever is larger is streamed to the disk."""

_lock = threading.Lock()
_free = [POOL_SIZE]


class Share:
    """What one object has of the pool: more with each piece, as long as there is some."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self._size = 0
        self._is_streamed = False
        """Whether it has given back its share: it is streamed from there on."""

    def make_room(self, size: int) -> None:
        """Take what the next `size` bytes of the object need, before they are written."""
        if self._is_streamed or self._incoming.size + size <= self._size:
            return
        wanted = -(-(self._incoming.size + size - self._size) // STEP) * STEP
        with _lock:
            self._is_streamed = self._size + wanted > LARGEST_SHARE or wanted > _free[0]
            change = -self._size if self._is_streamed else wanted
            _free[0] -= change
            self._size += change
        self._incoming.limit_memory(self._size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _lock:
            _free[0] += self._size
