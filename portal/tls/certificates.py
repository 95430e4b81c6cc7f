"""Certificates and private keys: reading them from PEM, and what people see of a certificate."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from portal.errors import BadValue
from portal.models import now

MAX_PEM_LENGTH = 64 << 10
MAX_CERTIFICATES = 32
"""Of one PEM text: a chain has three or four."""
MIN_RSA_BITS = 2048
EXPIRY_NOTICE = timedelta(days=30)
"""So long before it expires, a certificate is shown as one that expires soon."""
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


def read_all(text: str, *, field: str) -> list[x509.Certificate]:
    """The certificates of a PEM text, in their order; none in an empty text. Raises BadValue."""
    _require_short(text, field)
    if not text.strip():
        return []
    try:
        found = x509.load_pem_x509_certificates(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        message = "This is no certificate in PEM form. It begins with -----BEGIN CERTIFICATE-----."
        raise BadValue(message, field=field) from None
    if len(found) > MAX_CERTIFICATES:
        raise BadValue(f"These are {len(found)} certificates, at most {MAX_CERTIFICATES} are read.", field=field)
    return found


def read_key(text: str, *, field: str) -> PrivateKey:
    """A private key in PEM, without a password: RSA of 2,048 bits or more, or P-256, P-384, P-521. Raises BadValue."""
    _require_short(text, field)
    try:
        key = serialization.load_pem_private_key(text.encode(), password=None)
    except TypeError:
        raise BadValue(
            "The private key has a password. Save it without one, and enter it again.", field=field
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        message = "This is no private key in PEM form. It begins with -----BEGIN PRIVATE KEY-----."
        raise BadValue(message, field=field) from None
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= MIN_RSA_BITS:
        return key
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key
    raise BadValue(f"The private key must be RSA of at least {MIN_RSA_BITS:,} bits, or of a P curve.", field=field)


def pem_of(certificates: Iterable[x509.Certificate]) -> str:
    return "".join(one.public_bytes(serialization.Encoding.PEM).decode() for one in certificates)


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 in hexadecimal, as tools show it: AB:CD:…"""
    return certificate.fingerprint(SHA256()).hex(":").upper()


def name_of(name: x509.Name) -> str:
    """What people call the owner of a name: its common name, else all of it."""
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    text = str(common[0].value) if common else name.rfc4514_string()
    return "".join(character if character.isprintable() else "?" for character in text)[:100] or "without a name"


def day_of(moment: datetime) -> str:
    """Such as 3 May 2027."""
    return f"{moment.day} {moment:%B %Y}"


def view(certificate: x509.Certificate) -> dict[str, Any]:
    """The certificate as pages and `--json` show it."""
    left = certificate.not_valid_after_utc - now()
    return {
        "state": "expired" if left < timedelta(0) else "soon" if left < EXPIRY_NOTICE else "ok",
        "subject": name_of(certificate.subject),
        "issuer": name_of(certificate.issuer),
        "fingerprint": fingerprint(certificate),
        "expires": certificate.not_valid_after_utc,
        "self_signed": certificate.subject == certificate.issuer,
    }


def views(text: str) -> list[dict[str, Any]]:
    """The certificates of a PEM text that was read before, as pages show them."""
    return [view(one) for one in read_all(text, field="")]


def _require_short(text: str, field: str) -> None:
    if len(text) > MAX_PEM_LENGTH:
        raise BadValue(f"The text has {len(text):,} characters, at most {MAX_PEM_LENGTH:,} are read.", field=field)
