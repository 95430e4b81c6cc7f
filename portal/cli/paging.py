"""Whole lists out of the domain's pages: a script wants every row."""

from collections.abc import Callable, Sequence
from typing import Any

PAGE = 500


def whole(page: Callable[..., Sequence[Any]]) -> list[Any]:
    """All rows of a function that takes `limit` and `before`, the number of the last row seen."""
    rows: list[Any] = []
    while part := page(limit=PAGE, before=rows[-1].id if rows else None):
        rows += part
    return rows
