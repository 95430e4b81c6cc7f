"""The first numbers of several selects together, each of which walks an index in the order of its numbers."""

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
