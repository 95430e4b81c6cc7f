"""Long lists: a part of one, searched, filtered and sorted by the database."""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from peewee import Asc, Desc, ModelSelect, fn

from portal import models
from portal.errors import BadValue
from portal.models import Table

MAX_ROWS = 10_000
"""Rows that a list without a limit may have; a longer one is asked for in parts."""
ROWS_PER_CHUNK = 500
"""Rows that a whole list is read in, so that no cursor is open while a network is slow."""

Row = TypeVar("Row", bound=Table)


@dataclass(frozen=True, kw_only=True)
class PageRequest:
    """`after` is a row number, for lists in the order of their rows; `sort` names fields, True for descending."""

    limit: int | None = None
    skip: int = 0
    after: int | None = None
    sort: tuple[tuple[str, bool], ...] = ()


WHOLE_LIST = PageRequest()


@dataclass(frozen=True)
class RowPage(Generic[Row]):
    rows: list[Row]
    total: int
    """How many rows the whole list has."""


def fetch_page(query: "ModelSelect[Row]", table: type[Row], page: PageRequest) -> RowPage[Row]:
    """The rows of one page. Raises BadValue for a list that is too long to be given at once, never cuts it short."""
    if page.after is not None and page.sort:
        raise BadValue("after_id goes through a list in the order of its ids: leave out sort.", field="after_id")
    total = query.count()
    if page.limit is None and total - page.skip > MAX_ROWS:
        raise BadValue(f"The list has {total} entries; ask for it in parts, with limit and after_id.", field="limit")
    if page.after is not None:
        query = query.where(table.id > page.after)
    fields = {**table._meta.fields}
    order = [fields[name].desc() if falling else fields[name] for name, falling in page.sort]
    chosen = query.order_by(*order, table.id).limit(page.limit or MAX_ROWS).offset(page.skip)
    return RowPage(list(chosen), total)


@dataclass(frozen=True, kw_only=True)
class LongList:
    """One list of the site as its page shows it. Nothing is read before `find` or `cells`."""

    table: type[Table]
    rows: Callable[[], Any]
    """The select with its joins, without order."""
    counted: Callable[[], Any] | None = None
    """The same rows without joins that only show: to count them by an index."""
    counts: Callable[[str], Mapping[str, int]] | None = None
    """How many rows of each word of the filter meet a search, where that is known without counting them."""
    views: Callable[[Sequence[Any]], Sequence[Any]]
    """What the page shows of some rows, by a fixed number of statements."""
    state: Callable[[], Any] | None = None
    """The expression whose value is the word of the filter that a row belongs to; None where it has no filter."""
    kinds: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    """Word in the address → condition on the rows; the one of the empty word holds where nobody asks for another."""
    searched: tuple[Any, ...]
    """The columns in which a part of the text may stand."""
    also: Callable[[str], Sequence[Any]] = lambda _search: ()
    """Further conditions, one of which is enough."""
    sorts: Mapping[str, Callable[[], Any]]
    """Name in the address → what it sorts by."""
    usual: str
    """How it is sorted where nobody asks: a name of `sorts`, with - for descending."""
    heads: tuple[str, ...]
    """Column heads of the whole list as a table, and below what stands in its cells."""
    cells: Callable[[Any], Sequence[Any]]


@dataclass(frozen=True, kw_only=True)
class ListRequest:
    """What somebody wants of a list. `only` is a word of its filter, `kind` one of its kinds, `sort` a name with - for
    descending."""

    search: str = ""
    only: str = ""
    kind: str = ""
    sort: str = ""
    limit: int = 50
    skip: int = 0


@dataclass(frozen=True, kw_only=True)
class ListResult:
    """`counts` has how many rows of each filter word meet the search; `sort` is what they are sorted by in fact."""

    rows: Sequence[Any]
    total: int
    sort: str
    counts: Mapping[str, int] = field(default_factory=dict)


def find(whole: LongList, asked: ListRequest) -> ListResult:
    """One page of a list: two statements, and those of its `views`. What it does not know it leaves out."""
    counts = _counts(whole, asked)
    total = counts.get(asked.only, 0) if asked.only and whole.state else sum(counts.values())
    sort = asked.sort if asked.sort.removeprefix("-") in whole.sorts else whole.usual
    rows = _ordered(whole, asked, sort).limit(asked.limit).offset(asked.skip) if total > asked.skip else ()
    return ListResult(rows=whole.views(list(rows)) if rows else (), total=total, sort=sort, counts=counts)


def count_rows(whole: LongList) -> int:
    """How many rows a list has."""
    return sum(_counts(whole, ListRequest()).values())


def iter_cells(whole: LongList, asked: ListRequest) -> Iterator[Sequence[Any]]:
    """Heads and cells of all rows that meet search and filter, in their order; opens a connection for each chunk.

    The order is that of the moment when it begins: a row that is removed meanwhile is left out.
    """
    yield whole.heads
    with models.connection():
        sort = asked.sort if asked.sort.removeprefix("-") in whole.sorts else whole.usual
        ordered = _ordered(whole, asked, sort).select(whole.table.id).tuples()
        numbers = array("q", (row[0] for row in ordered.iterator()))
    for begin in range(0, len(numbers), ROWS_PER_CHUNK):
        with models.connection():
            chunk = _these(whole, numbers[begin : begin + ROWS_PER_CHUNK])
        yield from chunk


def _these(whole: LongList, numbers: "array[int]") -> list[Sequence[Any]]:
    rows = {row.id: row for row in whole.rows().where(whole.table.id.in_(list(numbers)))}
    return [whole.cells(view) for view in whole.views([rows[number] for number in numbers if number in rows])]


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
    if (
        asked.search
    ):  # else SQLite walks the index of the state, and fetches each row by its number to look into its texts
        state = fn.COALESCE(state, "")
    return dict(query.select(state, fn.COUNT(whole.table.id)).group_by(state).tuples())


def _narrowed(whole: LongList, query: Any, asked: ListRequest) -> Any:
    if kind := whole.kinds.get(asked.kind, whole.kinds.get("")):
        query = query.where(kind())
    if not asked.search:
        return query
    found = [contains(column, asked.search) for column in whole.searched]
    return query.where(_any([*found, *whole.also(asked.search)]))


def ordered(text: Any) -> Any:
    """A label to sort by, as people do: case does not count."""
    return text.collate("NOCASE")


def contains(column: Any, text: str) -> Any:
    """Whether a text stands somewhere in a column, upper and lower case alike, in every script."""
    if text.isascii():
        return column.contains(text)
    return fn.INSTR(fn.folded(column), text.casefold()) > 0


def starts_with(column: Any, text: str) -> Any:
    """Whether a column begins with a text, exactly: as a range, which an index answers."""
    return (column >= text) & (column < text + chr(0x10FFFF))


def starts_with_ignoring_case(column: Any, text: str) -> Any:
    """The same, but for upper and lower case of A to Z, by an index of that collation."""
    return (column.collate("NOCASE") >= text) & (column.collate("NOCASE") < text + chr(0x10FFFF))


def _any(conditions: Sequence[Any]) -> Any:
    whole = conditions[0]
    for condition in conditions[1:]:
        whole = whole | condition
    return whole
