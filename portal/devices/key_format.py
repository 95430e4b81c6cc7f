"""The format of an API key: prefix, key id, random secret, check digits."""

import re
import secrets
import string
import zlib

PREFIX = "ptk_"
KEY_LENGTH = 57
"""Characters of a whole key; clients tell by it that they have to send `Bearer` (fw-client 2.3)."""
_ID_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: no I, L, O, U
_ALPHABET = string.digits + string.ascii_letters
_ID_LENGTH, _SECRET_LENGTH, _CHECK_LENGTH = 6, 41, 6
_FORMAT = re.compile(rf"({PREFIX}[{_ID_ALPHABET}]{{{_ID_LENGTH}}})[0-9A-Za-z]{{{_SECRET_LENGTH + _CHECK_LENGTH}}}")


def generate() -> tuple[str, str]:
    """A key id, and a whole key that begins with it and has 244 random bits."""
    key_id = PREFIX + _random(_ID_ALPHABET, _ID_LENGTH)
    body = key_id + _random(_ALPHABET, _SECRET_LENGTH)
    return key_id, body + _check_digits(body)


def key_id_of(key: str) -> str | None:
    """The key id of a whole key; None if the key is malformed, truncated or mistyped."""
    match = _FORMAT.fullmatch(key)
    if match is None or key[-_CHECK_LENGTH:] != _check_digits(key[:-_CHECK_LENGTH]):
        return None
    return match[1]


def is_key_id(text: str) -> bool:
    """Whether a text has the form of a key id, as the `via` of an actor that used a key."""
    return text.startswith(PREFIX) and len(text) == len(PREFIX) + _ID_LENGTH


def key_id_in(text: str) -> str:
    """The key id, or the part of one, that a text begins with, without any more of the key; empty if there is none."""
    if not text.lower().startswith(PREFIX):
        return ""
    return PREFIX + text[len(PREFIX) : len(PREFIX) + _ID_LENGTH].upper()


def _random(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))


def _check_digits(body: str) -> str:
    """CRC-32 in base 62, so that a truncated or mistyped key is refused without a look into the database."""
    number, digits = zlib.crc32(body.encode()), ""
    for _ in range(_CHECK_LENGTH):
        number, rest = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[rest] + digits
    return digits
