"""SQL functions of ours: what SQLite has no word for."""

import json
from functools import lru_cache
from typing import Any

import re2

MAX_PATTERN_BYTES = 1 << 20
"""Memory of one compiled pattern."""


def casefold(text: str | None) -> str | None:
    """For a search beyond ASCII: for SQLite's own LIKE, Ä and ä are different letters."""
    return text.casefold() if isinstance(text, str) else None


def has_item(listed: str | None, item: str) -> bool:
    """Whether a list of texts, as JSON, has this one."""
    return isinstance(listed, str) and item in json.loads(listed)


def matches(text: Any, pattern: str) -> bool:
    """Whether a part of a text matches, in time linear in its length whatever the pattern (docs/decisions/0091)."""
    return text is not None and _compiled(pattern).search(str(text)) is not None


def is_pattern(text: str) -> bool:
    """Whether `matches` takes this pattern."""
    try:
        _compiled(text)
    except re2.error:
        return False
    return True


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_PATTERN_BYTES
    return re2.compile(pattern, options)
