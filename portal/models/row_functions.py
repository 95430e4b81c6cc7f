"""SQL functions of ours: what SQLite has no word for."""

import json
import re
import unicodedata
from functools import lru_cache
from typing import Any

import re2

MAX_PATTERN_BYTES = 1 << 20
"""Memory of one compiled pattern."""
_BETWEEN_WORDS = re.compile(r"[\s^=.,'’‐-]+")
_LETTERS = str.maketrans(
    dict(zip("ØøŁłĐđÐðıÞþ", "OoLlDdDdiTt", strict=True)) | {"Æ": "AE", "æ": "ae", "Œ": "OE", "œ": "oe"}
)
"""Letters that Unicode does not take apart."""


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


def names_alike(name: str | None, words: str) -> bool:
    """Whether each of some words, as JSON, is one of a name's; wild cards count within a word."""
    own = name_words(name or "")
    return all(any(pattern.fullmatch(word) for word in own) for pattern in _word_patterns(words))


def name_words(name: str) -> list[str]:
    """The words of all groups of a name in folded case, without accents (docs/decisions/0123)."""
    if not name.isascii():
        spread = unicodedata.normalize("NFKD", name.translate(_LETTERS))
        name = "".join(each for each in spread if not unicodedata.combining(each))
    return [word for word in _BETWEEN_WORDS.split(name.casefold()) if word]


@lru_cache(maxsize=64)
def _word_patterns(words: str) -> list[Any]:
    signs = {"*": ".*", "?": "."}
    return [
        _compiled("(?s)" + "".join(signs.get(sign) or re2.escape(sign) for sign in word)) for word in json.loads(words)
    ]


@lru_cache(maxsize=64)
def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_PATTERN_BYTES
    return re2.compile(pattern, options)
