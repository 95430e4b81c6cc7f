"""Where an export puts an object: a path of fields, such as `{subject}/{date:%Y-%m-%d}/{modality|OT}/{file}`."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from portal.errors import BadValue
from portal.exports import fields
from portal.exports.fields import FIELDS
from portal.storage_drivers import object_keys
from portal.tree.folders import MANIFESTS_FOLDER, Facts

DEFAULT_TEMPLATE = "{project}/{subject}/{session}/{acquisition}/{file}"
"""Follows the tree. Only here are names that would collide told apart."""
MAX_TEMPLATE_LENGTH = 500
MAX_SEGMENTS = 20
CACHE_SIZE = 5000

_FIELD = re.compile(r"\{([^{}:|]*)(?::([^{}|]*))?(?:\|([^{}]*))?\}")
_DAY = re.compile(r"(?:%[Ymdyj]|[A-Za-z0-9 ._-])+")
_TIME = re.compile(r"(?:%[HMS]|[A-Za-z0-9 ._-])+")
_WIDTH = re.compile(r"0?([1-9])")

Part = Callable[[Facts], str]


@dataclass(frozen=True, kw_only=True)
class Template:
    text: str
    segments: tuple[tuple[Part, ...], ...]

    @property
    def is_usual(self) -> bool:
        return self.text == DEFAULT_TEMPLATE

    def path(self, facts: Facts) -> str:
        """The key of an object. A folder whose fields are all empty is left out; a name that is empty is `_`."""
        written = ["".join(part(facts) for part in segment) for segment in self.segments]
        *folders, name = written
        cleaned = [_folder(text) for text in folders if text] + [object_keys.segment(name)]
        if object_keys.case_folded(cleaned[0]) == MANIFESTS_FOLDER:
            cleaned[0] = f"_{cleaned[0]}"
        return "/".join(cleaned)


def parse(text: str, *, field: str = "path") -> Template:
    """Raises BadValue, with the field of the form that it stands in."""
    text = text.strip()
    if not 1 <= len(text) <= MAX_TEMPLATE_LENGTH:
        raise BadValue(
            f"A path has between 1 and {MAX_TEMPLATE_LENGTH} characters, such as {DEFAULT_TEMPLATE}", field=field
        )
    for found in _FIELD.finditer(text):
        if "/" in found[0]:
            message = (
                f"{found[0][:60]} has a slash within its braces; write two fields, such as {{date:%Y}}/{{date:%m}}."
            )
            raise BadValue(message, field=field)
    segments = text.split("/")
    if len(segments) > MAX_SEGMENTS:
        raise BadValue(f"A path has at most {MAX_SEGMENTS} parts between slashes.", field=field)
    if any(segment.strip() in ("", ".", "..") for segment in segments):
        message = (
            f"The path begins or ends with a slash, or has an empty part, . or ..; write it like {DEFAULT_TEMPLATE}"
        )
        raise BadValue(message, field=field)
    return Template(text=text, segments=tuple(_segment(segment, field) for segment in segments))


def _segment(text: str, field: str) -> tuple[Part, ...]:
    parts: list[Part] = []
    at = 0
    for found in _FIELD.finditer(text):
        parts += _literal(text[at : found.start()], field)
        parts.append(_part(found[1], found[2], found[3] or "", field))
        at = found.end()
    return (*parts, *_literal(text[at:], field))


def _literal(text: str, field: str) -> tuple[Part, ...]:
    if "{" in text or "}" in text:
        raise BadValue(
            f"A brace in {text[:60]!r} is not closed, or not opened; a field is like {{subject}}.", field=field
        )
    return (lambda _facts: text,) if text else ()


def _part(written: str, how: str | None, default: str, field: str) -> Part:
    name = fields.normalize(written)
    if name not in FIELDS:
        raise BadValue(f"There is no field {{{written[:40]}}}. The fields are: {fields.all_names()}.", field=field)
    if how is None:
        return lambda facts: facts.get(name, "") or default
    write = _format(name, how, field)
    return lambda facts: write(facts.get(name, "")) or default


def _format(name: str, how: str, field: str) -> Callable[[str], str]:
    """How a value is written; a value that is not of that kind is written as an empty one."""
    kind = FIELDS[name]
    if kind == "date" and _DAY.fullmatch(how):
        return lambda value: _moment(value[:8], "%Y%m%d", how)
    if kind == "time" and _TIME.fullmatch(how):
        return lambda value: _moment(value[:6].ljust(6, "0") if value else "", "%H%M%S", how)
    width = _WIDTH.fullmatch(how)
    if kind == "number" and width:
        return lambda value: value.strip().zfill(int(width[1])) if value.strip().isdecimal() else value
    known = "{date:%Y-%m-%d}, {time:%H%M}, {instance:05}"
    raise BadValue(f"{{{name}:{how[:30]}}} is no format that Portico knows. Known are: {known}.", field=field)


@lru_cache(maxsize=CACHE_SIZE)
def _folder(text: str) -> str:
    """A folder's name, which stands in the path of each of its files."""
    return object_keys.segment(text)


@lru_cache(maxsize=CACHE_SIZE)
def _moment(value: str, recorded: str, how: str) -> str:
    try:
        return datetime.strptime(value, recorded).strftime(how)  # noqa: DTZ007 (as recorded, in no time zone)
    except ValueError:
        return ""
