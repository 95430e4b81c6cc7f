"""One connection of an association: its bytes as they come, in a bounded buffer, with limits of size and time."""

import contextlib
import mmap
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import NamedTuple

from dimse_worker.tls.sockets import TlsSocket, Transport
from dimse_worker.wire import pdus

BUFFER_SIZE = 128 << 10
"""Bytes that are read at once, and all that a connection keeps of what it reads."""
PDU_SECONDS = 60.0
"""How long one PDU may take to arrive, and how long a peer may take to read what we send."""
IDLE_SECONDS = 600.0
"""How long a peer may send nothing while we wait for it."""
CHECK_SECONDS = 5.0
"""How often a wait looks at its deadline."""
CALL_SECONDS = 0.25
"""How often a wait calls `waiting`."""
MAX_PARTS = 512
"""Parts that one system call sends (IOV_MAX is 1,024)."""
QUICK_ACKNOWLEDGEMENT: int | None = getattr(socket, "TCP_QUICKACK", None)
"""Set again after each read: the peer's Nagle algorithm waits for our acknowledgement (tcp(7))."""


class Ended(Exception):
    """The association is over; the message says why. `abort`: the PDU that tells the peer, empty if there is none."""

    def __init__(self, message: str, abort: bytes = b"") -> None:
        super().__init__(message)
        self.message, self.abort = message, abort


class ReleaseRequested(Ended):
    """The peer asks for the end, which is still to be answered (PS3.8 7.2)."""


class Fragment(NamedTuple):
    """A piece of a presentation data value: part of a command set, or of a data set."""

    context_id: int
    is_command: bool
    is_last: bool
    """Whether the command set or data set ends with it."""
    data: memoryview
    """Valid until the next read."""


class Connection:
    """A connected socket, for one thread. Every method raises Ended where the association cannot go on."""

    def __init__(
        self, connected: Transport, received: bytes = b"", *, waiting: Callable[[], None] | None = None
    ) -> None:
        """`received`: bytes that were read before; `waiting`: called every CALL_SECONDS of a wait, and may raise."""
        self.max_length = 0
        """Bytes of the longest P-DATA-TF that the peer takes, without its header; 0 for any (PS3.8 D.1)."""
        self._socket, self._waiting = connected, waiting
        self._tls = connected if isinstance(connected, TlsSocket) else None
        connected.setblocking(True)
        period = CHECK_SECONDS if waiting is None else CALL_SECONDS
        # With the kernel's timeouts a read is one system call; with Python's it would be two.
        for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            connected.setsockopt(socket.SOL_SOCKET, option, struct.pack("@ll", int(period), int(period % 1 * 1e6)))
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._poll = select.poll()
        self._poll.register(connected, select.POLLIN)

        # Pages that are never written take no memory: most of two hundred connections are idle.
        self._buffer = mmap.mmap(-1, max(BUFFER_SIZE, len(received)))
        self._buffer[: len(received)] = received
        self._view = memoryview(self._buffer)
        self._start, self._end = 0, len(received)
        self._pdu_left = 0
        """Bytes of the current P-DATA-TF that are still to be read."""
        self._value_left = self._context_id = self._flags = 0
        self._deadline = 0.0

    def fileno(self) -> int:
        return self._socket.fileno()

    def read(self) -> Fragment:
        """The next piece of what the peer sends, as soon as any byte of it is there."""
        while not self._value_left:
            if self._pdu_left:
                fragment = self._begin_value()
                if fragment is not None:
                    return fragment
            else:
                self._begin_data()
        if self._start == self._end:
            self._fill()
        start = self._start
        size = min(self._end - start, self._value_left)
        self._start = start + size
        self._value_left -= size
        self._pdu_left -= size
        return self._fragment(self._view[start : start + size])

    def read_pdu(self, limit: int) -> tuple[int, bytes]:
        """Type and content of the next PDU, of at most `limit` bytes: for what comes outside an established one."""
        kind, length = self._next_header()
        if length > limit:
            raise _too_long(length)
        content = bytearray()
        while len(content) < length:
            if self._start == self._end:
                self._fill()
            size = min(self._end - self._start, length - len(content))
            content += self._view[self._start : self._start + size]
            self._start += size
        return kind, bytes(content)

    def poll(self, seconds: float = 0.0) -> bool:
        """Whether something has arrived that was not read, or does within `seconds`; the peer's end counts too."""
        is_here = self._start < self._end or (self._tls is not None and self._tls.pending > 0)
        return is_here or bool(self._poll.poll(seconds * 1000))

    def send(self, *parts: bytes | bytearray | memoryview) -> None:
        """Send all parts, one after the other. They must not change before the return."""
        for first in range(0, len(parts), MAX_PARTS):
            some = parts[first : first + MAX_PARTS]
            sent = self._send_some(some, time.monotonic() + PDU_SECONDS)
            size = sum(map(len, some))
            if sent < size:
                self._send_rest(b"".join(some)[sent:])

    def send_message(self, context_id: int, command: bytes, data_set: bytes | None = None) -> None:
        """A command set and its data set, in P-DATA-TFs of at most the length that the peer takes, in one go."""
        self.send(*self.framed(context_id, command, data_set))

    def framed(self, context_id: int, command: bytes, data_set: bytes | None = None) -> list[bytes | memoryview]:
        """The parts of `send_message`: several messages may be sent at once."""
        parts: list[bytes | memoryview] = []
        for content, kind in ((command, pdus.IS_COMMAND), (data_set, 0)):
            if content is None:
                continue
            step = max(self.max_length - pdus.DATA_OVERHEAD, 2) & ~1 if self.max_length else len(content)
            if len(content) <= step:
                parts += (pdus.data_head(context_id, len(content), kind | pdus.IS_LAST), content)
                continue
            view = memoryview(content)
            for start in range(0, len(content), step):
                piece = view[start : start + step]
                is_last = pdus.IS_LAST if start + step >= len(content) else 0
                parts += (pdus.data_head(context_id, len(piece), kind | is_last), piece)
        return parts

    @property
    def local_address(self) -> str:
        """The address of ours that the peer connected to."""
        return str(self._socket.getsockname()[0])

    def send_last(self, farewell: bytes) -> None:
        """Send some few bytes, if the peer can take them at once: nobody waits for a peer that is told good-bye."""
        if farewell:
            with contextlib.suppress(OSError):
                self._socket.send(farewell, socket.MSG_DONTWAIT)

    def is_closed_within(self, seconds: float) -> bool:
        """Whether the peer closes the connection by then; what it still sends is not read."""
        if not self._poll.poll(seconds * 1000):
            return False
        try:
            return not self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError:
            return True

    def stop_reading(self) -> None:
        """End a wait of the connection's thread, from another one: it reads that there is no more."""
        with contextlib.suppress(OSError):  # it is closed already
            self._socket.shutdown(socket.SHUT_RD)

    def close(self) -> None:
        self._socket.close()

    def _begin_data(self) -> None:
        """Read the header of the next PDU, which must be a P-DATA-TF."""
        kind, length = self._next_header()
        if kind == pdus.DATA:
            if length > pdus.MAX_DATA_LENGTH:
                raise _too_long(length)
            self._pdu_left = length
            return
        if kind in (pdus.RELEASE_RQ, pdus.ABORT):
            if length != pdus.CONTROL_LENGTH:
                raise _violation("a PDU of a wrong length", pdus.INVALID_PARAMETER)
            self._take(length)
            raise ReleaseRequested("") if kind == pdus.RELEASE_RQ else Ended("The peer aborted it.")
        known = pdus.ASSOCIATE_RQ <= kind <= pdus.ABORT
        raise _violation(
            f"a PDU of type {kind:02X}, which has no place here",
            pdus.UNEXPECTED_PDU if known else pdus.UNRECOGNIZED_PDU,
        )

    def _begin_value(self) -> Fragment | None:
        """Read the header of the next presentation data value. Returns a fragment if it has no data."""
        if self._pdu_left < pdus.DATA_OVERHEAD:
            raise _violation("a presentation data value that ends too early", pdus.INVALID_PARAMETER)
        length, self._context_id, self._flags = pdus.DATA_VALUE_HEADER.unpack_from(
            self._buffer, self._take(pdus.DATA_OVERHEAD)
        )
        self._pdu_left -= pdus.DATA_OVERHEAD
        self._value_left = length - 2
        if not 0 <= self._value_left <= self._pdu_left:
            raise _violation("a presentation data value that is longer than its PDU", pdus.INVALID_PARAMETER)
        return None if self._value_left else self._fragment(self._view[:0])

    def _fragment(self, data: memoryview) -> Fragment:
        is_last = not self._value_left and bool(self._flags & pdus.IS_LAST)
        return Fragment(self._context_id, bool(self._flags & pdus.IS_COMMAND), is_last, data)

    def _next_header(self) -> tuple[int, int]:
        """Type and length of the next PDU. The peer has IDLE_SECONDS to begin it, and PDU_SECONDS from there."""
        if self._start == self._end:
            self._deadline = time.monotonic() + IDLE_SECONDS
            self._fill(is_idle=True)
        self._deadline = time.monotonic() + PDU_SECONDS
        kind, length = pdus.HEADER.unpack_from(self._buffer, self._take(pdus.HEADER.size))
        return kind, length

    def _take(self, size: int) -> int:
        """Where the next `size` bytes, some few, stand in the buffer."""
        while self._end - self._start < size:
            self._fill()
        self._start += size
        return self._start - size

    def _fill(self, *, is_idle: bool = False) -> None:
        """Read more bytes, at least one."""
        if self._start:  # at most the beginning of a header is kept
            self._view[: self._end - self._start] = self._view[self._start : self._end]
            self._start, self._end = 0, self._end - self._start
        while True:
            try:
                count = self._socket.recv_into(self._view[self._end :])
                break
            except BlockingIOError:
                if self._waiting is not None:
                    self._waiting()
            except OSError:
                count = 0
                break
            if time.monotonic() > self._deadline:
                raise _idle() if is_idle else _too_slow()
        if not count:
            raise Ended("The connection was closed without a release.")
        self._end += count
        if not is_idle and time.monotonic() > self._deadline:
            raise _too_slow()
        if QUICK_ACKNOWLEDGEMENT is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, QUICK_ACKNOWLEDGEMENT, 1)

    def _send_some(self, parts: tuple[bytes | bytearray | memoryview, ...], deadline: float) -> int:
        while True:
            try:
                return self._socket.sendmsg(parts)
            except BlockingIOError:
                if self._waiting is not None:
                    self._waiting()
            except OSError as error:
                raise Ended("The connection was closed without a release.") from error
            if time.monotonic() > deadline:
                raise Ended(f"We closed it: the peer did not read what we sent within {PDU_SECONDS:.0f} s.")

    def _send_rest(self, rest: bytes) -> None:
        deadline = time.monotonic() + PDU_SECONDS
        with memoryview(rest) as view:
            position = 0
            while position < len(rest):
                position += self._send_some((view[position:],), deadline)
                if self._waiting is not None:
                    self._waiting()


def _violation(what: str, reason: int) -> Ended:
    return Ended(f"We aborted it: the peer sent {what}.", pdus.abort(pdus.SERVICE_PROVIDER, reason))


def _too_long(length: int) -> Ended:
    message = f"We aborted it: the peer announced a PDU of {length} bytes."
    return Ended(message, pdus.abort(pdus.SERVICE_PROVIDER, pdus.INVALID_PARAMETER))


def _too_slow() -> Ended:
    return Ended(f"We closed it: the peer sent only a part of a PDU within {PDU_SECONDS:.0f} s.")


def _idle() -> Ended:
    return Ended(f"We aborted it: the peer sent nothing for {IDLE_SECONDS:.0f} s.", pdus.abort())
