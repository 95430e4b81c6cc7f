"""The database handle, the base of every table, and the one write block."""

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peewee import (  # type: ignore[attr-defined]
    SQL,
    AutoField,
    CharField,
    Context,
    DatabaseProxy,
    DateTimeField,
    Model,
    NodeList,
    SqliteDatabase,
    TextField,
    __exception_wrapper__,
)

from portal.models import row_functions
from portal.models.turnstile import Turnstile

if TYPE_CHECKING:  # Peewee's stubs make fields generic; the classes themselves are not.
    _DateTimeField = DateTimeField[Any]
    _TextField = TextField[Any]
else:
    _DateTimeField, _TextField = DateTimeField, TextField

BUSY_MS = 30_000
as_peewee_errors = __exception_wrapper__
"""Turns the errors of SQLite in its block into Peewee's."""
database = DatabaseProxy()


class _Sqlite(SqliteDatabase):
    """SQLite with a queue of its writers.

    It is without a second rollback after SQLite's own for a full disk or an I/O error, which would hide the cause.
    """

    turnstile: Turnstile

    def begin(self, lock_type: str | None = None) -> None:
        with as_peewee_errors:
            self.turnstile.begin(self.connection(), f"BEGIN {lock_type or 'IMMEDIATE'}")  # type: ignore[no-untyped-call]

    def rollback(self) -> None:
        if self.connection().in_transaction:  # type: ignore[no-untyped-call]
            super().rollback()


def _no_room_needed() -> None:
    """The default of `make_room`."""


_make_room: list[Callable[[], None]] = [_no_room_needed]


def bind(path: Path, *, busy_ms: int = BUSY_MS, make_room: Callable[[], None] = _no_room_needed) -> None:
    """Point every table at this SQLite file; opens no connection. A statement waits `busy_ms` for another's lock.

    `make_room` is called before each write, outside the transaction, to free space on a full disk.
    """
    # synchronous=2 (FULL): each commit is on the disk before it returns, with all before it. Every acknowledgement
    # depends on that; `writing_repeatably` is the exception.
    file = _Sqlite(
        str(path),
        pragmas={"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": busy_ms},
        timeout=busy_ms / 1000,
        lock_type="IMMEDIATE",
    )
    file.turnstile = Turnstile(path.with_name(f"{path.name}-turnstile"), busy_ms / 1000)
    file.register_function(row_functions.casefold, "folded", 1)
    file.register_function(row_functions.has_item, "has_item", 2)
    file.register_function(row_functions.matches, "matches", 2)
    file.register_function(row_functions.names_alike, "names_alike", 2)
    if database.obj is not None:
        database.close()  # that of this thread, which nothing could close later
        database.obj.turnstile.close()
    database.initialize(file)
    _make_room[:] = [make_room]


@contextmanager
def connection() -> Iterator[None]:
    """A database connection for this thread during the block; nested uses share it."""
    opened = database.connect(reuse_if_open=True)
    try:
        yield
    finally:
        if opened:
            database.close()


def _renew_turnstile() -> None:
    if database.obj is not None:
        database.obj.turnstile.renew()


os.register_at_fork(after_in_child=_renew_turnstile)


@contextmanager
def writing() -> Iterator[None]:
    """The only write block: atomic, durable at its end. Keep it under 100 ms: no files, no network."""
    if not database.in_transaction():
        _make_room[0]()
    with database.atomic():
        yield


@contextmanager
def writing_repeatably() -> Iterator[None]:
    """A write block for rows that follow from records that are on the disk, and that a recovery writes again.

    A power cut, though no kill, may take them, as long as nothing else is written after them (docs/decisions/0109).
    Not inside another block. Peewee's own blocks would take longer than the statements of one object.
    """
    _make_room[0]()
    file: _Sqlite = database.obj
    connection = file.connection()  # type: ignore[no-untyped-call]
    with as_peewee_errors:
        connection.execute("PRAGMA synchronous = 1")
        try:
            file.turnstile.begin(connection, "BEGIN IMMEDIATE")
            yield
            connection.execute("COMMIT")
        finally:
            try:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            finally:
                connection.execute("PRAGMA synchronous = 2")


@contextmanager
def held_open() -> Iterator[None]:
    """Keep a separate connection open during the block, while others come and go; not across a fork.

    The last connection that closes deletes the write-ahead log and its index. On a full disk the next one cannot
    create them again, and could not even read.
    """
    with closing(sqlite3.connect(database.obj.database, check_same_thread=False)) as kept:
        kept.execute("SELECT COUNT(*) FROM sqlite_master").fetchall()
        yield


def version() -> tuple[int, int]:
    """Changes with each commit that this thread's connection can see: those of others, and its own changes of rows."""
    (others,) = database.execute_sql("PRAGMA data_version").fetchone()
    return others, database.connection().total_changes


def now() -> datetime:
    """This moment in UTC."""
    return datetime.now(UTC)


def restart_numbers(table: type["Table"]) -> None:
    """Number the rows of an empty table from 1 again, for `reindex`, which writes the same rows in the same order."""
    if not table.select().exists():
        name = table._meta.table_name
        database.execute_sql("DELETE FROM sqlite_sequence WHERE name = ?", (name,))


def skip_numbers(*tables: type["Table"], count: int) -> None:
    """Leave out the next row numbers of some tables: rows that a power cut took may have had them."""
    for table in tables:
        name = table._meta.table_name
        database.execute_sql("UPDATE sqlite_sequence SET seq = seq + ? WHERE name = ?", (count, name))


class AutoIdField(AutoField):
    """A row number that is never reused, so that a late reader cannot get another patient's row."""

    def ddl(self, ctx: Context) -> NodeList:
        return NodeList((super().ddl(ctx), SQL("AUTOINCREMENT")))


class UtcField(_DateTimeField):
    """A timestamp: aware UTC in Python, naive UTC in the file."""

    def db_value(self, value: datetime | None) -> str | None:
        if value is None:
            return None
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")

    def python_value(self, value: Any) -> datetime | None:
        if value is None:
            return None
        timestamp = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return timestamp.replace(tzinfo=UTC) if timestamp.tzinfo is None else timestamp


class JsonField(_TextField):
    """A small JSON value."""

    def db_value(self, value: Any) -> str | None:
        return None if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)

    def python_value(self, value: str | None) -> Any:
        return None if value is None else json.loads(value)


class Table(Model):
    """The base of every table: a row number that is never reused."""

    id = AutoIdField()

    class Meta:
        database = database
        legacy_table_names = False


class Owned(Table):
    """A table whose rows have an origin: who created them, and via what (`access.actors.Origin`)."""

    origin_type = CharField(default="system")
    origin_id = CharField(default="")
    origin_via = CharField(default="")
    created = UtcField(default=now)
    modified = UtcField(default=now)
