"""Person names (PS3.5 6.2.1): the form in which they are stored, and the one in which they are compared."""

import unicodedata

COMPONENT_GROUPS = 3
"""Alphabetic, ideographic, phonetic."""


def clean(text: str) -> str:
    """The name as it is stored and returned: NFC, without padding and trailing delimiters."""
    groups = [group.strip(" ").rstrip("^ ") for group in unicodedata.normalize("NFC", text).split("=")]
    return "=".join(groups).rstrip("=")


def fold(text: str) -> str:
    """The name as it is compared: case folded, without spaces around its components. Accents are kept."""
    folded = unicodedata.normalize("NFC", text).casefold()
    groups = ["^".join(part.strip(" ") for part in group.split("^")).rstrip("^") for group in folded.split("=")]
    return unicodedata.normalize("NFC", "=".join(groups).rstrip("="))
