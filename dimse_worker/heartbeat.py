"""A heartbeat in memory that a process shares with its parent."""

import mmap
import struct
import time

_FORMAT = "d"


class Heartbeat:
    """Created by the parent before the fork. Both processes read the same monotonic clock."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, struct.calcsize(_FORMAT))

    def beat(self) -> None:
        struct.pack_into(_FORMAT, self._shared, 0, time.monotonic())

    @property
    def silence(self) -> float:
        """Seconds since the last beat; 0 before the first one, while the process starts."""
        (last,) = struct.unpack_from(_FORMAT, self._shared)
        return time.monotonic() - last if last else 0.0
