"""A part of a long list: from where, how many, in which order."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from peewee import ModelSelect

from portal.errors import BadValue
from portal.models import Table

LONGEST = 10_000
"""Rows that a list without a limit may have; a longer one is asked for in parts."""

Row = TypeVar("Row", bound=Table)


@dataclass(frozen=True, kw_only=True)
class Page:
    """`after` is a row number, for lists in the order of their rows; `sort` names fields, True for descending."""

    limit: int | None = None
    skip: int = 0
    after: int | None = None
    sort: tuple[tuple[str, bool], ...] = ()


WHOLE = Page()


@dataclass(frozen=True)
class Part(Generic[Row]):
    rows: list[Row]
    total: int
    """How many rows the whole list has."""


def take(query: "ModelSelect[Row]", table: type[Row], page: Page) -> Part[Row]:
    """The rows of one page. Raises BadValue for a list that is too long to be given at once, never cuts it short."""
    if page.after is not None and page.sort:
        raise BadValue("after_id goes through a list in the order of its ids: leave out sort.", field="after_id")
    total = query.count()
    if page.limit is None and total - page.skip > LONGEST:
        raise BadValue(f"The list has {total} entries; ask for it in parts, with limit and after_id.", field="limit")
    if page.after is not None:
        query = query.where(table.id > page.after)
    fields = {**table._meta.fields}
    order = [fields[name].desc() if falling else fields[name] for name, falling in page.sort]
    chosen = query.order_by(*order, table.id).limit(page.limit or LONGEST).offset(page.skip)
    return Part(list(chosen), total)
