"""How many associations all processes of a listener have admitted, so that the limit is the site's."""

import fcntl
import mmap
import struct
import tempfile
import threading

MAX_ASSOCIATIONS = 200
"""Accepted associations of all processes at a time; one more is rejected as transient (PS3.8 9.3.4: 2/3/2)."""
MAX_PROCESSES = 256
_COUNT = struct.Struct("=i")


class Admissions:
    """Created by the parent before it forks. Each process has a number, and counts in a place of its own.

    The lock is the kernel's, for a process and a file: that of a process that is killed is gone with it.
    """

    def __init__(self) -> None:
        size = _COUNT.size * MAX_PROCESSES
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as the listener runs)
        self._file.truncate(size)
        self._counts = mmap.mmap(self._file.fileno(), size)
        self._free = list(range(MAX_PROCESSES))
        self._place = 0
        self._lock = threading.Lock()

    def take_number(self) -> int:
        """In the parent: the number of a process that is about to be forked."""
        return self._free.pop()

    def give_back(self, number: int) -> None:
        """In the parent, after that process has ended in whatever way."""
        _COUNT.pack_into(self._counts, number * _COUNT.size, 0)
        self._free.append(number)

    def begin(self, number: int) -> None:
        """In the new process, before anything else."""
        self._place = number * _COUNT.size

    def admit(self) -> bool:
        """Count one more association of this process, unless the limit is reached."""
        with self._lock:
            fcntl.lockf(self._file, fcntl.LOCK_EX)
            try:
                if sum(count for (count,) in _COUNT.iter_unpack(self._counts)) >= MAX_ASSOCIATIONS:
                    return False
                self._add(1)
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN)
        return True

    def release(self) -> None:
        """Count one association of this process less."""
        with self._lock:
            self._add(-1)

    def _add(self, change: int) -> None:
        (count,) = _COUNT.unpack_from(self._counts, self._place)
        _COUNT.pack_into(self._counts, self._place, count + change)
