"""Blocks of segments that lie elsewhere, kept on this disk for a while: bounded, and safe to delete."""

import contextlib
import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

TRIM_DIVISOR = 16
"""As many blocks as fit, divided by this, are written between two looks at how many there are."""
MAX_WRITES_BETWEEN_TRIMS = 64


class BlockCache:
    """A folder that any number of processes read and write at once; what was read longest ago goes first.

    What comes back is what a file holds: whoever asked compares it with the digest that it knows.
    """

    def __init__(self, folder: Path, limit: int, *, block: int, has_room: Callable[[], bool] = lambda: True) -> None:
        self._folder = folder
        self._has_room = has_room
        self._between = max(1, min(MAX_WRITES_BETWEEN_TRIMS, limit // block // TRIM_DIVISOR))
        self._written = 0
        self.limit = limit
        """Bytes of all blocks together."""

    def get(self, segment: str, number: int) -> bytes | None:
        path = self._path(segment, number)
        try:
            found = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return found

    def put(self, segment: str, number: int, content: bytes) -> None:
        """A cache that cannot be written, on a full disk for one, is no reason to read nothing."""
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
        if self._written % self._between == 0:
            self.trim(self.limit)

    def drop(self, segment: str, number: int) -> None:
        self._path(segment, number).unlink(missing_ok=True)

    def size(self) -> int:
        """Bytes that they take."""
        return sum(size for _, size, _ in self._every())

    def trim(self, limit: int) -> int:
        """Drop what was read longest ago until the rest fits; returns how many went."""
        found = sorted(self._every())
        left, gone = sum(size for _, size, _ in found), 0
        for _, size, path in found:
            if left <= limit:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)
            left, gone = left - size, gone + 1
        return gone

    def _every(self) -> Iterator[tuple[float, int, str]]:
        """When each was read last, its size and its path; parts that a kill left behind are among them."""
        with contextlib.suppress(FileNotFoundError), os.scandir(self._folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    told = entry.stat(follow_symlinks=False)
                    if entry.is_file():
                        yield told.st_mtime, told.st_size, entry.path

    def _path(self, segment: str, number: int) -> Path:
        return self._folder / f"{segment}.{number}"
