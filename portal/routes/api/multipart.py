"""Streaming of a multipart/form-data body (RFC 7578): never completely in memory, never in a temporary file."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flask import request
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest, ClientDisconnected, RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.http import parse_options_header

CHUNK_BYTES = 1 << 20
MAX_VALUE_BYTES = 1_000_000
"""Bytes of a part without a file name."""
MAX_PARTS = 100
_MAX_HEAD_BYTES = 1 << 16
_MAX_AROUND_BYTES = 1 << 20
"""Bytes before the first boundary, and behind the last one."""
_LONGEST_BOUNDARY = 200
_LONGEST_PADDING = 100
_OVERHEAD = 1 << 21
_MALFORMED = "The multipart body is malformed or incomplete. Send it again."
_CONTINUATION = re.compile(rb"\r\n[ \t]+")
_DELIMITER_END = re.compile(rb"--|[ \t]*\r\n")


@dataclass(frozen=True)
class Field:
    """A part without a file name, whole."""

    name: str
    value: bytes


@dataclass(frozen=True)
class FileHead:
    """The head of a file; its bytes follow."""

    name: str


def events(largest: int) -> Iterator[Field | FileHead | memoryview]:
    """Yield each field, and the head of each file and then its bytes; ends only after the closing boundary.

    A view of bytes holds until the next event.

    Raises 413 for a body with more than `largest` bytes of files, 415 and 400 for another or an incomplete body.
    """
    # The boundary is a line of its own: as if the body began behind the end of a line.
    body = _Body(b"\r\n--" + _boundary(), b"\r\n")
    request.max_content_length = largest + _OVERHEAD
    if (request.content_length or 0) > request.max_content_length:
        raise RequestEntityTooLarge
    left = largest
    for _ in body.until_delimiter(_MAX_AROUND_BYTES):
        pass
    for _ in range(MAX_PARTS):
        if body.is_last():
            body.drain(_MAX_AROUND_BYTES)
            return
        name, filename = _disposition(body.head())
        if filename is None:
            yield Field(name, b"".join(map(bytes, body.until_delimiter(MAX_VALUE_BYTES))))
            continue
        yield FileHead(filename)
        for chunk in body.until_delimiter(left):
            left -= len(chunk)
            yield chunk
    raise RequestEntityTooLarge


class _Body:
    """The body as far as it was read, and not used yet, in one buffer: what was yielded is gone with the next bytes."""

    def __init__(self, delimiter: bytes, waiting: bytes) -> None:
        self._delimiter = delimiter
        self._buffer = bytearray(CHUNK_BYTES + _MAX_HEAD_BYTES)
        self._view = memoryview(self._buffer)
        self._buffer[: len(waiting)] = waiting
        self._begin, self._end = 0, len(waiting)
        self._receive: Callable[[memoryview], int] = getattr(request.environ["wsgi.input"], "receive_into", _read_into)

    def until_delimiter(self, largest: int) -> Iterator[memoryview]:
        """The bytes up to the next delimiter, which is used up. Raises 413 for more than `largest`."""
        searched = 0
        while True:
            at = self._buffer.find(self._delimiter, self._begin + searched, self._end)
            if at >= 0:
                # Behind a delimiter are two hyphens or the end of its line; else it is a part of the content.
                ahead = at - self._begin + len(self._delimiter)
                self._need(ahead + _LONGEST_PADDING, required=False)
                if not _DELIMITER_END.match(self._buffer, self._begin + ahead, self._end):
                    searched = ahead
                    continue
            # Without a delimiter, the last bytes may be the beginning of one.
            whole = ahead - len(self._delimiter) if at >= 0 else max(searched, self._waiting - len(self._delimiter) + 1)
            size = max(0, whole)
            if size > largest:
                raise RequestEntityTooLarge
            largest -= size
            if size:
                yield self._view[self._begin : self._begin + size]
            self._begin += ahead if at >= 0 else size
            if at >= 0:
                return
            searched = 0
            self._need(self._waiting + 1)

    def is_last(self) -> bool:
        """Whether the delimiter that was used up closes the body; if not, its line is used up too."""
        if self._buffer.startswith(b"--", self._begin, self._end):
            return True
        self._begin = self._buffer.index(b"\r\n", self._begin, self._end)
        return False

    def head(self) -> bytes:
        """The header fields of a part."""
        while (at := self._buffer.find(b"\r\n\r\n", self._begin, self._end)) < 0:
            if self._waiting > _MAX_HEAD_BYTES:
                raise RequestEntityTooLarge
            self._need(self._waiting + 1)
        head = bytes(self._view[self._begin : at])
        self._begin = at + 4
        return head

    def drain(self, largest: int) -> None:
        """Read the rest of the body, which says nothing. Raises 413 for more than `largest` bytes."""
        size = self._waiting
        while received := _received(self._receive, self._view):
            size += received
            if size > largest:
                raise RequestEntityTooLarge

    @property
    def _waiting(self) -> int:
        return self._end - self._begin

    def _need(self, size: int, *, required: bool = True) -> None:
        """Read until `size` bytes wait. Raises 400 where the body has fewer, if they are required."""
        while self._waiting < size:
            if self._begin:
                waiting = bytes(self._view[self._begin : self._end])
                self._buffer[: len(waiting)] = waiting
                self._begin, self._end = 0, len(waiting)
            received = _received(self._receive, self._view[self._end :][:CHUNK_BYTES])
            self._end += received
            if not received:
                if required:
                    raise BadRequest(_MALFORMED)
                return


def _boundary() -> bytes:
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise UnsupportedMediaType("Send the file without a Content-Encoding.")
    boundary = request.mimetype_params.get("boundary", "")
    if request.mimetype != "multipart/form-data" or not boundary:
        raise UnsupportedMediaType("Send the file as a part of a multipart/form-data body.")
    if len(boundary) > _LONGEST_BOUNDARY or not (boundary.isascii() and boundary.isprintable()):
        raise BadRequest("The boundary of the multipart body is too long, or is not ASCII.")
    return boundary.encode()


def _disposition(head: bytes) -> tuple[str, str | None]:
    """Name and file name of a part; None for one that is no file (RFC 7578 4.2)."""
    try:
        for line in _CONTINUATION.sub(b" ", head).decode().split("\r\n"):
            name, _, value = line.partition(":")
            if name.strip().lower() == "content-disposition":
                options = parse_options_header(value.strip())[1]
                return options.get("name", ""), options.get("filename")
    except ValueError as error:
        raise BadRequest(_MALFORMED) from error
    raise BadRequest(_MALFORMED)


def _received(receive: Callable[[memoryview], int], buffer: memoryview) -> int:
    """The number of bytes that were put into the buffer; 0 at the end. Raises 400."""
    try:
        return receive(buffer)
    except OSError as error:
        raise ClientDisconnected("The body is incomplete. Send it again.") from error
    except ParseException as error:
        raise BadRequest("The chunked encoding of the body is malformed (RFC 9112 7.1). Send it again.") from error


def _read_into(buffer: memoryview) -> int:
    """For a server, or a body, that has no way of its own to do so."""
    chunk = request.stream.read(len(buffer))
    buffer[: len(chunk)] = chunk
    return len(chunk)
