"""Whether two endpoints lead to one server, however they are written."""

import ipaddress
import socket

from portal.storage_drivers import endpoints

AMAZON_DOMAINS = ("amazonaws.com", "amazonaws.com.cn")
"""In each of them a bucket's name is unique across all regions."""
THIS_HOST = "this host"


def is_same(url: str, other: str) -> bool:
    """By their hosts, else by the current addresses of these. A host that cannot be resolved has none.

    http and https are one server; two programs at addresses of this host are assumed to be one.
    """
    (host, port), (other_host, other_port) = _host_and_port(url), _host_and_port(other)
    if port != other_port:
        return False
    return host == other_host or not _addresses(host, port).isdisjoint(_addresses(other_host, port))


def _host_and_port(url: str) -> tuple[str, int]:
    host, port, _is_secure = endpoints.parse(url)
    host = host.encode("idna").decode().lower().rstrip(".")
    host = next((domain for domain in AMAZON_DOMAINS if host.endswith(f".{domain}")), host)
    return host, 443 if port == 80 else port


def _addresses(host: str, port: int) -> set[str]:
    """The addresses of a host; THIS_HOST for all that are this host's own."""
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError):
        return set()
    addresses = set()
    for entry in entries:
        ip = ipaddress.ip_address(str(entry[4][0]).partition("%")[0])
        if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        addresses.add(THIS_HOST if ip.is_loopback or _is_own_address(ip) else str(ip))
    return addresses


def _is_own_address(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether a datagram to it would also be sent from it. Nothing is sent."""
    with socket.socket(socket.AF_INET if ip.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as udp_socket:
        try:
            udp_socket.connect((str(ip), 9))
        except OSError:
            return False
        return bool(ipaddress.ip_address(str(udp_socket.getsockname()[0]).partition("%")[0]) == ip)
