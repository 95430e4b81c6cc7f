"""Whether two endpoints lead to one server, however they are written."""

import ipaddress
import socket

from portal.storage_drivers import endpoints

AMAZON_DOMAINS = ("amazonaws.com", "amazonaws.com.cn")
"""Worlds in which a bucket's name is taken once, in whatever region."""
THIS_HOST = "this host"


def is_same(url: str, other: str) -> bool:
    """By their hosts, else by the addresses that these have now. One that nobody knows leads nowhere.

    What differs in TLS alone is one server; of two programs at addresses of this host, one is assumed.
    """
    (host, port), (other_host, other_port) = _where(url), _where(other)
    if port != other_port:
        return False
    return host == other_host or not _addresses(host, port).isdisjoint(_addresses(other_host, port))


def _where(url: str) -> tuple[str, int]:
    host, port, _is_secure = endpoints.parse(url)
    host = host.encode("idna").decode().lower().rstrip(".")
    host = next((world for world in AMAZON_DOMAINS if host.endswith(f".{world}")), host)
    return host, 443 if port == 80 else port


def _addresses(host: str, port: int) -> set[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return set()
    return {_told(str(entry[4][0]).partition("%")[0]) for entry in found}


def _told(address: str) -> str:
    """The address, the same for all that are of this host."""
    ip = ipaddress.ip_address(address)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return THIS_HOST if ip.is_loopback or _is_ours(ip) else str(ip)


def _is_ours(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether it is one of this host: then it would be the sender's too. Nothing is sent."""
    with socket.socket(socket.AF_INET if ip.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect((str(ip), 9))
        except OSError:
            return False
        return bool(ipaddress.ip_address(str(asking.getsockname()[0]).partition("%")[0]) == ip)
