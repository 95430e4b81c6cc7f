"""The first numbers of several selects together, each of which walks an index; and the values that an index has."""

from collections.abc import Sequence
from typing import Any

from portal.models.base import database


def first_numbers(selects: Sequence[Any], *, limit: int, falling: bool) -> list[int]:
    """The lowest or highest numbers, each once; every select has one column and the order and limit of the whole.

    With one condition over all of them, SQLite would read and sort each row that matches. Peewee would nest the parts
    of the union, as deep as there are.
    """
    parts, values = [], []
    for select in selects:
        sql, bound = select.sql()
        parts.append(f"SELECT * FROM ({sql})")  # noqa: S608 (a query of Peewee, with its own parameters)
        values += bound
    order = "DESC" if falling else "ASC"
    rows = database.execute_sql(f"{' UNION '.join(parts)} ORDER BY 1 {order} LIMIT ?", [*values, limit])
    return [number for (number,) in rows]


def distinct_values(column: Any) -> list[str]:
    """The different texts of an indexed column, in their order: one step into the index each, however many rows."""
    table, name = column.model._meta.table_name, column.column_name
    rows = database.execute_sql(
        f"WITH RECURSIVE found(value) AS (SELECT MIN({name}) FROM {table} UNION ALL"  # noqa: S608 (names of models)
        f" SELECT (SELECT MIN({name}) FROM {table} WHERE {name} > value) FROM found WHERE value IS NOT NULL)"
        " SELECT value FROM found WHERE value IS NOT NULL"
    )
    return [value for (value,) in rows]
