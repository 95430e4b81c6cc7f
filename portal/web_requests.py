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
END = b"\r\n\r\n"

_TRANSFER_PATH = re.compile(r"/api/[^/]+/[^/]+/files(/.*)?|/data/.+/(download|zip)|.+\.jsonl", re.DOTALL)
_CSV = re.compile(r"(^|&)format=csv(&|$)")


@dataclass(frozen=True, kw_only=True)
class Request:
    """A request whose head has come whole."""

    is_transfer: bool
    """It may take as long as its bytes need: a file up or down, or a list as a file."""
    size: int
    """Bytes of the head and of the body; of a body of unknown length nothing is awaited."""


def parse(received: bytearray) -> Request | None:
    """The request that these bytes begin with; None while its head is not whole.

    A body of unknown length, one that is larger than a form may be, and one that waits for our 100 (Continue) make a
    transfer of the request: its thread reads them from the network.
    """
    end = received.find(END)
    if end < 0:
        return None
    line, *lines = received[:end].decode("latin-1").lstrip("\r\n").split("\r\n")
    headers = dict(_header(text) for text in lines)
    size = _length(headers)
    is_whole = size is not None and size <= MAX_BODY and "expect" not in headers
    is_transfer = not is_whole or _is_transfer(line)
    return Request(is_transfer=is_transfer, size=end + len(END) + (0 if is_transfer else size or 0))


def _header(text: str) -> tuple[str, str]:
    name, _, value = text.partition(":")
    return name.strip().lower(), value.strip()


def _length(headers: dict[str, str]) -> int | None:
    """Bytes of the body; None where the headers do not say it in a way that leaves no doubt."""
    text = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not text.isascii() or not text.isdecimal() or len(text) > 18:
        return None
    return int(text)


def _is_transfer(line: str) -> bool:
    """Whether the request line names a file or a list as a file; decoded, as the application will read it."""
    words = line.split(" ")
    try:
        target = urlsplit(words[1] if len(words) > 1 else "")
    except ValueError:
        return False
    return bool(_TRANSFER_PATH.fullmatch(unquote(target.path)) or _CSV.search(unquote(target.query)))
