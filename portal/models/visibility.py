"""The rows that a scope makes visible, and those that a request selects."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from peewee import SQL, Case, Expression, Field, NodeList, Tuple, fn

from portal.models.base import Table
from portal.models.conditions import Condition, all_of, expression_for, is_any_of
from portal.models.index import Instance, Series, Study

ROWS_PER_PAGE = 500
"""Rows of one page."""

TableName = Literal["study", "series", "instance"]
Wanted = tuple[TableName, str, Condition]
"""A condition on a column of a table."""

TABLES: dict[TableName, type[Table]] = {"study": Study, "series": Series, "instance": Instance}
_FOLDED = {"patient_name": "patient_name_folded", "referring": "referring_folded"}
"""Columns for which another one, in folded case, is compared."""


@dataclass(frozen=True)
class Selection:
    """The selected rows: projects in order of precedence, and conditions."""

    projects: tuple[int, ...]
    wanted: tuple[Wanted, ...] = ()

    def of(self, *tables: TableName) -> "Selection":
        """The same projects, with the conditions on these tables only."""
        return Selection(self.projects, tuple(each for each in self.wanted if each[0] in tables))


@dataclass(frozen=True)
class Row:
    """One row of a page: its number, the key after which the next page begins, and the requested columns."""

    id: int
    key: tuple[Any, ...]
    values: tuple[Any, ...]


def page(query: Any, order: Sequence[Any], after: tuple[Any, ...] | None) -> list[Row]:
    """The rows after a key. The query selects a row's number, then the columns of the order, then the wanted ones."""
    if after is not None:
        query = query.where(Tuple(*order) > after)
    first = 1 + len(order)
    return [Row(row[0], row[1:first], row[first:]) for row in query.order_by(*order).limit(ROWS_PER_PAGE).tuples()]


def column(table: TableName, name: str) -> "Field[Any]":
    field: Field[Any] = getattr(TABLES[table], name)
    return field


def matching(selection: Selection) -> Expression:
    """The visible studies that meet all conditions; the caller joins the tables that the conditions name."""
    return all_of([visible(Study, selection.projects), *conditions(selection)])


def conditions(selection: Selection) -> list[Any]:
    return [_condition(table, name, condition) for table, name, condition in selection.wanted]


def _condition(table: TableName, name: str, condition: Condition) -> Any:
    if is_any_of(condition):
        one: Any = Series.alias("one")
        matches = all_of([one.study == Study.id, one.n_instances > 0, expression_for(one.modality, condition)])
        return fn.EXISTS(one.select(SQL("1")).where(matches))
    return expression_for(column(table, _FOLDED.get(name, name)), condition)


def visible(study: Any, projects: tuple[int, ...]) -> Expression:
    """Studies of the projects that have instances and that no earlier project hides (docs/decisions/0081)."""
    # The plus keeps SQLite from scanning all studies of a project where another index finds the few.
    visible_if = [Expression(NodeList((SQL("+"), study.project), glue=""), "IN", projects), study.n_instances > 0]
    if len(projects) > 1:
        other: Any = Study.alias("other")
        hides = [
            other.study_uid == study.study_uid,
            other.id != study.id,  # no rank of itself: among many projects it takes long
            other.n_instances > 0,
            _rank(other, projects) < _rank(study, projects),
        ]
        visible_if.append(~fn.EXISTS(other.select(SQL("1")).where(all_of(hides))))
    return all_of(visible_if)


def _rank(study: Any, projects: tuple[int, ...]) -> Any:
    """The position of its project in the scope; NULL outside of it, which no comparison includes."""
    return Case(study.project, [(project, rank) for rank, project in enumerate(projects)])
