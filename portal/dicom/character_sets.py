"""Specific Character Set (PS3.3 C.12.1.1.2, PS3.5 6.1): text from bytes, and bytes from text that lose no letter."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from pydicom import charset

UTF_8 = "ISO_IR 192"
FALLBACK_CODEC = "latin_1"
"""How bytes outside ASCII are read that no declared set explains: every byte is some letter of it."""

ESCAPE = 0x1B
TEXT_DELIMITERS = b"\\\r\n\f\t"
NAME_DELIMITERS = TEXT_DELIMITERS + b"^="


@dataclass(frozen=True)
class Repertoire:
    """One registered set: the half of the code table that it fills, how to get there, and Python's codec for it."""

    escape: bytes
    side: Literal["G0", "G1"]
    codec: str
    width: int = 1
    prefix: bytes = b""
    """What the codec wants before each character: JIS X 0212 is read and written through EUC."""

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
"""Sets that stand alone, without code extensions."""

ASCII_ESCAPES = {b"\x1b(B", b"\x1b(J"}
"""Back to single bytes in G0: ASCII, or the Roman half of JIS X 0201, which is read alike."""
REPERTOIRE_BY_ESCAPE = {each.escape: each for each in REPERTOIRES.values()} | {b"\x1b$@": REPERTOIRES["87"]}

_TERM = re.compile(r"ISO[ _-]?(2022)?[ _-]*(?:IR)?[ _-]*(\d+)")
_SPELLINGS = {"UTF-8": UTF_8, "UTF8": UTF_8, "ISO 2022 GBK": "GBK", "GB 18030": "GB18030"}

# pydicom 3.0.2 does not know ISO-IR 203 (Latin 9), and would read and write such a data set as something else.
charset.python_encoding.setdefault("ISO_IR 203", "iso8859_15")
charset.python_encoding.setdefault("ISO 2022 IR 203", "iso8859_15")
charset.CODES_TO_ENCODINGS.setdefault(b"\x1b-b", "iso8859_15")
charset.ENCODINGS_TO_CODES.setdefault("iso8859_15", b"\x1b-b")


def parse(value: Any) -> tuple[str, ...]:
    """The defined terms of a Specific Character Set value (None, text or several), spelled as in the standard.

    Usual misspellings are understood; a term that nobody knows counts as absent. Empty: the default repertoire.
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
    found = _TERM.fullmatch(text)
    if found is None:
        return ""
    number = found[2].lstrip("0")
    if number == "192":
        return UTF_8
    if number != "6" and number not in REPERTOIRES:
        return ""
    return f"ISO 2022 IR {number}" if found[1] else f"ISO_IR {number}"


@dataclass
class _State:
    """Which repertoires are designated while a value is read or written (PS3.5 6.1.2.5)."""

    g0: Repertoire | None
    """None: ASCII."""
    g1: Repertoire | None

    def take(self, repertoire: Repertoire) -> None:
        if repertoire.side == "G0":
            self.g0 = repertoire
        else:
            self.g1 = repertoire


def _initial(terms: Sequence[str]) -> _State:
    """What holds at the start of a value and after each delimiter: value 1, if it is a set of single bytes."""
    first = _repertoire(terms[0]) if terms else None
    return _State(None, first if first and first.width == 1 else None)


def _repertoire(term: str) -> Repertoire | None:
    return REPERTOIRES.get(term.rpartition(" ")[2])


def decode(raw: bytes, terms: Sequence[str], *, person_name: bool = False) -> str:
    """The text of a value's bytes, all values of it with their backslashes. Never fails and never drops a byte.

    Escape sequences are followed also where the declared terms do not name them; what no set explains is read
    as Latin 1.
    """
    if raw.isascii() and ESCAPE not in raw:
        return raw.decode("ascii")
    if terms and terms[0] in STANDALONE_CODECS:
        return _decode_whole(raw, STANDALONE_CODECS[terms[0]])
    return "".join(_decode_extended(raw, terms, NAME_DELIMITERS if person_name else TEXT_DELIMITERS))


def _decode_whole(raw: bytes, codec: str) -> str:
    try:
        return raw.decode(codec)
    except UnicodeDecodeError:
        return raw.decode(FALLBACK_CODEC)


def _decode_extended(raw: bytes, terms: Sequence[str], delimiters: bytes) -> Iterable[str]:
    initial = _initial(terms)
    undesignated = next((each for each in map(_repertoire, terms) if each and each.side == "G1"), None)
    state = replace(initial)
    position = 0
    while position < len(raw):
        byte = raw[position]
        if byte == ESCAPE and (length := _designate(raw, position, state)):
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
        yield _decode_code(repertoire, code)
        position += len(code)


def _designate(raw: bytes, position: int, state: _State) -> int:
    """Follow the escape sequence at this position; its length, or 0 where it is none that DICOM has."""
    for length in (3, 4):
        sequence = raw[position : position + length]
        if sequence in ASCII_ESCAPES:
            state.g0 = None
            return length
        if sequence in REPERTOIRE_BY_ESCAPE:
            state.take(REPERTOIRE_BY_ESCAPE[sequence])
            return length
    return 0


def _decode_code(repertoire: Repertoire, code: bytes) -> str:
    try:
        return repertoire.decode(code)
    except UnicodeDecodeError:
        return code.decode(FALLBACK_CODEC)


def encode(text: str, terms: Sequence[str], *, person_name: bool = False) -> bytes | None:
    """The bytes of a text in these sets, with the escape sequences it takes; None if a letter has no code in them."""
    if text.isascii():
        return text.encode("ascii")
    if not terms:
        return None
    if terms[0] in STANDALONE_CODECS:
        return _encode_whole(text, STANDALONE_CODECS[terms[0]])
    return _encode_extended(text, terms, NAME_DELIMITERS if person_name else TEXT_DELIMITERS)


def _encode_whole(text: str, codec: str) -> bytes | None:
    try:
        return text.encode(codec)
    except UnicodeEncodeError:
        return None


def _encode_extended(text: str, terms: Sequence[str], delimiters: bytes) -> bytes | None:
    initial, state, out = _initial(terms), _initial(terms), bytearray()
    extensions = [each for each in map(_repertoire, terms[1:] if initial.g1 else terms) if each]
    back = b"\x1b(J" if terms[0].endswith(" 13") else b"\x1b(B"
    for character in text:
        if character.isascii():
            if state.g0:
                out += back
            state = replace(initial) if ord(character) in delimiters else _State(None, state.g1)
            out += character.encode("ascii")
            continue
        coded = _encode_character(character, state, extensions)
        if coded is None:
            return None
        out += coded
    return bytes(out + back) if state.g0 else bytes(out)


def _encode_character(character: str, state: _State, extensions: Sequence[Repertoire]) -> bytes | None:
    """The character by what is designated already, else by the first extension that has it."""
    for active in (state.g0, state.g1):
        if active and (code := active.encode(character)):
            return code
    for extension in extensions:
        if code := extension.encode(character):
            state.take(extension)
            return extension.escape + code
    return None


def choose(texts: Sequence[tuple[str, bool]], *, request: Sequence[str], stored: Sequence[str]) -> tuple[str, ...]:
    """The sets to answer in: none for ASCII; else the request's, else the object's, else UTF-8 (PS3.4 C.2.2.2).

    Each text comes with whether it is a person's name.
    """
    outside = [(text, person_name) for text, person_name in texts if not text.isascii()]
    if not outside:
        return ()
    for terms in (request, stored):
        if all(encode(text, terms, person_name=person_name) is not None for text, person_name in outside):
            return tuple(terms)
    return (UTF_8,)
