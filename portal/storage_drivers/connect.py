"""The first steps to any store behind a URL: name, connection, TLS."""

import ipaddress
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import requests
from cryptography import x509

from portal.storage_drivers import endpoints, http
from portal.storage_drivers.http import Timeouts
from portal.storage_drivers.store import NamedStep, StepWarning


@dataclass(frozen=True)
class Endpoint:
    """A server, and how it is trusted."""

    host: str
    port: int
    secure: bool
    ca: str = ""
    limits: Timeouts = field(default_factory=Timeouts)

    @property
    def _limits(self) -> Timeouts:
        """A handshake is waited for as long as a connection."""
        return Timeouts(self.limits.connect, self.limits.connect)

    @property
    def where(self) -> str:
        return f"{self.host}:{self.port}"

    def steps(self) -> Sequence[NamedStep]:
        """Name resolved, connected, TLS."""
        return [("Name resolved", self._resolved), ("Connected", self._connected), ("TLS", self._trusted)]

    def _resolved(self) -> str:
        addresses = self._addresses()
        for address in addresses:
            endpoints.refuse_address(address, self.host)
        return f"{self.host} is {', '.join(addresses[:4])}."

    def _connected(self) -> str:
        with self._socket() as connection:
            return f"{connection.getpeername()[0]} answers on port {self.port}."

    def _trusted(self) -> str:
        if not self.secure:
            message = "The endpoint is http: bytes and names cross the network without encryption."
            if all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in self._addresses()):
                return "Not used: the store is on this host."
            raise StepWarning(message)
        trusting = endpoints.tls_context(self.ca)
        with http.translated_errors(self.where, self._limits), self._socket() as connection:
            with_tls = trusting.wrap_socket(connection, server_hostname=self.host)
            with with_tls:
                return _said_of(with_tls)

    def _addresses(self) -> list[str]:
        with http.translated_errors(self.where, self.limits):
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))

    def _socket(self) -> socket.socket:
        try:
            connection = socket.create_connection((self.host, self.port), timeout=self.limits.connect)
        except TimeoutError as error:
            raise http.translate_error(requests.ConnectTimeout(), self.where, self.limits) from error
        except OSError as error:
            raise http.translate_error(error, self.where, self.limits) from error
        endpoints.refuse_address(connection.getpeername()[0], self.host)
        return connection


def endpoint(url: str, *, ca: str = "", limits: Timeouts | None = None) -> Endpoint:
    """The server that a URL names. Raises BadValue for one that is more or less than scheme, host and port."""
    host, port, secure = endpoints.parse(url)
    return Endpoint(host, port, secure, ca, limits or Timeouts())


def _said_of(wrapped: ssl.SSLSocket) -> str:
    """Version, and until when the certificate is valid. Raises Remark where that is soon."""
    shown = wrapped.getpeercert(binary_form=True)
    if shown is None:
        return f"{wrapped.version()}."
    until = x509.load_der_x509_certificate(shown).not_valid_after_utc
    message = f"{wrapped.version()}, with a certificate that is trusted and valid until {until:%Y-%m-%d}."
    days = (until - datetime.now(UTC)).days
    if days < 14:
        raise StepWarning(f"{message} It expires in {days} days: have it renewed.")
    return message
