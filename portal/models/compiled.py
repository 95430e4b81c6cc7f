"""Statements of the hot path: built by Peewee once, and kept as text.

Peewee needs more time to build a statement than SQLite to run it, and a C-STORE runs twenty.
"""

from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from peewee import SQL, NodeList

from portal.models.base import as_peewee_errors, database

_TEXT = "\x00value "
_NUMBER = -9_000_000_000_000_000_000
_MAX_PLACES = 1 << 20


def text(place: int) -> str:
    """A placeholder in a query for a text: value number `place` of each run."""
    return f"{_TEXT}{place}"


def number(place: int) -> int:
    """The same for an integer, such as a row number."""
    return _NUMBER + place


class Statement:
    """A query with the placeholders `text(0)`, `number(1)`, … for its values; built at its first run.

    Values go to the database unconverted, so only columns of texts and integers can be compared with them.
    """

    def __init__(self, build: Callable[[], Any]) -> None:
        self._build = build
        self._built: tuple[str, list[Any]] | None = None
        """SQL and parameters, assigned at once because threads share the statement."""

    def rows(self, *values: Any) -> list[tuple[Any, ...]]:
        return list(self._execute(values).fetchall())

    def first(self, *values: Any) -> tuple[Any, ...] | None:
        row: tuple[Any, ...] | None = self._execute(values).fetchone()
        return row

    def numbers(self, *values: Any) -> "array[int]":
        """The integers of a query of one column, 8 bytes each however many they are."""
        return array("q", (number for (number,) in self._execute(values)))

    def run(self, *values: Any) -> None:
        self._execute(values)

    def insert(self, *values: Any) -> int:
        """Run the insertion of one row; returns its row number."""
        return int(self._execute(values).lastrowid)

    def _execute(self, values: Sequence[Any]) -> Any:
        if self._built is None:
            sql, parameters = self._build().sql()
            self._built = sql, [_place_of(parameter) for parameter in parameters]
        sql, parameters = self._built
        bound = [values[each.number] if isinstance(each, _Place) else each for each in parameters]
        with as_peewee_errors:  # what `execute_sql` does besides takes as long as SQLite needs for the statement
            return database.connection().execute(sql, bound)


class _Place:
    def __init__(self, number: int) -> None:
        self.number = number


def _place_of(parameter: Any) -> Any:
    """The place of a placeholder, or the parameter itself: a constant of the query."""
    if isinstance(parameter, str) and parameter.startswith(_TEXT):
        return _Place(int(parameter.removeprefix(_TEXT)))
    if isinstance(parameter, int) and _NUMBER <= parameter < _NUMBER + _MAX_PLACES:
        return _Place(parameter - _NUMBER)
    return parameter


def raw_rows(query: Any) -> list[tuple[Any, ...]]:
    """The rows of a query unconverted: for many thousands, each of which Peewee would convert column by column."""
    return list(database.execute(query).fetchall())


def is_one_of(column: Any, numbers: Iterable[int]) -> NodeList:
    """Whether a column is one of many row numbers, written into the SQL itself, which is six times as fast."""
    listed = ", ".join(str(int(number)) for number in numbers)
    return NodeList((column, SQL(f"IN ({listed})")))
