"""The queries of find: pages of rows by key, so that no cursor is open while a network is slow."""

from collections.abc import Sequence
from typing import Any

from peewee import OP, SQL, Expression, NodeList, fn

from portal.models.conditions import Dates, PersonName, all_of, literal_prefix
from portal.models.index import CURRENT, Instance, Series, Study
from portal.models.visibility import TABLES, Row, Selection, TableName, column, matching, page, visible

Columns = Sequence[tuple[TableName, str]]
After = tuple[Any, ...] | None


def studies(selection: Selection, columns: Columns, after: After) -> list[Row]:
    """A page of studies, in the order of the index that the search uses."""
    order = _study_order(selection)
    query = Study.select(Study.id, *order, *_chosen(columns, selection))
    return page(query.where(matching(selection)), order, after)


def series(selection: Selection, columns: Columns, after: After) -> list[Row]:
    """A page of series, in the order of their UIDs."""
    order = (Series.series_uid, Series.id)
    query = Series.select(Series.id, *order, *_chosen(columns, selection)).join(Study)
    return page(query.where(matching(selection), Series.n_instances > 0), order, after)


def instances(selection: Selection, columns: Columns, after: After) -> list[Row]:
    """A page of current instances, in the order of their UIDs."""
    order = (Instance.sop_uid, Instance.id)
    query = Instance.select(Instance.id, *order, *_chosen(columns, selection)).join(Series).join(Study)
    return page(query.where(matching(selection), Instance.state == CURRENT), order, after)


def patients(selection: Selection, after: After) -> list[Row]:
    """A page of patients with a Patient ID, each with the number of the newest matching study.

    A patient is one Patient ID of one issuer: the same number at two hospitals means two people.
    """
    order: tuple[Any, ...] = (Study.patient_id, Study.issuer)
    if selection.wanted:
        order = tuple(_unordered(each) for each in order)
    query = Study.select(fn.MAX(Study.id), *order).where(matching(selection), Study.patient_id != "")
    return page(query.group_by(*order), order, after)


def unidentified(selection: Selection, after: After) -> list[Row]:
    """A page of studies without a Patient ID: each counts as a patient, because nothing identifies two as the same."""
    number: Any = _unordered(Study.id) if selection.wanted else Study.id
    patient_id: Any = _unordered(Study.patient_id) if selection.wanted else Study.patient_id
    query = Study.select(Study.id, number).where(matching(selection), Expression(patient_id, OP.EQ, ""))
    return page(query, (number,), after)


def studies_by_id(selection: Selection, columns: Columns, ids: Sequence[int]) -> list[Row]:
    """The columns of some studies, at most a page of them, in the order of their numbers."""
    query = Study.select(Study.id, Study.id, *_chosen(columns, selection)).where(Study.id.in_(list(ids)))
    return page(query, (Study.id,), None)


def headers(table: TableName, ids: Sequence[int]) -> dict[int, bytes]:
    """The stored headers of studies or series; for instances, those of their series."""
    model: Any = TABLES[table]
    query = model.select(model.id, (Series if table == "instance" else model).header)
    if table == "instance":
        query = query.join(Series)
    found = query.where(model.id.in_(list(ids))).tuples()
    return {number: bytes(header) for number, header in found if header is not None}


def _study_order(selection: Selection) -> tuple[Any, ...]:
    """By the column that is searched as a range, as an index returns these rows in that order; else by number."""
    for _, name, condition in selection.wanted:
        if name == "date" and isinstance(condition, Dates):
            return (Study.date, Study.id)
    for _, name, condition in selection.wanted:
        if name == "patient_name" and isinstance(condition, PersonName) and literal_prefix(condition.groups[0] or ""):
            return (_unordered(Study.id),)
    return (Study.id,)


def _unordered(field: Any) -> NodeList:
    """A sort column marked so that SQLite finds the few rows first, instead of reading all in this order."""
    return NodeList((SQL("+"), field), glue="")


def _chosen(columns: Columns, selection: Selection) -> list[Any]:
    return [_column(table, name, selection) for table, name in columns]


def _column(table: TableName, name: str, selection: Selection) -> Any:
    match name:
        case "patient_studies":
            return _of_patient(selection, lambda study: fn.COUNT(study.id))
        case "patient_series":
            return _of_patient(selection, lambda study: fn.SUM(study.n_series))
        case "patient_instances":
            return _of_patient(selection, lambda study: fn.SUM(study.n_instances))
        case _:
            return column(table, name)


def _of_patient(selection: Selection, count: Any) -> Any:
    """A count over all visible studies of the row's patient."""
    each: Any = Study.alias("each")
    same = all_of([each.patient_id == Study.patient_id, each.issuer == Study.issuer, each.patient_id != ""])
    return each.select(count(each)).where(same | (each.id == Study.id), visible(each, selection.projects))
