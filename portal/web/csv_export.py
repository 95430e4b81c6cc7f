"""Tables as CSV (RFC 4180) that is safe to open in a spreadsheet program: no cell is run as a formula."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""Prefixes that a spreadsheet program treats as the start of a formula."""
BYTE_ORDER_MARK = "\ufeff"
"""Without it Excel reads UTF-8 as the code page of the machine."""


def lines(rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """Yield each row as one line of UTF-8."""
    first = True
    for row in rows:
        text = io.StringIO()
        # Each text is quoted, since some programs split at semicolons.
        csv.writer(text, quoting=csv.QUOTE_NONNUMERIC).writerow([cell(value) for value in row])
        yield ((BYTE_ORDER_MARK if first else "") + text.getvalue()).encode("utf-8", errors="replace")
        first = False


def cell(value: Any) -> Any:
    """One value: times in UTC (ISO 8601), lists with commas; a text that looks like a formula gets an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return value
    if isinstance(value, dict):
        text = json.dumps(value, ensure_ascii=False) if value else ""
    else:
        text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    text = text.replace("\0", "\ufffd")
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
