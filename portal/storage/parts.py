"""Large objects in parts: cut from a stream, and some of them on their way at once, whichever objects they are of."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from portal.storage.store import Body

Part = tuple[int, int, Body]
"""Number, offset and bytes of a part of an object."""

T = TypeVar("T")


class Parts(Iterator[Part]):
    """The chunks of an object as parts of one length, the last one shorter; that comes once the chunks ended well.

    Chunks that are not of `size` bytes in all must raise before their end. No generator: that would hold each part
    until it is asked for the next one, and they are large.
    """

    def __init__(self, chunks: Iterable[bytes], *, size: int, length: int) -> None:
        self._chunks = iter(chunks)
        self._size, self._length = size, length
        self._left = memoryview(b"")
        self._number = self._offset = 0

    def __next__(self) -> Part:
        if self._offset == self._size:
            raise StopIteration
        body = self._body(min(self._length, self._size - self._offset))
        part = self._number, self._offset, body
        self._number, self._offset = self._number + 1, self._offset + len(body)
        if self._offset == self._size:
            next(self._chunks, None)
        return part

    def _body(self, length: int) -> Body:
        """The next bytes: a piece of a chunk where that is long enough, else copied together."""
        if not self._left:
            self._left = memoryview(next(self._chunks))
        if len(self._left) >= length:
            return self._cut(length)
        body = bytearray(length)
        at = 0
        while at < length:
            self._left = self._left or memoryview(next(self._chunks))
            piece = self._cut(length - at)
            body[at : at + len(piece)] = piece
            at += len(piece)
        return body

    def _cut(self, most: int) -> memoryview:
        piece, self._left = self._left[:most], self._left[most:]
        return piece


class Lanes:
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
