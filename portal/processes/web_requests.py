"""What is read of a request before a thread handles it: where it ends, and whether it is a transfer.

How the request is framed and whether it is valid is decided by gunicorn's parser alone, on the same bytes.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

MAX_HEAD = 32 << 10
"""Bytes of a request line with its headers."""
MAX_BODY = 1 << 20
"""Bytes of a body that is received into memory; forms and JSON are smaller, files are transfers."""
HEAD_END = b"\r\n\r\n"
BAD_REQUEST, REQUEST_TIMEOUT, CONTENT_TOO_LARGE = "400 Bad Request", "408 Request Timeout", "413 Content Too Large"
HEAD_TOO_LARGE, UNAVAILABLE = "431 Request Header Fields Too Large", "503 Service Unavailable"

_TRANSFER_PATH = re.compile(r"/api/[^/]+/[^/]+/files(/.*)?|/api/download|/data/.+/(download|zip)|.+\.jsonl", re.DOTALL)
_HEX = re.compile(rb"[0-9A-Fa-f]{1,8}")
_MAX_SIZE_LINE = 1024
_CSV = re.compile(r"(^|&)format=(csv|jsonl)(&|$)")


@dataclass(kw_only=True)
class Request:
    """A request whose head is complete."""

    is_transfer: bool
    """It may take as long as its bytes need: an upload, a download, or a list as a file."""
    expects: bool
    """Its body is sent after our 100 (Continue)."""
    is_chunked: bool
    """More chunks follow."""
    end: int
    """Where it ends among the bytes of its connection, or where its next chunk begins."""

    def is_whole(self, received: bytearray) -> bool:
        """Whether all bytes are there that its thread would read; continues where the last call stopped.

        Raises ValueError for broken chunks (RFC 9112 7.1): the application would fail when it reads them.
        """
        while self.is_chunked:
            line = received.find(b"\r\n", self.end, self.end + _MAX_SIZE_LINE)
            if line < 0:
                return False
            digits = bytes(received[self.end : line].partition(b";")[0].rstrip(b" \t"))
            if not _HEX.fullmatch(digits):
                raise ValueError("a chunk does not say its size")
            size = int(digits, 16)
            last = line + 2 + size if size else received.find(HEAD_END, line) + 2
            if last < line + 2 or len(received) < last + 2:
                return False  # the chunk, or the trailer after the last one, is not complete
            if received[last : last + 2] != b"\r\n":
                raise ValueError("a chunk is longer than it says")
            self.is_chunked, self.end = size > 0, last + 2
        return len(received) >= self.end


def parse(received: bytearray) -> Request | None:
    """The request that these bytes begin with; None while its head is not complete.

    A body that is larger than a form may be, or has no readable length, counts as a transfer: the application refuses
    it without reading it.
    """
    end = received.find(HEAD_END)
    if end < 0:
        return None
    line, *lines = received[:end].decode("latin-1").lstrip("\r\n").split("\r\n")
    headers = [(name.strip().lower(), value.strip()) for name, _, value in (text.partition(":") for text in lines)]
    names = {name for name, _ in headers}

    # No length can be read that is not a number, or is given twice (RFC 9112 6.3).
    length: int | None = None
    is_chunked = "transfer-encoding" in names
    values = [value for name, value in headers if name == "content-length" and not is_chunked] or ["0"]
    if len(values) == 1 and values[0].isascii() and values[0].isdecimal() and len(values[0]) < 18:
        length = int(values[0])

    # The path names a file, or a list as a file; it is decoded as the application will decode it.
    words = line.split(" ")
    try:
        target = urlsplit(words[1] if len(words) > 1 else "")
        names_file = _TRANSFER_PATH.fullmatch(unquote(target.path)) or _CSV.search(unquote(target.query))
    except ValueError:
        names_file = None
    return Request(
        is_transfer=length is None or length > MAX_BODY or bool(names_file),
        expects="expect" in names,
        is_chunked=is_chunked,
        end=end + len(HEAD_END) + (length or 0),
    )


def refusal(status: str) -> bytes:
    """A response with only a status, after which the connection is closed."""
    return f"HTTP/1.1 {status}\r\nConnection: close\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n".encode()
