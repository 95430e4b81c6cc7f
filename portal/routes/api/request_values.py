"""The query string and the JSON body of a request, read with limits of size, depth and numbers."""

import json
from typing import Any, TypeVar

from flask import request
from werkzeug.exceptions import BadRequest

from portal.errors import BadValue

Json = TypeVar("Json", dict[str, Any], list[Any])

IGNORED = frozenset(
    {
        "id",
        "job",
        "level",
        "view",
        "evaluate_gear_rules",
        "exhaustive",
        "full_tree",
        "include_all_info",
        "include_parent_info",
        "join",
        "join_avatars",
        "join_files",
        "join_keys",
        "permissions",
        "counts",
        "stats",
        "simple",
    }
)
"""What the field's clients send to say how much of a thing to answer: here an answer always has all of it."""


MAX_BODY_BYTES = 1_000_000
MAX_DEPTH = 20
_LARGEST_NUMBER = 2**63


def read_query() -> dict[str, str]:
    """The parameters of this request. Raises BadValue for a repeated one."""
    parameters = {}
    for name, values in request.args.lists():
        if name in IGNORED or (name == "filter" and values == [""]):
            continue
        if len(values) > 1:
            raise BadValue(f"The parameter {name[:64]} is given twice. Nothing was done.", field=name)
        parameters[name] = values[0]
    return parameters


def read_body(kind: type[Json] = dict) -> Json:  # type: ignore[assignment]
    """The object, or the array, that the body is; without a body an empty one. Raises 400 and BadValue."""
    request.max_content_length = MAX_BODY_BYTES
    data = request.get_data(cache=False)
    if not data:
        return kind()
    try:
        body = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise BadRequest("The body is not valid JSON.") from error
    if not isinstance(body, kind):
        raise BadValue(f"The body must be a JSON {'object' if kind is dict else 'array'}.")
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
