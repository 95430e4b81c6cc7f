"""Whether a certificate is trusted: its chain up to given issuers (RFC 5280 6.1), its use and its name (RFC 9525)."""

import ipaddress
import ssl
from collections.abc import Sequence

import certifi
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import crypto

from portal.models import now
from portal.tls.certificates import day_of, name_of

CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
EXPIRED, NOT_YET_VALID = 10, 9
NO_ISSUER = (2, 18, 19, 20, 21)
"""Results of OpenSSL's verification (X509_STORE_CTX_get_error(3)); the last ones: no issuer that is trusted."""
_WORDS = {CLIENT: "a client", SERVER: "a server"}


class NotTrusted(Exception):
    """A certificate that is not trusted; the message is what comes after its name: `expired on 3 May 2027`."""


def verify(
    presented: Sequence[x509.Certificate], issuers: Sequence[x509.Certificate] | None, *, use: x509.ObjectIdentifier
) -> None:
    """Raise NotTrusted unless the first certificate leads, over the others, to one of `issuers`, and may be used so.

    `issuers`: None for those that the operating system trusts, else Mozilla's. An issuer need not be a root: an
    intermediate CA that is trusted itself is enough.
    """
    store = crypto.X509Store()
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    if issuers is None:
        store.load_locations(ssl.get_default_verify_paths().cafile or certifi.where())
    for issuer in issuers or ():
        store.add_cert(crypto.X509.from_cryptography(issuer))
    leaf, *others = (crypto.X509.from_cryptography(one) for one in presented)
    try:
        crypto.X509StoreContext(store, leaf, others).verify_certificate()
    except crypto.X509StoreContextError as error:
        raise _explained(error, presented[0]) from None
    require_use(presented[0], use)


def require_valid_now(certificate: x509.Certificate) -> None:
    """Raise NotTrusted before the certificate's first day and after its last one."""
    if now() > certificate.not_valid_after_utc:
        raise NotTrusted(f"expired on {day_of(certificate.not_valid_after_utc)}")
    if now() < certificate.not_valid_before_utc:
        raise NotTrusted(f"is valid only from {day_of(certificate.not_valid_before_utc)}")


def require_use(certificate: x509.Certificate, use: x509.ObjectIdentifier) -> None:
    """Raise NotTrusted if the certificate says for what it may be used, and not for this (RFC 5280 4.2.1.12)."""
    try:
        uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return
    except ValueError:
        raise NotTrusted("has extensions that cannot be read") from None
    if use not in uses and ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE not in uses:
        raise NotTrusted(f"may not be used by {_WORDS[use]}, as its extended key usage says")


def names(certificate: x509.Certificate) -> list[str]:
    """Its DNS names and IP addresses, or its common name if it has none of both."""
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        found = []
    else:
        addresses = [str(one) for one in alternative.get_values_for_type(x509.IPAddress)]
        found = [*alternative.get_values_for_type(x509.DNSName), *addresses]
    return found or [str(one.value) for one in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]


def has_name(certificate: x509.Certificate, wanted: str) -> bool:
    """Whether one of its names is this host name or address; `*` stands for the first part of a name."""
    try:
        address = ipaddress.ip_address(wanted)
    except ValueError:
        host = wanted.lower().rstrip(".")
        _first, _, parent = host.partition(".")
        accepted = {host, f"*.{parent}"} if "." in parent else {host}
        return any(name.lower().rstrip(".") in accepted for name in names(certificate))
    return str(address) in names(certificate)


def _explained(error: crypto.X509StoreContextError, leaf: x509.Certificate) -> NotTrusted:
    code = error.errors[0]
    certificate = error.certificate.to_cryptography()
    issued = "" if certificate == leaf else f"was issued by {name_of(certificate.subject)}, whose certificate "
    if code == EXPIRED:
        return NotTrusted(f"{issued}expired on {day_of(certificate.not_valid_after_utc)}")
    if code == NOT_YET_VALID:
        return NotTrusted(f"{issued}is valid only from {day_of(certificate.not_valid_before_utc)}")
    if code in NO_ISSUER:
        if certificate.subject == certificate.issuer and certificate == leaf:
            return NotTrusted("is signed by itself, and not registered")
        return NotTrusted(f"was issued by {name_of(certificate.issuer)}, which is not trusted")
    return NotTrusted(f"{issued}cannot be verified: {error.errors[2]}")
