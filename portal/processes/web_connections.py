"""One connection of the web server, and the socket that its thread uses, which drops a client that is too slow."""

import errno
import socket
import struct
from collections.abc import Callable
from enum import Enum, auto
from time import monotonic
from typing import Any, NoReturn

from gunicorn import http
from gunicorn.http.body import Body, LengthReader
from gunicorn.workers.gthread import TConn

from portal.processes.web_requests import Request

MIN_RATE = 1024
"""Bytes a second that a client must send or receive, on average."""
TRANSFER_PATIENCE = 30.0
"""Seconds that a client may let a transfer wait in total; the bytes that it moves earn more, up to this again."""
PAGE_PATIENCE = 2.0
"""The same for a page that is larger than `PAGE_ROOM`."""
HEAD_SECONDS, PEER_SECONDS, QUEUE_SECONDS, CLOSE_SECONDS = 10.0, 15.0, 60.0, 2.0
"""How long a head may take in total; how long a form or a response may make no progress; how long a transfer may wait
for a thread; how long the client may take to close."""
PAGE_ROOM, TRANSFER_ROOM = 1 << 20, 1 << 16
"""Bytes of a response that are kept in memory and sent by the loop, so that no thread waits for a slow client."""
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of a connection whose unsent bytes the kernel is to discard."""


class State(Enum):
    """What a connection waits for."""

    READING = auto()
    """For a request, or the rest of one."""
    QUEUED = auto()
    """For a transfer thread."""
    RUNNING = auto()
    """A thread handles its request."""
    SENDING = auto()
    """For the client to receive the response."""
    CLOSING = auto()
    """For the client to close: if we closed with unread bytes, it could lose the response (RFC 9112 9.6)."""
    CLOSED = auto()
    """For nothing."""


class MinimumRateSocket:
    """The part of a socket that gunicorn uses. Drops a client that is slower than MIN_RATE: ConnectionResetError."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self._limit: float | None = None
        self._room, self._max_patience, self._patience = PAGE_ROOM, PAGE_PATIENCE, PAGE_PATIENCE
        self.kept = bytearray()
        """Bytes that the loop still has to send."""

    def begin(self, *, is_transfer: bool) -> None:
        """Begin a new request with full patience."""
        self._room = TRANSFER_ROOM if is_transfer else PAGE_ROOM
        self._max_patience = self._patience = TRANSFER_PATIENCE if is_transfer else PAGE_PATIENCE

    def recv(self, size: int) -> bytes:
        data: bytes = self._wait(self._raw.recv, size)
        return data

    def recv_into(self, buffer: memoryview) -> int:
        size: int = self._wait(self._raw.recv_into, buffer)
        return size

    def send(self, data: bytes) -> int:
        self.sendall(data)
        self._send_kept()
        return len(data)

    def sendall(self, data: bytes) -> None:
        """Keep the data while there is room; else wait until the client has received all of it."""
        if len(self.kept) + len(data) <= self._room:
            self.kept += data
            return
        self._send_kept()
        self._send(memoryview(data))

    def fileno(self) -> int:
        return self._raw.fileno()

    def gettimeout(self) -> float | None:
        return self._limit

    def settimeout(self, seconds: float | None) -> None:
        """A limit besides the patience, after which TimeoutError is raised."""
        self._limit = seconds

    def setblocking(self, flag: bool) -> None:
        """Ignored: the underlying socket never blocks for longer than the patience."""

    def shutdown(self, how: int) -> None:  # noqa: ARG002 (as a socket has it)
        """Refused: the loop closes the connection once it has sent the kept bytes."""
        raise OSError(errno.ENOTSUP, "only the loop closes a connection")

    def close(self) -> None:
        """Ignored, for the same reason."""

    def _send_kept(self) -> None:
        kept, self.kept = self.kept, bytearray()
        self._send(memoryview(kept))

    def _send(self, view: memoryview) -> None:
        while view:
            view = view[self._wait(self._raw.send, view) :]

    def _wait(self, act: Callable[[Any], Any], argument: Any) -> Any:
        """Receive or send once. The time that it takes reduces the patience, the bytes that were moved restore it."""
        if self._patience <= 0:
            self._drop()
        began = monotonic()
        self._raw.settimeout(self._patience if self._limit is None else min(self._patience, self._limit))
        try:
            moved = act(argument)
        except TimeoutError:
            self._patience -= monotonic() - began
            if self._patience > 0:
                raise
            self._drop()
        size = moved if isinstance(moved, int) else len(moved)
        self._patience = min(self._max_patience, self._patience - (monotonic() - began) + size / MIN_RATE)
        if self._patience <= 0:
            self._drop()
        return moved

    def _drop(self) -> NoReturn:
        self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        raise ConnectionResetError(errno.ECONNRESET, f"slower than {MIN_RATE} bytes a second")


class TransferBody(Body):  # type: ignore[misc]
    """The body of a transfer, of a known length: its reader may have it in a buffer of its own.

    `read` copies each byte four times, into memory that the kernel gives anew: most of the time of a large upload.
    """

    def receive_into(self, buffer: memoryview) -> int:
        """Put some of the next bytes into the buffer, and return their number; 0 at the end. Raises OSError."""
        waiting = self.buf.tell() + self.reader.unreader.buf.getbuffer().nbytes
        if waiting:  # what came with the head
            part = self.read(min(waiting, len(buffer)))
            buffer[: len(part)] = part
            return len(part)
        size = min(len(buffer), self.reader.length)
        try:
            received: int = self.reader.unreader.sock.recv_into(buffer[:size]) if size else 0
        except OSError:
            self.failed = True
            raise
        self.failed = size > 0 and not received
        self.reader.length -= received
        return received


class Connection(TConn):  # type: ignore[misc]  # gunicorn has no types
    """A connection as the loop keeps it."""

    def __init__(self, cfg: Any, raw: socket.socket, client: Any, server: Any) -> None:
        super().__init__(cfg, raw, client, server)
        self.raw = raw
        self.sock = MinimumRateSocket(raw)
        self.parser = http.get_parser(cfg, self.sock, client)
        self.initialized = self.data_ready = True
        self.address: str = client[0] if isinstance(client, tuple) else ""
        self.state = State.READING
        self.since = self.deadline = 0.0
        """When it entered its state, and when it will have been in it for too long."""
        self.request: Request | None = None
        self.received = bytearray()
        self.handed = 0
        """Bytes that were handed to its thread."""
        self.is_kept = False
        """Whether another request may follow."""

    @property
    def held(self) -> int:
        """Bytes that it takes in memory."""
        return len(self.received) + self.handed + len(self.sock.kept)

    def use_buffers(self, request: Any) -> None:
        """Let the body of a transfer be received into buffers, if its length is known."""
        if self.request is not None and self.request.is_transfer and isinstance(request.body.reader, LengthReader):
            request.body = TransferBody(request.body.reader)

    def extend(self, size: int, max_seconds: float) -> None:
        """Extend the deadline for bytes that the client has sent or received."""
        self.deadline = min(self.deadline + size / MIN_RATE, monotonic() + max_seconds)
