"""A limit on the bytes sent, or read, a second; the threads of one run share it."""

import threading
import time
from collections.abc import Callable

MAX_SLEEP_SECONDS = 0.2
"""Seconds between two checks whether the run is to end."""


class Bandwidth:
    """Bytes a second; 0 for no limit. No thread is ahead of the limit by more than the piece that it sends."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free = time.monotonic()

    def piece_size(self, most: int) -> int:
        """Bytes that are best sent at once: those of a quarter of a second."""
        return min(most, max(1024, self._rate // 4)) if self._rate else most

    def wait(self, size: int, check: Callable[[], None]) -> None:
        """Return once these bytes may be sent, or more bytes may be read after them; `check` may raise meanwhile."""
        if not self._rate:
            return
        with self._lock:
            begin = max(self._free, time.monotonic())
            self._free = begin + size / self._rate
        while (left := begin - time.monotonic()) > 0:
            check()
            time.sleep(min(left, MAX_SLEEP_SECONDS))
