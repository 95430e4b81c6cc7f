"""The ids of the REST interface: 24 hex digits, a pure function of a table and a row number."""

import re

from portal.errors import Missing

# These numbers never change: clients keep the ids for years.
_NUMBERS = {
    "group": 1,
    "project": 2,
    "subject": 3,
    "session": 4,
    "acquisition": 5,
    "file": 6,
    "device": 7,
    "user": 8,
    "job": 9,
}
_NAMES = {number: name for name, number in _NUMBERS.items()}
_FORM = re.compile(r"[0-9a-f]{24}")
_MOST = 2**63 - 1


def encode(table: str, row: int) -> str:
    """Four digits of the table, four zeros, sixteen digits of the row number: ids of one table sort as its rows do."""
    return f"{_NUMBERS[table]:04x}{row:020x}"


def is_id(text: str) -> bool:
    """Whether a text has the form of an id."""
    return _FORM.fullmatch(text) is not None


def decode(text: str) -> tuple[str, int]:
    """The table and the row number. Raises Missing for a text that `encode` never returns."""
    if not _FORM.fullmatch(text):
        raise Missing(f"{text[:64]!r} is no id: an id has 24 hexadecimal digits.")
    name, row = _NAMES.get(int(text[:4], 16)), int(text[4:], 16)
    if name is None or not 1 <= row <= _MOST:
        raise Missing(f"There is nothing with the id {text}.")
    return name, row


def row_id(text: str, table: str) -> int:
    """The row number of an id that must be one of this table. Raises Missing if it is not."""
    name, number = decode(text)
    if name != table:
        raise Missing(f"{text} is the id of a {name}, not of a {table}.")
    return number
