"""Writes of many rows in batches, each short enough that a C-STORE hardly waits for it."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from portal.models import Table, writing

TARGET_SECONDS = 0.025
"""Seconds that one write should take; ten times as long would delay other writers too much."""
FIRST_BATCH_SIZE, MIN_BATCH_SIZE, MAX_BATCH_SIZE = 250, 25, 4000

T = TypeVar("T")


class BatchWriter:
    """Writes batches of rows: larger ones after quick writes, smaller ones at once after a slow write."""

    def __init__(self) -> None:
        self.rows = FIRST_BATCH_SIZE

    @contextmanager
    def writing(self) -> Iterator[None]:
        """A write block for one batch; its time counts from the lock until it is durable."""
        begun = time.monotonic()
        with writing():
            begun = time.monotonic()
            yield
        took = max(time.monotonic() - begun, 0.001)
        self.rows = max(MIN_BATCH_SIZE, min(MAX_BATCH_SIZE, int(self.rows * min(TARGET_SECONDS / took, 2))))

    def chunks(self, rows: Iterable[T]) -> Iterator[list[T]]:
        """The rows in batches of the size that is current at the start of each."""
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
    """Change the rows that meet a condition, which the change must make untrue."""
    _repeat(table, condition, lambda some: table.update(**columns).where(table.id.in_(some)), check)


def _repeat(table: type[Table], condition: Any, change: Callable[[Any], Any], check: Callable[[], None]) -> None:
    writer = BatchWriter()
    while True:
        check()
        with writer.writing():
            some = table.select(table.id).where(condition).limit(writer.rows)
            changed = change(some).execute()
        if not changed:
            return
        time.sleep(TARGET_SECONDS)  # for other writers: SQLite polls the lock only now and then
