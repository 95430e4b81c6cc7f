"""JSON bodies: read completely, with limits of size and depth, and checked against the expected types."""

import json
from typing import Any

from flask import request
from werkzeug.exceptions import BadRequest

from portal.errors import BadValue

MAX_BODY_BYTES = 1_000_000
MAX_DEPTH = 20
_LARGEST_NUMBER = 2**63
_WORDS = {str: "a string", int: "a number", bool: "true or false", dict: "an object", list: "an array"}


def read(**fields: type) -> dict[str, Any]:
    """The body's fields by name. Raises BadValue for an unknown field, or one of another type; null is always allowed.

    An unknown field is refused, since ignoring it would lose data without notice.
    """
    body = _object()
    for name, value in body.items():
        if name not in fields:
            raise BadValue(f"The body has an unknown field {name[:64]!r}. Known fields: {', '.join(fields) or 'none'}.")
        wanted = fields[name]
        if value is not None and not (
            isinstance(value, wanted) and isinstance(value, bool) <= (wanted in (bool, object))
        ):
            raise BadValue(f"The field {name} must be {_WORDS[wanted]}.", field=name)
    return body


def require(body: dict[str, Any], name: str) -> Any:
    """A required field. Raises BadValue."""
    value = body.get(name)
    if value is None:
        raise BadValue(f"The body lacks the field {name}.", field=name)
    return value


def _object() -> dict[str, Any]:
    request.max_content_length = MAX_BODY_BYTES
    data = request.get_data(cache=False)
    try:
        body = json.loads(data or b"{}", parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest("The body is not valid JSON.") from error
    if not isinstance(body, dict):
        raise BadValue("The body must be a JSON object.")
    _check(body, 1)
    return body


def _check(value: Any, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise BadValue(f"The body is nested more than {MAX_DEPTH} levels deep.")
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_text(name)
            _check(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            _check(inner, depth + 1)
    elif isinstance(value, int | float) and not abs(value) < _LARGEST_NUMBER:  # also refuses NaN
        raise BadValue("The body contains a number that is too large.")


def _check_text(text: str) -> None:
    """Refuse NUL and unpaired surrogates, which no database stores."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise BadValue("The body contains a string with NUL or with an unpaired surrogate.")


def _refuse_constant(text: str) -> None:
    raise ValueError(text)
