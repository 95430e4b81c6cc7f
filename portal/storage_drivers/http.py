"""HTTP to object stores: time-outs on everything, the storage's own CA, refused addresses, errors in words."""

import contextlib
import email.utils
import http.client
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import requests
import urllib3
from libcloud.http import LibcloudConnection
from requests.adapters import HTTPAdapter

from portal.errors import BadValue, Damaged, PortalError, Unreachable
from portal.storage_drivers import endpoints
from portal.storage_drivers.store import CHUNK_SIZE, MIB, Body, Interrupted

CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
SEND_BLOCK_SIZE = MIB // 4
"""Bytes of a body that are handed to the network at a time; each must be taken within the limit for an answer."""
MAX_BODY_SIZE = 16 * MIB
"""Bytes of an answer that is no object: a page of a list, an error."""


@dataclass(frozen=True)
class Timeouts:
    """Seconds to wait for a connection, and for the next bytes of an answer."""

    connect: float = CONNECT_SECONDS
    read: float = READ_SECONDS


def open_session(ca: str, limits: Timeouts, *, secure: bool) -> requests.Session:
    """A session of our own: nothing from the environment (proxies, .netrc, bundles), no retries, no cookies.

    It knows only https, or only http where that is meant.
    """
    session = requests.Session()
    session.trust_env = False
    session.headers.clear()
    session.adapters.clear()
    session.mount("https://" if secure else "http://", _Adapter(ca, limits, secure=secure))
    return session


def send(session: requests.Session, request: requests.Request, limits: Timeouts) -> requests.Response:
    """Send one request; the answer's body is not read yet. Redirects are not followed. Raises as `Store` says."""
    where = urllib3.util.parse_url(str(request.url))
    with translated_errors(f"{where.host}:{where.port}", limits):
        prepared = session.prepare_request(request)
        answer = session.send(
            prepared, stream=True, allow_redirects=False, timeout=(limits.connect, limits.read), verify=True
        )
        prepared.body = None  # the answer holds its request, and with it megabytes, for as long as somebody has it
        return answer


def read_body(response: requests.Response, limits: Timeouts, most: int = MAX_BODY_SIZE) -> bytes:
    """The whole of an answer that is no object. Raises Interrupted for half of one, Unreachable for too much."""
    found = bytearray()
    for chunk in stream_body(response, limits):
        found += chunk
        if len(found) > most:
            raise Unreachable("The storage answers with more than any answer has. Check the endpoint.", permanent=True)
    return bytes(found)


def read_error_body(response: requests.Response, limits: Timeouts) -> bytes:
    """What an answer says that refuses something; nothing where it breaks off."""
    try:
        return read_body(response, limits)
    except Interrupted:
        return b""


def drain(response: requests.Response, limits: Timeouts) -> None:
    """Read what is left of an answer of which nothing more is wanted: its connection then serves the next request."""
    with contextlib.suppress(Unreachable):
        read_body(response, limits)


def stream_body(response: requests.Response, limits: Timeouts) -> Iterator[bytes]:
    """The body of an answer as it comes over the wire. Raises Interrupted where it breaks off."""
    with contextlib.closing(response), translated_errors(host_and_port(response), limits):
        while True:
            chunk = response.raw.read(CHUNK_SIZE, decode_content=False)
            if not chunk:
                return
            yield chunk


def range_header(offset: int, size: int | None) -> str:
    """What a Range header says for these bytes (RFC 9110, 14.1.2); empty for the whole object."""
    if not offset and size is None:
        return ""
    return f"bytes={offset}-{'' if size is None else offset + size - 1}"


def object_content(
    response: requests.Response, limits: Timeouts, failure: Callable[[], PortalError], *, is_part: bool
) -> Iterator[bytes]:
    """The bytes of an object, or of its part that was asked for; none where the object ends before the part begins.

    Raises what `failure` makes of a refusal; Damaged where a whole object comes for a part.
    """
    if response.status_code == 416:
        drain(response, limits)
        return
    if response.status_code not in (200, 206):
        raise failure()
    if is_part and response.status_code == 200:
        response.close()
        raise Damaged("The storage sends a whole object where a part was asked for. Do not use it.")
    yield from stream_body(response, limits)


def host_and_port(response: requests.Response) -> str:
    """Host and port of the server that answered."""
    where = urllib3.util.parse_url(str(response.url))
    return f"{where.host}:{where.port}"


def retry_after(response: requests.Response) -> float:
    """For how many seconds the server asks us to wait (RFC 9110, 10.2.3), or 0."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:6])
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, moment.timestamp() - time.time())


@contextlib.contextmanager
def translated_errors(where: str, limits: Timeouts) -> Iterator[None]:
    """The network's errors in words; `where` is host and port."""
    handled = sys.exception()
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
        raise translate_error(error, where, limits, handled) from error
    except UnicodeError as error:
        raise BadValue(f"{where[:100]!r} is no name of a server.", field="endpoint") from error


def translate_error(
    error: BaseException, where: str, limits: Timeouts, handled: BaseException | None = None
) -> PortalError:
    """What an error of the network means for the person who chose the endpoint.

    `handled` was there before: Python names it as the context of all that happens while it is handled.
    """
    causes = list(_causes(error, handled))
    host, _colon, port = where.rpartition(":")
    if own := next((cause for cause in causes if isinstance(cause, PortalError)), None):
        return own
    if tls := next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None):
        return _tls_in_words(tls, host, port)
    if any(isinstance(cause, (socket.gaierror, urllib3.exceptions.NameResolutionError)) for cause in causes):
        return Unreachable(f"The name {host} is not known here. Check the endpoint, and the name server of this host.")
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return Unreachable(f"{host} refuses connections on port {port}. Check the port, and that the store runs.")
    if any(isinstance(cause, (requests.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError)) for cause in causes):
        seconds = f"{limits.connect:g} s"
        return Unreachable(f"{host} does not answer on port {port} within {seconds}. Check network and firewall.")
    if any(isinstance(cause, (TimeoutError, urllib3.exceptions.ReadTimeoutError)) for cause in causes):
        return Interrupted(f"{where} accepted the connection, but sent nothing for {limits.read:g} s.")
    if any(isinstance(cause, urllib3.exceptions.NewConnectionError) for cause in causes):
        reason = next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), "no route")
        return Unreachable(f"{host} cannot be reached on port {port}: {reason}. Check network and firewall.")
    return Interrupted(f"{where} cut the connection in the middle of an answer.")


def _tls_in_words(error: ssl.SSLError, host: str, port: str) -> PortalError:
    said = getattr(error, "verify_message", "") or ""
    code = getattr(error, "verify_code", 0)
    if code == 10:
        message = f"The certificate of {host} has expired. Have it renewed there."
    elif code == 9:
        message = f"The certificate of {host} is not valid yet. Check the clocks of both machines."
    elif code in (62, 64):
        message = f"The certificate of {host} is for another name. Use the name that it was issued for."
    elif code in (2, 7, 18, 19, 20, 21):
        message = f"The certificate of {host} comes from an authority that is not trusted here. Add its CA certificate."
    elif code:
        message = f"The certificate of {host} is refused: {said}."
    elif error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
        message = f"{host} does not speak TLS on port {port}. Check the port, or use http:// for the endpoint."
    elif isinstance(error, ssl.SSLEOFError):
        return Interrupted(f"{host}:{port} cut the connection.")
    else:
        message = f"TLS with {host} fails: {(error.reason or 'unknown reason').replace('_', ' ').lower()}."
    return Unreachable(message, permanent=True)


def _causes(error: BaseException, handled: BaseException | None) -> Iterator[BaseException]:
    """The error and all that is wrapped in it, but for what was handled before."""
    seen: list[BaseException | None] = [handled]
    open_ = [error]
    while open_:
        this = open_.pop(0)
        if this in seen:
            continue
        seen.append(this)
        yield this
        wrapped = [this.__cause__, this.__context__, getattr(this, "reason", None), *this.args]
        open_ += [cause for cause in wrapped if isinstance(cause, BaseException)]


class _Adapter(HTTPAdapter):
    """Connects with our own context, and only to addresses that a storage may have."""

    def __init__(self, ca: str, limits: Timeouts, *, secure: bool) -> None:
        # It takes 20 ms to read whom this machine trusts.
        self._context = endpoints.tls_context(ca) if secure else None
        self._limits = limits
        super().__init__(pool_connections=2, pool_maxsize=4)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options, ssl_context=self._context, blocksize=SEND_BLOCK_SIZE)
        self.poolmanager.pool_classes_by_scheme = _pools(self._limits)

    def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
        """Leave all of TLS to our context: requests would add its own bundle to what a storage trusts."""
        host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {name: value for name, value in pool.items() if name == "cert_reqs"}

    def cert_verify(self, *_arguments: Any) -> None:
        """Leave all of TLS to our context."""


def _pools(limits: Timeouts) -> dict[str, Any]:
    class Plain(_Checked, urllib3.connection.HTTPConnection):
        seconds = limits.read

    class Secure(_Checked, urllib3.connection.HTTPSConnection):
        seconds = limits.read

    class PlainPool(urllib3.HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(urllib3.HTTPSConnectionPool):
        ConnectionCls = Secure

    return {"http": PlainPool, "https": SecurePool}


class _Checked:
    """A connection that looks whom it has reached before it says a word, and sends as patiently as it listens."""

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
    """A body that is handed to the network in blocks, so that the time-out is of one block; nothing of it is copied."""

    def __init__(self, body: Body) -> None:
        self._left = memoryview(body)

    def __len__(self) -> int:
        """Bytes that are left: what Content-Length is to say."""
        return len(self._left)

    def read(self, size: int) -> memoryview:
        block, self._left = self._left[:size], self._left[size:]
        return block


class Connection(LibcloudConnection):
    """What Libcloud's drivers send by: make a child with `connection_class`."""

    ca = ""
    limits = Timeouts()

    def __init__(self, host: str, port: int, secure: bool | None = None, **_options: Any) -> None:
        super().__init__(host, port, secure=secure)  # type: ignore[no-untyped-call]
        self.session: requests.Session = open_session(self.ca, self.limits, secure=bool(secure))
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
        self.answer = send(self.session, requests.Request(method, url, data=body, headers=headers), self.limits)
        self.response = self.answer

    prepared_request = request  # type: ignore[assignment]


def connection_class(ca: str, limits: Timeouts) -> type[Connection]:
    """For `connectionCls.conn_class` of one driver."""
    return type("StorageConnection", (Connection,), {"ca": ca, "limits": limits})
