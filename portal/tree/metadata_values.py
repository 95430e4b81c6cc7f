"""What programs say of a container, checked before it is kept: info, tags, and the text of a note."""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from portal.errors import BadValue

MAX_INFO_BYTES = 256_000
"""Bytes of the info of one container as JSON: a list of containers has that of each."""
MAX_TAGS, MAX_TAG_LENGTH = 500, 255
MAX_NOTE_LENGTH = 10_000
MAX_NOTES_BYTES = 256_000
"""Bytes of all notes of one container as JSON."""


NOT_KEPT = frozenset(
    {
        *("_id", "parents", "created", "modified", "origin", "files", "permissions", "analyses", "revision", "notes"),
        *("info_exists", "group", "code_exists", "copy_of", "providers", "editions", "collections", "container_type"),
    }
)
"""Fields of an answer that clients send back: they are not theirs to set, and are ignored."""


def kept(fields: Mapping[str, Any], columns: Collection[str] = ()) -> dict[str, Any]:
    """The fields that belong into `info`: without those that have a column, without null, and without `NOT_KEPT`."""
    return {
        name: value
        for name, value in fields.items()
        if value is not None and name not in columns and name not in NOT_KEPT
    }


def info(value: dict[str, Any]) -> dict[str, Any]:
    """The same. Raises BadValue for more than `MAX_INFO_BYTES`."""
    if len(json.dumps(value, ensure_ascii=False).encode()) > MAX_INFO_BYTES:
        raise BadValue(
            f"The info has more than {MAX_INFO_BYTES:,} bytes. Keep less, or keep it in a file.", field="info"
        )
    return value


def tags(values: Iterable[str]) -> list[str]:
    """Each tag once, in the order given. Raises BadValue."""
    found = list(dict.fromkeys(values))
    if len(found) > MAX_TAGS:
        raise BadValue(f"There are more than {MAX_TAGS} tags.", field="tags")
    for tag in found:
        if not 0 < len(tag) <= MAX_TAG_LENGTH or not tag.isprintable():
            raise BadValue(f"A tag has 1 to {MAX_TAG_LENGTH} visible characters.", field="tags")
    return found


def note(text: str) -> str:
    """The same. Raises BadValue for an empty one, or one that is too long."""
    if not text.strip() or len(text) > MAX_NOTE_LENGTH:
        raise BadValue(f"A note has 1 to {MAX_NOTE_LENGTH:,} characters.", field="text")
    return text


def notes(values: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The same. Raises BadValue for more than `MAX_NOTES_BYTES`."""
    if len(json.dumps(values, ensure_ascii=False).encode()) > MAX_NOTES_BYTES:
        raise BadValue(
            f"The notes have more than {MAX_NOTES_BYTES:,} bytes in all. Delete one first, or keep it in a file.",
            field="notes",
        )
    return values
