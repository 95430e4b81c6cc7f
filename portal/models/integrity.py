"""Checks a database file before anything else reads it."""

import sqlite3
import time
from pathlib import Path
from typing import Any

from peewee import DatabaseError, OperationalError, SqliteDatabase

from portal.models.failures import sqlite_code

INSTRUCTIONS_PER_CHECK = 20_000
"""Instructions of SQLite between two checks of the deadline."""
BUSY_SECONDS = 5


def find_damage(path: Path, *, seconds: float) -> str:
    """The damage that SQLite finds in the file; empty where it finds none within `seconds`.

    Raises OperationalError where the file cannot be read at all, which says nothing about its content.
    """
    deadline = time.monotonic() + seconds
    file: Any = SqliteDatabase(str(path), timeout=BUSY_SECONDS)
    try:
        with file.connection_context():
            file.connection().set_progress_handler(lambda: time.monotonic() > deadline, INSTRUCTIONS_PER_CHECK)
            row = file.execute_sql("PRAGMA quick_check(1)").fetchone()
            return "" if row[0] == "ok" else str(row[0])
    except OperationalError as error:
        if sqlite_code(error) == sqlite3.SQLITE_INTERRUPT:
            return ""
        raise
    except DatabaseError as error:  # malformed, or not a database
        return str(error)


def has_tables(path: Path) -> bool:
    """Whether the file has any table; a file too damaged to tell counts as having some."""
    file: Any = SqliteDatabase(str(path), timeout=BUSY_SECONDS)
    try:
        with file.connection_context():
            return bool(file.get_tables())
    except OperationalError:
        raise
    except DatabaseError:
        return True
