"""Large objects in parts: cut from a stream, and several of them sent at once, of one object or of many."""

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

from portal.storage_drivers.store import Part

T = TypeVar("T")


class Buffers:
    """Memory of parts that is reused: new pages cost as much as filling them."""

    def __init__(self) -> None:
        self._free: list[bytearray] = []

    def take(self, length: int) -> bytearray:
        """A buffer of at least so many bytes, with whatever is in it."""
        try:
            buffer = self._free.pop()
        except IndexError:
            return bytearray(length)
        return buffer if len(buffer) >= length else bytearray(length)

    def give_back(self, part: Part) -> None:
        """Nobody reads the part any more."""
        if isinstance(part.body.obj, bytearray):
            self._free.append(part.body.obj)


class Parts(Iterator[Part]):
    """The chunks of an object as parts of one length, the last one shorter and only after the chunks ended well.

    Chunks that are not of `size` bytes in all must raise before their end. With `digests` each part has its own,
    computed while each chunk is in the processor's cache. This is no generator: a generator holds each part until the
    next one is requested, and parts are large.
    """

    def __init__(self, chunks: Iterable[bytes], *, size: int, length: int, digests: bool, buffers: Buffers) -> None:
        self._chunks = iter(chunks)
        self._size, self._length = size, length
        self._digests, self._buffers = digests, buffers
        self._rest_of_chunk = memoryview(b"")
        self._number = self._offset = 0

    def __next__(self) -> Part:
        if self._offset == self._size:
            raise StopIteration
        length = min(self._length, self._size - self._offset)
        body = memoryview(self._buffers.take(length))[:length]

        running = hashlib.sha256()
        filled = 0
        while filled < length:
            self._rest_of_chunk = self._rest_of_chunk or memoryview(next(self._chunks))
            piece, self._rest_of_chunk = self._rest_of_chunk[: length - filled], self._rest_of_chunk[length - filled :]
            body[filled : filled + len(piece)] = piece
            if self._digests:
                running.update(piece)
            filled += len(piece)

        part = Part(self._number, self._offset, body, running.hexdigest() if self._digests else "")
        self._number, self._offset = self._number + 1, self._offset + length
        if self._offset == self._size:
            next(self._chunks, None)  # what the chunks raise at their end keeps the last part from being sent
        return part


class PartSender:
    """Threads that send parts. A part is made only once a thread is free for it: no others wait in memory.

    Any number of threads may send their objects through one sender.
    """

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="part")
        self._limit = threads
        self._busy = 0
        self._changed = threading.Condition()

    def limit(self, number: int) -> None:
        """From now on send no more parts at once than this, and never more than there are threads."""
        if number != self._limit:
            with self._changed:
                self._limit = number
                self._changed.notify_all()

    def send_all(self, parts: Iterator[T], send: Callable[[T], None]) -> None:
        """Send all parts of one object. Returns, or raises the first failure, when none is under way any more."""
        under_way: set[Future[None]] = set()
        try:
            while self._start_next(parts, send, under_way):
                _drop_sent(under_way)
        finally:
            wait(under_way)
        _drop_sent(under_way)

    def _start_next(self, parts: Iterator[T], send: Callable[[T], None], under_way: "set[Future[None]]") -> bool:
        """Make the next part and begin to send it; whether there was one."""
        with self._changed:
            self._changed.wait_for(lambda: self._busy < self._limit)
            self._busy += 1
        try:
            sending = self._pool.submit(send, next(parts))
        except BaseException as error:
            self._free_thread()
            if isinstance(error, StopIteration):
                return False
            raise
        sending.add_done_callback(lambda _sent: self._free_thread())
        under_way.add(sending)
        return True

    def _free_thread(self) -> None:
        with self._changed:
            self._busy -= 1
            self._changed.notify_all()


def _drop_sent(under_way: "set[Future[None]]") -> None:
    """Raises the error of one that failed."""
    for part in [part for part in under_way if part.done()]:
        part.result()
        under_way.remove(part)
