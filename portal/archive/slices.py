"""A part of a segment, read like a file: from this disk, or from blocks of the bucket."""

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, Self

CHUNK = 1 << 20


class Source(Protocol):
    """What a slice reads from."""

    def read(self, size: int, at: int) -> bytes:
        """Some of the `size` bytes from `at`, at least one; none at the end."""

    def size(self) -> int:
        """All bytes of the source."""

    def close(self) -> None: ...


class _File:
    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def read(self, size: int, at: int) -> bytes:
        return os.pread(self._descriptor, min(size, 1 << 30), at)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def close(self) -> None:
        os.close(self._descriptor)


class Slice(io.RawIOBase):
    """`size` bytes from `offset` of a file. Any number of slices may share the file: each has its own position.

    For a segment that is only in the bucket, reading raises Unreachable while the bucket does not answer.
    """

    def __init__(self, source: Path | Source, offset: int, size: int) -> None:
        self._source = _File(source) if isinstance(source, Path) else source
        self._offset = offset
        self.size = size
        self._at = 0

    def is_whole(self) -> bool:
        """Whether the source has all bytes of the slice."""
        return self._source.size() >= self._offset + self.size

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
        """Up to `size` bytes; fewer only at the end, unlike the read of a raw file, which may return less."""
        left = max(0, self.size - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        parts = []
        while wanted > 0:
            part = self._source.read(wanted, self._offset + self._at)
            if not part:
                break
            parts.append(part)
            self._at += len(part)
            wanted -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def digest(self) -> str:
        """SHA-256 in hex of everything from the current position on."""
        digest = hashlib.sha256()
        while chunk := self.read(CHUNK):
            digest.update(chunk)
        return digest.hexdigest()

    def chunks(self) -> Iterator[bytes]:
        """Everything from the current position on; the slice is closed afterwards, also if the reader stops."""
        with self:
            while chunk := self.read(CHUNK):
                yield chunk

    def readall(self) -> bytes:
        return self.read()

    def close(self) -> None:
        # The garbage collector also closes a slice whose file could not be opened: it has no source.
        if not self.closed and hasattr(self, "_source"):
            self._source.close()
        super().close()

    def __enter__(self) -> Self:
        return self
