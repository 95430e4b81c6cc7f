"""Whole lists, read page by page: a script wants every row."""

from collections.abc import Callable, Sequence
from typing import Any

ROWS_PER_PAGE = 500


def all_rows(page: Callable[..., Sequence[Any]]) -> list[Any]:
    """All rows of a function that takes `limit` and `before`, the number of the last row seen."""
    rows: list[Any] = []
    while part := page(limit=ROWS_PER_PAGE, before=rows[-1].id if rows else None):
        rows += part
    return rows
