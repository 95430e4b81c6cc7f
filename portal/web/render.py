"""Rendering that all tabs share: whole pages or parts, long lists in pages, and lists as files."""

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
    """The whole page; only its part `partial` if htmx requests a part."""
    only_part = bool(partial) and wants_part()
    chosen = partial if partial and only_part else template
    return make_response(render_template(chosen, partial=only_part, **context), status)


def wants_part() -> bool:
    """Whether htmx requests a part of the page (HX-Request-Type); a restored history is a whole page."""
    is_partial = request.headers.get("HX-Request-Type") == "partial"
    return is_partial and not request.headers.get("HX-History-Restore-Request")


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One page of a list with its search and filters; `counts` has the number of rows of each filter."""

    rows: Sequence[Any]
    total: int
    number: int
    search: str = ""
    only: str = ""
    kind: str = ""
    sort: str = ""
    """The chosen sort order; empty for the default."""
    sorted_by: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)
    whole: bool = False
    """Whether the whole list is available as CSV."""

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
        """The address of the same list with other choices, at its first page."""
        now = {"q": self.search, "only": self.only, "kind": self.kind, "sort": self.sort, **changes}
        return url_for(request.endpoint or "", **(request.view_args or {}), **{k: v for k, v in now.items() if v})

    @property
    def here(self) -> str:
        """The address of this page of the list."""
        return self.address(page=self.number if self.number > 1 else "")

    def turned(self, name: str, *, falling: bool = False) -> str:
        """The address of the same list sorted by a column, in reverse if it is sorted by that column already."""
        if self.sorted_by.removeprefix("-") == name:
            falling = not self.sorted_by.startswith("-")
        return self.address(sort=f"-{name}" if falling else name)


def list_page(whole: LongList) -> Listing:
    """The page of a list that the query string requests (`q`, `only`, `kind`, `sort`, `page`)."""
    requested = _list_request()
    found = listing.find(whole, requested)
    return Listing(
        rows=found.rows,
        total=found.total,
        number=_page_number(),
        search=requested.search,
        only=requested.only,
        kind=requested.kind if requested.kind in whole.kinds else "",
        sort=requested.sort if requested.sort == found.sort else "",
        sorted_by=found.sort,
        counts=found.counts,
        whole=True,
    )


def wants_csv() -> bool:
    return request.args.get("format") == "csv"


def as_csv(whole: LongList, name: str) -> Response:
    """All rows of a list that match the query string, as a streamed CSV file."""
    return send_csv(listing.iter_cells(whole, _list_request()), name)


def send_csv(rows: Iterable[Sequence[Any]], name: str) -> Response:
    """Rows as a CSV file with the date in its name."""
    return _attached(csv_export.lines(rows), "text/csv", f"{name}-{_today()}.csv")


def send_json_lines(lines: Iterable[bytes], name: str) -> Response:
    """Lines of JSON as a file with the date in its name."""
    return _attached(lines, "application/jsonl", f"{name}-{_today()}.jsonl")


def as_json_lines(lines: Callable[[ListRequest], Iterable[bytes]], name: str) -> Response:
    """The rows that match the query string, as a streamed file with one JSON object per line."""
    return send_json_lines(lines(_list_request()), name)


def send_text(content: str, name: str) -> Response:
    """A small text as a file."""
    return _attached([content.encode()], "application/x-pem-file", name)


def _attached(content: Iterable[bytes], kind: str, name: str) -> Response:
    response = FlaskResponse(content, mimetype=kind)
    response.headers["Content-Disposition"] = attachment(name)
    return response


def _today() -> str:
    return f"{datetime.now(formats.zone()):%Y-%m-%d}"


def query_value(name: str, max_length: int) -> str:
    """A value of the query string, truncated, and without NUL, at which SQLite would end a text."""
    return request.args.get(name, "").replace("\0", "").strip()[:max_length]


def query_row(name: str) -> int | None:
    """A row number of the query string; None if it has none."""
    text = request.args.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else None


def _list_request() -> ListRequest:
    return ListRequest(
        search=query_value("q", 200),
        only=query_value("only", 40),
        kind=query_value("kind", 40),
        sort=query_value("sort", 40),
        limit=ROWS_PER_PAGE,
        skip=(_page_number() - 1) * ROWS_PER_PAGE,
    )


def _page_number() -> int:
    text = request.args.get("page", "1")
    return min(int(text), 1_000_000) if text.isascii() and text.isdecimal() and len(text) < 8 and int(text) else 1
