"""Cached blocks of segments that are only in the bucket: bounded, and safe to delete."""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

TRIM_DIVISOR = 16
"""The cache is trimmed each time that this fraction of the blocks that fit has been written."""
MAX_WRITES_BETWEEN_TRIMS = 64


class BlockCache:
    """A folder that any number of processes read and write at once; the least recently read blocks are dropped first.

    The caller compares what it gets with the digest that it knows: a cached file may be damaged.
    """

    def __init__(self, folder: Path, limit: int, *, block: int, has_room: Callable[[], bool] = lambda: True) -> None:
        self._folder = folder
        self._has_room = has_room
        self._writes_between_trims = max(1, min(MAX_WRITES_BETWEEN_TRIMS, limit // block // TRIM_DIVISOR))
        self._written = 0
        self.limit = limit
        """Bytes of all blocks in total."""

    def get(self, segment: str, number: int) -> bytes | None:
        path = self._path(segment, number)
        try:
            content = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return content

    def put(self, segment: str, number: int, content: bytes) -> None:
        """Keep a block, if the disk takes it: a full disk must not keep anybody from reading."""
        if not self._has_room():
            return
        part = self._folder / f"{secrets.token_hex(8)}.part"
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            part.write_bytes(content)
            part.replace(self._path(segment, number))
        except OSError:
            part.unlink(missing_ok=True)
            return
        self._written += 1
        if self._written % self._writes_between_trims == 0:
            self.trim(self.limit)

    def remove(self, segment: str, number: int) -> None:
        self._path(segment, number).unlink(missing_ok=True)

    def size(self) -> int:
        """Bytes of all cached blocks."""
        return sum(size for _, size, _ in self._list())

    def trim(self, limit: int) -> int:
        """Delete the least recently read blocks until the rest fits; returns how many were deleted."""
        blocks = sorted(self._list())
        left, deleted = sum(size for _, size, _ in blocks), 0
        for _, size, path in blocks:
            if left <= limit:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)
            left, deleted = left - size, deleted + 1
        return deleted

    def _list(self) -> Iterator[tuple[float, int, str]]:
        """Time of the last read, size and path of each; `.part` files that a kill left behind are included."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if entry.is_file():
                        yield status.st_mtime, status.st_size, entry.path

    def _path(self, segment: str, number: int) -> Path:
        return self._folder / f"{segment}.{number}"
