"""The items of one job: as a list in pages, and whole as a report."""

import json
from collections.abc import Iterator
from typing import Any

from portal import lists
from portal.lists import Asked, LongList
from portal.models import JobItem

NAMES = ("object", "state", "bytes", "sha256", "attempts", "sentence")


def of(job_id: int) -> LongList:
    """The items of a job in their order."""
    return LongList(
        table=JobItem,
        rows=lambda: JobItem.select().where(JobItem.job == job_id),
        views=list,
        state=lambda: JobItem.state,
        searched=(JobItem.key, JobItem.sentence),
        sorts={
            "number": lambda: JobItem.id,
            "object": lambda: JobItem.key,
            "state": lambda: JobItem.state,
            "size": lambda: JobItem.size,
        },
        usual="number",
        heads=("Object", "State", "Bytes", "SHA-256", "Attempts", "What happened"),
        cells=_cells,
    )


def as_lines(job_id: int, asked: Asked) -> Iterator[bytes]:
    """One JSON object a line for each item that meets search and filter; opens a connection for each chunk."""
    rows = lists.every_cell(of(job_id), asked)
    next(rows)  # the heads
    for cells in rows:
        yield json.dumps(dict(zip(NAMES, cells, strict=True)), ensure_ascii=False).encode() + b"\n"


def _cells(item: JobItem) -> tuple[Any, ...]:
    return item.key, item.state, item.size, item.digest, item.attempts, item.sentence
