"""Tables as CSV (RFC 4180), which a spreadsheet program opens without running what stands in them."""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What a cell begins with that a spreadsheet program takes for a formula."""
BYTE_ORDER_MARK = "\ufeff"
"""Without it Excel takes UTF-8 for the code page of the machine. Each text is quoted, as some split at semicolons."""


def lines(rows: Iterable[Sequence[Any]]) -> Iterator[bytes]:
    """Each row as one line of UTF-8, while they come."""
    first = True
    for row in rows:
        text = io.StringIO()
        csv.writer(text, quoting=csv.QUOTE_NONNUMERIC).writerow([cell(value) for value in row])
        yield ((BYTE_ORDER_MARK if first else "") + text.getvalue()).encode("utf-8", errors="replace")
        first = False


def cell(value: Any) -> Any:
    """One value: moments in UTC (ISO 8601), lists with commas; a text that would run gets an apostrophe before it."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return value
    text = _text(value).replace("\0", "\ufffd")
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False) if value else ""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
