"""Object keys: what may stand in one, and how a label becomes a segment of one."""

import re
import unicodedata

from portal.errors import BadValue

MAX_SEGMENT_BYTES = 255
"""Bytes of a segment: the limit of the common file systems."""
FORBIDDEN_SEGMENTS = frozenset(("", ".", ".."))
"""What can be no segment, since it would lead elsewhere."""

_BAD = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\ud800-\udfff\ufffe\uffff]')
_RESERVED = re.compile(r"(CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(\..*)?", re.IGNORECASE)


def segment(text: str) -> str:
    """A label as one segment that every store and file system takes: NFC, bad characters as `_`, 1 to 255 bytes."""
    clean = _BAD.sub("_", unicodedata.normalize("NFC", text))
    clean = shorten(clean).strip(" ").rstrip(". ")
    if not clean:
        return "_"
    return shorten(f"_{clean}") if _RESERVED.fullmatch(clean) else clean


def shorten(text: str, *, room: int = 0) -> str:
    """The text in at most 255 bytes less `room`, cut before its ending (`.dcm`), which stays."""
    limit = MAX_SEGMENT_BYTES - room
    if len(text.encode()) <= limit:
        return text
    stem, ending = _split(text)
    kept = stem.encode()[: limit - len(ending.encode())]
    return kept.decode(errors="ignore") + ending


def with_row_number(text: str, number: int) -> str:
    """The segment with `~` and the row's number in 8 hex digits, before its ending."""
    mark = f"~{number:08x}"
    stem, ending = _split(shorten(text, room=len(mark)))
    return f"{stem}{mark}{ending}"


def versioned(text: str, number: int) -> str:
    """The segment of an older version: `.v` and its number, before its ending."""
    mark = f".v{number}"
    stem, ending = _split(shorten(text, room=len(mark)))
    return f"{stem}{mark}{ending}"


def case_folded(text: str) -> str:
    """What two segments have in common that a store without case would take for one."""
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
            message = f"Not every store takes the prefix part {part[:40]!r}; write {segment(part)[:40]!r}."
            raise BadValue(message, field="prefix")
    if len(prefix.encode()) > 2 * MAX_SEGMENT_BYTES:
        raise BadValue(f"The prefix has more than {2 * MAX_SEGMENT_BYTES} bytes; shorten it.", field="prefix")
    return prefix


def _split(text: str) -> tuple[str, str]:
    """Stem and ending; an ending has a dot and up to 15 letters or digits, and never stands alone."""
    found = re.fullmatch(r"(.+)(\.[A-Za-z0-9]{1,15})", text, re.DOTALL)
    return (found[1], found[2]) if found else (text, "")
