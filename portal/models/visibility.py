"""Which rows a scope shows, and which of them a request means."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from peewee import SQL, Case, Expression, Field, NodeList, Tuple, fn

from portal.models.base import Table
from portal.models.conditions import AnyOf, Condition, all_of, expression_for
from portal.models.index import Instance, Series, Study

ROWS_PER_PAGE = 500
"""Rows of one page."""

TableName = Literal["study", "series", "instance"]
Wanted = tuple[TableName, str, Condition]
"""A condition on a column of a table."""

TABLES: dict[TableName, type[Table]] = {"study": Study, "series": Series, "instance": Instance}
_FOLDED = {"patient_name": "patient_name_folded", "referring": "referring_folded"}
"""Columns that are compared by another one, in folded case."""


@dataclass(frozen=True)
class Selection:
    """Which rows are meant: projects in order of precedence, and conditions on them."""

    projects: tuple[int, ...]
    wanted: tuple[Wanted, ...] = ()

    def of(self, *tables: TableName) -> "Selection":
        """The same, with the conditions on these tables alone."""
        return Selection(self.projects, tuple(each for each in self.wanted if each[0] in tables))


@dataclass(frozen=True)
class Row:
    """One row of a page: its number, where the next page goes on, and the columns that were asked for."""

    id: int
    key: tuple[Any, ...]
    values: tuple[Any, ...]


def page(query: Any, order: Sequence[Any], after: tuple[Any, ...] | None) -> list[Row]:
    """The rows after a key. The query selects a row's number, then the columns of the order, then what is wanted."""
    if after is not None:
        query = query.where(Tuple(*order) > after)
    first = 1 + len(order)
    return [Row(row[0], row[1:first], row[first:]) for row in query.order_by(*order).limit(ROWS_PER_PAGE).tuples()]


def column(table: TableName, name: str) -> "Field[Any]":
    found: Field[Any] = getattr(TABLES[table], name)
    return found


def matching(selection: Selection) -> Expression:
    """The studies that are visible and meet all conditions; tables that a condition names are joined by the caller."""
    return all_of([visible(Study, selection.projects), *conditions(selection)])


def conditions(selection: Selection) -> list[Any]:
    return [_condition(table, name, condition) for table, name, condition in selection.wanted]


def _condition(table: TableName, name: str, condition: Condition) -> Any:
    if isinstance(condition, AnyOf):
        one: Any = Series.alias("one")
        found = all_of([one.study == Study.id, one.n_instances > 0, expression_for(one.modality, condition)])
        return fn.EXISTS(one.select(SQL("1")).where(found))
    return expression_for(column(table, _FOLDED.get(name, name)), condition)


def visible(study: Any, projects: tuple[int, ...]) -> Expression:
    """Studies of the projects that have something to show and that no earlier project hides (design decision 1)."""
    # The plus keeps SQLite from going through all studies of a project where another index finds the few.
    found = [Expression(NodeList((SQL("+"), study.project), glue=""), "IN", projects), study.n_instances > 0]
    if len(projects) > 1:
        other: Any = Study.alias("other")
        hides = [
            other.study_uid == study.study_uid,
            other.n_instances > 0,
            _rank(other, projects) < _rank(study, projects),
        ]
        found.append(~fn.EXISTS(other.select(SQL("1")).where(all_of(hides))))
    return all_of(found)


def _rank(study: Any, projects: tuple[int, ...]) -> Any:
    """The place of its project in the scope; outside of it NULL, which is less than nothing."""
    return Case(study.project, [(project, rank) for rank, project in enumerate(projects)])
