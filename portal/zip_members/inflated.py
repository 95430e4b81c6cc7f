"""A deflated member as a file to read: inflated while it is read, in constant memory."""

import hashlib
import io
import os
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Self

from portal.errors import Damaged

CHUNK = 256 << 10


class Inflated(io.RawIOBase):
    """`size` bytes from byte `begin` of what `packed`, read from its first byte to its end, inflates to.

    Reading backwards begins anew, so whoever jumps about copies it to a file first. Closes `packed` when it is closed.
    Reading raises Damaged where the packed bytes are not those of a deflated member of that size.
    """

    def __init__(self, packed: BinaryIO, begin: int, size: int) -> None:
        self._packed = packed
        self._begin = begin
        self.size = size
        self._at = 0
        self._restart()

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
        """Up to `size` bytes; fewer only at the end."""
        left = max(0, self.size - self._at)
        wanted = left if size is None or size < 0 else min(size, left)
        if not wanted:
            return b""
        position = self._begin + self._at
        if position < self._inflated:
            self._restart()
        while self._inflated < position:
            self._next(min(CHUNK, position - self._inflated))
        parts: list[bytes] = []
        while wanted:
            parts.append(self._next(min(CHUNK, wanted)))
            wanted -= len(parts[-1])
        self._at = self._inflated - self._begin
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def digest(self) -> str:
        """SHA-256 in hex of everything from the current position on."""
        digest = hashlib.sha256()
        while chunk := self.read(CHUNK):
            digest.update(chunk)
        return digest.hexdigest()

    def chunks(self) -> Iterator[bytes]:
        """Everything from the current position on; it is closed afterwards."""
        with self:
            while chunk := self.read(CHUNK):
                yield chunk

    def ends_here(self) -> bool:
        """Whether the packed bytes inflate to nothing more than was read so far."""
        while not self._inflater.eof:
            packed = self._inflater.unconsumed_tail or self._packed.read(CHUNK)
            if self._inflater.decompress(packed, 1) or not packed:
                return False
        return True

    def readall(self) -> bytes:
        return self.read()

    def close(self) -> None:
        if not self.closed:
            self._packed.close()
        super().close()

    def __enter__(self) -> Self:
        return self

    def _restart(self) -> None:
        self._packed.seek(0)
        self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        self._inflated = 0
        """Bytes that the inflater has given so far."""

    def _next(self, size: int) -> bytes:
        """Some of the next `size` bytes, at least one."""
        while True:
            packed = self._inflater.unconsumed_tail or self._packed.read(CHUNK)
            try:
                part = self._inflater.decompress(packed, size)
            except zlib.error as error:
                raise Damaged("A member of the zip cannot be inflated: its bytes are damaged.") from error
            if part:
                self._inflated += len(part)
                return part
            if self._inflater.eof or not packed:
                raise Damaged("A member of the zip is shorter than its directory says.")
