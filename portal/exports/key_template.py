"""Templates of object keys: paths of fields, such as `{subject}/{date:%Y-%m-%d}/{modality|OT}/{file}`."""

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
"""Follows the tree. Only with this one are equal names told apart."""
MAX_TEMPLATE_LENGTH = 500
MAX_SEGMENTS = 20
CACHE_SIZE = 5000

_FIELD = re.compile(r"\{([^{}:|]*)(?::([^{}|]*))?(?:\|([^{}]*))?\}")
_DAY = re.compile(r"(?:%[Ymdyj]|[A-Za-z0-9 ._-])+")
_TIME = re.compile(r"(?:%[HMS]|[A-Za-z0-9 ._-])+")
_WIDTH = re.compile(r"0?([1-9])")

Part = Callable[[Facts], str]


_folder_name = lru_cache(maxsize=CACHE_SIZE)(object_keys.segment)
"""A folder's name is in the path of each of its files."""


@dataclass(frozen=True, kw_only=True)
class Template:
    text: str
    segments: tuple[tuple[Part, ...], ...]

    @property
    def is_default(self) -> bool:
        return self.text == DEFAULT_TEMPLATE

    def path(self, facts: Facts) -> str:
        """The key of an object. A folder whose fields are all empty is left out; an empty name becomes `_`."""
        written = ["".join(part(facts) for part in segment) for segment in self.segments]
        *folders, name = written
        segments = [_folder_name(text) for text in folders if text] + [object_keys.segment(name)]
        if object_keys.case_folded(segments[0]) == MANIFESTS_FOLDER:
            segments[0] = f"_{segments[0]}"
        return "/".join(segments)


def parse(text: str, *, field: str = "path") -> Template:
    """Raises BadValue with `field`, the form field that contains the text."""
    text = text.strip()
    if not 1 <= len(text) <= MAX_TEMPLATE_LENGTH:
        message = f"A path has between 1 and {MAX_TEMPLATE_LENGTH} characters, such as {DEFAULT_TEMPLATE}"
        raise BadValue(message, field=field)
    for found in _FIELD.finditer(text):
        if "/" in found[0]:
            example = "{date:%Y}/{date:%m}"
            message = f"{found[0][:60]} has a slash within its braces; write two fields, such as {example}."
            raise BadValue(message, field=field)
    segments = text.split("/")
    if len(segments) > MAX_SEGMENTS:
        raise BadValue(f"A path has at most {MAX_SEGMENTS} parts between slashes.", field=field)
    if any(segment.strip() in ("", ".", "..") for segment in segments):
        message = "The path begins or ends with a slash, or has an empty part, . or ..; write it like"
        raise BadValue(f"{message} {DEFAULT_TEMPLATE}", field=field)

    parsed = []
    for segment in segments:
        parts: list[Part] = []
        at = 0
        for found in _FIELD.finditer(segment):
            parts += _literal(segment[at : found.start()], field)
            parts.append(_placeholder(found[1], found[2], found[3] or "", field))
            at = found.end()
        parsed.append((*parts, *_literal(segment[at:], field)))
    return Template(text=text, segments=tuple(parsed))


def _literal(text: str, field: str) -> tuple[Part, ...]:
    if "{" in text or "}" in text:
        message = f"A brace in {text[:60]!r} is not closed, or not opened; a field is like {{subject}}."
        raise BadValue(message, field=field)
    return (lambda _facts: text,) if text else ()


def _placeholder(written: str, form: str | None, default: str, field: str) -> Part:
    """Writes one field in the given form; a value that is not of that kind is written as the default."""
    name = fields.normalize(written)
    if name not in FIELDS:
        raise BadValue(f"There is no field {{{written[:40]}}}. The fields are: {fields.all_names()}.", field=field)
    if form is None:
        return lambda facts: facts.get(name, "") or default
    kind, width = FIELDS[name], _WIDTH.fullmatch(form)
    if kind == "date" and _DAY.fullmatch(form):

        def write(value: str) -> str:
            return _moment(value[:8], "%Y%m%d", form)

    elif kind == "time" and _TIME.fullmatch(form):

        def write(value: str) -> str:
            return _moment(value[:6].ljust(6, "0") if value else "", "%H%M%S", form)

    elif kind == "number" and width:

        def write(value: str) -> str:
            return value.strip().zfill(int(width[1])) if value.strip().isdecimal() else value

    else:
        known = "{date:%Y-%m-%d}, {time:%H%M}, {instance:05}"
        raise BadValue(f"{{{name}:{form[:30]}}} is no format that Portico knows. Known are: {known}.", field=field)
    return lambda facts: write(facts.get(name, "")) or default


@lru_cache(maxsize=CACHE_SIZE)
def _moment(value: str, recorded: str, form: str) -> str:
    try:
        return datetime.strptime(value, recorded).strftime(form)  # noqa: DTZ007 (as recorded, in no time zone)
    except ValueError:
        return ""
