"""An item of a job as it is worked on: a plain row, since one of Peewee's takes longer to make than a small file."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from portal.models import JobItem
from portal.models.compiled import raw_rows


@dataclass(slots=True)
class Item:
    """What `JobItem` has of it, but for its job."""

    id: int
    file_id: int | None
    key: str
    size: int
    digest: str
    state: str
    message: str
    permanent: bool
    attempts: int


_NAMES = tuple(field.name for field in fields(Item))


def select_first(which: Any, most: int) -> list[Item]:
    """The first items, in their order, that meet a condition."""
    rows = JobItem.select(*(getattr(JobItem, name) for name in _NAMES)).where(which)
    return [Item(*row) for row in raw_rows(rows.order_by(JobItem.id).limit(most))]


def get(number: int) -> Item:
    [item] = select_first(JobItem.id == number, 1)
    return item


def save(item: Item, names: Sequence[str]) -> None:
    """Write some of what an item has, inside a write block."""
    JobItem.update(**{name: getattr(item, name) for name in names}).where(JobItem.id == item.id).execute()
