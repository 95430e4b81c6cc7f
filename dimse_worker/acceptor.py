"""An association that we have accepted: its gate, its row, its counts, and the services that it is given."""

import ipaddress
import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast

from pynetdicom import evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_FIND, C_GET, C_MOVE, C_STORE
from pynetdicom.pdu_primitives import A_ABORT, A_ASSOCIATE, A_P_ABORT
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import StorageServiceClass

from dimse_worker import association_policy, contexts, handlers, retrieval, status
from dimse_worker.association_counts import AssociationCounts
from dimse_worker.association_policy import AssociationGrant, AssociationRejected, AssociationRequest
from dimse_worker.receiving import BoundedMessages
from dimse_worker.sockets import disable_delays
from portal import runtime
from portal.errors import NotDicom
from portal.peers import associations
from portal.peers.associations import Outcome

if TYPE_CHECKING:
    from pynetdicom.ae import ApplicationEntity

log = logging.getLogger(__name__)

MAX_ASSOCIATIONS = 200
PROVIDER_ABORT = b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x00"
"""A-ABORT of the service provider, no reason given (PS3.8 9.3.8)."""
USER_REJECTION = 1
ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
"""Results of a presentation context (PS3.8 9.3.3.2)."""


class Acceptor(Association):
    """pynetdicom's acceptor, with what it has no hook for: the end of its thread, and services that send raw bytes."""

    admission: AssociationGrant
    """Set by the gate; nothing is accepted without it."""

    def __init__(self, ae: "ApplicationEntity") -> None:
        super().__init__(ae, MODE_ACCEPTOR)
        self.dimse = BoundedMessages(self)
        self.tally = AssociationCounts()
        self.row_id: int | None = None
        self.reached = ""
        self._database = ExitStack()
        self._ended_by = ""
        for event, handler in (
            (evt.EVT_CONN_OPEN, _opened),
            (evt.EVT_CONN_CLOSE, _closed),
            (evt.EVT_REQUESTED, _requested),
            (evt.EVT_ACSE_SENT, _answering),
            (evt.EVT_ACSE_RECV, _heard),
            (evt.EVT_C_ECHO, handlers.echo),
            (evt.EVT_C_STORE, handlers.store),
            (evt.EVT_C_FIND, handlers.find),
        ):
            self.bind(event, handler)

    def run_reactor(self) -> None:
        """The association's thread: at its end, however it comes, the row is closed and the connection returned."""
        try:
            super().run_reactor()
        finally:
            with self._database:
                self._close_row()

    def admit(self) -> None:
        """Ask the gate; reject what it refuses, and support what the peer may use."""
        self._database.enter_context(runtime.connection())
        knock = self._knock()
        if len([a for a in self.ae.active_associations if a.is_acceptor]) > MAX_ASSOCIATIONS:
            association_policy.record_refusal(knock, "limit", f"More than {MAX_ASSOCIATIONS} associations at once.")
            return self.reject(association_policy.LOCAL_LIMIT_EXCEEDED)
        try:
            self.admission = association_policy.decide(knock)
        except AssociationRejected as refusal:
            log.info("rejected %s from %s: %s", knock.calling, knock.address, refusal.message)
            return self.reject(refusal.code)
        request = cast(A_ASSOCIATE, self.requestor.primitive)
        roles = {
            str(uid): (bool(role.scu_role), bool(role.scp_role)) for uid, role in self.requestor.role_selection.items()
        }
        self.acceptor.supported_contexts = contexts.supported(
            request.presentation_context_definition_list, roles, self.admission.services
        )
        return None

    def reject(self, code: tuple[int, int, int]) -> None:
        self.acse.send_reject(*code)
        self.kill()

    def accepting(self, answered: list[PresentationContext]) -> None:
        """Just before the A-ASSOCIATE-AC goes out: say why contexts are refused, and write the row."""
        refused = set()
        for context in answered:
            service = contexts.service_of(str(context.abstract_syntax))
            if context.result == ABSTRACT_SYNTAX_NOT_SUPPORTED and service is not None:
                context.result = USER_REJECTION
            if context.result == USER_REJECTION:
                refused.add(service or "")
        if refused:
            label = self.admission.actor.name or self.admission.knock.calling
            message = f"{label} may not {', '.join(sorted(refused))}; allow it if it should."
            association_policy.record_refusal(self.admission.knock, "service", message)
        if not self.admission.is_ours:
            self._open_row(answered)

    @property
    def has_begun(self) -> bool:
        """Whether a request has come, so that there is something to finish."""
        return self.requestor.primitive is not None

    def stop_waiting(self) -> None:
        """Have the association's thread take it that no request comes."""
        waiting: Any = self.dul.to_user_queue
        waiting.put(None)

    def fail(self) -> None:
        """Send A-ABORT past the protocol machine, whose thread has ended on what it could not decode, and end."""
        self.ended_by("We aborted it: the peer sent what cannot be decoded.")
        transport: Any = self.dul.socket
        transport.send(PROVIDER_ABORT)
        self.is_aborted, self.is_established, self._kill = True, False, True
        self.stop_waiting()

    def ended_by(self, message: str) -> None:
        """Why the association is about to end without a release."""
        self._ended_by = self._ended_by or message

    def _serve_request(self, msg: Any, context_id: int) -> None:
        """C-STORE of private classes, C-MOVE, C-GET and what is not complete; the rest is pynetdicom's.

        Its own C-MOVE and C-GET encode each data set anew, answer an unreachable destination with A801 and have no
        pending answer while one sub-operation takes long; its C-STORE knows no private SOP Class; a request without
        what it needs is left without an answer.
        """
        context = self._accepted_cx.get(context_id)
        try:
            if context is None:
                self.ended_by("The peer used a presentation context that was not accepted.")
                self.abort()
            elif msg.MessageIDBeingRespondedTo is None and not msg.is_valid_request:
                self._refuse_incomplete(msg, context)
            elif msg.is_valid_request and isinstance(msg, C_STORE):
                self._run(StorageServiceClass(self).SCP, msg, context)
            elif msg.is_valid_request and isinstance(msg, C_MOVE | C_GET):
                self._run(retrieval.service(self), msg, context)
            else:
                super()._serve_request(msg, context_id)
        finally:
            self.dul._idle_timer.restart()  # a retrieve of ten minutes is no idleness

    def _refuse_incomplete(self, msg: Any, context: PresentationContext) -> None:
        """A request that lacks a UID or its identifier: A900 where the standard has that, else an abort."""
        if msg.MessageID is None or not isinstance(msg, C_STORE | C_FIND | C_MOVE | C_GET):
            self.ended_by("The peer sent a request that is not complete.")
            return self.abort()
        reason = status.for_error(NotDicom("The request lacks a UID or its data set."))
        response = type(msg)()
        response.MessageID = response.MessageIDBeingRespondedTo = msg.MessageID
        response.AffectedSOPClassUID = msg.AffectedSOPClassUID or context.abstract_syntax
        response.Status, response.ErrorComment = reason.Status, reason.ErrorComment
        self.tally.failed(type(msg).__name__.removeprefix("C_").lower())
        self.dimse.send_msg(response, cast(int, context.context_id))
        return None

    def _run(self, service: Any, msg: Any, context: Any) -> None:
        """As the parent runs a service."""
        self.dimse.cancel_req = {}
        self._is_paused = True
        try:
            service(msg, context)
        except Exception:
            log.exception("a service of %s failed", self.admission.knock.calling)
            self.ended_by("We aborted it on a defect of ours; see the log.")
            self.abort()
        finally:
            self._is_paused = False
            self.dimse.cancel_req = {}

    def _knock(self) -> AssociationRequest:
        request = cast(A_ASSOCIATE, self.requestor.primitive)
        return AssociationRequest(
            calling=request.calling_ae_title.strip(" \0"),
            called=request.called_ae_title.strip(" \0"),
            address=_plain(self.requestor.address),
            reached=self.reached,
            wanted=contexts.services_of(request.presentation_context_definition_list),
        )

    def _open_row(self, answered: list[PresentationContext]) -> None:
        knock = self.admission.knock
        self.row_id = associations.open(
            peer_id=self.admission.peer.id if self.admission.peer else None,
            role="acceptor",
            calling=knock.calling,
            called=knock.called,
            address=knock.address,
            contexts=[contexts.describe(context) for context in answered],
        )

    def _close_row(self) -> None:
        if self.row_id is None:
            return
        outcome: Outcome = "released" if self.is_released else "aborted"
        message = "" if self.is_released else self._why_it_ended()
        associations.close(self.tally.progress(self.row_id), outcome=outcome, message=message)

    def _why_it_ended(self) -> str:
        complaint = getattr(self.dul.socket, "complaint", "")
        return complaint or self._ended_by or "The connection was closed without a release."


def _opened(event: evt.Event) -> None:
    assoc = cast(Acceptor, event.assoc)
    transport: Any = assoc.dul.socket
    assoc.reached = _plain(transport.socket.getsockname()[0])
    disable_delays(transport.socket)


def _closed(event: evt.Event) -> None:
    """Who connects and leaves without a request would hold two threads until the time for one is over."""
    assoc = cast(Acceptor, event.assoc)
    if not assoc.has_begun:
        assoc.stop_waiting()


def _requested(event: evt.Event) -> None:
    """The gate. pynetdicom goes on to accept after an error in a notification handler, so none may leave this one."""
    assoc = cast(Acceptor, event.assoc)
    try:
        assoc.admit()
    except Exception:
        log.exception("an association request could not be decided")
        assoc.reject(association_policy.REJECTED_TRANSIENT)


def _answering(event: Any) -> None:
    primitive = event.primitive
    if isinstance(primitive, A_ASSOCIATE) and primitive.result == 0:
        cast(Acceptor, event.assoc).accepting(primitive.presentation_context_definition_results_list)


def _heard(event: Any) -> None:
    assoc = cast(Acceptor, event.assoc)
    if isinstance(event.primitive, A_ABORT):
        assoc.ended_by("The peer aborted it.")
    elif isinstance(event.primitive, A_P_ABORT):
        assoc.ended_by("The connection was closed without a release.")


def _plain(address: str) -> str:
    """An IPv4 address that came in on an IPv6 socket, as an IPv4 address."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
