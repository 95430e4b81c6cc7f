"""A limit on how much is sent, or read, in a second; shared by the threads of one run."""

import threading
import time
from collections.abc import Callable

MAX_SLEEP_SECONDS = 0.2
"""Seconds between two looks whether the run is to end."""


class Bandwidth:
    """Bytes a second; 0 for no limit. Nobody is ahead of it by more than the one piece that each thread has in hand."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free = time.monotonic()

    def piece(self, most: int) -> int:
        """Bytes that are best sent at once: a quarter of a second's."""
        return min(most, max(1024, self._rate // 4)) if self._rate else most

    def wait(self, size: int, check: Callable[[], None]) -> None:
        """Return when these bytes may be sent, or more be read after them; `check` may raise meanwhile."""
        if not self._rate:
            return
        with self._lock:
            begin = max(self._free, time.monotonic())
            self._free = begin + size / self._rate
        while (left := begin - time.monotonic()) > 0:
            check()
            time.sleep(min(left, MAX_SLEEP_SECONDS))
