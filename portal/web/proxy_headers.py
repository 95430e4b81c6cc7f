"""Who a proxy says it asks for: believed of the proxies that the site names, and of nobody else."""

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
"""Taken off each request, so that nothing behind this reads them by mistake."""


class ProxyHeaders:
    """Address and scheme of the browser, from X-Forwarded-For and X-Forwarded-Proto of a trusted proxy.

    The name of the site is what Host says; a proxy passes it on unchanged.
    """

    def __init__(self, app: "WSGIApplication", trusted: tuple[Network, ...]) -> None:
        self._app, self._trusted = app, trusted

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        said = {name: environ.pop(name) for name in FORWARDING_HEADERS if name in environ}
        if is_proxy(environ.get("REMOTE_ADDR", ""), self._trusted):
            environ["REMOTE_ADDR"] = self._browser(said.get("HTTP_X_FORWARDED_FOR", ""), environ["REMOTE_ADDR"])
            scheme = said.get("HTTP_X_FORWARDED_PROTO", "").rpartition(",")[2].strip().lower()
            if scheme in ("http", "https"):
                environ["wsgi.url_scheme"] = scheme
        return self._app(environ, start_response)

    def _browser(self, chain: str, proxy: str) -> str:
        """The last address of the chain that is no proxy of ours: what stands before it anyone can have written."""
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
    """Whether a trusted proxy has this address."""
    address = _address(text)
    return address is not None and any(address in network for network in trusted)


def _address(text: str) -> Address | None:
    """An IPv4 address within IPv6 is that IPv4 address; None for what is no address."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
