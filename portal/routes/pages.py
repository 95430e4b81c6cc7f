"""What every tab does alike: render whole or in part, and show a long list in pages."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import make_response, render_template, request
from werkzeug.wrappers import Response

SIZE = 50
Row = TypeVar("Row")


def render(template: str, *, partial: str | None = None, status: int = 200, **context: Any) -> Response:
    """The whole page; to htmx, which swaps a part of a page, only that part.

    htmx says by HX-Request-Type which of the two it wants; a restored history is a whole page.
    """
    wants_part = request.headers.get("HX-Request-Type") == "partial"
    only_part = bool(partial) and wants_part and not request.headers.get("HX-History-Restore-Request")
    chosen = partial if partial and only_part else template
    return make_response(render_template(chosen, partial=only_part, **context), status)


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One page of a list, with what it was searched for."""

    rows: Sequence[Any]
    total: int
    number: int
    search: str = ""
    only: str = ""

    @property
    def first(self) -> int:
        return (self.number - 1) * SIZE + 1 if self.rows else 0

    @property
    def last(self) -> int:
        return (self.number - 1) * SIZE + len(self.rows)

    @property
    def narrowed(self) -> bool:
        return bool(self.search or self.only)


def listing(fetch: Callable[[str, str, int, int], tuple[Sequence[Any], int]]) -> Listing:
    """The page that the address asks for (`q`, `only`, `page`) of what `fetch(search, only, limit, skip)` finds."""
    search = request.args.get("q", "").strip()[:200]
    only = request.args.get("only", "").strip()[:40]
    number = _page_number()
    rows, total = fetch(search, only, SIZE, (number - 1) * SIZE)
    return Listing(rows=rows, total=total, number=number, search=search, only=only)


def within(
    rows: Iterable[Row], text: Callable[[Row], Iterable[object]], state: Callable[[Row], str] = lambda _row: ""
) -> Callable[[str, str, int, int], tuple[Sequence[Row], int]]:
    """A `fetch` over rows that are all at hand: `text` gives what of a row is searched, `state` its filter word."""

    def fetch(search: str, only: str, limit: int, skip: int) -> tuple[Sequence[Row], int]:
        wanted = search.casefold()
        found = [
            row
            for row in rows
            if (not only or state(row) == only)
            and (not wanted or any(wanted in str(part or "").casefold() for part in text(row)))
        ]
        return found[skip : skip + limit], len(found)

    return fetch


def _page_number() -> int:
    text = request.args.get("page", "1")
    return min(int(text), 1_000_000) if text.isascii() and text.isdecimal() and len(text) < 8 and int(text) else 1
