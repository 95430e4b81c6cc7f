"""Connections to object stores: the storage's own CA, refused addresses, nothing taken from the environment."""

import socket
from typing import Any

import requests
import urllib3
from libcloud.http import LibcloudConnection
from requests.adapters import HTTPAdapter

from portal.storage_drivers import endpoints, http
from portal.storage_drivers.http import Timeouts
from portal.storage_drivers.store import MIB, Body

SEND_BLOCK_SIZE = MIB // 4
"""Bytes of a body that are passed to the network at a time; the read time-out is for each of them."""


def open_session(ca: str, timeouts: Timeouts, *, secure: bool) -> requests.Session:
    """A session without anything from the environment (proxies, .netrc, bundles), retries or cookies.

    It knows only https, or only http where that is meant.
    """
    session = requests.Session()
    session.trust_env = False
    session.headers.clear()
    session.adapters.clear()
    session.mount("https://" if secure else "http://", _Adapter(ca, timeouts, secure=secure))
    return session


class Connection(LibcloudConnection):
    """What Libcloud's drivers send with: make a child with `connection_class`."""

    ca = ""
    timeouts = Timeouts()

    def __init__(self, host: str, port: int, secure: bool | None = None, **_options: Any) -> None:
        super().__init__(host, port, secure=secure)  # type: ignore[no-untyped-call]
        self.session: requests.Session = open_session(self.ca, self.timeouts, secure=bool(secure))
        self.answer: requests.Response | None = None
        self.host = f"{'https' if secure else 'http'}://{host}:{port}"

    def request(  # type: ignore[override]
        self, method: str, url: str, body: Any = None, headers: Any = None, **_options: Any
    ) -> None:
        """Send one request; the answer is `answer`, of which nothing has been read."""
        # The space is the one character that a query and a path spell differently; every signature wants the latter.
        path, mark, query = url.partition("?")
        url = f"{self.host}{path}{mark}{query.replace('+', '%20')}"
        if isinstance(body, Body) and len(body) > SEND_BLOCK_SIZE:
            body = _Blocks(body)
        headers = {name: str(value) for name, value in (headers or {}).items()}
        self.answer = http.send(self.session, requests.Request(method, url, data=body, headers=headers), self.timeouts)
        self.response = self.answer

    prepared_request = request  # type: ignore[assignment]


def connection_class(ca: str, timeouts: Timeouts) -> type[Connection]:
    """For `connectionCls.conn_class` of one driver."""
    return type("StorageConnection", (Connection,), {"ca": ca, "timeouts": timeouts})


class _Adapter(HTTPAdapter):
    """Connects with our own TLS context, and only to addresses that a storage may have."""

    def __init__(self, ca: str, timeouts: Timeouts, *, secure: bool) -> None:
        # Made once per session: reading the certificates that this machine trusts takes 20 ms.
        self._context = endpoints.tls_context(ca) if secure else None
        self._timeouts = timeouts
        super().__init__(pool_connections=2, pool_maxsize=4)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        class Plain(_Checked, urllib3.connection.HTTPConnection):
            seconds = self._timeouts.read

        class Secure(_Checked, urllib3.connection.HTTPSConnection):
            seconds = self._timeouts.read

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Secure

        super().init_poolmanager(*arguments, **options, ssl_context=self._context, blocksize=SEND_BLOCK_SIZE)
        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        """Leave all of TLS to our context: requests would add its own bundle to what a storage trusts."""
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {name: value for name, value in pool.items() if name == "cert_reqs"}

    def cert_verify(self, *_arguments: Any) -> None:
        """Leave all of TLS to our context."""


class _Checked:
    """A connection that checks which address it has reached before it sends; the read time-out covers sending too."""

    seconds: float
    sock: Any
    host: str

    def _new_conn(self) -> socket.socket:
        made: socket.socket = super()._new_conn()  # type: ignore[misc]
        try:
            endpoints.refuse_address(made.getpeername()[0], self.host)
        except BaseException:
            made.close()
            raise
        return made

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        self.sock.settimeout(self.seconds)


class _Blocks:
    """A body that is sent in blocks, so that the time-out is for each block; nothing of it is copied."""

    def __init__(self, body: Body) -> None:
        self._left = memoryview(body)

    def __len__(self) -> int:
        """Bytes that are left: what Content-Length is to say."""
        return len(self._left)

    def read(self, size: int) -> memoryview:
        block, self._left = self._left[:size], self._left[size:]
        return block
