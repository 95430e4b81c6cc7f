"""An association that we request: its connection, its row, and in words why a peer does not accept it."""

import errno
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import IO, cast

from pynetdicom.presentation import PresentationContext

from dimse_worker import contexts
from dimse_worker.association_counts import AssociationCounts
from dimse_worker.sending import ANSWER_SECONDS, DataSet, StoreRequest, StoreResponse, pieces_of
from dimse_worker.tls import calling
from dimse_worker.tls.sockets import TlsSocket, Transport
from dimse_worker.wire import commands, connecting
from dimse_worker.wire.commands import Command
from dimse_worker.wire.connection import Ended
from dimse_worker.wire.requestor import AssociateRequest, NoResponse, Rejected, RequestedAssociation
from portal.dicom.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from portal.errors import Outage, Unreachable
from portal.models import Peer
from portal.peers import associations, peers
from portal.peers.associations import REFRESH_SECONDS, Outcome

NEGOTIATE_SECONDS = 30
NO_ROLES: Mapping[str, tuple[bool, bool]] = MappingProxyType({})
"""We are the SCU of all that is proposed."""

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

    def __init__(
        self,
        peer: Peer,
        proposed: Sequence[PresentationContext],
        *,
        negotiate_seconds: float = NEGOTIATE_SECONDS,
        waiting: Callable[[], None] = lambda: None,
        roles: Mapping[str, tuple[bool, bool]] = NO_ROLES,
    ) -> None:
        """Raises Unreachable with the reason if the peer does not accept. `roles`: as `AssociateRequest` has them.

        `waiting`: called several times a second during each wait, also while connecting; it may raise to end the wait.
        """
        self.counts = AssociationCounts()
        self._peer, self._waiting, self._roles, self._tls_version = peer, waiting, roles, ""
        self._ours = peers.our_ae_title(peer)
        self._written = time.monotonic()
        try:
            self._association = self._associate(proposed, negotiate_seconds)
        except Exception as error:
            self._open_row([], peer.host)
            self._close_row("failed", str(error))
            raise
        self._open_row(self._association.answered, self._address)

    @property
    def accepted(self) -> Mapping[tuple[str, str], int]:
        """SOP Class and transfer syntax → presentation context's id."""
        return self._association.accepted

    @property
    def is_open(self) -> bool:
        """Whether the association still exists, as far as the peer has told us."""
        return self._association.is_open

    @property
    def roles(self) -> Mapping[str, tuple[bool, bool]]:
        """SOP Class UID → those of our proposed roles that the peer accepts: SCU, SCP."""
        return self._association.roles

    def exchange(self, context_id: int, command: bytes, data_set: IO[bytes], length: int, *, response: int) -> Command:
        """Send a normalized request whose message id is 1, with the first `length` bytes of a file; its response.

        Raises Unreachable if there is none.
        """
        try:
            return self._association.exchange(
                context_id, command, pieces_of(data_set), length, response=response, seconds=ANSWER_SECONDS
            )
        except (Ended, NoResponse) as error:
            raise Unreachable(f"{self._peer.label} accepted the association, but did not respond.") from error

    def take_request(self, field: int, take: Callable[[Command, Iterator[memoryview]], int], *, seconds: float) -> bool:
        """Wait for a request of the peer's, and respond with the status that `take` returns; False if none comes."""
        try:
            context_id, command = self._association.next_request(field, seconds=seconds)
            self._association.respond(context_id, command, take(command, self._association.data_set()))
        except (Ended, NoResponse):
            return False
        return True

    def echo(self, context_id: int, *, seconds: float) -> int:
        """The status of a C-ECHO. Raises Unreachable if it is not answered."""
        try:
            response = self._association.echo(context_id, contexts.VERIFICATION, seconds=seconds)
        except (Ended, NoResponse) as error:
            message = f"{self._peer.label} accepted the association, but did not answer the C-ECHO."
            raise Unreachable(message) from error
        if response.status is None:
            raise Unreachable(f"{self._peer.label} answered the C-ECHO without a status.")
        return response.status

    def store(self, request: StoreRequest, data: DataSet) -> None:
        """Send one object. Raises Unreachable if the association ends, and what `data` raises.

        After any exception the association is unusable.
        """
        originator = request.originator
        command = commands.store_request(
            request.sop_class_uid,
            request.sop_instance_uid,
            request.message_id,
            originator_title=originator.ae_title if originator else "",
            originator_id=originator.message_id if originator else 0,
        )
        try:
            self._association.store(request.context_id, command, data.pieces, data.length)
        except Ended as end:
            raise Unreachable("The association ended before the object was sent completely.") from end

    def store_response(self, request: StoreRequest, data: DataSet) -> StoreResponse:
        """Wait for the response to what was sent. Raises Unreachable if there is none, as `store`."""
        try:
            response = self._association.store_response(request.message_id, seconds=ANSWER_SECONDS)
        except Ended as end:
            raise Unreachable("The association ended before the peer answered the C-STORE.") from end
        except NoResponse as error:
            raise Unreachable(f"The peer did not answer the C-STORE within {ANSWER_SECONDS:.0f} s.") from error
        return StoreResponse.of(response, data.length)

    def refresh(self) -> None:
        """Write the counts to the row, at most every REFRESH_SECONDS."""
        if time.monotonic() - self._written > REFRESH_SECONDS:
            self._written = time.monotonic()
            associations.refresh([self.counts.progress(self._row_id)])

    def close(self, message: str = "") -> None:
        """Release it, or abort it with a message that says why it cannot go on."""
        if message or not self.is_open:
            self._association.abort()
            self._close_row("aborted", message or "The peer ended it.")
        elif self._association.release():
            self._close_row("released", "")
        else:
            self._close_row("aborted", "The peer did not answer the release.")

    def _associate(self, proposed: Sequence[PresentationContext], seconds: float) -> RequestedAssociation:
        peer = self._peer
        request = AssociateRequest(
            calling=self._ours,
            called=peer.ae_title,
            contexts=proposed,
            max_length=contexts.MAX_PDU_LENGTH,
            implementation_class_uid=IMPLEMENTATION_CLASS_UID,
            implementation_version=IMPLEMENTATION_VERSION.decode().strip(),
            roles=self._roles,
        )
        connected: Transport | None = None
        try:
            plain = connecting.connect(peer.host, cast(int, peer.port), waiting=self._waiting)
            self._address = str(plain.getpeername()[0])
            connected = calling.secure(plain, peer, waiting=self._waiting) if peer.tls else plain
            self._tls_version = connected.secured.version if isinstance(connected, TlsSocket) else ""
            association = RequestedAssociation(connected, request, seconds=seconds, waiting=self._waiting)
        except (OSError, UnicodeError) as error:
            raise Outage(_connection_error(peer, error)) from error
        except Rejected as rejection:
            raise self._rejected(*rejection.code) from rejection
        except Ended as end:
            if isinstance(connected, TlsSocket):  # since TLS 1.3 our certificate is looked at after the handshake
                ended = (
                    connected.failure or "ended the connection after the TLS handshake. Does it trust our certificate"
                )
                remedy = "Register ours there, or install another one in Settings."
                raise Outage(f"{peer.label} {ended}{'.' if connected.failure else '?'} {remedy}") from end
            connected_but = f"{peer.label} accepted the connection and closed it without a response."
            raise Outage(f"{connected_but} Is this its DICOM port?") from end
        except NoResponse as error:
            connected_but = f"{peer.label} accepted the connection, but did not respond within {seconds:.0f} s."
            raise Outage(f"{connected_but} Is it DICOM?") from error
        if not association.accepted:
            association.abort()
            raise NoContextAccepted(f"{peer.label} accepted the association, but none of the proposed contexts.")
        return association

    def _rejected(self, result: int, source: int, diagnostic: int) -> Outage:
        reason = REJECTION_REASONS.get((source, diagnostic), "gives a reason outside the standard")
        reason = reason.format(ours=self._ours, theirs=self._peer.ae_title)
        message = f"{self._peer.label} rejected the association ({result}/{source}/{diagnostic}): it {reason}."
        return Outage(message, permanent=result == REJECTED_PERMANENT)

    def _open_row(self, answered: Sequence[PresentationContext], address: str) -> None:
        self._row_id = associations.open(
            peer_id=self._peer.id,
            role="requestor",
            calling=self._ours,
            called=self._peer.ae_title,
            address=address,
            contexts=[contexts.describe(context) for context in answered],
            tls_version=self._tls_version,
        )

    def _close_row(self, outcome: Outcome, message: str) -> None:
        associations.close(self.counts.progress(self._row_id), outcome=outcome, message=message)


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
