"""What the form of a storage may name as a server, and what is trusted of it; loads no driver."""

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
_AT_THE_END = tuple(ipaddress.IPv6Network(text) for text in ("::/96", "64:ff9b::/96", "64:ff9b:1::/48"))
"""IPv6 networks whose addresses end with an IPv4 one: IPv4-compatible (RFC 4291), NAT64 (RFC 6052, RFC 8215)."""
_NAT64_OF_A_SITE = _AT_THE_END[-1]
MAX_CA_LENGTH = 100_000
_HOST = re.compile(r"[A-Za-z0-9._:%-]+")


def parse(url: str) -> tuple[str, int, bool]:
    """Host, port and whether by TLS. Raises BadValue for a URL that is more or less, NotAllowed as `refuse`."""
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
        ascii_host = host.encode("idna").decode()
    except ValueError as error:
        raise _no_url(url) from error
    more = parts.username or parts.password or parts.query or parts.fragment or parts.path not in ("", "/")
    named = _HOST.fullmatch(ascii_host)
    if parts.scheme not in ("http", "https") or not named or more or port == 0 or not url.strip().isprintable():
        raise _no_url(url)
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
        raise BadValue(f"The CA certificate has more than {MAX_CA_LENGTH:,} letters.", field="ca")
    if text:
        tls_context(text)
    return text


def refuse_literal_address(host: str) -> None:
    """`refuse` for a host that is an address itself."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return
    refuse_address(str(address), host)


def refuse_address(address: str, host: str) -> None:
    """Raise NotAllowed for an address that no storage has: link-local, metadata of a cloud, unspecified, multicast.

    An IPv6 address is judged by the IPv4 address that it carries too: a gateway would lead there.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    for judged in (*(_carried(ip) if isinstance(ip, ipaddress.IPv6Address) else ()), ip):
        if why := _why_not(judged):
            raise NotAllowed(f"{host} leads to {judged}, which is {why}. Choose another endpoint.", field="endpoint")


def _why_not(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    if ip.is_unspecified or ip.is_multicast:
        return "no address of a server"
    return _REFUSED.get(str(ip), _LINK_LOCAL if ip.is_link_local else "")


def _carried(ip: ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    """What an IPv6 address may stand for."""
    yield from (found for found in (ip.ipv4_mapped, ip.sixtofour) if found)
    number = int(ip)
    if any(ip in network for network in _AT_THE_END):
        yield ipaddress.IPv4Address(number & 0xFFFFFFFF)
    if ip in _NAT64_OF_A_SITE:  # which part of it is its prefix, nobody tells; a wrong guess must refuse nothing
        without_u = number >> 64 << 56 | number & (1 << 56) - 1  # RFC 6052, 2.2: the bits 64 to 71 are left out
        for prefix in (48, 56, 64):
            guessed = ipaddress.IPv4Address(without_u >> 120 - prefix - 32 & 0xFFFFFFFF)
            if not (guessed.is_unspecified or guessed.is_multicast):
                yield guessed


def tls_context(ca: str) -> ssl.SSLContext:
    """What TLS trusts: the storage's own CA (PEM) alone, or what this machine and the web trust. Raises BadValue."""
    try:
        made = ssl.create_default_context(cadata=ca or None)
    except (ssl.SSLError, ValueError) as error:
        raise BadValue("The CA certificate cannot be read. Give it as PEM text (BEGIN CERTIFICATE).", field="ca") from (
            error
        )
    if not ca:
        made.load_verify_locations(certifi.where())
    # A hospital's own CA often lacks what RFC 5280 wants of it; who names one trusts it.
    made.verify_flags &= ~ssl.VERIFY_X509_STRICT
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return made


def _no_url(url: str) -> BadValue:
    message = "is no endpoint; write it like https://s3.site.example:9000, without a path."
    return BadValue(f"{url[:100]!r} {message}", field="endpoint")
