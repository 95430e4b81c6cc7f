"""The rows that a scope makes visible, and those that a request selects."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from peewee import SQL, Case, Expression, Field, NodeList, Tuple, fn

from portal.models.base import Table
from portal.models.conditions import (
    Condition,
    Prepared,
    all_of,
    any_of,
    canonical_time,
    digits_of,
    expression_for,
    form_expression,
    prepare,
    significant,
)
from portal.models.index import CURRENT, Instance, Series, Study

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


def moments(first: tuple[str, str], last: tuple[str, str]) -> Prepared:
    """On a column of dates with times beside it: from one date and time to another, both included.

    A bound without a date is open, one without a time is the whole day. Without date or time a row never matches.
    """
    # Missing components of the last time include all values.
    begin_time, end_time = significant(first[1]) if first[0] else "", f"{last[1]}~" if last[0] and last[1] else ""
    bounds = (first[0], last[0], begin_time, end_time)
    return Prepared(("moments", *map(bool, bounds)), tuple(filter(None, bounds)))


def below(wanted: Sequence[Wanted]) -> Prepared:
    """At least one entity of the levels below, with all that lies above that one, meets all of these."""
    prepared = [(table, name, prepare(condition)) for table, name, condition in wanted]
    inner = tuple((table, name, each.form) for table, name, each in prepared)
    return Prepared(("below", *inner), tuple(value for _, _, each in prepared for value in each.values))


def _condition(table: TableName, name: str, condition: Condition) -> Any:
    prepared = prepare(condition)
    match prepared.form:
        case ("any", *_):
            one: Any = Series.alias("one")
            matches = all_of([one.study == Study.id, one.n_instances > 0, expression_for(one.modality, prepared)])
            return fn.EXISTS(one.select(SQL("1")).where(matches))
        case ("below", *wanted):
            return _has_below(table, wanted, iter(prepared.values))
        case ("moments", *has):
            values = iter(prepared.values)
            begin, end, begin_time, end_time = (next(values) if each else None for each in has)
            date, time = column(table, "date"), column(table, "time")
            # The bounds of the date stand alone, for its index; the time counts on the first and on the last day.
            found = [date != "", time != ""]
            found += [date >= begin] if begin else []
            found += [date <= end] if end else []
            found += [any_of([date > begin, canonical_time(time) >= begin_time])] if begin_time else []
            found += [any_of([date < end, digits_of(time) <= end_time])] if end_time else []
            return all_of(found)
        case _:
            return expression_for(column(table, _FOLDED.get(name, name)), prepared)


def _has_below(table: TableName, wanted: Sequence[tuple[TableName, str, Any]], values: Iterator[Any]) -> Any:
    """Whether a row of a table has one row below it, with all that lies above that one, that meets the conditions."""
    series, instance = cast(Any, Series.alias("lower")), cast(Any, Instance.alias("lowest"))
    lower: dict[TableName, Any] = {"series": series, "instance": instance}
    met = [form_expression(getattr(lower[each], name), form, values) for each, name, form in wanted]
    if table == "series":
        query, parent, number = instance.select(), instance.series, Series.id
    else:
        query, parent, number = series.select(), series.study, Study.id
        met.append(series.n_instances > 0)
    if any(each == "instance" for each, _, _ in wanted):
        met.append(instance.state == CURRENT)
        query = query if table == "series" else query.join(instance, on=(instance.series == series.id))
    # Of a UID an index knows the few rows, and of these the number above; all others are looked at row by row.
    if any(name in ("series_uid", "sop_uid") for _, name, _ in wanted):
        return Expression(number, "IN", query.select(parent).where(all_of(met)))
    return fn.EXISTS(query.select(SQL("1")).where(parent == number, *met))


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
