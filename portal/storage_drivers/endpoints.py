"""Which servers a storage may use, and which certificates are trusted; loads no driver."""

import ipaddress
import re
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import certifi

from portal.errors import BadValue, NotAllowed, PortalError

_REFUSED = {
    "168.63.129.16": "the host service of Azure",
    "100.100.100.200": "the metadata service of Alibaba Cloud",
    "192.0.0.192": "the metadata service of Oracle Cloud",
    "fd00:ec2::254": "the metadata service of Amazon EC2",
    "fd20:ce::254": "the metadata service of Google Cloud",
}
_LINK_LOCAL = "a link-local address, where clouds keep credentials"
_ENDING_WITH_IPV4 = tuple(ipaddress.IPv6Network(text) for text in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48"))
"""IPv6 networks whose addresses end with an IPv4 one: IPv4-compatible (RFC 4291), NAT64 (RFC 6052, RFC 8215)."""
_LOCAL_NAT64 = _ENDING_WITH_IPV4[-1]
MAX_CA_LENGTH = 100_000
_HOST = re.compile(r"[A-Za-z0-9._:%-]+")


def parse(url: str) -> tuple[str, int, bool]:
    """Host, port and whether it uses TLS. Raises BadValue for a URL that is more or less, NotAllowed as
    `refuse_address`."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
        ascii_host = host.encode("idna").decode()
    except ValueError as error:
        raise _invalid_url(url) from error
    has_more = parts.username or parts.password or parts.query or parts.fragment or parts.path not in ("", "/")
    is_named = _HOST.fullmatch(ascii_host)
    if parts.scheme not in ("http", "https") or not is_named or has_more or port == 0 or not url.strip().isprintable():
        raise _invalid_url(url)
    is_secure = parts.scheme == "https"
    refuse_literal_address(host)
    return host, port or (443 if is_secure else 80), is_secure


def clean(url: str, *, field: str = "endpoint") -> str:
    """An endpoint as a configuration keeps it; empty where none is given. Raises as `parse`, with the field."""
    url = url.strip().rstrip("/")
    if url:
        try:
            parse(url)
        except PortalError as error:
            error.field = field
            raise
    return url


def clean_ca(text: str) -> str:
    """A CA certificate (PEM), or nothing. Raises BadValue."""
    text = text.strip()
    if len(text) > MAX_CA_LENGTH:
        raise BadValue(f"The CA certificate has more than {MAX_CA_LENGTH:,} characters.", field="ca")
    if text:
        tls_context(text)
    return text


def refuse_literal_address(host: str) -> None:
    """`refuse_address` for a host that is an address itself."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return
    refuse_address(str(address), host)


def refuse_address(address: str, host: str) -> None:
    """Raise NotAllowed for an address that no storage has: link-local, metadata of a cloud, unspecified, multicast.

    An IPv6 address is also judged by the IPv4 address that it contains: a gateway would lead there.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    for judged in (*(_contained_ipv4(ip) if isinstance(ip, ipaddress.IPv6Address) else ()), ip):
        reason = _REFUSED.get(str(judged), _LINK_LOCAL if judged.is_link_local else "")
        if judged.is_unspecified or judged.is_multicast:
            reason = "not the address of a server"
        if reason:
            raise NotAllowed(f"{host} leads to {judged}, which is {reason}. Choose another endpoint.", field="endpoint")


def _contained_ipv4(ip: ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 address may embed."""
    yield from (address for address in (ip.ipv4_mapped, ip.sixtofour) if address)
    number = int(ip)
    if any(ip in network for network in _ENDING_WITH_IPV4):
        yield ipaddress.IPv4Address(number & 0xFFFFFFFF)
    if ip in _LOCAL_NAT64:  # the length of its prefix is not known; a wrong guess must refuse nothing
        without_u = number >> 64 << 56 | number & (1 << 56) - 1  # RFC 6052, 2.2: the bits 64 to 71 are left out
        for prefix in (48, 56, 64):
            guessed = ipaddress.IPv4Address(without_u >> 120 - prefix - 32 & 0xFFFFFFFF)
            if not (guessed.is_unspecified or guessed.is_multicast):
                yield guessed


def tls_context(ca: str) -> ssl.SSLContext:
    """Trusts only the storage's own CA (PEM), or what this machine and the web trust. Raises BadValue."""
    try:
        context = ssl.create_default_context(cadata=ca or None)
    except (ssl.SSLError, ValueError, TypeError) as error:  # TypeError: the text is not ASCII
        message = "The CA certificate cannot be read. Enter it as PEM text (BEGIN CERTIFICATE)."
        raise BadValue(message, field="ca") from error
    if not ca:
        context.load_verify_locations(certifi.where())
    # A hospital's own CA often lacks what RFC 5280 requires of it; an admin who names one trusts it.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context


def _invalid_url(url: str) -> BadValue:
    message = "is not a valid endpoint; write it like https://s3.site.example:9000, without a path."
    return BadValue(f"{url[:100]!r} {message}", field="endpoint")
