"""An association that we request: its connection, its row, and in words why a peer does not accept it."""

import errno
import socket
import time
from typing import Any, cast

from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.transport import AddressInformation, AssociationSocket

from dimse_worker import contexts, pause_reader
from dimse_worker.association_counts import AssociationCounts
from dimse_worker.sending import is_open
from dimse_worker.sockets import PeerSocket, disable_delays
from portal.dicom.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from portal.errors import Outage, Unreachable
from portal.models import Peer
from portal.peers import associations, peers
from portal.peers.associations import REFRESH_SECONDS, Outcome

CONNECT_SECONDS = 10
NEGOTIATE_SECONDS = 30
ANSWER_SECONDS = 60

REJECTION_REASONS = {
    (1, 1): "gives no reason",
    (1, 2): "does not know the application context",
    (1, 3): "does not know our AE title {ours}. Register it there, with this machine's address",
    (1, 7): "says that {theirs} is not its AE title. Correct it here or there",
    (2, 1): "gives no reason",
    (2, 2): "does not know this version of the protocol",
    (3, 1): "is too busy at the moment",
    (3, 2): "has reached its limit of associations",
}
"""Source and diagnostic of an A-ASSOCIATE-RJ (PS3.8 9.3.4) in words."""
REJECTED_PERMANENT = 1
"""Result of an A-ASSOCIATE-RJ; the other one, 2, is transient (PS3.8 9.3.4)."""


class NoContextAccepted(Unreachable):
    """The peer accepted the association, but none of the contexts that were proposed."""

    permanent = True


class Requestor:
    """An association that we have requested, with its row. Used by one thread, which holds a database connection."""

    def __init__(self, peer: Peer, proposed: list[PresentationContext], *, answer_seconds: int | None = None) -> None:
        """Raises Unreachable with the reason if the peer does not accept; `answer_seconds`: for each response."""
        self.counts = AssociationCounts()
        self._peer = peer
        self._ours = peers.our_ae_title(peer)
        self._written = time.monotonic()
        try:
            self.assoc = self._associate(proposed, answer_seconds)
        except Unreachable as error:
            self._open_row([], peer.host)
            self._close_row("failed", error.message)
            raise
        self._open_row(self.assoc.accepted_contexts + self.assoc.rejected_contexts, self.assoc.acceptor.address)
        # Its reactor would take the responses off the queue: `Association.send_c_store` pauses it for each message.
        self.assoc._reactor_checkpoint.clear()

    def refresh(self) -> None:
        """Write the counts to the row, at most every REFRESH_SECONDS."""
        if time.monotonic() - self._written > REFRESH_SECONDS:
            self._written = time.monotonic()
            associations.refresh([self.counts.progress(self._row_id)])

    def close(self, message: str = "") -> None:
        """Release it, or abort it with a message that says why it cannot go on."""
        lost = not message and not is_open(self.assoc)
        self.assoc._reactor_checkpoint.set()
        if message or lost:
            self.assoc.abort()
            self._close_row("aborted", message or "The peer ended it.")
            return
        self.assoc.release()
        if self.assoc.is_released:
            self._close_row("released", "")
        else:
            self._close_row("aborted", "The peer did not answer the release.")

    def _associate(self, proposed: list[PresentationContext], answer_seconds: int | None) -> Association:
        peer = self._peer
        entity = _Entity(ae_title=self._ours)
        entity.connection_timeout, entity.acse_timeout = CONNECT_SECONDS, answer_seconds or NEGOTIATE_SECONDS
        entity.dimse_timeout, entity.network_timeout = answer_seconds or ANSWER_SECONDS, None
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION.decode().strip()
        try:
            assoc = entity.associate(
                peer.host,
                cast(int, peer.port),
                contexts=proposed,
                ae_title=peer.ae_title,
                max_pdu=contexts.MAX_PDU_LENGTH,
                evt_handlers=[(evt.EVT_CONN_OPEN, disable_delays)],
            )
        except (OSError, UnicodeError) as error:
            raise Outage(_connection_error(peer, error)) from error
        if not assoc.is_established:
            raise self._refusal(assoc)
        pause_reader.install(assoc)
        return assoc

    def _refusal(self, assoc: Association) -> Unreachable:
        """Why the association was not established."""
        peer = self._peer
        failure = cast(PeerSocket, entity_socket).failure if (entity_socket := assoc.dul.socket) else None
        if failure is not None:
            return Outage(_connection_error(peer, failure))
        if assoc.is_rejected:
            answer: Any = assoc.acceptor.primitive
            reason = REJECTION_REASONS.get(
                (answer.result_source, answer.diagnostic), "gives a reason outside the standard"
            ).format(ours=self._ours, theirs=peer.ae_title)
            code = f"{answer.result}/{answer.result_source}/{answer.diagnostic}"
            message = f"{peer.label} rejected the association ({code}): it {reason}."
            return Outage(message, permanent=answer.result == REJECTED_PERMANENT)
        if assoc.rejected_contexts:
            return NoContextAccepted(f"{peer.label} accepted the association, but none of the proposed contexts.")
        if assoc.acse.is_aborted() or not assoc._sent_abort:
            message = f"{peer.label} accepted the connection and closed it without a response. Is this its DICOM port?"
            return Outage(message)
        message = (
            f"{peer.label} accepted the connection, but did not respond within {NEGOTIATE_SECONDS} s. Is it DICOM?"
        )
        return Outage(message)

    def _open_row(self, answered: list[PresentationContext], address: str) -> None:
        self._row_id = associations.open(
            peer_id=self._peer.id,
            role="requestor",
            calling=self._ours,
            called=self._peer.ae_title,
            address=address,
            contexts=[contexts.describe(context) for context in answered],
        )

    def _close_row(self, outcome: Outcome, message: str) -> None:
        associations.close(self.counts.progress(self._row_id), outcome=outcome, message=message)


class _Entity(ApplicationEntity):
    """pynetdicom's application entity, with our socket."""

    def _create_socket(self, assoc: Association, address: AddressInformation, tls_args: Any) -> AssociationSocket:
        peer_socket = PeerSocket(assoc, address=address)
        peer_socket.tls_args = tls_args
        return peer_socket


def _connection_error(peer: Peer, error: Exception) -> str:
    where = f"{peer.host}:{peer.port}"
    if isinstance(error, socket.gaierror | UnicodeError):
        return f"The name {peer.host} cannot be resolved. Check the host of {peer.label}, or use its IP address."
    if isinstance(error, TimeoutError):
        return f"Nothing answers at {where}. Check that {peer.label} runs and that no firewall blocks the connection."
    if isinstance(error, ConnectionRefusedError):
        return f"{where} refuses connections. Check the port of {peer.label}, and that its DICOM service runs."
    if getattr(error, "errno", None) in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return f"There is no route to {where}. Check the host of {peer.label} and the network."
    return f"{where} cannot be reached: {getattr(error, 'strerror', None) or error}."
