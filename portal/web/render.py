"""What every tab does alike: render whole or in part, and show a long list in pages."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flask import Response as FlaskResponse
from flask import make_response, render_template, request, url_for
from werkzeug.wrappers import Response

from portal import listing
from portal.listing import ListRequest, LongList
from portal.web import csv_export, formats
from portal.web.security_headers import attachment

ROWS_PER_PAGE = 50


def render(template: str, *, partial: str | None = None, status: int = 200, **context: Any) -> Response:
    """The whole page; to htmx, which swaps a part of a page, only that part.

    htmx says by HX-Request-Type which of the two it wants; a restored history is a whole page.
    """
    only_part = bool(partial) and wants_part()
    chosen = partial if partial and only_part else template
    return make_response(render_template(chosen, partial=only_part, **context), status)


def wants_part() -> bool:
    """Whether htmx asks, for a part of the page."""
    is_partial = request.headers.get("HX-Request-Type") == "partial"
    return is_partial and not request.headers.get("HX-History-Restore-Request")


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One page of a list, with what it was searched for; `counts` has the rows of each filter word."""

    rows: Sequence[Any]
    total: int
    number: int
    search: str = ""
    only: str = ""
    kind: str = ""
    sort: str = ""
    """What somebody chose to sort by; empty where it is as usual."""
    sorted_by: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    whole: bool = False
    """Whether the whole list can be had as CSV."""

    @property
    def first(self) -> int:
        return (self.number - 1) * ROWS_PER_PAGE + 1 if self.rows else 0

    @property
    def last(self) -> int:
        return (self.number - 1) * ROWS_PER_PAGE + len(self.rows)

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // ROWS_PER_PAGE))

    @property
    def narrowed(self) -> bool:
        return bool(self.search or self.only or self.kind)

    def address(self, **changes: Any) -> str:
        """The address of the same list with something else chosen; another filter or order begins at its first page."""
        now = {"q": self.search, "only": self.only, "kind": self.kind, "sort": self.sort, **changes}
        return url_for(request.endpoint or "", **(request.view_args or {}), **{k: v for k, v in now.items() if v})

    @property
    def here(self) -> str:
        """The address of this very page of it."""
        return self.address(page=self.number if self.number > 1 else "")

    def turned(self, name: str, *, falling: bool = False) -> str:
        """The address of the same list sorted by a column, the other way round if it is sorted by that already."""
        if self.sorted_by.removeprefix("-") == name:
            falling = not self.sorted_by.startswith("-")
        return self.address(sort=f"-{name}" if falling else name)


def listed(whole: LongList) -> Listing:
    """The page of a list that the address asks for (`q`, `only`, `sort`, `page`)."""
    asked = _asked()
    found = listing.find(whole, asked)
    return Listing(
        rows=found.rows,
        total=found.total,
        number=_page_number(),
        search=asked.search,
        only=asked.only,
        kind=asked.kind if asked.kind in whole.kinds else "",
        sort=asked.sort if asked.sort == found.sort else "",
        sorted_by=found.sort,
        counts=found.counts,
        whole=True,
    )


def wants_csv() -> bool:
    return request.args.get("format") == "csv"


def as_csv(whole: LongList, name: str) -> Response:
    """All rows of a list that meet what the address asks for, as a file; sent while it is read."""
    return send_csv(listing.iter_cells(whole, _asked()), name)


def send_csv(rows: Iterable[Sequence[Any]], name: str) -> Response:
    """Rows as a CSV file named for what it holds and the day."""
    return _attached(csv_export.lines(rows), "text/csv", f"{name}-{_today()}.csv")


def as_json_lines(lines: Callable[[ListRequest], Iterable[bytes]], name: str) -> Response:
    """What the address asks for as a file with one JSON object a line; sent while it is read."""
    return _attached(lines(_asked()), "application/jsonl", f"{name}-{_today()}.jsonl")


def _attached(content: Iterable[bytes], kind: str, name: str) -> Response:
    answer = FlaskResponse(content, mimetype=kind)
    answer.headers["Content-Disposition"] = attachment(name)
    return answer


def _today() -> str:
    return f"{datetime.now(formats.zone()):%Y-%m-%d}"


def typed(name: str, most: int) -> str:
    """A value of the address, short and without what SQLite would end a text at."""
    return request.args.get(name, "").replace("\0", "").strip()[:most]


def _asked() -> ListRequest:
    return ListRequest(
        search=typed("q", 200),
        only=typed("only", 40),
        kind=typed("kind", 40),
        sort=typed("sort", 40),
        limit=ROWS_PER_PAGE,
        skip=(_page_number() - 1) * ROWS_PER_PAGE,
    )


def _page_number() -> int:
    text = request.args.get("page", "1")
    return min(int(text), 1_000_000) if text.isascii() and text.isdecimal() and len(text) < 8 and int(text) else 1
