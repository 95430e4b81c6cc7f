"""We as service class user: echo a peer, and send objects to one, with reasons in words."""

import errno
import logging
import socket
import time
from collections.abc import Iterable
from typing import Any, BinaryIO, cast

from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.ae import ApplicationEntity
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.transport import AddressInformation, AssociationSocket

from dimse_worker import contexts, pause_reader, sending, status
from dimse_worker.association_counts import AssociationCounts
from dimse_worker.handlers import is_open
from dimse_worker.sending import MoveOriginator, StoreResponse, WaitCallback
from dimse_worker.sockets import PeerSocket, disable_delays
from portal.dicom.file_meta import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from portal.errors import NotAllowed, Outage, Unreachable
from portal.jobs.bandwidth import Bandwidth
from portal.models import Peer
from portal.peers import associations, peers
from portal.peers.associations import REFRESH_SECONDS, Outcome
from portal.query import retrieve

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10
NEGOTIATE_SECONDS = 30
ANSWER_SECONDS = 60
ECHO_SECONDS = 10
"""To negotiate and to answer a C-ECHO: somebody waits for that, and other short jobs behind it."""

REJECTION_REASONS = {
    (1, 1): "gives no reason",
    (1, 2): "does not know the application context",
    (1, 3): "does not know our AE title {ours}. Register it there, with this machine's address",
    (1, 7): "says that {theirs} is not its AE title. Correct it here or there",
    (2, 1): "gives no reason",
    (2, 2): "does not know this version of the protocol",
    (3, 1): "is too busy at the moment",
    (3, 2): "has as many associations as it takes",
}
"""Source and diagnostic of an A-ASSOCIATE-RJ (PS3.8 9.3.4) in words."""


REJECTED_PERMANENT = 1
"""Result of an A-ASSOCIATE-RJ; the other one, 2, may pass (PS3.8 9.3.4)."""


class NoContextAccepted(Unreachable):
    """The association stands, but for none of the contexts that were proposed."""

    permanent = True


class Requestor:
    """An association that we have requested, with its row. Used by one thread, which holds a database connection."""

    def __init__(self, peer: Peer, proposed: list[PresentationContext], *, patience: int | None = None) -> None:
        """Raises Unreachable with the reason where the peer does not accept; `patience`: seconds for each answer."""
        self.tally = AssociationCounts()
        self._ours = peers.our_ae_title(peer)
        self._peer = peer
        self._written = time.monotonic()
        self._patience = patience
        try:
            self.assoc = self._associate(proposed)
        except Unreachable as error:
            self._row_id = self._open_row([], peer.host)
            self._close_row("failed", error.message)
            raise
        accepted = self.assoc.accepted_contexts + self.assoc.rejected_contexts
        self._row_id = self._open_row(accepted, self.assoc.acceptor.address)
        # Its reactor would take the answers off the queue: `Association.send_c_store` pauses it for each message.
        self.assoc._reactor_checkpoint.clear()

    def refresh(self) -> None:
        """Write the counts to the row, where some time has passed since they were."""
        if time.monotonic() - self._written > REFRESH_SECONDS:
            self._written = time.monotonic()
            associations.refresh([self.tally.progress(self._row_id)])

    def close(self, message: str = "") -> None:
        """Release it; with a sentence that says why it cannot go on, abort it."""
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

    def _associate(self, proposed: list[PresentationContext]) -> Association:
        peer = self._peer
        entity = _Entity(ae_title=self._ours)
        entity.connection_timeout, entity.acse_timeout = CONNECT_SECONDS, self._patience or NEGOTIATE_SECONDS
        entity.dimse_timeout, entity.network_timeout = self._patience or ANSWER_SECONDS, None
        entity.implementation_class_uid = IMPLEMENTATION_CLASS_UID
        entity.implementation_version_name = IMPLEMENTATION_VERSION.decode().strip()
        try:
            assoc = entity.associate(
                peer.host,
                cast(int, peer.port),
                contexts=proposed,
                ae_title=peer.ae_title,
                max_pdu=contexts.MAX_PDU_LENGTH,
                evt_handlers=[(evt.EVT_CONN_OPEN, _opened)],
            )
        except (OSError, UnicodeError) as error:
            raise Outage(_cannot_connect(peer, error)) from error
        if not assoc.is_established:
            raise self._why_not(assoc)
        pause_reader.install(assoc)
        return assoc

    def _why_not(self, assoc: Association) -> Unreachable:
        peer = self._peer
        failure = cast(PeerSocket, entity_socket).failure if (entity_socket := assoc.dul.socket) else None
        if failure is not None:
            return Outage(_cannot_connect(peer, failure))
        if assoc.is_rejected:
            answer: Any = assoc.acceptor.primitive
            words = REJECTION_REASONS.get(
                (answer.result_source, answer.diagnostic), "gives a reason outside the standard"
            )
            code = f"{answer.result}/{answer.result_source}/{answer.diagnostic}"
            reason = words.format(ours=self._ours, theirs=peer.ae_title)
            message = f"{peer.label} rejected the association ({code}): it {reason}."
            return Outage(message, permanent=answer.result == REJECTED_PERMANENT)
        if assoc.rejected_contexts:
            return NoContextAccepted(f"{peer.label} accepted the association, but nothing that was proposed.")
        if assoc.acse.is_aborted() or not assoc._sent_abort:
            message = f"{peer.label} took the connection and closed it without an answer. Is this its DICOM port?"
            return Outage(message)
        message = f"{peer.label} took the connection, but did not answer within {NEGOTIATE_SECONDS} s. Is it DICOM?"
        return Outage(message)

    def _open_row(self, answered: Iterable[PresentationContext], address: str) -> int:
        return associations.open(
            peer_id=self._peer.id,
            role="requestor",
            calling=self._ours,
            called=self._peer.ae_title,
            address=address,
            contexts=[contexts.describe(context) for context in answered],
        )

    def _close_row(self, outcome: Outcome, message: str) -> None:
        associations.close(self.tally.progress(self._row_id), outcome=outcome, message=message)


class Sender:
    """Sends objects to one peer over as many associations as their contexts need, opened when they are needed.

    `pairs`: each (SOP Class, transfer syntax) that is to be sent. Close it at the end.
    """

    def __init__(
        self,
        peer: Peer,
        pairs: Iterable[tuple[str, str]],
        *,
        waiting: WaitCallback = lambda: None,
        bandwidth: Bandwidth | None = None,
    ) -> None:
        self._peer, self._waiting, self._bandwidth = peer, waiting, bandwidth
        self._batches = contexts.for_sending(pairs)
        self._links: dict[int, Requestor] = {}
        self._empty: set[int] = set()
        self._message_id = 0
        self._dead: Outage | None = None

    def send(self, outgoing: retrieve.Outgoing, originator: MoveOriginator | None = None) -> StoreResponse:
        """Send one object and return the peer's answer, whatever its status.

        Raises NotAllowed where the peer takes the class in no transfer syntax that we have or can make, Unreachable
        where it cannot be reached (then at once for each further object), and the PortalError of a transcoding.
        """
        number = self._batch_of(outgoing.sop_class_uid)
        try:
            link = self._link(number)
        except NoContextAccepted as error:
            raise self._none_of(number, outgoing) from error
        chosen = contexts.choose(link.assoc.accepted_contexts, outgoing.sop_class_uid, outgoing.transfer_syntax_uid)
        if chosen is None:
            link.tally.failed("store")
            raise self._none_of(number, outgoing)
        with sending.open_data_set(outgoing, chosen[1], waiting=self._waiting) as data:
            answer = self._over(number, chosen[0], outgoing, originator, data)
        if answer.status == status.SUCCESS or status.is_warning(answer.status):
            link.tally.done("store", size=answer.size)
        else:
            link.tally.failed("store")
        link.refresh()
        return answer

    def close(self) -> None:
        for link in self._links.values():
            link.close()
        self._links.clear()

    def _over(
        self,
        number: int,
        context: PresentationContext,
        outgoing: retrieve.Outgoing,
        originator: MoveOriginator | None,
        data: tuple[BinaryIO, int],
    ) -> StoreResponse:
        """Whatever ends it in the middle of an object ends the association too."""
        link = self._links[number]
        self._message_id = self._message_id % 65535 + 1
        command = sending.store_request(outgoing, self._message_id, originator)
        if self._bandwidth is not None:
            data = sending.throttled(data, self._bandwidth, self._waiting)
        try:
            return sending.send_object(
                link.assoc, context, command, data, while_sending=self._waiting, waiting=self._waiting
            )
        except BaseException as error:
            link.tally.failed("store")
            self._links.pop(number).close(f"It ended in the middle of an object. {error}")
            raise

    def _none_of(self, number: int, outgoing: retrieve.Outgoing) -> NotAllowed:
        """Says what was offered, so that somebody can set up the other side."""
        mine = [one for one in self._batches[number] if one.abstract_syntax == outgoing.sop_class_uid]
        offered = ", ".join(UID(one.transfer_syntax[0]).name for one in mine)
        return NotAllowed(f"{self._peer.label} takes {UID(outgoing.sop_class_uid).name} in none of: {offered}.")

    def _batch_of(self, sop_class: str) -> int:
        for number, batch in enumerate(self._batches):
            if any(context.abstract_syntax == sop_class for context in batch):
                return number
        raise NotAllowed(f"The SOP Class {sop_class} was not proposed to {self._peer.label}.")

    def _link(self, number: int) -> Requestor:
        """The association of one batch; one that ended is requested once more, and after a failure no more."""
        if self._dead:
            raise Outage(self._dead.message, permanent=self._dead.permanent)
        link = self._links.get(number)
        if link is not None and is_open(link.assoc):
            return link
        if link is not None:
            self._links.pop(number).close()
        if number in self._empty:
            raise NoContextAccepted(f"{self._peer.label} accepts nothing of what is proposed to it.")
        try:
            self._links[number] = Requestor(self._peer, self._batches[number])
        except NoContextAccepted:
            self._empty.add(number)
            raise
        except Outage as error:
            self._dead = error
            raise
        return self._links[number]


def echo(peer: Peer) -> str:
    """C-ECHO a peer; returns a sentence on how it went, raises Unreachable with the reason in words."""
    started = time.monotonic()
    link = Requestor(
        peer, [build_context(contexts.VERIFICATION, list(contexts.TRANSCODING_TARGETS))], patience=ECHO_SECONDS
    )
    link.assoc._reactor_checkpoint.set()
    answer = link.assoc.send_c_echo()
    if "Status" not in answer:
        link.tally.failed("echo")
        link.close("The peer did not answer the C-ECHO.")
        raise Unreachable(f"{peer.label} accepted the association, but did not answer the C-ECHO.")
    code = int(answer.Status)
    if code != status.SUCCESS:
        link.tally.failed("echo")
        link.close()
        raise Unreachable(f"{peer.label} answered the C-ECHO with status {code:04X}.")
    link.tally.done("echo")
    link.close()
    milliseconds = round((time.monotonic() - started) * 1000)
    return f"{peer.ae_title} at {peer.host}:{peer.port} answered the C-ECHO in {milliseconds} ms."


class _Entity(ApplicationEntity):
    """pynetdicom's, with our socket."""

    def _create_socket(self, assoc: Association, address: AddressInformation, tls_args: Any) -> AssociationSocket:
        made = PeerSocket(assoc, address=address)
        made.tls_args = tls_args
        return made


def _opened(event: evt.Event) -> None:
    transport: Any = event.assoc.dul.socket
    disable_delays(transport.socket)


def _cannot_connect(peer: Peer, error: Exception) -> str:
    where = f"{peer.host}:{peer.port}"
    if isinstance(error, socket.gaierror | UnicodeError):
        return f"The name {peer.host} cannot be resolved. Check the host of {peer.label}, or use its IP address."
    if isinstance(error, TimeoutError):
        return f"Nothing answers at {where}. Check that {peer.label} runs, and that no firewall is in between."
    if isinstance(error, ConnectionRefusedError):
        return f"{where} refuses connections. Check the port of {peer.label}, and that its DICOM service runs."
    if getattr(error, "errno", None) in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return f"There is no way to {where} from here. Check the host of {peer.label} and the network."
    return f"{where} cannot be reached: {getattr(error, 'strerror', None) or error}."
