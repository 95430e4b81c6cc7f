"""A deflated member as a file to read: inflated while it is read, in constant memory."""

import zlib
from typing import BinaryIO

from portal.content_reader import ContentReader
from portal.errors import Damaged

CHUNK = 256 << 10


class Inflated(ContentReader):
    """`size` bytes from byte `begin` of what `packed`, read from its first byte to its end, inflates to.

    Reading backwards begins anew, so whoever jumps about copies it to a file first. Closes `packed` when it is closed.
    Reading raises Damaged where the packed bytes are not those of a deflated member of that size.
    """

    def __init__(self, packed: BinaryIO, begin: int, size: int) -> None:
        super().__init__(size)
        self._packed = packed
        self._begin = begin
        self._restart()

    def ends_here(self) -> bool:
        """Whether the packed bytes inflate to nothing more than was read so far."""
        while not self._inflater.eof:
            packed = self._inflater.unconsumed_tail or self._packed.read(CHUNK)
            if self._inflater.decompress(packed, 1) or not packed:
                return False
        return True

    def close(self) -> None:
        if not self.closed:
            self._packed.close()
        super().close()

    def read_at(self, at: int, size: int) -> bytes:
        position = self._begin + at
        if position < self._inflated:
            self._restart()
        while self._inflated < position:
            self._next(min(CHUNK, position - self._inflated))
        parts: list[bytes] = []
        while size:
            parts.append(self._next(min(CHUNK, size)))
            size -= len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

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
