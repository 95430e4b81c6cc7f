"""Specific Character Set (PS3.3 C.12.1.1.2, PS3.5 6.1): text from bytes, and bytes from text that lose no letter."""

import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydicom import charset

UTF_8 = "ISO_IR 192"
FALLBACK_CODEC = "latin_1"
"""For bytes outside ASCII that no declared set covers: each byte is some letter of it."""

ESCAPE = 0x1B
TEXT_DELIMITERS = b"\\\r\n\f\t"
NAME_DELIMITERS = TEXT_DELIMITERS + b"^="


@dataclass(frozen=True)
class Repertoire:
    """One registered set: its escape sequence, the half of the code table that it fills, and Python's codec for it."""

    escape: bytes
    side: Literal["G0", "G1"]
    codec: str
    width: int = 1
    prefix: bytes = b""
    """Bytes that the codec expects before each character: JIS X 0212 is read and written through EUC."""

    def decode(self, code: bytes) -> str:
        high = bytes(byte | 0x80 for byte in code)
        return (self.prefix + high).decode(self.codec)

    def encode(self, character: str) -> bytes | None:
        """The character's code without its escape sequence, or None where the set has no such character."""
        try:
            coded = character.encode(self.codec)
        except UnicodeEncodeError:
            return None
        code = coded.removeprefix(self.prefix)
        if len(coded) != len(self.prefix) + self.width or any(byte < 0xA0 for byte in code):
            return None
        return code if self.side == "G1" else bytes(byte & 0x7F for byte in code)


# PS3.3 tables C.12-3 and C.12-4, by registration number.
REPERTOIRES = {
    "13": Repertoire(b"\x1b)I", "G1", "shift_jis"),
    "58": Repertoire(b"\x1b$)A", "G1", "gb2312", width=2),
    "87": Repertoire(b"\x1b$B", "G0", "euc_jp", width=2),
    "100": Repertoire(b"\x1b-A", "G1", "latin_1"),
    "101": Repertoire(b"\x1b-B", "G1", "iso8859_2"),
    "109": Repertoire(b"\x1b-C", "G1", "iso8859_3"),
    "110": Repertoire(b"\x1b-D", "G1", "iso8859_4"),
    "126": Repertoire(b"\x1b-F", "G1", "iso8859_7"),
    "127": Repertoire(b"\x1b-G", "G1", "iso8859_6"),
    "138": Repertoire(b"\x1b-H", "G1", "iso8859_8"),
    "144": Repertoire(b"\x1b-L", "G1", "iso8859_5"),
    "148": Repertoire(b"\x1b-M", "G1", "iso8859_9"),
    "149": Repertoire(b"\x1b$)C", "G1", "euc_kr", width=2),
    "159": Repertoire(b"\x1b$(D", "G0", "euc_jp", width=2, prefix=b"\x8f"),
    "166": Repertoire(b"\x1b-T", "G1", "tis_620"),
    "203": Repertoire(b"\x1b-b", "G1", "iso8859_15"),
}
STANDALONE_CODECS = {UTF_8: "utf_8", "GB18030": "gb18030", "GBK": "gbk"}
"""Sets without code extensions."""

ASCII_ESCAPES = {b"\x1b(B", b"\x1b(J"}
"""They return G0 to single bytes: ASCII, or the Roman half of JIS X 0201, which is read as ASCII."""
REPERTOIRE_BY_ESCAPE = {each.escape: each for each in REPERTOIRES.values()} | {b"\x1b$@": REPERTOIRES["87"]}

_WHOLE_CODECS = {
    f"{prefix} {number}": each.codec
    for number, each in REPERTOIRES.items()
    for prefix in ("ISO_IR", "ISO 2022 IR")
    if each.side == "G1" and each.width == 1 and number != "13"
}
"""Term → the codec of a set of single bytes. Python's for set 13 takes some pairs of bytes as one character."""

_TERM = re.compile(r"ISO[ _-]?(2022)?[ _-]*(?:IR)?[ _-]*(\d+)")
_SPELLINGS = {"UTF-8": UTF_8, "UTF8": UTF_8, "ISO 2022 GBK": "GBK", "GB 18030": "GB18030"}

# pydicom 3.0.2 does not know ISO-IR 203 (Latin 9), and would read and write such a data set in another encoding.
charset.python_encoding.setdefault("ISO_IR 203", "iso8859_15")
charset.python_encoding.setdefault("ISO 2022 IR 203", "iso8859_15")
charset.CODES_TO_ENCODINGS.setdefault(b"\x1b-b", "iso8859_15")
charset.ENCODINGS_TO_CODES.setdefault("iso8859_15", b"\x1b-b")


def parse(value: Any) -> tuple[str, ...]:
    """The defined terms of a Specific Character Set value (None, text or several), spelled as in the standard.

    Common misspellings are accepted; an unknown term counts as absent. Empty: the default repertoire.
    """
    if value is None:
        return ()
    texts = value.split("\\") if isinstance(value, str) else [str(each or "") for each in value]
    terms = tuple(_term(text) for text in texts)
    if terms and terms[0] in STANDALONE_CODECS:
        return terms[:1]
    extended = terms[:1] + tuple(term for term in terms[1:] if term and term not in STANDALONE_CODECS)
    return extended if any(extended) else ()


def _term(text: str) -> str:
    text = text.strip(" \0").upper()
    text = _SPELLINGS.get(text, text)
    if text in STANDALONE_CODECS:
        return text
    match = _TERM.fullmatch(text)
    if match is None:
        return ""
    number = match[2].lstrip("0")
    if number == "192":
        return UTF_8
    if number != "6" and number not in REPERTOIRES:
        return ""
    return f"ISO 2022 IR {number}" if match[1] else f"ISO_IR {number}"


@dataclass
class _State:
    """Which repertoires are designated while a value is read or written (PS3.5 6.1.2.5)."""

    g0: Repertoire | None
    """None: ASCII."""
    g1: Repertoire | None

    def designate(self, repertoire: Repertoire) -> None:
        if repertoire.side == "G0":
            self.g0 = repertoire
        else:
            self.g1 = repertoire

    def follow_escape(self, raw: bytes, position: int) -> int:
        """Designate what the escape sequence at this position names; its length, or 0 where DICOM has no such one."""
        for length in (3, 4):
            sequence = raw[position : position + length]
            if sequence in ASCII_ESCAPES:
                self.g0 = None
                return length
            if sequence in REPERTOIRE_BY_ESCAPE:
                self.designate(REPERTOIRE_BY_ESCAPE[sequence])
                return length
        return 0

    def encode(self, character: str, extensions: Sequence[Repertoire]) -> bytes | None:
        """The character in a designated repertoire, else in the first extension that has it, after its escape."""
        for active in (self.g0, self.g1):
            if active and (code := active.encode(character)):
                return code
        for extension in extensions:
            if code := extension.encode(character):
                self.designate(extension)
                return extension.escape + code
        return None


def _initial(terms: Sequence[str]) -> _State:
    """The state at the start of a value and after each delimiter: value 1, if it is a set of single bytes."""
    first = _repertoire(terms[0]) if terms else None
    return _State(None, first if first and first.width == 1 else None)


def _repertoire(term: str) -> Repertoire | None:
    return REPERTOIRES.get(term.rpartition(" ")[2])


def decode(raw: bytes, terms: Sequence[str], *, person_name: bool = False) -> str:
    """The text of an element's value, all values of it with their backslashes. Never fails and never drops a byte.

    Escape sequences are followed even where the declared terms do not name them; bytes that no set covers are read
    as Latin 1.
    """
    if raw.isascii() and ESCAPE not in raw:
        return raw.decode("ascii")
    if terms and terms[0] in STANDALONE_CODECS:
        try:
            return raw.decode(STANDALONE_CODECS[terms[0]])
        except UnicodeDecodeError:
            return raw.decode(FALLBACK_CODEC)
    if ESCAPE not in raw and (not terms or terms[0] in _WHOLE_CODECS):
        # All of it is in one set, which has ASCII in its other half.
        with contextlib.suppress(UnicodeDecodeError):
            return raw.decode(_WHOLE_CODECS[terms[0]] if terms else FALLBACK_CODEC)
    return decode_extended(raw, terms, person_name=person_name)


def decode_extended(raw: bytes, terms: Sequence[str], *, person_name: bool = False) -> str:
    """As `decode`, byte by byte with code extensions, in whatever sets of single or of two bytes."""
    return "".join(_characters(raw, terms, NAME_DELIMITERS if person_name else TEXT_DELIMITERS))


def _characters(raw: bytes, terms: Sequence[str], delimiters: bytes) -> Iterable[str]:
    initial = _initial(terms)
    undesignated = next((each for each in map(_repertoire, terms) if each and each.side == "G1"), None)
    state = replace(initial)
    position = 0
    while position < len(raw):
        byte = raw[position]
        if byte == ESCAPE and (length := state.follow_escape(raw, position)):
            position += length
            continue
        repertoire = (state.g1 or undesignated) if byte >= 0x80 else state.g0 if byte > 0x20 else None
        if repertoire is None:
            if byte in delimiters:
                # In the field the escape before a Korean or Chinese component is often written only once.
                state = _State(None, initial.g1 or state.g1)
            yield bytes((byte,)).decode(FALLBACK_CODEC)
            position += 1
            continue
        code = raw[position : position + repertoire.width]
        try:
            yield repertoire.decode(code)
        except UnicodeDecodeError:
            yield code.decode(FALLBACK_CODEC)
        position += len(code)


def encode(text: str, terms: Sequence[str], *, person_name: bool = False) -> bytes | None:
    """The bytes of a text in these sets, with their escape sequences; None if a letter has no code in them."""
    if text.isascii():
        return text.encode("ascii")
    if not terms:
        return None
    if terms[0] in STANDALONE_CODECS:
        try:
            return text.encode(STANDALONE_CODECS[terms[0]])
        except UnicodeEncodeError:
            return None

    initial, state, encoded = _initial(terms), _initial(terms), bytearray()
    extensions = [each for each in map(_repertoire, terms[1:] if initial.g1 else terms) if each]
    delimiters = NAME_DELIMITERS if person_name else TEXT_DELIMITERS
    to_ascii = b"\x1b(J" if terms[0].endswith(" 13") else b"\x1b(B"
    for character in text:
        if character.isascii():
            if state.g0:
                encoded += to_ascii
            state = replace(initial) if ord(character) in delimiters else _State(None, state.g1)
            encoded += character.encode("ascii")
            continue
        code = state.encode(character, extensions)
        if code is None:
            return None
        encoded += code
    return bytes(encoded + to_ascii) if state.g0 else bytes(encoded)


def choose(texts: Sequence[tuple[str, bool]], *, request: Sequence[str], stored: Sequence[str]) -> tuple[str, ...]:
    """The sets to answer in: none for ASCII; else the request's, else the object's, else UTF-8 (PS3.4 C.2.2.2).

    Each text comes with a flag that says whether it is a person's name.
    """
    if all(text.isascii() for text, _ in texts):
        return ()
    return next((tuple(terms) for terms in (request, stored) if fits(texts, terms)), (UTF_8,))


def fits(texts: Sequence[tuple[str, bool]], terms: Sequence[str]) -> bool:
    """Whether these sets have all letters of the texts."""
    return all(encode(text, terms, person_name=person_name) is not None for text, person_name in texts)
