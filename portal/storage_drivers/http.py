"""HTTP to object stores: one request and its answer, with time-outs, and the network's errors translated."""

import base64
import contextlib
import email.utils
import hashlib
import http.client
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import requests
import urllib3

from portal.errors import BadValue, Damaged, PortalError, Unreachable
from portal.storage_drivers.store import CHUNK_SIZE, MIB, Body, Interrupted

CONNECT_SECONDS = 10.0
READ_SECONDS = 30.0
MAX_BODY_SIZE = 16 * MIB
"""Bytes of an answer that is no object: a page of a list, an error."""


@dataclass(frozen=True)
class Timeouts:
    """Seconds to wait for a connection, and for the next bytes of an answer."""

    connect: float = CONNECT_SECONDS
    read: float = READ_SECONDS


def send(session: requests.Session, request: requests.Request, timeouts: Timeouts) -> requests.Response:
    """Send one request; the answer's body is not read yet. Redirects are not followed. Raises as `Store` says."""
    url = urllib3.util.parse_url(str(request.url))
    with translated_errors(f"{url.host}:{url.port}", timeouts):
        prepared = session.prepare_request(request)
        answer = session.send(
            prepared, stream=True, allow_redirects=False, timeout=(timeouts.connect, timeouts.read), verify=True
        )
        prepared.body = None  # the answer keeps its request, and with it megabytes
        return answer


def read_body(response: requests.Response, timeouts: Timeouts, max_size: int = MAX_BODY_SIZE) -> bytes:
    """The whole of an answer that is no object. Raises Interrupted for half of one, Unreachable for too much."""
    body = bytearray()
    for chunk in stream_body(response, timeouts):
        body += chunk
        if len(body) > max_size:
            raise Unreachable("The answer of the storage is too long. Check the endpoint.", permanent=True)
    return bytes(body)


def read_error_body(response: requests.Response, timeouts: Timeouts) -> bytes:
    """The body of an answer that refuses something; empty where it is interrupted."""
    try:
        return read_body(response, timeouts)
    except Interrupted:
        return b""


def drain(response: requests.Response, timeouts: Timeouts) -> None:
    """Read the rest of an answer that is not needed, so that its connection serves the next request."""
    with contextlib.suppress(Unreachable):
        read_body(response, timeouts)


def stream_body(response: requests.Response, timeouts: Timeouts) -> Iterator[bytes]:
    """The body of an answer as it arrives. Raises Interrupted where it ends early."""
    url = urllib3.util.parse_url(str(response.url))
    with contextlib.closing(response), translated_errors(f"{url.host}:{url.port}", timeouts):
        while True:
            chunk = response.raw.read(CHUNK_SIZE, decode_content=False)
            if not chunk:
                return
            yield chunk


def object_content(
    response: requests.Response, timeouts: Timeouts, failure: Callable[[], PortalError], *, is_range: bool
) -> Iterator[bytes]:
    """The bytes of an object, or of the requested range; none where the object ends before the range begins.

    Raises what `failure` makes of a refusal; Damaged where a whole object comes for a range.
    """
    if response.status_code == 416:
        drain(response, timeouts)
        return
    if response.status_code not in (200, 206):
        raise failure()
    if is_range and response.status_code == 200:
        response.close()
        raise Damaged("The storage sends a whole object where a range was requested. Do not use it.")
    yield from stream_body(response, timeouts)


def range_header(offset: int, size: int | None) -> str:
    """The value of a Range header for these bytes (RFC 9110, 14.1.2); empty for the whole object."""
    if not offset and size is None:
        return ""
    return f"bytes={offset}-{'' if size is None else offset + size - 1}"


def content_md5(body: Body) -> str:
    """The value of a Content-MD5 header."""
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


def retry_after(response: requests.Response) -> float:
    """For how many seconds the server asks us to wait (RFC 9110, 10.2.3), or 0."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:6])
    try:
        retry_at = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, retry_at.timestamp() - time.time())


@contextlib.contextmanager
def translated_errors(address: str, timeouts: Timeouts) -> Iterator[None]:
    """Raise the network's errors as ours; `address` is host and port."""
    handled = sys.exception()
    try:
        yield
    except (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as error:
        raise translate_error(error, address, timeouts, handled) from error
    except UnicodeError as error:
        raise BadValue(f"{address[:100]!r} is not a valid server name.", field="endpoint") from error


def translate_error(
    error: BaseException, address: str, timeouts: Timeouts, handled: BaseException | None = None
) -> PortalError:
    """What an error of the network means for the person who chose the endpoint.

    `handled` is an exception that was handled before: Python makes it the context of all that are raised meanwhile.
    """
    causes = list(_causes(error, handled))
    host, _colon, port = address.rpartition(":")
    if own := next((cause for cause in causes if isinstance(cause, PortalError)), None):
        return own
    if tls := next((cause for cause in causes if isinstance(cause, ssl.SSLError)), None):
        return _translate_tls_error(tls, host, port)
    if any(isinstance(cause, (socket.gaierror, urllib3.exceptions.NameResolutionError)) for cause in causes):
        return Unreachable(f"The name {host} cannot be resolved. Check the endpoint, and the name server of this host.")
    if any(isinstance(cause, ConnectionRefusedError) for cause in causes):
        return Unreachable(f"{host} refuses connections on port {port}. Check the port, and that the store runs.")
    if any(isinstance(cause, (requests.ConnectTimeout, urllib3.exceptions.ConnectTimeoutError)) for cause in causes):
        seconds = f"{timeouts.connect:g} s"
        return Unreachable(f"{host} does not answer on port {port} within {seconds}. Check network and firewall.")
    if any(isinstance(cause, (TimeoutError, urllib3.exceptions.ReadTimeoutError)) for cause in causes):
        return Interrupted(f"{address} accepted the connection, but sent nothing for {timeouts.read:g} s.")
    if any(isinstance(cause, urllib3.exceptions.NewConnectionError) for cause in causes):
        reason = next((cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), "no route")
        return Unreachable(f"{host} cannot be reached on port {port}: {reason}. Check network and firewall.")
    return Interrupted(f"{address} closed the connection in the middle of an answer.")


def _translate_tls_error(error: ssl.SSLError, host: str, port: str) -> PortalError:
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
        message = f"The certificate of {host} is refused: {getattr(error, 'verify_message', '') or ''}."
    elif error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
        message = f"{host} does not speak TLS on port {port}. Check the port, or use http:// for the endpoint."
    elif isinstance(error, ssl.SSLEOFError):
        return Interrupted(f"{host}:{port} closed the connection.")
    else:
        message = f"TLS with {host} fails: {(error.reason or 'unknown reason').replace('_', ' ').lower()}."
    return Unreachable(message, permanent=True)


def _causes(error: BaseException, handled: BaseException | None) -> Iterator[BaseException]:
    """The error and all that is wrapped in it, but for what was handled before."""
    seen: list[BaseException | None] = [handled]
    to_visit = [error]
    while to_visit:
        this = to_visit.pop(0)
        if this in seen:
            continue
        seen.append(this)
        yield this
        wrapped = [this.__cause__, this.__context__, getattr(this, "reason", None), *this.args]
        to_visit += [cause for cause in wrapped if isinstance(cause, BaseException)]
