"""Streaming of a multipart/form-data body (RFC 7578): never completely in memory, never in a temporary file."""

import re
from collections.abc import Iterator
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

    Raises 413 for a body with more than `largest` bytes of files, 415 and 400 for another or an incomplete body.
    """
    # The boundary is a line of its own: as if the body began behind the end of a line.
    body = _Body(b"\r\n--" + _boundary(), b"\r\n")
    request.max_content_length = largest + _OVERHEAD
    left = largest
    for _ in body.until_delimiter(_MAX_AROUND_BYTES):
        pass
    for _ in range(MAX_PARTS):
        if body.is_last():
            body.drain(_MAX_AROUND_BYTES)
            return
        name, filename = _disposition(body.head())
        if filename is None:
            yield Field(name, b"".join(body.until_delimiter(MAX_VALUE_BYTES)))
            continue
        yield FileHead(filename)
        for chunk in body.until_delimiter(left):
            left -= len(chunk)
            yield chunk
    raise RequestEntityTooLarge


class _Body:
    """The body as far as it was read, and not used yet."""

    def __init__(self, delimiter: bytes, waiting: bytes) -> None:
        self._delimiter, self._waiting = delimiter, waiting

    def until_delimiter(self, largest: int) -> Iterator[memoryview]:
        """The bytes up to the next delimiter, which is used up. Raises 413 for more than `largest`."""
        begin = 0
        while True:
            at = self._waiting.find(self._delimiter, begin)
            if at >= 0:
                # Behind a delimiter are two hyphens or the end of its line; else it is a part of the content.
                self._need(at + len(self._delimiter) + _LONGEST_PADDING, required=False)
                after = at + len(self._delimiter)
                if not _DELIMITER_END.match(self._waiting, after):
                    begin = after
                    continue
            # Without a delimiter, the last bytes may be the beginning of one.
            end = at if at >= 0 else max(0, len(self._waiting) - len(self._delimiter) + 1, begin)
            if end > largest:
                raise RequestEntityTooLarge
            largest -= end
            if end:
                yield memoryview(self._waiting)[:end]
            self._waiting = self._waiting[after if at >= 0 else end :]
            if at >= 0:
                return
            begin = 0
            self._need(len(self._waiting) + 1)

    def is_last(self) -> bool:
        """Whether the delimiter that was used up closes the body; if not, its line is used up too."""
        if self._waiting.startswith(b"--"):
            return True
        self._waiting = self._waiting[self._waiting.index(b"\r\n") :]
        return False

    def head(self) -> bytes:
        """The header fields of a part."""
        while (end := self._waiting.find(b"\r\n\r\n")) < 0:
            if len(self._waiting) > _MAX_HEAD_BYTES:
                raise RequestEntityTooLarge
            self._need(len(self._waiting) + 1)
        head, self._waiting = self._waiting[:end], self._waiting[end + 4 :]
        return head

    def drain(self, largest: int) -> None:
        """Read the rest of the body, which says nothing. Raises 413 for more than `largest` bytes."""
        size = len(self._waiting)
        while chunk := _read():
            size += len(chunk)
            if size > largest:
                raise RequestEntityTooLarge

    def _need(self, size: int, *, required: bool = True) -> None:
        """Read until `size` bytes wait. Raises 400 where the body has fewer, if they are required."""
        while len(self._waiting) < size:
            chunk = _read()
            if not chunk:
                if required:
                    raise BadRequest(_MALFORMED)
                return
            self._waiting += chunk


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


def _read() -> bytes:
    try:
        return request.stream.read(CHUNK_BYTES)
    except OSError as error:
        raise ClientDisconnected("The body is incomplete. Send it again.") from error
    except ParseException as error:
        raise BadRequest("The chunked encoding of the body is malformed (RFC 9112 7.1). Send it again.") from error
