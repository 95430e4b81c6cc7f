"""Filters of lists: `label=T1,created>2026-01-01,info.site=~^A` becomes conditions that the database evaluates.

Of conditions separated by commas each must hold. A value in double quotes may have commas; null is nothing. `=~` is a
regular expression of RE2, so that none takes longer than its text (docs/decisions/0091).
"""

import json
import operator
import re
import unicodedata
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from peewee import Value, fn

from portal import timestamps
from portal.errors import BadValue, Missing
from portal.models import Acquisition, Blob, File, Group, Project, Session, Subject, is_pattern
from portal.tree import rest_ids

MAX_LENGTH, MAX_CONDITIONS, MAX_LISTED, MAX_PATTERN, MAX_DEPTH = 4000, 20, 100, 200, 10
MAX_PATTERNS = 3
"""Regular expressions of one filter: each is matched with every row, and other requests wait meanwhile."""
HINT = "Write filter like label=T1,created>2026-01-31; the signs are = != < <= > >= =~."
_CONDITION = re.compile(r"\s*([A-Za-z_][\w.\- ]*?)\s*(=~|!=|<=|>=|<|>|=)(.*)", re.DOTALL)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_ORDERS: dict[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_TABLES: dict[str, Any] = {"project": Project, "subject": Subject, "session": Session, "acquisition": Acquisition}
_ABOVE = {
    "project": ("group",),
    "subject": ("group", "project"),
    "session": ("group", "project", "subject"),
    "acquisition": ("group", "project", "subject", "session"),
}
_SAID = frozenset(
    {
        *("age", "weight", "operator", "timezone", "sex", "firstname", "lastname"),
        *("race", "ethnicity", "species", "strain", "type"),
    }
)
"""Fields that programs send, kept in `info`."""


def compile(kind: str, text: str) -> tuple[Any, ...]:
    """The conditions of a filter on a list of this kind (group to acquisition, or file). Raises BadValue."""
    if len(text) > MAX_LENGTH:
        raise _refusal(f"The filter has more than {MAX_LENGTH:,} characters.")
    conditions, patterns = [], 0
    for part in _split(text):
        match = _CONDITION.fullmatch(part)
        if match is None:
            raise _refusal(f"The filter has {part[:64]!r}, which is no condition.")
        patterns += match[2] == "=~"
        if patterns > MAX_PATTERNS:
            raise _refusal(f"The filter has more than {MAX_PATTERNS} regular expressions.")
        conditions.append(_condition(kind, match[1], match[2], _unquoted(match[3].strip())))
    if len(conditions) > MAX_CONDITIONS:
        raise _refusal(f"The filter has more than {MAX_CONDITIONS} conditions.")
    return tuple(conditions)


def _split(text: str) -> Iterator[str]:
    """The conditions: at commas that are neither quoted nor in the brackets of a list."""
    part, is_quoted, depth = "", False, 0
    for character in text:
        is_quoted ^= character == '"'
        depth += 0 if is_quoted else {"[": 1, "]": -1}.get(character, 0)
        if character == "," and not is_quoted and (depth <= 0 or "=|[" not in part):
            yield part
            part, depth = "", 0
        else:
            part += character
    if part.strip():
        yield part


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _condition(kind: str, name: str, sign: str, text: str) -> Any:
    if sign == "=" and text.startswith("|[") and text.endswith("]"):
        values = [_unquoted(one.strip()) for one in _split(text[2:-1])]
        if not 0 < len(values) <= MAX_LISTED:
            raise _refusal(f"The list of {name[:64]} is empty or too long.")
        if any(one.startswith("|[") for one in values):
            raise _refusal(f"The list of {name[:64]} has a list inside. Write all its values in one.")
        either = [_condition(kind, name, "=", one) for one in values]
        result = either[0]
        for one in either[1:]:
            result |= one
        return result
    if sign == "=~" and (len(text) > MAX_PATTERN or not is_pattern(text)):
        raise _refusal(f"The filter of {name[:64]} is no regular expression of RE2, or a long one.")
    return _of_field(kind, name, sign, text)


def _of_field(kind: str, name: str, sign: str, text: str) -> Any:
    first, _, rest = name.partition(".")
    if name == "_id":
        return _of_id(kind, sign, text)
    if kind == "file":
        return _of_file(name, sign, text)
    if first == "files" and kind != "group" and rest:
        return _with_file(kind, rest, sign, text)
    if first == "parents":
        first, _, rest = rest.partition(".")
        name = f"{first}.{rest}" if rest else first
        if first not in _ABOVE.get(kind, ()):
            raise _unknown(kind, f"parents.{name}")
    if first in _ABOVE.get(kind, ()):
        if first == "group":
            return _text(Group.label if rest == "label" else Group.code, sign, text)
        return _of_field(first, rest or "_id", sign, text)
    table = Group if kind == "group" else _TABLES[kind]
    return _of_column(table, kind, name, sign, text)


def _of_column(table: Any, kind: str, name: str, sign: str, text: str) -> Any:
    first, _, rest = name.partition(".")
    if name in ("created", "modified") or (name == "timestamp" and kind in ("session", "acquisition")):
        return _moment(getattr(table, name), name, sign, text)
    if name == "tags":
        return _item(table.tags, sign, text)
    if name == "label" or (name == "uid" and kind in ("session", "acquisition")):
        return _text(getattr(table, name), sign, text)
    if name == "ae_title" and kind == "project":
        return _text(table.ae_title, sign, text)
    if name in ("origin.type", "origin.via"):
        return _text(getattr(table, f"origin_{rest}"), sign, text)
    if kind == "group":
        raise _unknown(kind, name)
    if name == "code" and kind == "subject":
        return _text(fn.COALESCE(fn.json_extract(table.info, "$.code"), table.label), sign, text)
    if first == "info" and rest:
        return _json(table.info, rest, sign, text)
    if name in _SAID:
        return _json(table.info, name, sign, text)
    raise _unknown(kind, name)


def _of_file(name: str, sign: str, text: str) -> Any:
    first, _, rest = name.partition(".")
    if name in ("created", "modified"):
        return _moment(getattr(File, name), name, sign, text)
    if name == "tags":
        return _item(File.tags, sign, text)
    if first == "info" and rest:
        return _json(File.info, rest, sign, text)
    if name in ("name", "type", "mimetype", "modality"):
        return _text(getattr(File, name), sign, text)
    if name == "version":
        return _number(File.version, name, sign, text)
    if name in ("size", "hash"):
        wanted = _number(Blob.size, name, sign, text) if name == "size" else _text(Blob.digest, sign, text)
        return File.blob.in_(Blob.select(Blob.id).where(wanted))
    raise _unknown("file", name)


def _with_file(kind: str, name: str, sign: str, text: str) -> Any:
    """Containers with a file of which the condition holds."""
    found = File.select(File.parent_id).where(
        File.parent_type == kind, File.deleted_at.is_null(), _of_file(name, sign, text)
    )
    return _TABLES[kind].id.in_(found)


def _of_id(kind: str, sign: str, text: str) -> Any:
    if kind == "group":
        return _text(Group.code, sign, text)
    table = File if kind == "file" else _TABLES[kind]
    if sign not in ("=", "!=", *_ORDERS):
        raise _refusal("An _id is compared with = != < <= > >=.")
    try:
        number = rest_ids.row_id(text, kind)
    except Missing:
        number = 0  # which no row has
    if sign in ("=", "!="):
        return (table.id == number) if sign == "=" else (table.id != number)
    return _ORDERS[sign](table.id, number)


def _text(column: Any, sign: str, text: str) -> Any:
    if sign == "=~":
        return fn.matches(column, text) == 1
    if text == "null" and sign in ("=", "!="):
        return column.is_null(sign == "=")
    text = unicodedata.normalize("NFC", text)
    if sign == "=":
        return column == text
    return column.is_null() | (column != text) if sign == "!=" else _ORDERS[sign](column, text)


def _item(column: Any, sign: str, text: str) -> Any:
    if sign not in ("=", "!="):
        raise _refusal("Tags are compared with = and !=.")
    return fn.has_item(column, text) == (1 if sign == "=" else 0)


def _number(column: Any, name: str, sign: str, text: str) -> Any:
    if not re.fullmatch(r"-?\d{1,15}", text) or sign == "=~":
        raise _refusal(f"{name} is compared with a number.")
    signs = {"=": operator.eq, "!=": operator.ne, **_ORDERS}
    return signs[sign](column, int(text))


def _moment(column: Any, name: str, sign: str, text: str) -> Any:
    if sign == "=~":
        raise _refusal(f"{name} is a time: compare it with = != < <= > >=.")
    if text == "null" and sign in ("=", "!="):
        return column.is_null(sign == "=")
    moment = timestamps.parse(text, field=name)
    # A day is all of its hours: after it, or until its end.
    length = timedelta(days=1) if _DAY.fullmatch(text) else timedelta(microseconds=1)
    latest = datetime.max.replace(tzinfo=UTC)
    end = moment + length if moment < latest - length else latest
    if sign in ("=", "!="):
        inside = (column >= moment) & (column < end)
        return inside if sign == "=" else column.is_null() | ~inside
    return {"<": column < moment, "<=": column < end, ">": column >= end, ">=": column >= moment}[sign]


def _json(column: Any, path: str, sign: str, text: str) -> Any:
    """A field inside of `info`; numbers are compared as numbers, all else as texts."""
    names = path.split(".")
    if len(names) > MAX_DEPTH or '"' in path or "\\" in path or not all(names):
        raise _refusal(f"info.{path[:64]} names no field.")
    place = "$" + "".join(f'."{name}"' for name in names)
    value, kind = fn.json_extract(column, place), fn.COALESCE(fn.json_type(column, place), "null")
    if sign == "=~":
        return (kind == "text") & (fn.matches(value, text) == 1)
    if text in ("null", "true", "false") and sign in ("=", "!="):
        return (kind == text) if sign == "=" else (kind != text)
    as_text = (kind == "text") & _compared(value, sign, text)
    number = _as_number(text)
    found = as_text if number is None else as_text | (kind.in_(("integer", "real")) & _compared(value, sign, number))
    return found if sign != "!=" else ~_json(column, path, "=", text)


def _compared(value: Any, sign: str, other: Any) -> Any:
    return _ORDERS[sign](value, Value(other)) if sign in _ORDERS else value == Value(other)


def _as_number(text: str) -> int | float | None:
    try:
        number = json.loads(text) if len(text) <= 20 else None
    except ValueError:
        return None
    is_number = isinstance(number, int | float) and not isinstance(number, bool) and abs(number) < 2**63
    return number if is_number else None


def _unknown(kind: str, name: str) -> BadValue:
    return _refusal(f"A list of {kind}s cannot be filtered by {name[:64]!r}.")


def _refusal(message: str) -> BadValue:
    return BadValue(f"{message} {HINT}", field="filter")
