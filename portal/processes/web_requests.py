"""What is known of a request before a thread is taken for it: where it ends, and whether it is a transfer.

How the request is framed and whether it is valid is decided by gunicorn's parser alone, on the same bytes.
"""

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

MAX_HEAD = 32 << 10
"""Bytes of a request line with its headers."""
MAX_BODY = 1 << 20
"""Bytes of a body that is awaited in memory; forms and JSON are smaller, files are transfers."""
HEAD_END = b"\r\n\r\n"
BAD_REQUEST, REQUEST_TIMEOUT, CONTENT_TOO_LARGE = "400 Bad Request", "408 Request Timeout", "413 Content Too Large"
HEAD_TOO_LARGE, UNAVAILABLE = "431 Request Header Fields Too Large", "503 Service Unavailable"

_TRANSFER_PATH = re.compile(r"/api/[^/]+/[^/]+/files(/.*)?|/data/.+/(download|zip)|.+\.jsonl", re.DOTALL)
_HEX = re.compile(rb"[0-9A-Fa-f]{1,8}")
_MAX_SIZE_LINE = 1024
_CSV = re.compile(r"(^|&)format=csv(&|$)")


@dataclass(kw_only=True)
class Request:
    """A request whose head has come whole."""

    is_transfer: bool
    """It may take as long as its bytes need: a file up or down, or a list as a file."""
    expects: bool
    """Its body is sent after our 100 (Continue)."""
    is_chunked: bool
    """Further chunks follow."""
    end: int
    """Where it ends among the bytes of its connection, or where its next chunk begins."""

    def is_whole(self, received: bytearray) -> bool:
        """Whether all has come that its thread would read; goes on where it stopped the last time.

        Raises ValueError where chunks are broken (RFC 9112 7.1): reading them, the application would fail.
        """
        while self.is_chunked:
            line = received.find(b"\r\n", self.end, self.end + _MAX_SIZE_LINE)
            if line < 0:
                return False
            size = _chunk_size(received[self.end : line])
            last = line + 2 + size if size else received.find(HEAD_END, line) + 2
            if last < line + 2 or len(received) < last + 2:
                return False  # the chunk, or what follows the last one, has not come whole
            if received[last : last + 2] != b"\r\n":
                raise ValueError("a chunk is longer than it says")
            self.is_chunked, self.end = size > 0, last + 2
        return len(received) >= self.end


def parse(received: bytearray) -> Request | None:
    """The request that these bytes begin with; None while its head is not whole.

    A body that is larger than a form may be, or of a length that cannot be read, is refused by the application without
    being read: a transfer's thread does that.
    """
    end = received.find(HEAD_END)
    if end < 0:
        return None
    line, *lines = received[:end].decode("latin-1").lstrip("\r\n").split("\r\n")
    headers = [_header(text) for text in lines]
    names = {name for name, _ in headers}
    length = 0 if "transfer-encoding" in names else _length(headers)
    is_transfer = length is None or length > MAX_BODY or _is_transfer(line)
    return Request(
        is_transfer=is_transfer,
        expects="expect" in names,
        is_chunked="transfer-encoding" in names,
        end=end + len(HEAD_END) + (length or 0),
    )


def _header(text: str) -> tuple[str, str]:
    name, _, value = text.partition(":")
    return name.strip().lower(), value.strip()


def _length(headers: list[tuple[str, str]]) -> int | None:
    """Bytes of a body that is not in chunks; None for what is no number, or told twice (RFC 9112 6.3)."""
    told = [value for name, value in headers if name == "content-length"] or ["0"]
    return int(told[0]) if len(told) == 1 and told[0].isascii() and told[0].isdecimal() and len(told[0]) < 18 else None


def _chunk_size(line: bytearray) -> int:
    """Bytes of a chunk; raises ValueError."""
    text = bytes(line.partition(b";")[0].rstrip(b" \t"))
    if not _HEX.fullmatch(text):
        raise ValueError("a chunk does not say its size")
    return int(text, 16)


def _is_transfer(line: str) -> bool:
    """Whether the request line names a file or a list as a file; decoded, as the application will read it."""
    words = line.split(" ")
    try:
        target = urlsplit(words[1] if len(words) > 1 else "")
    except ValueError:
        return False
    return bool(_TRANSFER_PATH.fullmatch(unquote(target.path)) or _CSV.search(unquote(target.query)))


def refusal(status: str) -> bytes:
    """An answer with a status alone, after which the connection is closed."""
    return f"HTTP/1.1 {status}\r\nConnection: close\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n".encode()
