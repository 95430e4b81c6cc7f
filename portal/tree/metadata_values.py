"""What programs say of a container, checked before it is kept: info, tags, and the text of a note."""

import json
from collections.abc import Iterable
from typing import Any

from portal.errors import BadValue

MAX_INFO_BYTES = 256_000
"""Bytes of the info of one container as JSON: a list of containers has that of each."""
MAX_TAGS, MAX_TAG_LENGTH = 500, 255
MAX_NOTE_LENGTH = 10_000


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
