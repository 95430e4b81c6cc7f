"""Responses of the interface: lists with or without pages, and the values that all rows share."""

from collections.abc import Callable
from typing import Any

from flask import jsonify, request
from werkzeug.wrappers import Response

from portal.errors import BadValue
from portal.listing import PageRequest, RowPage
from portal.tree import rest_ids

DEFAULT_LIMIT, MAX_LIMIT = 100, 1000
_FARTHEST = 10**9
SORTABLE = ("_id", "created", "modified")


def page(table: str, *sortable: str) -> PageRequest:
    """The part of a list that the query string requests. Raises BadValue."""
    if request.args.get("filter"):
        raise BadValue("The parameter filter is not supported.", field="filter")
    limit = number("limit", 1, MAX_LIMIT)
    if limit is None and paginated():
        limit = DEFAULT_LIMIT
    number_of_page, skip = number("page", 1, _FARTHEST), number("skip", 0, _FARTHEST)
    if number_of_page is not None and skip is not None:
        raise BadValue("Give either page or skip, not both.", field="page")
    if number_of_page is not None:
        limit = limit or DEFAULT_LIMIT
        skip = (number_of_page - 1) * limit
    after = request.args.get("after_id")
    return PageRequest(
        limit=limit,
        skip=skip or 0,
        after=None if after is None else rest_ids.row_id(after, table),
        sort=_sort({*SORTABLE, *sortable}),
    )


def paginated() -> bool:
    """Whether the client accepts a list as {count, total, results} (header x-accept-feature)."""
    announced = request.headers.get("x-accept-feature", "")
    return "pagination" in (word.strip() for word in announced.split(","))


def listed(part: RowPage[Any], shape: Callable[[Any], dict[str, Any]]) -> Response:
    results = [shape(row) for row in part.rows]
    if paginated():
        return jsonify(count=len(results), total=part.total, results=results)
    return jsonify(results)


def moment(value: Any) -> str | None:
    return None if value is None else value.isoformat()


def origin(row: Any) -> dict[str, str]:
    """Who created a row, and how; the IDs of users and devices as REST IDs."""
    kind, number = row.origin_type, row.origin_id
    shown = rest_ids.encode(kind, int(number)) if kind in ("user", "device") and number.isdecimal() else number
    return {"type": kind, "id": shown, "via": row.origin_via}


def number(name: str, least: int, most: int) -> int | None:
    """A number of the query string; None without it. Raises BadValue."""
    text = request.args.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) <= 10 and least <= int(text) <= most):
        raise BadValue(f"{name} is a number from {least} to {most}.", field=name)
    return int(text)


def _sort(sortable: set[str]) -> tuple[tuple[str, bool], ...]:
    text = request.args.get("sort")
    if not text:
        return ()
    keys = []
    for part in text.split(","):
        name, _, direction = part.partition(":")
        if name not in sortable or direction not in ("", "asc", "desc"):
            names = ", ".join(sorted(sortable))
            raise BadValue(f"sort is written like label:asc or created:desc, by one of {names}.", field="sort")
        keys.append(("id" if name == "_id" else name, direction == "desc"))
    return tuple(keys)
