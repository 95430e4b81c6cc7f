"""Long lists: pages of rows, searched, filtered and sorted by the database."""

import functools
import operator
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from peewee import Asc, Desc, ModelSelect, fn

from portal import models
from portal.errors import BadValue
from portal.models import Table

MAX_ROWS = 10_000
"""A longer list must be requested page by page."""
ROWS_PER_CHUNK = 500
"""A whole list is read in chunks, so that no cursor is open while the network is slow."""

Row = TypeVar("Row", bound=Table)


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """`after` is a row id, for lists in the order of ids; `sort` has names of fields, and True for descending.

    `where` has conditions on the rows (`portal.lookup.filters`).
    """

    limit: int | None = None
    skip: int = 0
    after: int | None = None
    sort: tuple[tuple[str, bool], ...] = ()
    where: tuple[Any, ...] = ()


WHOLE_LIST = PageRequest()


@dataclass(frozen=True)
class RowPage(Generic[Row]):
    rows: list[Row]
    total: int
    """The rows of the whole list."""


@dataclass(frozen=True)
class ListInParts(Generic[Row]):
    """A list whose rows are read a few at a time, since each may be large."""

    query: "ModelSelect[Row]"
    table: type[Row]
    ids: list[int]
    """Of the rows of one page, in order."""
    total: int
    """The rows of the whole list."""

    def read(self, begin: int, number: int) -> list[Row]:
        """That many rows from this place on; without those that were removed since the ids were read."""
        wanted = self.ids[begin : begin + number]
        found = {row.id: row for row in self.query.where(self.table.id.in_(wanted))}
        return [found[row_id] for row_id in wanted if row_id in found]


def fetch_page(query: "ModelSelect[Row]", table: type[Row], page: PageRequest) -> RowPage[Row]:
    """The rows of one page. Raises BadValue, rather than truncating, if the list is too long for one page."""
    chosen, total = _page(query, table, page)
    return RowPage(list(chosen), total)


def find_ids(query: "ModelSelect[Row]", table: type[Row], page: PageRequest) -> ListInParts[Row]:
    """The same page, of which only the ids are read yet."""
    chosen, total = _page(query, table, page)
    numbers: Any = chosen.select(table.id).tuples()
    return ListInParts(query, table, [row_id for (row_id,) in numbers], total)


def _page(query: "ModelSelect[Row]", table: type[Row], page: PageRequest) -> tuple["ModelSelect[Row]", int]:
    if page.after is not None and page.sort:
        raise BadValue("after_id works in the order of ids only. Leave out sort.", field="after_id")
    query = query.where(*page.where) if page.where else query
    total = query.count()
    if page.limit is None and total - page.skip > MAX_ROWS:
        raise BadValue(
            f"The list has {total} entries. Request it page by page, with limit and after_id.", field="limit"
        )
    if page.after is not None:
        query = query.where(table.id > page.after)
    fields = {**table._meta.fields}
    order = [fields[name].desc() if falling else fields[name] for name, falling in page.sort]
    return query.order_by(*order, table.id).limit(page.limit or MAX_ROWS).offset(page.skip), total


@dataclass(frozen=True, kw_only=True)
class LongList:
    """The definition of one list as its page shows it. Nothing is read before `find` or `iter_cells`."""

    table: type[Table]
    rows: Callable[[], Any]
    """The select with its joins, without order."""
    counted: Callable[[], Any] | None = None
    """The same rows without the joins for display, to count them by an index."""
    counts: Callable[[str], Mapping[str, int]] | None = None
    """The number of rows for each filter word and a search, if known without counting."""
    views: Callable[[Sequence[Any]], Sequence[Any]]
    """What the page shows of some rows, with a fixed number of statements."""
    state: Callable[[], Any] | None = None
    """The SQL expression of a row's filter word; None for a list without a filter."""
    kinds: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    """Word in the address → condition on the rows; the empty word is the default."""
    searched: tuple[Any, ...]
    """The columns that are searched for a part of the text."""
    also: Callable[[str], Sequence[Any]] = lambda _search: ()
    """Further conditions for a search; one of them is enough."""
    sorts: Mapping[str, Callable[[], Any]]
    """Name in the address → SQL expression."""
    usual: str
    """The default order: a name of `sorts`, with - for descending."""
    heads: tuple[str, ...]
    """The column heads of the list as CSV; `cells` are the values of a row."""
    cells: Callable[[Any], Sequence[Any]]


@dataclass(frozen=True, kw_only=True)
class ListRequest:
    """A request for a page of a list. `only` is a filter word, `kind` one of its kinds, `sort` a name with - for
    descending."""

    search: str = ""
    only: str = ""
    kind: str = ""
    sort: str = ""
    limit: int = 50
    skip: int = 0


@dataclass(frozen=True, kw_only=True)
class ListResult:
    """`counts` are the rows of each filter word that match the search; `sort` is the order that was used."""

    rows: Sequence[Any]
    total: int
    sort: str
    counts: Mapping[str, int] = field(default_factory=dict)


def find(whole: LongList, asked: ListRequest) -> ListResult:
    """One page of a list: two statements, and those of its `views`. Unknown words are ignored."""
    counts = _counts(whole, asked)
    total = counts.get(asked.only, 0) if asked.only and whole.state else sum(counts.values())
    sort = asked.sort if asked.sort.removeprefix("-") in whole.sorts else whole.usual
    rows = _ordered(whole, asked, sort).limit(asked.limit).offset(asked.skip) if total > asked.skip else ()
    return ListResult(rows=whole.views(list(rows)) if rows else (), total=total, sort=sort, counts=counts)


def count_rows(whole: LongList) -> int:
    """The number of rows of a list."""
    return sum(_counts(whole, ListRequest()).values())


def iter_cells(whole: LongList, asked: ListRequest) -> Iterator[Sequence[Any]]:
    """Heads and cells of all rows that match search and filter; opens a connection for each chunk.

    The order is fixed at the beginning; rows that are removed meanwhile are left out.
    """
    yield whole.heads
    with models.connection():
        sort = asked.sort if asked.sort.removeprefix("-") in whole.sorts else whole.usual
        ordered = _ordered(whole, asked, sort).select(whole.table.id).tuples()
        numbers = array("q", (row[0] for row in ordered.iterator()))
    for begin in range(0, len(numbers), ROWS_PER_CHUNK):
        ids = list(numbers[begin : begin + ROWS_PER_CHUNK])
        with models.connection():
            rows = {row.id: row for row in whole.rows().where(whole.table.id.in_(ids))}
            views = whole.views([rows[row_id] for row_id in ids if row_id in rows])
            chunk = [whole.cells(view) for view in views]
        yield from chunk


def _ordered(whole: LongList, asked: ListRequest, sort: str) -> Any:
    query = _narrowed(whole, whole.rows(), asked)
    if asked.only and whole.state:
        query = query.where(whole.state() == asked.only)
    by, number = whole.sorts[sort.removeprefix("-")](), whole.table.id
    if sort.startswith("-"):
        return query.order_by(Desc(by, nulls="LAST"), number.desc())
    return query.order_by(Asc(by, nulls="LAST"), number.asc())


def _counts(whole: LongList, asked: ListRequest) -> Mapping[str, int]:
    if whole.counts is not None:
        return whole.counts(asked.search)
    every = whole.counted or whole.rows
    query = _narrowed(whole, every(), asked)
    if whole.state is None:
        return {"": query.count()}
    state = whole.state()
    if asked.search:
        # Otherwise SQLite would walk the index of the state, and fetch each row by its id to search its texts.
        state = fn.COALESCE(state, "")
    return dict(query.select(state, fn.COUNT(whole.table.id)).group_by(state).tuples())


def _narrowed(whole: LongList, query: Any, asked: ListRequest) -> Any:
    if kind := whole.kinds.get(asked.kind, whole.kinds.get("")):
        query = query.where(kind())
    if not asked.search:
        return query
    conditions = [*(contains(column, asked.search) for column in whole.searched), *whole.also(asked.search)]
    return query.where(functools.reduce(operator.or_, conditions))


def ignoring_case(text: Any) -> Any:
    """An expression to sort labels by, ignoring case."""
    return text.collate("NOCASE")


def contains(column: Any, text: str) -> Any:
    """The column contains the text, ignoring case in every script."""
    if text.isascii():
        return column.contains(text)
    return fn.INSTR(fn.folded(column), text.casefold()) > 0


def starts_with(column: Any, text: str) -> Any:
    """The column begins with exactly this text: a range, which an index answers."""
    return (column >= text) & (column < text + chr(0x10FFFF))


def starts_with_ignoring_case(column: Any, text: str) -> Any:
    """As `starts_with`, ignoring the case of A to Z, by an index of that collation."""
    return (column.collate("NOCASE") >= text) & (column.collate("NOCASE") < text + chr(0x10FFFF))
