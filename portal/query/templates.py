"""Answers from a template: the heads of all elements are encoded once a request, only lengths and values vary."""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from pydicom.uid import UID

from portal.dicom.query_attributes import SPECIFIC_CHARACTER_SET, Attribute
from portal.dicom.raw_values import TEXT_VRS
from portal.query.responses import Value, deflate, encoded_text

MAX_LENGTH = 4096
"""Bytes of the longest value that a template encodes."""
_ENCODED_LENGTHS = {
    layout: [struct.pack(layout, length).decode("latin-1") for length in range(MAX_LENGTH + 1)]
    for layout in ("<H", ">H", "<I")
}


class Template:
    """Encodes the answers to one request, of elements that are fixed or columns of the index.

    All VRs are of the kind that has a length of 16 bit in Explicit VR, as those of the listed attributes have.
    """

    def __init__(self, fixed: Mapping[int, Value], indexed: Sequence[Attribute], transfer_syntax_uid: str) -> None:
        syntax = UID(transfer_syntax_uid)
        self._is_deflated, self._is_implicit = syntax.is_deflated, syntax.is_implicit_VR
        self._order = "<" if syntax.is_little_endian else ">"
        self._lengths = _ENCODED_LENGTHS["<I" if self._is_implicit else f"{self._order}H"]

        # Bytes as Latin 1, so that answers are joined from texts. A slot: all before a length, the VR and the padding.
        self._slots: list[tuple[str, str, str]] = []
        columns = {attribute.tag: attribute.vr for attribute in indexed if attribute.tag not in fixed}
        before = ""
        for tag in sorted({*fixed, *columns}):
            vr = columns.get(tag) or fixed[tag].vr
            before += self._head(tag, vr)
            if tag in columns:
                self._slots.append((before, vr, "\0" if vr == "UI" else " "))
                before = ""
            else:
                text = fixed[tag].text + " " * (len(fixed[tag].text) % 2)
                before += self._lengths[len(text)] + text
        self._end = before

    def encode(self, values: Sequence[Any]) -> bytes | None:
        """The answer with these values of the columns, in the order of their tags.

        None where a text is not in ASCII, or longer than a template encodes.
        """
        parts, lengths = [], self._lengths
        for (before, vr, padding), value in zip(self._slots, values, strict=True):
            if vr == "US":
                text = self._number(value)
            else:
                text = "" if value is None else str(value).strip("\\")
                if not text.isascii() or len(text) >= MAX_LENGTH:
                    return None
                if len(text) % 2:
                    text += padding
            parts.append(before + lengths[len(text)] + text)
        return self._finished("".join(parts).encode("latin-1"))

    def encode_in(self, terms: Sequence[str], values: Sequence[Any]) -> bytes | None:
        """The same in character sets that have all letters (`character_sets.choose`); None for too long a text."""
        answer = b""
        if terms:
            declared = "\\".join(terms)
            declared += " " * (len(declared) % 2)
            head = self._head(SPECIFIC_CHARACTER_SET, "CS")
            answer = (head + self._lengths[len(declared)] + declared).encode("latin-1")
        for (before, vr, padding), value in zip(self._slots, values, strict=True):
            if vr == "US":
                raw = self._number(value).encode("latin-1")
            else:
                raw = encoded_text("" if value is None else str(value).strip("\\"), vr, terms)
                if len(raw) >= MAX_LENGTH:
                    return None
                raw += padding.encode() * (len(raw) % 2)
            answer += (before + self._lengths[len(raw)]).encode("latin-1") + raw
        return self._finished(answer)

    def texts(self, values: Sequence[Any]) -> list[tuple[str, bool]]:
        """The texts that depend on a character set, as `character_sets.choose` takes them."""
        slots = zip(self._slots, values, strict=True)
        return [(str(value).strip("\\"), vr == "PN") for (_, vr, _), value in slots if vr in TEXT_VRS and value]

    def _head(self, tag: int, vr: str) -> str:
        """Tag and VR of an element."""
        head = struct.pack(f"{self._order}HH", tag >> 16, tag & 0xFFFF).decode("latin-1")
        return head if self._is_implicit else head + vr

    def _number(self, value: Any) -> str:
        if value is None or not 0 <= value <= 0xFFFF:
            return ""
        return struct.pack(f"{self._order}H", value).decode("latin-1")

    def _finished(self, answer: bytes) -> bytes:
        answer += self._end.encode("latin-1")
        return deflate(answer) if self._is_deflated else answer
