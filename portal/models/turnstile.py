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
from collections.abc import Callable
from pathlib import Path
from typing import Any

FIRST_PAUSE, MAX_PAUSE = 0.0001, 0.001
"""Seconds between two looks."""


class Turnstile:
    """One for each process and database; between processes it is a lock on a file, which nobody else needs to know."""

    def __init__(self, path: Path, seconds: float) -> None:
        """`seconds`: how long `begin` waits."""
        self._path, self._seconds = path, seconds
        self._descriptor: int | None = None
        self._threads = threading.Lock()
        self._patience = f"PRAGMA busy_timeout = {int(seconds * 1000)}"

    def begin(self, connection: sqlite3.Connection, statement: str) -> None:
        """Begin a transaction that writes. Raises sqlite3.OperationalError where others write for too long.

        Whoever has just ended a transaction passes the turnstile behind those that wait, so nobody waits for ever.
        """
        deadline = time.monotonic() + self._seconds
        if not self._threads.acquire(timeout=self._seconds):
            raise _locked()
        try:
            if self._descriptor is None:
                with contextlib.suppress(OSError):  # without room for it SQLite's lock is as safe, though not as fair
                    self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            # A lock of POSIX, unlike flock's, is not inherited by a child.
            if self._descriptor is not None:
                _wait_for(_try_lock, self._descriptor, deadline)
            try:
                connection.execute("PRAGMA busy_timeout = 0")
                try:
                    _wait_for(_try_to_begin, (connection, statement), deadline)
                finally:
                    connection.execute(self._patience)
            finally:
                if self._descriptor is not None:
                    fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
        finally:
            self._threads.release()

    def close(self) -> None:
        """Let go of the file."""
        with self._threads:
            if self._descriptor is not None:
                os.close(self._descriptor)
            self._descriptor = None

    def renew(self) -> None:
        """After a fork: a thread of the parent may have been in it."""
        self._threads = threading.Lock()


def _wait_for(attempt: Callable[[Any], bool], argument: Any, deadline: float) -> None:
    pause = FIRST_PAUSE
    while not attempt(argument):
        if time.monotonic() >= deadline:
            raise _locked()
        time.sleep(pause)
        pause = min(2 * pause, MAX_PAUSE)


def _try_to_begin(transaction: tuple[sqlite3.Connection, str]) -> bool:
    connection, statement = transaction
    try:
        connection.execute(statement)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return False
    return True


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
