"""Object keys: which characters they may have, and how a label becomes a segment of one."""

import re
import unicodedata

from portal.errors import BadValue

MAX_SEGMENT_BYTES = 255
"""The limit of the common file systems."""
FORBIDDEN_SEGMENTS = frozenset(("", ".", ".."))
"""Segments that would lead elsewhere."""

_BAD = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\ud800-\udfff\ufffe\uffff]')
_RESERVED = re.compile(r"(CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(\..*)?", re.IGNORECASE)


def segment(text: str) -> str:
    """A label as a segment that every store and file system accepts: NFC, bad characters as `_`, 1 to 255 bytes."""
    clean = _BAD.sub("_", unicodedata.normalize("NFC", text))
    clean = shorten(clean).strip(" ").rstrip(". ")
    if not clean:
        return "_"
    return shorten(f"_{clean}") if _RESERVED.fullmatch(clean) else clean


def shorten(text: str, *, room: int = 0) -> str:
    """The text in at most 255 bytes less `room`, cut before its extension (`.dcm`), which stays."""
    limit = MAX_SEGMENT_BYTES - room
    if len(text.encode()) <= limit:
        return text
    stem, extension = _split(text)
    kept = stem.encode()[: limit - len(extension.encode())]
    return kept.decode(errors="ignore") + extension


def with_row_number(text: str, number: int) -> str:
    """The segment with `~` and the row's number in 8 hex digits before its extension."""
    mark = f"~{number:08x}"
    stem, extension = _split(shorten(text, room=len(mark)))
    return f"{stem}{mark}{extension}"


def versioned(text: str, number: int) -> str:
    """The segment of an older version: `.v` and its number before its extension."""
    mark = f".v{number}"
    stem, extension = _split(shorten(text, room=len(mark)))
    return f"{stem}{mark}{extension}"


def case_folded(text: str) -> str:
    """Equal for two segments that a case-insensitive store would take for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


def clean_prefix(text: str) -> str:
    """A prefix from a form, without slashes at its ends. Raises BadValue for one that could lead elsewhere."""
    if text.startswith("/"):
        raise BadValue("The prefix begins with a slash; write it like research/2027.", field="prefix")
    prefix = unicodedata.normalize("NFC", text).strip().rstrip("/")
    for part in prefix.split("/") if prefix else ():
        if part in FORBIDDEN_SEGMENTS:
            raise BadValue("The prefix has an empty part, . or ..; write it like research/2027.", field="prefix")
        if len(part.encode(errors="replace")) > MAX_SEGMENT_BYTES:
            raise BadValue(f"A part of the prefix has more than {MAX_SEGMENT_BYTES} bytes; shorten it.", field="prefix")
        if part != segment(part):
            message = f"Not every store accepts the prefix part {part[:40]!r}; write {segment(part)[:40]!r}."
            raise BadValue(message, field="prefix")
    if len(prefix.encode()) > 2 * MAX_SEGMENT_BYTES:
        raise BadValue(f"The prefix has more than {2 * MAX_SEGMENT_BYTES} bytes; shorten it.", field="prefix")
    return prefix


def _split(text: str) -> tuple[str, str]:
    """Stem and extension, which is a dot and up to 15 letters or digits; a name is never only an extension."""
    match = re.fullmatch(r"(.+)(\.[A-Za-z0-9]{1,15})", text, re.DOTALL)
    return (match[1], match[2]) if match else (text, "")
