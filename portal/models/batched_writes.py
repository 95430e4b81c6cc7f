"""Writes of many rows in pieces, each short enough that a C-STORE hardly waits for it."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from portal.models import Table, writing

TARGET_SECONDS = 0.025
"""Seconds that one write is to take; ten times as long would be too much for who waits."""
FIRST_BATCH_SIZE, MIN_BATCH_SIZE, MAX_BATCH_SIZE = 250, 25, 4000

T = TypeVar("T")


class BatchWriter:
    """How many rows a write may have: more where the last ones were quick, fewer at once where one was slow."""

    def __init__(self) -> None:
        self.rows = FIRST_BATCH_SIZE

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One write of that many rows; measured from when it has the lock until it is durable."""
        begun = time.monotonic()
        with writing():
            begun = time.monotonic()
            yield
        took = max(time.monotonic() - begun, 0.001)
        self.rows = max(MIN_BATCH_SIZE, min(MAX_BATCH_SIZE, int(self.rows * min(TARGET_SECONDS / took, 2))))

    def chunks(self, rows: Iterable[T]) -> Iterator[list[T]]:
        """The rows in lists, each as long as a write may be when it begins."""
        chunk: list[T] = []
        for row in rows:
            chunk.append(row)
            if len(chunk) >= self.rows:
                yield chunk
                chunk = []
        if chunk:
            yield chunk


def delete(table: type[Table], condition: Any, *, check: Callable[[], None]) -> None:
    """Delete the rows that meet a condition; `check` may raise between two writes."""
    _repeat(table, condition, lambda some: table.delete().where(table.id.in_(some)), check)


def update(table: type[Table], condition: Any, *, check: Callable[[], None], **columns: Any) -> None:
    """Change the rows that meet a condition, which none may meet any more afterwards."""
    _repeat(table, condition, lambda some: table.update(**columns).where(table.id.in_(some)), check)


def _repeat(table: type[Table], condition: Any, change: Callable[[Any], Any], check: Callable[[], None]) -> None:
    spell = BatchWriter()
    while True:
        check()
        with spell.writing():
            some = table.select(table.id).where(condition).limit(spell.rows)
            changed = change(some).execute()
        if not changed:
            return
        time.sleep(TARGET_SECONDS)  # for who waits for the lock: SQLite looks only now and then whether it is free
