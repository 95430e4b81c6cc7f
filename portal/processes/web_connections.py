"""One connection of the web server, and its socket as the thread of a request sees it: no peer may be too slow."""

import errno
import socket
import struct
from collections.abc import Callable
from enum import Enum, auto
from time import monotonic
from typing import Any, NoReturn

from gunicorn import http
from gunicorn.workers.gthread import TConn

from portal.processes.web_requests import Request

MIN_RATE = 1024
"""Bytes a second that a peer must send or take, on average."""
TRANSFER_PATIENCE = 30.0
"""Seconds that a peer may let a transfer wait in all; what it sends or takes earns more, up to this again."""
PAGE_PATIENCE = 2.0
"""The same for a page that is larger than `PAGE_ROOM`."""
HEAD_SECONDS, PEER_SECONDS, QUEUE_SECONDS, CLOSE_SECONDS = 10.0, 15.0, 60.0, 2.0
"""How long a head may take in all; how long a form or an answer may stand still; how long a transfer may wait for its
thread; how long the peer may take to close."""
PAGE_ROOM, TRANSFER_ROOM = 1 << 20, 1 << 16
"""Bytes of an answer that are kept in memory and sent by the loop, so that the thread does not wait for its reader."""
_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER of a connection whose unsent bytes the kernel is to forget."""


class State(Enum):
    """What a connection waits for."""

    READING = auto()
    """For a request, or the rest of it."""
    QUEUED = auto()
    """For a thread of the transfers."""
    RUNNING = auto()
    """A thread has it."""
    SENDING = auto()
    """For its peer to take the answer."""
    CLOSING = auto()
    """For its peer to close: closing with bytes unread would take the answer away from it (RFC 9112 9.6)."""
    CLOSED = auto()
    """For nothing any more."""


class MinimumRateSocket:
    """What gunicorn needs of a socket. A peer that keeps it waiting below MIN_RATE is dropped: ConnectionResetError."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self._limit: float | None = None
        self._room, self._most, self._left = PAGE_ROOM, PAGE_PATIENCE, PAGE_PATIENCE
        self.kept = bytearray()
        """What is still to be sent."""

    def begin(self, *, is_transfer: bool) -> None:
        """A new request: the patience is whole again."""
        self._room = TRANSFER_ROOM if is_transfer else PAGE_ROOM
        self._most = self._left = TRANSFER_PATIENCE if is_transfer else PAGE_PATIENCE

    def recv(self, size: int) -> bytes:
        data: bytes = self._wait(self._raw.recv, size)
        return data

    def send(self, data: bytes) -> int:
        self.sendall(data)
        self._send_kept()
        return len(data)

    def sendall(self, data: bytes) -> None:
        """Keep it while there is room; else wait until the peer has taken all."""
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
        """A limit beside that of the patience, after which TimeoutError is raised."""
        self._limit = seconds

    def setblocking(self, flag: bool) -> None:
        """The socket below never blocks for longer than it may."""

    def shutdown(self, how: int) -> None:  # noqa: ARG002 (as a socket has it)
        """The loop closes the connection, once what is kept has been sent."""
        raise OSError(errno.ENOTSUP, "only the loop closes a connection")

    def close(self) -> None:
        """The same."""

    def _send_kept(self) -> None:
        kept, self.kept = self.kept, bytearray()
        self._send(memoryview(kept))

    def _send(self, view: memoryview) -> None:
        while view:
            view = view[self._wait(self._raw.send, view) :]

    def _wait(self, act: Callable[[Any], Any], argument: Any) -> Any:
        """Receive or send once. The time that this takes is taken off the patience, what was moved is added to it."""
        if self._left <= 0:
            self._drop()
        began = monotonic()
        self._raw.settimeout(self._left if self._limit is None else min(self._left, self._limit))
        try:
            moved = act(argument)
        except TimeoutError:
            self._left -= monotonic() - began
            if self._left > 0:
                raise
            self._drop()
        size = moved if isinstance(moved, int) else len(moved)
        self._left = min(self._most, self._left - (monotonic() - began) + size / MIN_RATE)
        if self._left <= 0:
            self._drop()
        return moved

    def _drop(self) -> NoReturn:
        self._raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        raise ConnectionResetError(errno.ECONNRESET, f"slower than {MIN_RATE} bytes a second")


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
        """When it came into its state, and when it has been in it for too long."""
        self.request: Request | None = None
        self.received = bytearray()
        self.handed = 0
        """Bytes that its thread was given."""
        self.is_kept = False
        """Another request may follow."""

    @property
    def held(self) -> int:
        """Bytes of it in memory."""
        return len(self.received) + self.handed + len(self.sock.kept)

    def earn(self, size: int, most: float) -> None:
        """Put the deadline off for what the peer has sent or taken."""
        self.deadline = min(self.deadline + size / MIN_RATE, monotonic() + most)
