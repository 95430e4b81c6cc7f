"""What all readers of a content of known size have in common: a position, and how they are read from it."""

import hashlib
import io
import os
from collections.abc import Iterator
from typing import Any, Self

CHUNK = 1 << 20


class ContentReader(io.RawIOBase):
    """`size` bytes, read from any position; a subclass gives them in `read_at`."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError("a position before the first byte")
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` bytes; most readers give fewer only at the end, unlike other raw files."""
        left = max(0, self.size - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        part = self.read_at(self._at, wanted) if wanted else b""
        self._at += len(part)
        return part

    def readall(self) -> bytes:
        return b"".join(iter(self.read, b""))

    def readinto(self, buffer: Any) -> int:
        part = self.read(len(buffer))
        buffer[: len(part)] = part
        return len(part)

    def digest(self) -> str:
        """SHA-256 in hex of everything from the current position on."""
        digest = hashlib.sha256()
        while chunk := self.read(CHUNK):
            digest.update(chunk)
        return digest.hexdigest()

    def chunks(self) -> Iterator[bytes]:
        """Everything from the current position on; it is closed afterwards, also if the reader stops."""
        with self:
            while chunk := self.read(CHUNK):
                yield chunk

    def __enter__(self) -> Self:
        return self

    def read_at(self, at: int, size: int) -> bytes:
        """Some of the `size` bytes at `at`, none of them beyond the end."""
        raise NotImplementedError
