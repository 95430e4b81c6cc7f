"""The socket of an association, with limits of size and time, and without Nagle's and delayed-acknowledgement waits."""

import select
import selectors
import socket
import time
from typing import Any

from pynetdicom.events import Event
from pynetdicom.transport import AddressInformation, AssociationSocket

from dimse_worker.tls.contexts import ServerContexts
from dimse_worker.tls.sockets import TlsSocket
from portal import runtime

MAX_REQUEST_PDU_LENGTH = 1 << 20
"""Bytes of a PDU before the association is established: an A-ASSOCIATE-RQ of 128 contexts has some 20,000."""
MAX_RECEIVED_PDU_LENGTH = 4 << 20
"""Bytes of a PDU on an established association: 16 times what we announce, which some peers exceed."""
HANDSHAKE_SECONDS = 30.0
PDU_SECONDS = 60.0
"""How long one PDU may take to arrive, and how long a peer may take to read what we send."""


class PduTooLarge(Exception):
    """A PDU announces more bytes than we accept; pynetdicom answers the error with A-ABORT."""


class PeerSocket(AssociationSocket):
    """pynetdicom's socket, which would allocate as many bytes as a PDU announces, wait forever for the rest of a
    half-sent one, read 4 kB at a time, and not tell why a connection failed."""

    complaint = ""
    """What the peer did that ended the association; empty if nothing."""

    def recv(self, nr_bytes: int) -> bytearray:
        """The next `nr_bytes`; fewer if the peer closes. Raises PduTooLarge, and TimeoutError after PDU_SECONDS."""
        if nr_bytes > (MAX_RECEIVED_PDU_LENGTH if self.assoc.is_established else MAX_REQUEST_PDU_LENGTH):
            self.complaint = f"We aborted it: the peer announced a PDU of {nr_bytes} bytes."
            if not self.assoc.is_established:
                waiting: Any = self.assoc.dul.to_user_queue
                waiting.put(None)  # the association's thread must not wait for a request
            raise PduTooLarge(self.complaint)
        connection: Any = self.socket
        deadline = time.monotonic() + PDU_SECONDS
        received, position = bytearray(nr_bytes), 0
        with memoryview(received) as view:
            while position < nr_bytes:
                connection.settimeout(max(deadline - time.monotonic(), 0.001))
                try:
                    count = connection.recv_into(view[position:])
                except (TimeoutError, BlockingIOError):  # TLS uses the kernel's time-outs
                    self.complaint = f"We closed it: the peer sent only a part of a PDU within {PDU_SECONDS:.0f} s."
                    raise TimeoutError from None
                if not count:
                    break
                position += count
        connection.settimeout(PDU_SECONDS)
        _acknowledge_at_once(connection)
        return received[:position] if position < nr_bytes else received

    @property
    def ready(self) -> bool:
        """As pynetdicom's, which does not know of bytes that our TLS has decrypted."""
        connection: Any = self.socket
        return (isinstance(connection, TlsSocket) and connection.pending > 0) or super().ready

    @property
    def failure(self) -> OSError | None:
        """Why connecting failed; None if it did not."""
        return self._connecting.failure

    def _shutdown_socket(self) -> None:
        """pynetdicom's leaves the descriptor open if the peer has closed the connection before."""
        connection: Any = self.socket
        super()._shutdown_socket()
        if connection is not None:
            connection.close()

    def _create_socket(self, address: AddressInformation) -> socket.socket:
        created = super()._create_socket(address)
        self._connecting = _Connecting(fileno=created.detach())
        return self._connecting


class _Connecting(socket.socket):
    """A socket that keeps why it could not connect, which pynetdicom only logs."""

    failure: OSError | None = None

    def connect(self, address: Any) -> None:
        try:
            super().connect(address)
        except OSError as error:
            self.failure = error
            self.close()
            raise


def secure(connected: socket.socket) -> TlsSocket | socket.socket:
    """TLS over a connection that was accepted; the same socket where it is silent, or the site has no certificate.

    Raises HandshakeFailed.
    """
    poll, deadline = select.poll(), time.monotonic() + HANDSHAKE_SECONDS
    connected.setblocking(False)
    poll.register(connected, select.POLLIN)
    if not poll.poll(HANDSHAKE_SECONDS * 1000):
        return connected
    with runtime.connection():
        with_tls = TlsSocket.accepting(connected, ServerContexts().current())
    if with_tls is None:
        return connected
    while wanted := with_tls.handshake():
        poll.modify(connected, select.POLLIN if wanted == selectors.EVENT_READ else select.POLLOUT)
        if not poll.poll(max(deadline - time.monotonic(), 0) * 1000):
            return connected
    with_tls.settimeout(PDU_SECONDS)
    return with_tls


def disable_delays(event: Event) -> None:
    """Handle EVT_CONN_OPEN: Nagle's algorithm would cost some 40 ms for each small request and response."""
    transport: Any = event.assoc.dul.socket
    transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _acknowledge_at_once(transport.socket)


def _acknowledge_at_once(connection: socket.socket) -> None:
    """Set again after every read: the peer's Nagle algorithm waits for our acknowledgement (tcp(7), TCP_QUICKACK)."""
    if hasattr(socket, "TCP_QUICKACK"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
