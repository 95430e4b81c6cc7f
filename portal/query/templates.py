"""Answers from a template: the heads of all elements are encoded once a request, only lengths and values vary."""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

from pydicom.uid import UID

from portal.dicom.element_heads import LONG_VRS
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
    """Encodes the answers to one request, of elements that are fixed, columns of the index, or values of a header.

    The fixed ones and the columns have VRs with a length of 16 bit in Explicit VR, as all listed attributes.
    """

    def __init__(
        self,
        fixed: Mapping[int, Value],
        indexed: Sequence[Attribute],
        transfer_syntax_uid: str,
        others: Sequence[int] = (),
    ) -> None:
        syntax = UID(transfer_syntax_uid)
        self._is_deflated, self._is_implicit = syntax.is_deflated, syntax.is_implicit_VR
        self._order = "<" if syntax.is_little_endian else ">"
        self._lengths = _ENCODED_LENGTHS["<I" if self._is_implicit else f"{self._order}H"]

        # Bytes as Latin 1, so that answers are joined from texts. A slot: all before a length, the VR and the padding;
        # of a value of a header all before the VR, which is that of each value.
        self._slots: list[tuple[str, str, str]] = []
        self.tags: list[int] = []
        """The tag of each slot."""
        vrs = {tag: value.vr for tag, value in fixed.items()} | dict.fromkeys(others, "")
        vrs |= {attribute.tag: attribute.vr for attribute in indexed}
        before = ""
        for tag in sorted(vrs):
            before += self._head(tag, vrs[tag])
            if tag in fixed:
                text = fixed[tag].text + " " * (len(fixed[tag].text) % 2)
                before += self._lengths[len(text)] + text
                continue
            self._slots.append((before, vrs[tag], "\0" if vrs[tag] == "UI" else " "))
            self.tags.append(tag)
            before = ""
        self._end = before

    def encode(self, values: Sequence[Any]) -> bytes | None:
        """The answer with these values of the slots: those of the columns, and a Value of a header each.

        None where a text is not in ASCII, or longer than a template encodes.
        """
        parts, lengths = [], self._lengths
        for (before, vr, padding), value in zip(self._slots, values, strict=True):
            if not vr:
                other = self._other(value, ()) if value.text.isascii() else None
                if other is None:
                    return None
                parts.append(before + other.decode("latin-1"))
                continue
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
            if not vr:
                other = self._other(value, terms)
            else:
                number = self._number(value).encode("latin-1") if vr == "US" else None
                raw = number or encoded_text("" if value is None else str(value).strip("\\"), vr, terms)
                raw += padding.encode() * (len(raw) % 2)
                other = self._lengths[len(raw)].encode("latin-1") + raw if len(raw) <= MAX_LENGTH else None
            if other is None:
                return None
            answer += before.encode("latin-1") + other
        return self._finished(answer)

    def texts(self, values: Sequence[Any]) -> list[tuple[str, bool]]:
        """The texts that depend on a character set, as `character_sets.choose` takes them."""
        found = []
        for (_, vr, _), value in zip(self._slots, values, strict=True):
            if not vr and value.vr in TEXT_VRS:
                found.append((value.text, value.vr == "PN"))
            elif vr in TEXT_VRS and value:
                found.append((str(value).strip("\\"), vr == "PN"))
        return found

    def _other(self, value: Value, terms: Sequence[str]) -> bytes | None:
        """VR, length and value of one of a header, whose numbers are in little endian."""
        if value.other is not None:
            if self._order == ">":
                return None
            raw: bytes = value.other
        else:
            raw = encoded_text(value.text, value.vr, terms)
            raw += (b"\0" if value.vr == "UI" else b" ") * (len(raw) % 2)
        if len(raw) > MAX_LENGTH:
            return None
        if self._is_implicit:
            return struct.pack("<I", len(raw)) + raw
        vr = value.vr.encode()
        if vr in LONG_VRS:
            return vr + struct.pack(f"{self._order}2xI", len(raw)) + raw
        return vr + struct.pack(f"{self._order}H", len(raw)) + raw

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
