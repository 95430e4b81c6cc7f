"""Items of a job while they are worked on: plain rows, since making one of Peewee takes longer than a small file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from peewee import fn

from portal.jobs.records import StateSums
from portal.models import Job, JobItem
from portal.models.compiled import raw_rows

UNFINISHED_STATES = ("pending", "sent")
"""States of an item that is neither done nor failed."""
ITEMS_PER_PAGE = 500


@dataclass(slots=True)
class Item:
    """The columns of `JobItem` without its job."""

    id: int
    file_id: int | None
    key: str
    size: int
    digest: str
    state: str
    message: str
    permanent: bool
    attempts: int
    member: str | None


_NAMES = tuple(field.name for field in fields(Item))


def select_first(which: Any, most: int) -> list[Item]:
    """The first items, in their order, that meet a condition."""
    rows = JobItem.select(*(getattr(JobItem, name) for name in _NAMES)).where(which)
    return [Item(*row) for row in raw_rows(rows.order_by(JobItem.id).limit(most))]


def unfinished_pages(job: Job) -> Iterator[list[Item]]:
    """The unfinished items in their order; in pages, so that no cursor is open while they are worked on."""
    after = 0
    while True:
        wanted = (JobItem.job == job) & JobItem.state.in_(UNFINISHED_STATES) & (JobItem.id > after)
        page = select_first(wanted, ITEMS_PER_PAGE)
        if not page:
            return
        yield page
        after = page[-1].id


def get(number: int) -> Item:
    [item] = select_first(JobItem.id == number, 1)
    return item


def save(item: Item, names: Sequence[str]) -> None:
    """Write some columns of an item, inside a write block."""
    JobItem.update(**{name: getattr(item, name) for name in names}).where(JobItem.id == item.id).execute()


def sum_by_state(job: Job) -> StateSums:
    """Number and bytes of a job's items of each state."""
    rows: Any = JobItem.select(JobItem.state, fn.COUNT(JobItem.id), fn.SUM(JobItem.size)).where(JobItem.job == job)
    return {state: [number, size or 0] for state, number, size in raw_rows(rows.group_by(JobItem.state))}
