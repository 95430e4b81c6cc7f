"""Large objects in parts: cut from a stream, and some of them on their way at once, whichever objects they are of."""

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from portal.storage_drivers.store import Part

T = TypeVar("T")


class Buffers:
    """Memory of parts that is used again: to get new pages costs as much as to fill them."""

    def __init__(self) -> None:
        self._free: list[bytearray] = []

    def take(self, length: int) -> bytearray:
        """One of at least so many bytes, with whatever is in it."""
        try:
            buffer = self._free.pop()
        except IndexError:
            return bytearray(length)
        return buffer if len(buffer) >= length else bytearray(length)

    def give_back(self, part: Part) -> None:
        """Nobody looks at the part any more."""
        if isinstance(part.body.obj, bytearray):
            self._free.append(part.body.obj)


class Parts(Iterator[Part]):
    """The chunks of an object as parts of one length, the last one shorter; that comes once the chunks ended well.

    Chunks that are not of `size` bytes in all must raise before their end. With `digests` each part has its own, made
    of each chunk while that is still in the processor's cache. No generator: that would hold each part until it is
    asked for the next one, and they are large.
    """

    def __init__(self, chunks: Iterable[bytes], *, size: int, length: int, digests: bool, buffers: Buffers) -> None:
        self._chunks = iter(chunks)
        self._size, self._length = size, length
        self._digests, self._buffers = digests, buffers
        self._left = memoryview(b"")
        self._number = self._offset = 0

    def __next__(self) -> Part:
        if self._offset == self._size:
            raise StopIteration
        body, digest = self._body(min(self._length, self._size - self._offset))
        part = Part(self._number, self._offset, body, digest)
        self._number, self._offset = self._number + 1, self._offset + len(body)
        if self._offset == self._size:
            next(self._chunks, None)
        return part

    def _body(self, length: int) -> tuple[memoryview, str]:
        body = memoryview(self._buffers.take(length))[:length]
        running = hashlib.sha256()
        at = 0
        while at < length:
            self._left = self._left or memoryview(next(self._chunks))
            piece, self._left = self._left[: length - at], self._left[length - at :]
            body[at : at + len(piece)] = piece
            if self._digests:
                running.update(piece)
            at += len(piece)
        return body, running.hexdigest() if self._digests else ""


class PartSender:
    """As many parts at once as there are lanes. A part is made only once one is free for it: no others wait in memory.

    Any number of threads may send by the same lanes.
    """

    def __init__(self, number: int) -> None:
        self._pool = ThreadPoolExecutor(number, thread_name_prefix="lane")
        self._open = number
        self._taken = 0
        self._changed = threading.Condition()

    def open(self, number: int) -> None:
        """From now on no more parts at once than this, and never more than there are lanes."""
        if number != self._open:
            with self._changed:
                self._open = number
                self._changed.notify_all()

    def send(self, parts: Iterator[T], send: Callable[[T], None]) -> None:
        """Send all parts of one object. Returns, or raises what the first of them met, when none is under way."""
        under_way: set[Future[None]] = set()
        try:
            while self._start(parts, send, under_way):
                _drop_sent(under_way)
        finally:
            wait(under_way)
        _drop_sent(under_way)

    def _start(self, parts: Iterator[T], send: Callable[[T], None], under_way: "set[Future[None]]") -> bool:
        """Make the next part and begin to send it; whether there was one."""
        self._take()
        try:
            sending = self._pool.submit(send, next(parts))
        except BaseException as error:
            self._give_back()
            if isinstance(error, StopIteration):
                return False
            raise
        sending.add_done_callback(lambda _sent: self._give_back())
        under_way.add(sending)
        return True

    def _take(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._taken < self._open)
            self._taken += 1

    def _give_back(self) -> None:
        with self._changed:
            self._taken -= 1
            self._changed.notify_all()


def _drop_sent(under_way: "set[Future[None]]") -> None:
    """Raises what one of them has met."""
    for part in [part for part in under_way if part.done()]:
        part.result()
        under_way.remove(part)
