"""Address and scheme of the browser behind a reverse proxy; only trusted proxies are believed."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

from flask import Flask

from portal.settings import Network

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Address = IPv4Address | IPv6Address

FORWARDING_HEADERS = (
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PORT",
    "HTTP_X_FORWARDED_PREFIX",
    "HTTP_FORWARDED",
)
"""Removed from each request, so that no other code reads them by mistake."""


class ProxyHeaders:
    """WSGI middleware that takes address and scheme from X-Forwarded-For and X-Forwarded-Proto of a trusted proxy.

    The host name is that of the header Host, which a proxy must pass on unchanged.
    """

    def __init__(self, app: "WSGIApplication", trusted: tuple[Network, ...]) -> None:
        self._app, self._trusted = app, trusted

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        headers = {name: environ.pop(name) for name in FORWARDING_HEADERS if name in environ}
        if is_proxy(environ.get("REMOTE_ADDR", ""), self._trusted):
            environ["REMOTE_ADDR"] = self._browser(headers.get("HTTP_X_FORWARDED_FOR", ""), environ["REMOTE_ADDR"])
            scheme = headers.get("HTTP_X_FORWARDED_PROTO", "").rpartition(",")[2].strip().lower()
            if scheme in ("http", "https"):
                environ["wsgi.url_scheme"] = scheme
        return self._app(environ, start_response)

    def _browser(self, chain: str, proxy: str) -> str:
        """The last address of the chain that is not a trusted proxy: anybody can forge the addresses before it."""
        nearest = proxy
        for text in reversed(chain.split(",")):
            address = _address(text.strip())
            if address is None:
                return nearest
            nearest = str(address)
            if not is_proxy(nearest, self._trusted):
                return nearest
        return nearest


def install(app: Flask, trusted: tuple[Network, ...]) -> None:
    app.wsgi_app = ProxyHeaders(app.wsgi_app, trusted)  # type: ignore[method-assign]


def is_proxy(text: str, trusted: tuple[Network, ...]) -> bool:
    """Whether this is the address of a trusted proxy."""
    address = _address(text)
    return address is not None and any(address in network for network in trusted)


def _address(text: str) -> Address | None:
    """The address, an IPv4-mapped one as IPv4; None if `text` is not an address."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
