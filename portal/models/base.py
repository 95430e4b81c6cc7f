"""The database handle, the base of every table, and the one write block."""

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peewee import (
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
)

if TYPE_CHECKING:  # Peewee's stubs make fields generic; the classes themselves are not.
    _DateTimeField = DateTimeField[Any]
    _TextField = TextField[Any]
else:
    _DateTimeField, _TextField = DateTimeField, TextField

BUSY_MS = 30_000
database = DatabaseProxy()


class _Sqlite(SqliteDatabase):
    """SQLite, whose own rollback after a full disk or an I/O error is not followed by one that hides the reason."""

    def rollback(self) -> None:
        if self.connection().in_transaction:  # type: ignore[no-untyped-call]
            super().rollback()


def _no_room_needed() -> None:
    """What `make_room` is where nobody has said how."""


_make_room: list[Callable[[], None]] = [_no_room_needed]


def bind(path: Path, *, busy_ms: int = BUSY_MS, make_room: Callable[[], None] = _no_room_needed) -> None:
    """Point every table at this SQLite file; opens no connection. A statement waits `busy_ms` for another's lock.

    `make_room` is called before each write, outside the transaction: a full disk may need some.

    `synchronous=2` (FULL): each commit is on the disk before it returns, which C-STORE's 0000 and every other
    acknowledgement rest on.
    """
    file = _Sqlite(
        str(path),
        pragmas={"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": busy_ms},
        timeout=busy_ms / 1000,
        lock_type="IMMEDIATE",
    )
    file.register_function(_folded, "folded", 1)
    if database.obj is not None:
        database.close()  # of this thread: nobody could close it any more
    database.initialize(file)
    _make_room[:] = [make_room]


@contextmanager
def connection() -> Iterator[None]:
    """A database connection for this thread, for as long as the block runs; nested uses share it."""
    opened = database.connect(reuse_if_open=True)
    try:
        yield
    finally:
        if opened:
            database.close()


@contextmanager
def writing() -> Iterator[None]:
    """The only write block: all or nothing, durable when it is left. Keep it under 100 ms: no file, no network."""
    if not database.in_transaction():
        _make_room[0]()
    with database.atomic():
        yield


@contextmanager
def held_open() -> Iterator[None]:
    """Keep a connection of its own open meanwhile, also across the end of all others; never across a fork.

    The last connection that closes takes the write-ahead log and its index along, and on a full disk the next one
    cannot make them anew: then nothing can be read either.
    """
    with closing(sqlite3.connect(database.obj.database, check_same_thread=False)) as kept:
        kept.execute("SELECT COUNT(*) FROM sqlite_master").fetchall()
        yield


def now() -> datetime:
    """This moment in UTC."""
    return datetime.now(UTC)


def _folded(text: str | None) -> str | None:
    """For a search beyond ASCII: SQLite's own LIKE takes Ä and ä for two letters."""
    return text.casefold() if isinstance(text, str) else None


def restart_numbers(table: type["Table"]) -> None:
    """Count an empty table's rows from 1 again, where the same rows come back in the same order (`reindex`)."""
    if not table.select().exists():
        name = table._meta.table_name
        database.execute_sql("DELETE FROM sqlite_sequence WHERE name = ?", (name,))


class AutoIdField(AutoField):
    """A row number that is never given out again, so that a late reader cannot land on another patient's row."""

    def ddl(self, ctx: Context) -> NodeList:
        return NodeList((super().ddl(ctx), SQL("AUTOINCREMENT")))


class UtcField(_DateTimeField):
    """A moment: aware UTC in Python, naive UTC in the file."""

    def db_value(self, value: datetime | None) -> str | None:
        if value is None:
            return None
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="microseconds")

    def python_value(self, value: Any) -> datetime | None:
        if value is None:
            return None
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


class JsonField(_TextField):
    """A small JSON value."""

    def db_value(self, value: Any) -> str | None:
        return None if value is None else json.dumps(value, ensure_ascii=False, sort_keys=True)

    def python_value(self, value: str | None) -> Any:
        return None if value is None else json.loads(value)


class Table(Model):
    """Every table: its own number, never reused."""

    id = AutoIdField()

    class Meta:
        database = database
        legacy_table_names = False


class Owned(Table):
    """A table whose rows say who made them, and by what way (`provenance.Origin`)."""

    origin_type = CharField(default="system")
    origin_id = CharField(default="")
    origin_via = CharField(default="")
    created = UtcField(default=now)
    modified = UtcField(default=now)
