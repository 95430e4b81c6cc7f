"""Responses of the interface: lists with or without pages, and the values that all rows share."""

from collections.abc import Callable
from typing import Any

from flask import current_app, g, request
from pydantic import BaseModel
from werkzeug.wrappers import Response

from portal.access import origins
from portal.errors import BadValue
from portal.listing import PageRequest, RowPage
from portal.lookup import filters
from portal.routes.api.schemas.containers import OriginShown
from portal.routes.api.schemas.lists import DEFAULT_LIMIT, ListQuery
from portal.tree import rest_ids

SORTABLE = ("_id", "created", "modified")


def page(query: ListQuery, table: str, *sortable: str, after: Callable[[str], int] | None = None) -> PageRequest:
    """The part of a list that a query requests, of rows of a table of `rest_ids`. Raises BadValue.

    `after` finds the row number of an `after_id`, where its ids are not those of `rest_ids`.
    """
    limit = query.limit
    if limit is None and paginated():
        limit = DEFAULT_LIMIT
    skip = query.skip
    if query.page is not None and skip is not None:
        raise BadValue("Give either page or skip, not both.", field="page")
    if query.page is not None:
        limit = limit or DEFAULT_LIMIT
        skip = (query.page - 1) * limit
    number = None
    if query.after_id is not None:
        number = after(query.after_id) if after else rest_ids.row_id(query.after_id, table)
    return PageRequest(
        limit=limit,
        skip=skip or 0,
        after=number,
        sort=_sort(query.sort, {*SORTABLE, *sortable}),
        where=filters.compile(table, query.filter),
    )


def paginated() -> bool:
    """Whether the client accepts a list as {count, total, results} (header x-accept-feature)."""
    announced = request.headers.get("x-accept-feature", "")
    return "pagination" in (word.strip() for word in announced.split(","))


def listed(part: RowPage[Any], shape: Callable[[Any], BaseModel]) -> Response:
    """A list in the form that the client announces (`schemas.lists.Listed`)."""
    rows = b"[" + b",".join(as_json(shape(row)) for row in part.rows) + b"]"
    if paginated():
        rows = b'{"count":%d,"total":%d,"results":%s}' % (len(part.rows), part.total, rows)
    return current_app.response_class(rows, mimetype="application/json")


def as_json(model: BaseModel) -> bytes:
    """A model as the document describes it; fields that were not set are left out."""
    return model.model_dump_json(by_alias=True, exclude_unset=True).encode()


def origin(row: Any) -> OriginShown:
    """Who created a row, and how; the IDs of users and devices as REST IDs. A name is read once a request."""
    kind, number = row.origin_type, row.origin_id
    known: dict[tuple[str, str], str] = g.setdefault("origin_names", {})
    if (kind, number) not in known:
        known[kind, number] = origins.name(row).name
    shown = rest_ids.encode(kind, int(number)) if kind in ("user", "device") and number.isdecimal() else number
    found = OriginShown(type=kind, id=shown, via=row.origin_via)
    if name := known[kind, number]:
        found.name = name
    return found


def _sort(text: str, sortable: set[str]) -> tuple[tuple[str, bool], ...]:
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
