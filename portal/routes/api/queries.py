"""Query parameters: unknown ones are refused, since the response would not be the requested one."""

from collections.abc import Callable
from typing import Any, TypeVar

from flask import current_app, request

from portal.errors import BadValue

View = TypeVar("View", bound=Callable[..., Any])

LIST_PARAMETERS = ("limit", "page", "skip", "after_id", "sort", "filter")
_IGNORED_EMPTY = ("filter",)
"""Some clients send these although they are empty."""


def accepts(*names: str) -> Callable[[View], View]:
    """Mark a view as reading these parameters."""

    def mark(view: View) -> View:
        view.query_parameters = names  # type: ignore[attr-defined]
        return view

    return mark


def check() -> None:
    """Raise BadValue for an unknown parameter, and for a repeated one."""
    view = current_app.view_functions.get(request.endpoint or "")
    known: tuple[str, ...] = getattr(view, "query_parameters", ())
    for name, values in request.args.lists():
        if name not in known and not (name in _IGNORED_EMPTY and values == [""]):
            taken = f"accepts {', '.join(known)}" if known else "accepts none"
            raise BadValue(f"Unknown parameter {name[:64]!r}; this address {taken}. Nothing was done.", field=name)
        if len(values) > 1:
            raise BadValue(f"The parameter {name} is given twice. Nothing was done.", field=name)
