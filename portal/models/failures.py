"""Classifies errors of the database for the caller: busy, full, or damaged."""

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
"""With less free space on its disk, an I/O error of SQLite counts as a full disk."""


def is_busy(error: BaseException) -> bool:
    """Whether another connection locked the database for longer than a statement waits: a retry may succeed."""
    return sqlite_code(error) in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def is_full(error: BaseException) -> bool:
    """Whether a write failed because the disk is full; for its mapped index SQLite reports that as an I/O error."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    code = sqlite_code(error)
    return code == sqlite3.SQLITE_FULL or (code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN) and _has_no_room())


def is_damaged(error: BaseException) -> bool:
    """Whether the database file is corrupt."""
    return sqlite_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


@contextmanager
def skip_if_disk_full(what: str) -> Iterator[None]:
    """Where the disk is full, the write in this block is skipped with a warning, and the caller goes on.

    For secondary records only, such as a sign-in or a call of a peer; never for what is acknowledged.
    """
    try:
        yield
    except PeeweeException as error:
        if not is_full(error):
            raise
        log.warning("%s could not be recorded, because the disk is full: %s", what, error)


def sqlite_code(error: BaseException) -> int:
    """SQLite's primary code of an error; 0 for an error that is not from SQLite."""
    cause: Any = error
    while isinstance(cause, PeeweeException):  # Peewee wraps more than once
        cause = getattr(cause, "orig", None)
    return int(getattr(cause, "sqlite_errorcode", 0)) & 0xFF


def _has_no_room() -> bool:
    if database.obj is None:
        return False
    disk = os.statvfs(Path(database.obj.database).parent)
    return disk.f_bavail * disk.f_frsize < MIN_FREE_BYTES
