"""Where writers wait for SQLite's write lock: one of them at a time looks for it, and the others wait behind it.

SQLite itself looks only now and then whether its lock is free, in the end every 100 ms, and whoever looks first has it.
Among the threads of several listeners some would wait for longer than a statement may.
"""

import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

FIRST_PAUSE, MAX_PAUSE = 0.0001, 0.001
"""Seconds between two looks."""


class Turnstile:
    """One for each process and database; between processes it is a lock on a file, which nobody else needs to know."""

    def __init__(self, path: Path, seconds: float) -> None:
        """`seconds`: how long `begin` waits."""
        self._path, self._seconds = path, seconds
        self._descriptor: int | None = None
        self._threads = threading.Lock()

    def begin(self, connection: sqlite3.Connection, statement: str) -> None:
        """Begin a transaction that writes. Raises sqlite3.OperationalError where others write for too long.

        Whoever has just ended a transaction passes the turnstile behind those that wait, so nobody waits for ever.
        """
        deadline = time.monotonic() + self._seconds

        def try_to_begin() -> bool:
            try:
                connection.execute(statement)
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                    raise
                return False
            return True

        with self._passing(deadline):
            connection.execute("PRAGMA busy_timeout = 0")
            try:
                _wait_for(try_to_begin, deadline)
            finally:
                connection.execute(f"PRAGMA busy_timeout = {int(self._seconds * 1000)}")

    def renew(self) -> None:
        """After a fork: a thread of the parent may have been in it."""
        self._threads = threading.Lock()

    @contextlib.contextmanager
    def _passing(self, deadline: float) -> Iterator[None]:
        if not self._threads.acquire(timeout=max(0, deadline - time.monotonic())):
            raise _locked()
        try:
            with contextlib.suppress(OSError):  # the disk is full: SQLite's lock alone is as safe, though not as fair
                if self._descriptor is None:
                    self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if self._descriptor is None:
                yield
                return
            # A lock of POSIX, unlike flock's, is not inherited by a child.
            descriptor = self._descriptor
            _wait_for(lambda: _try_lock(descriptor), deadline)
            try:
                yield
            finally:
                fcntl.lockf(descriptor, fcntl.LOCK_UN)
        finally:
            self._threads.release()


def _wait_for(attempt: Callable[[], bool], deadline: float) -> None:
    pause = FIRST_PAUSE
    while not attempt():
        if time.monotonic() >= deadline:
            raise _locked()
        time.sleep(pause)
        pause = min(2 * pause, MAX_PAUSE)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _locked() -> sqlite3.OperationalError:
    """SQLite's own error for a lock that others hold for too long."""
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    return error
