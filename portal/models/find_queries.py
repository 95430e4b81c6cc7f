"""The queries of find: the matching rows, page by page, so that no cursor is open while a network is slow.

The statements of a request's form are built once and kept; another patient's name is only another parameter.
"""

import json
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Literal

from peewee import OP, SQL, Case, Expression, NodeList, fn

from portal.models import compiled
from portal.models.compiled import Statement
from portal.models.conditions import Prepared, all_of, prepare
from portal.models.index import CURRENT, Instance, Series, Study
from portal.models.visibility import (
    ROWS_PER_PAGE,
    TABLES,
    Selection,
    TableName,
    column,
    matching,
    visible,
)

Columns = tuple[tuple[TableName, str], ...]
Entity = Literal["patient", "study", "series", "instance"]
"""What a match is. A patient is one Patient ID of one issuer: the same number at two hospitals means two people.

Each study without a Patient ID counts as a patient, because nothing identifies two as the same.
"""

NUMBERS_AT_ONCE = 50_000
"""Row numbers of matches in memory: enough that a long answer searches seldom, few enough for 200 answers at once."""
MAX_CACHED_STATEMENTS = 256
MAX_CACHED_VALUES, MAX_CACHED_PROJECTS = 64, 2000
"""A request with more is unusual, and its statement too long to keep."""


@dataclass(frozen=True)
class _Form:
    """All that determines a statement; the values of a request are no part of it."""

    entity: Entity
    projects: tuple[int, ...]
    columns: Columns
    wanted: tuple[tuple[TableName, str, tuple[Any, ...], int], ...]
    """For each condition its table and column, its form, and the number of its values."""

    @property
    def table(self) -> TableName:
        return "study" if self.entity == "patient" else self.entity

    @property
    def values(self) -> int:
        return sum(wanted[3] for wanted in self.wanted)

    def selection(self) -> Selection:
        """The conditions with placeholders for their values."""
        wanted, place = [], 0
        for table, name, form, count in self.wanted:
            make: Any = compiled.number if form == ("number",) else compiled.text
            wanted.append((table, name, Prepared(form, tuple(make(place + each) for each in range(count)))))
            place += count
        return Selection(self.projects, tuple(wanted))


def pages(entity: Entity, selection: Selection, columns: Columns) -> Iterator[list[tuple[Any, ...]]]:
    """The matching rows, each its number and then the columns, in no particular order.

    Up to a page is one statement. Of more, all numbers are read first, many thousands at once, and their rows then page
    by page: a query's rows are searched once, whatever its conditions, and not again for each page.
    """
    prepared = [(table, name, prepare(condition)) for table, name, condition in selection.wanted]
    wanted = tuple((table, name, each.form, len(each.values)) for table, name, each in prepared)
    form = _Form(entity, selection.projects, columns, wanted)
    values = [value for _, _, each in prepared for value in each.values]

    is_usual = len(values) <= MAX_CACHED_VALUES and len(selection.projects) <= MAX_CACHED_PROJECTS
    statement = _cached_statement if is_usual else _statement
    first: list[tuple[Any, ...]] = []
    if entity != "patient":
        yield (first := statement("first", form).rows(*values))
        if len(first) < ROWS_PER_PAGE:
            return

    seen, last, rows = {row[0] for row in first}, 0, statement("rows", form)
    while found := statement("numbers", form).numbers(*values, last):
        last, is_last = found[-1], len(found) < NUMBERS_AT_ONCE
        numbers = array("q", (number for number in found if number not in seen))
        for begin in range(0, len(numbers), ROWS_PER_PAGE):
            yield rows.rows(json.dumps(numbers[begin : begin + ROWS_PER_PAGE].tolist()))
        if is_last:
            return


def headers(table: TableName, ids: Sequence[int]) -> dict[int, bytes]:
    """The stored headers of studies or series; for instances, those of their series."""
    found = _HEADERS[table].rows(json.dumps(ids))
    return {number: bytes(header) for number, header in found if header is not None}


def _with_headers(table: TableName) -> Any:
    model: Any = TABLES[table]
    query = model.select(model.id, (Series if table == "instance" else model).header)
    query = query.join(Series) if table == "instance" else query
    return query.where(_is_listed(model, compiled.text(0)))


_HEADERS = {table: Statement(partial(_with_headers, table)) for table in TABLES}


def _is_listed(model: Any, numbers: str) -> Expression:
    """Whether the number of a row is one of a JSON list."""
    return Expression(model.id, OP.IN, SQL("(SELECT value FROM json_each(?))", [numbers]))


def _statement(kind: Literal["first", "numbers", "rows"], form: _Form) -> Statement:
    return Statement(partial({"first": _first, "numbers": _numbers, "rows": _rows}[kind], form))


_cached_statement = lru_cache(maxsize=MAX_CACHED_STATEMENTS)(_statement)


def _first(form: _Form) -> Any:
    """The first page as an index returns it: without an order, so that nothing is sorted."""
    return _select(form).where(matching(form.selection())).limit(ROWS_PER_PAGE)


def _numbers(form: _Form) -> Any:
    """The numbers of matching rows after a number, in their order."""
    # The plus keeps SQLite from reading all rows in this order where an index finds the few.
    order: Any = (lambda field: NodeList((SQL("+"), field), glue="")) if form.wanted else lambda field: field
    number: Any = order(TABLES[form.table].id)
    after = compiled.number(form.values)
    if form.entity == "patient":
        unidentified = Case(None, [(Study.patient_id == "", Study.id)], 0)
        number = fn.MAX(Study.id)
        query: Any = Study.select(number).where(matching(form.selection()))
        query = query.group_by(order(Study.patient_id), order(Study.issuer), unidentified)
        query = query.having(Expression(number, OP.GT, after))
    else:
        query = _from(form, TABLES[form.table].id)
        query = query.where(matching(form.selection()), Expression(number, OP.GT, after))
    return query.order_by(number).limit(NUMBERS_AT_ONCE)


def _rows(form: _Form) -> Any:
    """The rows with some numbers, as far as they are still visible."""
    listed = _is_listed(TABLES[form.table], compiled.text(0))
    return _select(form).where(listed, visible(Study, form.projects))


def _select(form: _Form) -> Any:
    selection = form.selection()
    chosen = [_column(table, name, selection) for table, name in form.columns]
    return _from(form, TABLES[form.table].id, *chosen)


def _from(form: _Form, *columns: Any) -> Any:
    """A query of these columns whose rows have something to show."""
    match form.table:
        case "study":
            return Study.select(*columns)
        case "series":
            return Series.select(*columns).join(Study).where(Series.n_instances > 0)
        case "instance":
            query: Any = Instance.select(*columns).join(Series).join(Study)
            return query.where(Instance.state == CURRENT)


def _column(table: TableName, name: str, selection: Selection) -> Any:
    match name:
        case "patient_studies":
            return _of_patient(selection, lambda study: fn.COUNT(study.id))
        case "patient_series":
            return _of_patient(selection, lambda study: fn.SUM(study.n_series))
        case "patient_instances":
            return _of_patient(selection, lambda study: fn.SUM(study.n_instances))
        case "sop_classes":
            listed = fn.REPLACE(fn.GROUP_CONCAT(Instance.sop_class.distinct()), ",", "\\")
            of_study = Instance.select(listed).join(Series)
            return of_study.where(Series.study == Study.id, Instance.state == CURRENT)
        case _:
            return column(table, name)


def _of_patient(selection: Selection, count: Any) -> Any:
    """A count over all visible studies of the row's patient."""
    each: Any = Study.alias("each")
    same = all_of([each.patient_id == Study.patient_id, each.issuer == Study.issuer, each.patient_id != ""])
    return each.select(count(each)).where(same | (each.id == Study.id), visible(each, selection.projects))
