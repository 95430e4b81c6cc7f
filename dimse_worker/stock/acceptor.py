"""An association that we have accepted: the decision about its request, its row, and the services that it may use."""

import logging
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from pynetdicom import evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_FIND, C_GET, C_MOVE, C_STORE, N_ACTION, N_EVENT_REPORT
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import StorageServiceClass

from dimse_worker import association_policy, commitment, contexts, extended_negotiation, operations, retrieval, status
from dimse_worker.association_counts import AssociationCounts
from dimse_worker.association_policy import AssociationGrant, AssociationRejected, AssociationRequest
from dimse_worker.stock import handlers, negotiation
from dimse_worker.stock.committing import Committing
from dimse_worker.stock.receiving import BoundedMessages
from dimse_worker.stock.retrieving import Retrieving
from dimse_worker.wire.admissions import NOBODY, Admissions
from portal import runtime
from portal.errors import NotDicom
from portal.peers import associations
from portal.peers.caller_certificates import Secured

if TYPE_CHECKING:
    from pynetdicom.ae import ApplicationEntity

log = logging.getLogger(__name__)

PROVIDER_ABORT = b"\x07\x00\x00\x00\x00\x04\x00\x00\x02\x00"
"""A-ABORT of the service provider, no reason given (PS3.8 9.3.8)."""
USER_REJECTION = 1
ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
"""Results of a presentation context (PS3.8 9.3.3.2)."""


class Acceptor(Association):
    """pynetdicom's acceptor, with what it has no hook for: the end of its thread, and services that send raw bytes."""

    grant: AssociationGrant
    """Set by `negotiate`; nothing is accepted without it."""

    def __init__(self, ae: "ApplicationEntity", admissions: Admissions) -> None:
        super().__init__(ae, MODE_ACCEPTOR)
        self._admissions, self._is_admitted = admissions, False
        self.dimse = BoundedMessages(self)
        self.counts = AssociationCounts()
        self.negotiated: extended_negotiation.Negotiated = {}
        """The answers of the extended negotiation."""
        self.row_id: int | None = None
        self.local_address = ""
        self.secured: Secured | None = None
        """How the peer is known over TLS; None in clear text."""
        self._database = ExitStack()
        self._end_reason = ""
        for event, handler in (
            (evt.EVT_CONN_OPEN, handlers.connection_opened),
            (evt.EVT_CONN_CLOSE, handlers.connection_closed),
            (evt.EVT_REQUESTED, handlers.association_requested),
            (evt.EVT_USER_ID, handlers.user_identified),
            (evt.EVT_SOP_EXTENDED, handlers.extended_negotiation_requested),
            (evt.EVT_ACSE_SENT, handlers.acse_sent),
            (evt.EVT_ACSE_RECV, handlers.acse_received),
            (evt.EVT_DIMSE_RECV, handlers.message_received),
            (evt.EVT_C_ECHO, handlers.echo),
            (evt.EVT_C_STORE, handlers.store),
        ):
            self.bind(event, handler)

    def run_reactor(self) -> None:
        """The association's thread: however it ends, the row is closed and the database connection returned."""
        try:
            super().run_reactor()
        finally:
            if self._is_admitted:
                self._admissions.release(self.grant.peer_id or NOBODY)
            with self._database:
                if self.row_id is not None:
                    progress = self.counts.progress(self.row_id)
                    if self.is_released:
                        associations.close(progress, outcome="released")
                    else:
                        reason = getattr(self.dul.socket, "complaint", "") or self._end_reason
                        message = reason or "The connection was closed without a release."
                        associations.close(progress, outcome="aborted", message=message)

    def connected(self, local_address: str) -> None:
        """Keep the address of ours that the peer connected to."""
        self.local_address = association_policy.plain_address(local_address)

    def negotiate(self) -> None:
        """Decide about the request: reject it, or support the contexts of the services that the peer may use."""
        self._database.enter_context(runtime.connection())
        primitive = cast(A_ASSOCIATE, self.requestor.primitive)
        proposed = primitive.presentation_context_definition_list
        request = AssociationRequest(
            calling=primitive.calling_ae_title.strip(" \0"),
            called=primitive.called_ae_title.strip(" \0"),
            address=association_policy.plain_address(self.requestor.address),
            local_address=self.local_address,
            services=contexts.services_of(proposed),
            secured=self.secured,
            identity=negotiation.identity_of(self.requestor.user_identity),
        )

        try:
            self.grant = association_policy.decide(request)
            if not self.grant.is_self_echo:
                association_policy.admit(self.grant, self._admissions)
                self._is_admitted = True
        except AssociationRejected as rejection:
            log.info("rejected %s from %s: %s", request.calling, request.address, rejection.message)
            return self.reject(rejection.code)

        roles = {
            str(uid): (bool(role.scu_role), bool(role.scp_role)) for uid, role in self.requestor.role_selection.items()
        }
        services, stored = self.grant.services, partial(operations.stored_syntaxes, self.grant)
        accepted = contexts.accept(proposed, roles, services, stored)
        self.acceptor.supported_contexts = negotiation.supported(proposed, accepted, roles, services)
        offered = {str(uid): said for uid, said in self.requestor.sop_class_extended.items()}
        used = {str(context.abstract_syntax) for context in proposed if context.context_id in accepted}
        self.negotiated = extended_negotiation.answer(offered, used)
        return None

    def reject(self, code: tuple[int, int, int]) -> None:
        self.acse.send_reject(*code)
        self.kill()

    def before_accept(self, answered: list[PresentationContext]) -> None:
        """Just before the A-ASSOCIATE-AC is sent: set why contexts are refused, and write the association's row."""
        refused = set()
        for context in answered:
            service = contexts.service_of(str(context.abstract_syntax))
            if context.result == ABSTRACT_SYNTAX_NOT_SUPPORTED and service is not None:
                context.result = USER_REJECTION
            if context.result == USER_REJECTION:
                refused.add(service or "")

        request = self.grant.request
        if refused:
            label = self.grant.actor.name or request.calling
            message = f"{label} is not allowed to {', '.join(sorted(refused))}. Allow it under Allowed services."
            association_policy.record_refusal(request, "service", message)
        if not self.grant.is_self_echo:
            self.row_id = associations.open(
                peer_id=self.grant.peer_id,
                role="acceptor",
                calling=request.calling,
                called=request.called,
                address=request.address,
                contexts=[contexts.describe(context) for context in answered],
                tls_version=self.secured.version if self.secured else "",
            )

    @property
    def has_begun(self) -> bool:
        """Whether an association request has arrived, so that there is something to finish."""
        return self.requestor.primitive is not None

    def stop_waiting(self) -> None:
        """Tell the association's thread that no request will arrive."""
        waiting: Any = self.dul.to_user_queue
        waiting.put(None)

    def fail(self) -> None:
        """End after the thread of the protocol machine failed to decode something: send A-ABORT without that thread."""
        self.set_end_reason("We aborted it: the peer sent data that cannot be decoded.")
        transport: Any = self.dul.socket
        transport.send(PROVIDER_ABORT)
        self.is_aborted, self.is_established, self._kill = True, False, True
        self.stop_waiting()

    def set_end_reason(self, message: str) -> None:
        """Say why the association is about to end without a release; the first reason counts."""
        self._end_reason = self._end_reason or message

    def _serve_request(self, msg: Any, context_id: int) -> None:
        """Serve C-STORE of private classes, C-FIND, C-MOVE, C-GET and incomplete requests; the rest is pynetdicom's.

        pynetdicom's own C-MOVE and C-GET encode each data set anew, answer an unreachable destination with A801 and
        send no pending response during a long sub-operation; its C-STORE knows no private SOP Class; and it leaves
        an incomplete request unanswered.
        """
        context = self._accepted_cx.get(context_id)
        try:
            if context is None:
                self.set_end_reason("The peer used a presentation context that was not accepted.")
                self.abort()
            elif isinstance(msg, N_ACTION | N_EVENT_REPORT) and msg.MessageID is not None and self._commits(context):
                self._run_service(lambda msg, context: commitment.serve(Committing(self, msg, context)), msg, context)
            elif msg.MessageIDBeingRespondedTo is None and not msg.is_valid_request:
                self._refuse_incomplete(msg, context)
            elif msg.is_valid_request and isinstance(msg, C_STORE):
                self._run_service(StorageServiceClass(self).SCP, msg, context)
            elif msg.is_valid_request and isinstance(msg, C_FIND):
                self._run_service(partial(handlers.find, self), msg, context)
            elif msg.is_valid_request and isinstance(msg, C_MOVE | C_GET):
                self._run_service(lambda msg, context: retrieval.serve(Retrieving(self, msg, context)), msg, context)
            else:
                super()._serve_request(msg, context_id)
        finally:
            self.dul._idle_timer.restart()  # a retrieval of ten minutes must not count as idle time

    def _commits(self, context: PresentationContext) -> bool:
        return contexts.service_of(str(context.abstract_syntax)) == "commit"

    def _refuse_incomplete(self, msg: Any, context: PresentationContext) -> None:
        """Answer a request that lacks a UID or its identifier: A900 where the standard has that status, else abort."""
        if msg.MessageID is None or not isinstance(msg, C_STORE | C_FIND | C_MOVE | C_GET):
            self.set_end_reason("The peer sent an incomplete request.")
            return self.abort()
        reason = status.for_error(NotDicom("The request lacks a UID or its data set."))
        response = type(msg)()
        response.MessageID = response.MessageIDBeingRespondedTo = msg.MessageID
        response.AffectedSOPClassUID = msg.AffectedSOPClassUID or context.abstract_syntax
        response.Status, response.ErrorComment = reason.Status, reason.ErrorComment
        self.counts.failed(type(msg).__name__.removeprefix("C_").lower())
        self.dimse.send_msg(response, cast(int, context.context_id))
        return None

    def _run_service(self, service: Any, msg: Any, context: Any) -> None:
        """Call a service with the reactor paused, as pynetdicom's `_serve_request` does."""
        self._is_paused = True
        try:
            service(msg, context)
        except Exception:
            log.exception("a service of %s failed", self.grant.request.calling)
            self.set_end_reason("We aborted it because of an internal error; see the log.")
            self.abort()
        finally:
            self._is_paused = False
