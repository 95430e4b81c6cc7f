"""A part of a segment, read like a file: from this disk, or from blocks of the bucket."""

import os
from pathlib import Path
from typing import Protocol

from portal.content_reader import CHUNK, ContentReader

__all__ = ["CHUNK", "Slice", "Source"]


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


class Slice(ContentReader):
    """`size` bytes from `offset` of a file. Any number of slices may share the file: each has its own position.

    For a segment that is only in the bucket, reading raises Unreachable while the bucket does not answer.
    """

    def __init__(self, source: Path | Source, offset: int, size: int) -> None:
        self._source = _File(source) if isinstance(source, Path) else source
        self._offset = offset
        super().__init__(size)

    def is_whole(self) -> bool:
        """Whether the source has all bytes of the slice."""
        return self._source.size() >= self._offset + self.size

    def close(self) -> None:
        # The garbage collector also closes a slice whose file could not be opened: it has no source.
        if not self.closed and hasattr(self, "_source"):
            self._source.close()
        super().close()

    def read_at(self, at: int, size: int) -> bytes:
        parts = []
        while size > 0:
            part = self._source.read(size, self._offset + at)
            if not part:
                break
            parts.append(part)
            at += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)
