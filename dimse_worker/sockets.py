"""The socket of an association: bounded in size and time, without the waits of Nagle and delayed acknowledgement."""

import socket
import time
from typing import Any

from pynetdicom.transport import AddressInformation, AssociationSocket

MAX_REQUEST_PDU_LENGTH = 1 << 20
"""Bytes of a PDU before the association stands: an A-ASSOCIATE-RQ of 128 contexts has some 20,000."""
MAX_RECEIVED_PDU_LENGTH = 4 << 20
"""Bytes of a PDU once it stands: we announce a sixteenth, which some do not keep to."""
PDU_SECONDS = 60.0
"""How long the bytes of one PDU may take, and how long a peer may not read what we send."""


class PduTooLarge(Exception):
    """A PDU announces more bytes than we take: pynetdicom answers any such error with A-ABORT."""


class PeerSocket(AssociationSocket):
    """pynetdicom's socket, which would allocate whatever a PDU announces, wait for ever for the rest of a half-sent
    one, read 4 kB at a time, and keep to itself why a connection failed."""

    complaint = ""
    """What the peer did that ended the association, in a sentence."""

    def recv(self, nr_bytes: int) -> bytearray:
        """The next `nr_bytes`; fewer where the peer closes. Raises PduTooLarge, and TimeoutError after PDU_SECONDS."""
        if nr_bytes > (MAX_RECEIVED_PDU_LENGTH if self.assoc.is_established else MAX_REQUEST_PDU_LENGTH):
            self.complaint = f"We aborted it: the peer announced a PDU of {nr_bytes} bytes."
            self._stop_waiting()
            raise PduTooLarge(self.complaint)
        connection: Any = self.socket
        deadline = time.monotonic() + PDU_SECONDS
        received, position = bytearray(nr_bytes), 0
        with memoryview(received) as view:
            while position < nr_bytes:
                connection.settimeout(max(deadline - time.monotonic(), 0.001))
                count = self._read(connection, view[position:])
                if not count:
                    break
                position += count
        connection.settimeout(PDU_SECONDS)
        _acknowledge_at_once(connection)
        return received[:position] if position < nr_bytes else received

    @property
    def failure(self) -> OSError | None:
        """Why connecting failed, where it did."""
        return self._connecting.failure

    def _shutdown_socket(self) -> None:
        """The parent's leaves the descriptor open where the peer has closed the connection before."""
        connection: Any = self.socket
        super()._shutdown_socket()
        if connection is not None:
            connection.close()

    def _stop_waiting(self) -> None:
        """What is aborted before it stands: nobody need wait for more of it."""
        waiting: Any = self.assoc.dul.to_user_queue
        if not self.assoc.is_established:
            waiting.put(None)

    def _read(self, connection: socket.socket, view: memoryview) -> int:
        try:
            return connection.recv_into(view)
        except TimeoutError:
            self.complaint = f"We closed it: the peer sent a part of a PDU, and no more for {PDU_SECONDS:.0f} s."
            raise

    def _create_socket(self, address: AddressInformation) -> socket.socket:
        made = super()._create_socket(address)
        self._connecting = _Connecting(fileno=made.detach())
        return self._connecting


class _Connecting(socket.socket):
    """A socket that remembers: pynetdicom only logs why it could not connect."""

    failure: OSError | None = None

    def connect(self, address: Any) -> None:
        try:
            super().connect(address)
        except OSError as error:
            self.failure = error
            self.close()
            raise


def disable_delays(connection: socket.socket) -> None:
    """Small messages without delay: Nagle's algorithm costs some 40 ms a message of a request-and-answer protocol."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _acknowledge_at_once(connection)


def _acknowledge_at_once(connection: socket.socket) -> None:
    """Re-armed after every read: the peer's own Nagle waits for our acknowledgement (tcp(7), TCP_QUICKACK)."""
    if hasattr(socket, "TCP_QUICKACK"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
