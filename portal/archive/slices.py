"""A stretch of a file, read as a file of its own."""

import hashlib
import io
import os
from pathlib import Path
from typing import Self

CHUNK = 1 << 20


class Slice(io.RawIOBase):
    """`size` bytes from `offset` of a file. Any number of readers may share the file; none moves another's place."""

    def __init__(self, path: Path, offset: int, size: int) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._offset = offset
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError("a place before the first byte")
        self._at = base + offset
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """Up to `size` bytes; fewer only at the end, unlike a raw file's read, which may be cut short."""
        left = max(0, self._size - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        parts = []
        while wanted > 0:
            part = os.pread(self._descriptor, min(wanted, 1 << 30), self._offset + self._at)
            if not part:
                break
            parts.append(part)
            self._at += len(part)
            wanted -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def digest(self) -> str:
        """SHA-256 in hex of everything from here on."""
        digest = hashlib.sha256()
        while chunk := self.read(CHUNK):
            digest.update(chunk)
        return digest.hexdigest()

    def readall(self) -> bytes:
        return self.read()

    def close(self) -> None:
        if not self.closed:
            os.close(self._descriptor)
        super().close()

    def __enter__(self) -> Self:
        return self
