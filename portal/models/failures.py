"""What an error of the database means for who called: busy, full, or damaged."""

import errno
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from peewee import PeeweeException

from portal.models.base import database

log = logging.getLogger(__name__)

MIN_FREE_BYTES = 1 << 20
"""Bytes; with less free on its disk, an I/O error of SQLite is taken for a full disk."""


def is_busy(error: BaseException) -> bool:
    """Whether another connection held the database for longer than a statement waits: the same call may work later."""
    return sqlite_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_full(error: BaseException) -> bool:
    """Whether a write failed since the disk has no room; SQLite calls that an I/O error where it maps its index."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    code = sqlite_code(error)
    return code == sqlite3.SQLITE_FULL or (code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and _has_no_room())


def is_damaged(error: BaseException) -> bool:
    """Whether the database file itself cannot be read as one."""
    return sqlite_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@contextmanager
def skip_if_disk_full(what: str) -> Iterator[None]:
    """Where the disk is full, the write in this block is left out, so that what it tells of goes on.

    For notes alone: that somebody signed in, that a peer called. Nothing that was acknowledged is written this way.
    """
    try:
        yield
    except PeeweeException as error:
        if not is_full(error):
            raise
        log.warning("%s could not be written down, since the disk is full: %s", what, error)


def sqlite_code(error: BaseException) -> int:
    """SQLite's code of an error, without the extended part; 0 for what is none of SQLite's."""
    cause: Any = error
    while isinstance(cause, PeeweeException):  # Peewee wraps what it has wrapped
        cause = getattr(cause, "orig", None)
    return int(getattr(cause, "sqlite_errorcode", 0)) & 0xFF


def _has_no_room() -> bool:
    if database.obj is None:
        return False
    disk = os.statvfs(Path(database.obj.database).parent)
    return disk.f_bavail * disk.f_frsize < MIN_FREE_BYTES
