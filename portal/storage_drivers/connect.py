"""The first steps of the connection test to any store behind a URL: name, connection, TLS, credentials, bucket."""

import contextlib
import ipaddress
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import requests
from cryptography import x509

from portal.errors import NotAllowed
from portal.storage_drivers import endpoints, http
from portal.storage_drivers.http import Timeouts
from portal.storage_drivers.store import ContainerMissing, CredentialsRefused, NamedStep, StepWarning


@dataclass(frozen=True)
class Endpoint:
    """A server, and how it is trusted."""

    host: str
    port: int
    secure: bool
    ca: str = ""
    timeouts: Timeouts = field(default_factory=Timeouts)

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    def steps(self) -> Sequence[NamedStep]:
        """Name resolved, connected, TLS."""
        return [("Name resolved", self._resolve), ("Connected", self._connect), ("TLS", self._handshake)]

    def _resolve(self) -> str:
        addresses = self._addresses()
        for address in addresses:
            endpoints.refuse_address(address, self.host)
        return f"{self.host} is {', '.join(addresses[:4])}."

    def _connect(self) -> str:
        with self._socket() as connection:
            return f"{connection.getpeername()[0]} answers on port {self.port}."

    def _handshake(self) -> str:
        """TLS version, and until when the certificate is valid. Raises StepWarning where that is soon."""
        if not self.secure:
            if all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in self._addresses()):
                return "Not used: the store is on this host."
            raise StepWarning("The endpoint is http: bytes and names cross the network without encryption.")

        context = endpoints.tls_context(self.ca)
        timeouts = Timeouts(self.timeouts.connect, self.timeouts.connect)  # a handshake is part of connecting
        with (
            http.translated_errors(self.address, timeouts),
            self._socket() as connection,
            context.wrap_socket(connection, server_hostname=self.host) as tls_socket,
        ):
            version, certificate = tls_socket.version(), tls_socket.getpeercert(binary_form=True)
            if certificate is None:
                return f"{version}."
            valid_until = x509.load_der_x509_certificate(certificate).not_valid_after_utc
            message = f"{version}, with a certificate that is trusted and valid until {valid_until:%Y-%m-%d}."
            days = (valid_until - datetime.now(UTC)).days
            if days < 14:
                raise StepWarning(f"{message} It expires in {days} days: have it renewed.")
            return message

    def _addresses(self) -> list[str]:
        with http.translated_errors(self.address, self.timeouts):
            entries = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(entry[4][0]) for entry in entries))

    def _socket(self) -> socket.socket:
        try:
            connection = socket.create_connection((self.host, self.port), timeout=self.timeouts.connect)
        except TimeoutError as error:
            raise http.translate_error(requests.ConnectTimeout(), self.address, self.timeouts) from error
        except OSError as error:
            raise http.translate_error(error, self.address, self.timeouts) from error
        endpoints.refuse_address(connection.getpeername()[0], self.host)
        return connection


def endpoint(url: str, *, ca: str = "", timeouts: Timeouts | None = None) -> Endpoint:
    """The server that a URL names. Raises BadValue for one that is more or less than scheme, host and port."""
    host, port, secure = endpoints.parse(url)
    return Endpoint(host, port, secure, ca, timeouts or Timeouts())


def account_steps(
    list_one: Callable[[], object],
    *,
    credentials: str,
    container: str,
    fetch_token: Callable[[], object] = lambda: None,
) -> Sequence[NamedStep]:
    """Signed in, and bucket found; `list_one` requests a list of one name, `credentials` describes what was accepted.

    An account that may not list passes both: the later steps of the test show what it may do. `container` is the kind
    and the name, such as "bucket research".
    """

    def sign_in() -> str:
        fetch_token()
        try:
            list_one()
        except CredentialsRefused:
            raise
        except (NotAllowed, ContainerMissing):
            pass
        return credentials

    def find() -> str:
        with contextlib.suppress(NotAllowed):
            list_one()
        return f"The {container} exists."

    kind = container.partition(" ")[0].capitalize()
    return [("Signed in", sign_in), (f"{kind} found", find)]
