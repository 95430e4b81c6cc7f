"""Statements of the hot path: built by Peewee once, and kept as text.

Peewee takes longer to build a statement than SQLite to run it, and a C-STORE runs twenty.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from peewee import SQL, NodeList

from portal.models.base import database

_TEXT = "\x00value "
_NUMBER = -9_000_000_000_000_000_000
_MOST = 100


def text(place: int) -> str:
    """Stands, where a query is built, for a text that each run brings along as its value number `place`."""
    return f"{_TEXT}{place}"


def number(place: int) -> int:
    """The same for a whole number, such as a row's."""
    return _NUMBER + place


class Statement:
    """A query with `text(0)`, `number(1)`, … in the places of its values; it is built at its first run.

    Values go to the database as they are, so they are only for columns that hold texts and whole numbers.
    """

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build
        self._built: tuple[str, list[Any]] | None = None
        """The text with its parameters, set as one: threads of a process share the statement from its first run."""

    def rows(self, *values: Any) -> list[tuple[Any, ...]]:
        return list(self._execute(values).fetchall())

    def first(self, *values: Any) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._execute(values).fetchone()
        return row

    def run(self, *values: Any) -> None:
        self._execute(values)

    def _execute(self, values: Sequence[Any]) -> Any:
        if self._built is None:
            sql, parameters = self._build().sql()
            self._built = sql, [_place(parameter) for parameter in parameters]
        sql, parameters = self._built
        bound = [values[each.number] if isinstance(each, _Place) else each for each in parameters]
        return database.execute_sql(sql, bound)


class _Place:
    def __init__(self, number: int) -> None:
        self.number = number


def _place(parameter: Any) -> Any:
    """The place that a parameter stands for, or the parameter itself: a constant of the query."""
    if isinstance(parameter, str) and parameter.startswith(_TEXT):
        return _Place(int(parameter.removeprefix(_TEXT)))
    if isinstance(parameter, int) and _NUMBER <= parameter < _NUMBER + _MOST:
        return _Place(parameter - _NUMBER)
    return parameter


def raw_rows(query: Any) -> list[tuple[Any, ...]]:
    """The rows of a query as the database has them: for many thousands, of which Peewee would make each its own way."""
    return list(database.execute(query).fetchall())


def is_one_of(column: Any, numbers: Iterable[int]) -> NodeList:
    """Whether a column is one of many row numbers, which stand in the statement itself: that is six times as quick."""
    listed = ", ".join(str(int(number)) for number in numbers)
    return NodeList((column, SQL(f"IN ({listed})")))
