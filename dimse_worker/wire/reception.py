"""The thread that accepts connections, and holds those that have not yet asked for an association, at little cost."""

import contextlib
import logging
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dimse_worker.heartbeat import Heartbeat
from dimse_worker.tls.failures import HandshakeFailed
from dimse_worker.tls.sockets import TlsSocket, Transport
from dimse_worker.wire import pdus
from portal.peers.caller_certificates import Secured

log = logging.getLogger(__name__)

REQUEST_SECONDS = 30.0
"""How long a peer may take for the TLS handshake and its whole request (PS3.8 9.1.5, ARTIM)."""
LINGER_SECONDS = 5.0
"""How long a peer may take to close the connection of an association that is over."""
MAX_LINGER_BYTES = 1 << 20
"""How much it may still send until then."""
MAX_WAITING = 1024
MAX_WAITING_OF_ADDRESS = 256
"""Connections without a request, in all and of one address; the oldest one makes room for another."""
MAX_BYTES_WAITING = 16 << 20
"""Bytes of unfinished requests, in all."""
MAX_ACCEPTED_AT_ONCE = 64
READ_SIZE = 64 << 10
POLL_SECONDS = 0.2


@dataclass(eq=False)
class Arrival:
    """A connection whose peer has sent a whole request for an association."""

    connected: Transport
    address: str
    request: bytes
    """The A-ASSOCIATE-RQ without its header."""
    rest: bytes
    """What came behind it."""
    secured: Secured | None = None
    """None in clear text."""

    def take_request(self) -> bytes:
        """The request, which may be as large as a thousand usual ones: it is not kept as long as the association."""
        request, self.request = self.request, b""
        return request


@dataclass(frozen=True)
class TlsReception:
    """What a TLS port has beside."""

    wrap: Callable[[socket.socket], TlsSocket | None]
    """A connection with the site's certificate of now; None while there is none, and for one that is closed."""
    refuse: Callable[[str, str], None]
    """Gets the address of a caller whose handshake failed, and why; returns at once."""


@dataclass(eq=False)
class _Guest:
    """A connection that waits: for its request, or to be closed by its peer."""

    connected: Transport
    address: str
    deadline: float
    is_over: bool = False
    shakes_hands: bool = False
    """Whether its TLS handshake is still to be done."""
    size: int = 0
    """Bytes that it has sent."""
    received: bytearray = field(default_factory=bytearray)


class Reception:
    """Selects among silent connections. `run` is its thread; `linger` and `stop` are called by others."""

    def __init__(
        self,
        listening: socket.socket,
        heartbeat: Heartbeat,
        take: Callable[[Arrival], bool],
        tls: "TlsReception | None" = None,
    ) -> None:
        """`take` gets each arrival and returns at once; False if it cannot take any more. `tls`: None in clear text."""
        self._listening, self._heartbeat, self._take, self._tls = listening, heartbeat, take, tls
        self._guests: dict[_Guest, None] = {}
        self._by_address: dict[str, dict[_Guest, None]] = {}
        self._bytes_waiting = 0
        self._handed_over: list[Transport] = []
        self._accepts = self._runs = True
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        for end in (self._wake, self._woken):
            end.setblocking(False)

    def run(self) -> None:
        """Accept until `stop_accepting`, and see peers off until `stop`."""
        self._listening.setblocking(False)
        self._selector.register(self._listening, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        while self._runs:
            self._heartbeat.beat()
            for key, _events in self._selector.select(POLL_SECONDS):
                guest = key.data
                if isinstance(guest, _Guest):
                    self._attend(guest)
                elif key.fileobj is self._woken:
                    self._take_over()
                elif self._accepts:
                    self._accept()
            if not self._accepts and self._listening.fileno() >= 0:
                self._close_up()
            self._dismiss_late()

    def linger(self, connected: Transport) -> None:
        """Close a connection once its peer has: what we sent last would be lost if unread bytes were left here."""
        self._handed_over.append(connected)
        self._wake_up()

    def stop_accepting(self) -> None:
        """Close the socket, and the connections that have not asked for an association."""
        self._accepts = False
        self._wake_up()

    def stop(self) -> None:
        """End the thread; what lingers is closed with the process."""
        self._accepts = self._runs = False
        self._wake_up()

    def _wake_up(self) -> None:
        with contextlib.suppress(OSError):  # it is awake: so many bytes wait already
            self._wake.send(b"\0")

    def _close_up(self) -> None:
        self._selector.unregister(self._listening)
        self._listening.close()
        for guest in [guest for guest in self._guests if not guest.is_over]:
            self._dismiss(guest)

    def _accept(self) -> None:
        for _ in range(MAX_ACCEPTED_AT_ONCE):
            try:
                connected, address = self._listening.accept()
            except BlockingIOError:
                return
            except OSError as error:  # no descriptor is left, or the peer is gone already
                log.warning("a connection could not be accepted: %s", error)
                if self._guests:
                    self._dismiss(next(iter(self._guests)))
                return
            guest = _Guest(connected, str(address[0]), time.monotonic() + REQUEST_SECONDS)
            guest.shakes_hands = self._tls is not None
            self._receive(guest)

    def _receive(self, guest: _Guest) -> None:
        same = self._by_address.setdefault(guest.address, {})
        if len(same) >= MAX_WAITING_OF_ADDRESS:
            self._dismiss(next(iter(same)))
        if len(self._guests) >= MAX_WAITING:
            self._dismiss(next(iter(self._guests)))
        guest.connected.setblocking(False)
        self._guests[guest] = None
        self._by_address.setdefault(guest.address, {})[guest] = None
        self._selector.register(guest.connected, selectors.EVENT_READ, guest)

    def _take_over(self) -> None:
        """Receive the connections of associations that are over."""
        with contextlib.suppress(BlockingIOError):
            self._woken.recv(4096)
        while self._handed_over:
            connected = self._handed_over.pop()
            with contextlib.suppress(OSError):  # the peer has reset it
                connected.shutdown(socket.SHUT_WR)
                address = str(connected.getpeername()[0])
                self._receive(_Guest(connected, address, time.monotonic() + LINGER_SECONDS, is_over=True))
                continue
            connected.close()

    def _attend(self, guest: _Guest) -> None:
        """Read from a guest. Whatever is wrong with it must not end the thread, which is that of all."""
        try:
            self._read(guest)
        except Exception:
            log.exception("a connection of %s failed", guest.address)
            if guest in self._guests:
                self._dismiss(guest)

    def _read(self, guest: _Guest) -> None:
        if guest not in self._guests:
            return  # it had to make room meanwhile
        if guest.shakes_hands and not self._shake_hands(guest):
            return
        try:
            received = guest.connected.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        guest.size += len(received)
        if not received or (guest.is_over and guest.size > MAX_LINGER_BYTES):
            self._dismiss(guest)
        elif not guest.is_over:
            guest.received += received
            self._bytes_waiting += len(received)
            self._look_at(guest)

    def _shake_hands(self, guest: _Guest) -> bool:
        """Go on with the TLS handshake as far as it goes without waiting; whether it is done."""
        if self._tls is None:
            return True
        if isinstance(
            guest.connected, socket.socket
        ):  # a connection that says nothing costs no more than in clear text
            with_tls = self._tls.wrap(guest.connected)
            if with_tls is None:
                self._dismiss(guest)
                return False
            guest.connected = with_tls
        try:
            wanted = guest.connected.handshake()
        except HandshakeFailed as failure:
            self._tls.refuse(guest.address, str(failure))
            self._dismiss(guest)
            return False
        guest.shakes_hands = wanted != 0
        self._selector.modify(guest.connected, wanted or selectors.EVENT_READ, guest)
        return wanted == 0

    def _look_at(self, guest: _Guest) -> None:
        """Pass on a request that is whole; refuse what is none."""
        received = guest.received
        if len(received) < pdus.HEADER.size:
            return
        kind, length = pdus.HEADER.unpack_from(received)
        end = pdus.HEADER.size + length
        if kind != pdus.ASSOCIATE_RQ or length > pdus.MAX_REQUEST_LENGTH:
            known = kind <= pdus.ABORT and kind != 0
            self._abort(guest, pdus.UNEXPECTED_PDU if known else pdus.UNRECOGNIZED_PDU)
        elif len(received) >= end:
            self._forget(guest)
            rest = bytes(received[end:])
            secured = guest.connected.secured if isinstance(guest.connected, TlsSocket) else None
            request = bytes(received[pdus.HEADER.size : end])
            arrival = Arrival(guest.connected, guest.address, request, rest, secured)
            if not self._take(arrival):
                guest.connected.close()
        elif self._bytes_waiting > MAX_BYTES_WAITING:
            # Whoever takes most of it; the one that has just sent something may be the only one with a small request.
            self._dismiss(max(self._guests, key=lambda one: len(one.received)))

    def _abort(self, guest: _Guest, reason: int) -> None:
        self._forget(guest)
        with contextlib.suppress(OSError):
            guest.connected.send(pdus.abort(pdus.SERVICE_PROVIDER, reason))
        self._handed_over.append(guest.connected)
        self._take_over()

    def _dismiss_late(self) -> None:
        now = time.monotonic()
        for guest in [guest for guest in self._guests if guest.deadline < now]:
            self._dismiss(guest)

    def _dismiss(self, guest: _Guest) -> None:
        self._forget(guest)
        guest.connected.close()

    def _forget(self, guest: _Guest) -> None:
        self._selector.unregister(guest.connected)
        self._bytes_waiting -= len(guest.received)
        del self._guests[guest]
        same = self._by_address[guest.address]
        del same[guest]
        if not same:
            del self._by_address[guest.address]
