"""Names of persons (PS3.5 6.2.1): their component groups, and the form in which they are compared."""

import unicodedata

COMPONENT_GROUPS = 3
"""Alphabetic, ideographic, phonetic."""


def clean(text: str) -> str:
    """The name as it is kept and answered: NFC, without padding and without delimiters that nothing follows."""
    groups = [group.strip(" ").rstrip("^ ") for group in unicodedata.normalize("NFC", text).split("=")]
    return "=".join(groups).rstrip("=")


def fold(text: str) -> str:
    """The name as it is compared: case folded, without the spaces around its components. Accents stay."""
    folded = unicodedata.normalize("NFC", text).casefold()
    groups = ["^".join(part.strip(" ") for part in group.split("^")).rstrip("^") for group in folded.split("=")]
    return unicodedata.normalize("NFC", "=".join(groups).rstrip("="))
