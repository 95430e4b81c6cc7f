"""The printed answer of a command: one JSON value, or text for a person."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from portal.quantities import size

View = Mapping[str, Any]
BYTE_FIELDS = ("bytes", "bytes_done", "size", "rate")
"""Fields that count bytes: printed as 1.4 MB, and as a number with `--json`."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The result of a command: the view for `--json`, and the text for a person."""

    view: View | Sequence[View]
    message: str = ""
    """Printed instead of the view's fields for a person, unless the command failed."""
    report: str = ""
    """As `message`, but printed even if the command failed."""
    columns: tuple[str, ...] = ()
    """Keys of the view that the table shows; empty for all."""
    empty: str = "Nothing yet."
    """Printed instead of a table without rows."""
    failure: str = ""
    """Why the command ends with exit code 1 despite an answer; printed on stderr instead of the message."""


def print_answer(given: Answer, *, as_json: bool) -> int:
    """Print the answer and return the exit code."""
    if as_json:
        print(json.dumps(given.view, default=_plain, indent=2))
    else:
        for line in _lines(given):
            print(line)
    sys.stdout.flush()
    if given.failure:
        print_error(given.failure)
        return 1
    return 0


def print_error(message: str) -> None:
    """One line on stderr."""
    print(printable(message), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """The text on one line, without control characters: AE titles from the network reach the terminal here."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def _lines(given: Answer) -> list[str]:
    text = given.report if given.failure else given.report or given.message
    if text or given.failure:
        return [printable(line) for line in text.splitlines()]
    if isinstance(given.view, Mapping):
        return _fields(given.view)
    return _table(given.view, given.columns) or [given.empty]


def _fields(view: View, indent: str = "") -> list[str]:
    """One line for each field; nested fields are indented below their name."""
    width = max((len(key) for key in view), default=0)
    lines = []
    for key, value in view.items():
        name = f"{indent}{key.replace('_', ' '):<{width}}"
        if isinstance(value, Mapping) and value:
            lines += [name.rstrip(), *_fields(value, f"{indent}  ")]
        else:
            lines.append(f"{name}  {_cell(key, value)}")
    return lines


def _table(rows: Sequence[View], columns: tuple[str, ...]) -> list[str]:
    if not rows:
        return []
    keys = columns or tuple(rows[0])
    cells = [[key.replace("_", " ").upper() for key in keys]]
    cells += [[_cell(key, row.get(key)) for key in keys] for row in rows]
    widths = [max(len(line[place]) for line in cells) for place in range(len(keys))]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]


def _cell(key: str, value: Any) -> str:
    if value is None or value == "" or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and key in BYTE_FIELDS:
        return size(value)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(key, part) for part in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_cell(name, part)}" for name, part in value.items()) or "-"
    return printable(str(value))


def _plain(value: Any) -> str:
    """Timestamps in ISO 8601 to the second; other values without a JSON form as text."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return value.isoformat() if isinstance(value, date) else str(value)
