"""An association that we have accepted: its thread, the decision about its request, its row and its messages."""

import logging
from dataclasses import dataclass
from functools import partial

from dimse_worker import association_policy, contexts, extended_negotiation, operations
from dimse_worker.association_counts import AssociationCounts
from dimse_worker.association_policy import AssociationGrant, AssociationRejected, AssociationRequest
from dimse_worker.wire import answering, commands, decisions, negotiation, pdus
from dimse_worker.wire.admissions import NOBODY, Admissions
from dimse_worker.wire.commands import Command
from dimse_worker.wire.connection import Connection, Ended, ReleaseRequested
from dimse_worker.wire.messages import Messages, bad_message
from dimse_worker.wire.negotiation import AnsweredContext, AssociateRequest, BadRequest
from dimse_worker.wire.reception import Arrival, Reception
from dimse_worker.wire.rows import Row, Rows
from portal.peers.associations import Opening, Outcome

log = logging.getLogger(__name__)

CLOSE_SECONDS = 0.02
"""How long the thread waits for the peer to close the connection; after that nobody waits in particular."""


class _Rejected(Ended):
    """The association is rejected, and the peer is told so."""

    def __init__(self, code: tuple[int, int, int]) -> None:
        super().__init__("", pdus.rejection(*code))


@dataclass(frozen=True, kw_only=True)
class House:
    """What the associations of a process share."""

    reception: Reception
    rows: Rows
    admissions: Admissions


class Association:
    """One association. `run` is its thread, which holds a database connection; `stop` is called by another one."""

    grant: AssociationGrant
    """Set by the negotiation; nothing is accepted without it."""

    def __init__(self, house: House, arrival: Arrival) -> None:
        self.connection = Connection(arrival.connected, arrival.rest)
        self.messages = Messages(self.connection)
        self.counts = AssociationCounts()
        self.accepted: dict[int, AnsweredContext] = {}
        self.sendable: dict[tuple[str, str], int] = {}
        """SOP Class and transfer syntax → id of the contexts over which we may send objects."""
        self.negotiated: extended_negotiation.Negotiated = {}
        """The answers of the extended negotiation."""
        self.row: Row | None = None
        """None before it is accepted, and for the site's echo of itself."""
        self._house, self._arrival = house, arrival
        self._is_admitted = False
        self._waiting_request: tuple[int, Command] | None = None
        """A request that came while another one was served."""
        self._cancelled: set[int | None] = set()
        self._stop_reason = ""

    def run(self) -> None:
        """The association's thread: however it ends, the peer is told, and the row is closed."""
        outcome: Outcome = "aborted"
        try:
            self._negotiate()
            while True:
                self._serve_next()
        except ReleaseRequested:
            outcome, message, farewell = "released", "", pdus.RELEASE_RESPONSE
        except Ended as end:
            message, farewell = end.message, end.abort
        except Exception:
            log.exception("an association with %s failed", self._arrival.address)
            message, farewell = "We aborted it because of an internal error; see the log.", pdus.abort()
        if self._stop_reason and outcome == "aborted":
            message, farewell = self._stop_reason, pdus.abort()
        if self._is_admitted:
            self._house.admissions.release(self.grant.peer_id or NOBODY)
        if self.row is not None:
            self._house.rows.close(self.row, outcome, message)
        self.connection.send_last(farewell)
        if outcome == "released" and self.connection.is_closed_within(CLOSE_SECONDS):
            self.connection.close()
        else:
            self._house.reception.linger(self._arrival.connected)

    def stop(self, reason: str) -> None:
        """Abort it from another thread, as soon as it reads or has done what it does."""
        self._stop_reason = reason
        self.connection.stop_reading()

    @property
    def row_id(self) -> int | None:
        """Number of its row, which then exists; None without one."""
        return None if self.row is None else self._house.rows.wait_for_id(self.row)

    def respond(
        self, context_id: int, request: Command, status: int, *, comment: str = "", data_set: bytes | None = None
    ) -> None:
        """Respond to a request, after the rest of its data set was read and dropped."""
        if self._waiting_request is None:  # else that of the next request comes, which is not to be dropped
            self.messages.skip_data_set()
        encoded = commands.response(request, status, comment=comment, has_data_set=data_set is not None)
        self.connection.send_message(context_id, encoded, data_set)

    def is_cancelled(self, message_id: int | None) -> bool:
        """Whether a C-CANCEL for the request has arrived; the request's data set has been read."""
        while self.may_read():
            context_id, command = self.messages.next_command()
            if command.field == commands.CANCEL_RQ:
                self._cancelled.add(command.responded_to)
            else:
                self.keep_for_later(context_id, command)
        return message_id in self._cancelled

    def may_read(self) -> bool:
        """Whether a message has arrived that can be read while a request is served."""
        return self._waiting_request is None and self.connection.poll()

    def keep_for_later(self, context_id: int, request: Command) -> None:
        """Serve a request after the running one; until then nothing behind its command is read."""
        self._waiting_request = context_id, request

    def _serve_next(self) -> None:
        context_id, command = self._waiting_request or self.messages.next_command()
        self._waiting_request = None
        context = self.accepted.get(context_id)
        if context is None:
            raise bad_context()
        answering.serve(self, context, command)
        self._cancelled.clear()

    def _negotiate(self) -> None:
        """Decide about the request, and accept it. Raises Ended if it is rejected, or cannot be decoded."""
        try:
            request = negotiation.decode(self._arrival.take_request())
        except BadRequest as error:
            raise bad_message("a request for an association that cannot be decoded") from error
        if not request.version & negotiation.PROTOCOL_VERSION:
            raise _Rejected(association_policy.PROTOCOL_VERSION_UNKNOWN)
        if request.application_context != negotiation.APPLICATION_CONTEXT:
            raise _Rejected(association_policy.APPLICATION_CONTEXT_UNKNOWN)
        if 0 < request.max_length < pdus.MIN_MAX_LENGTH:
            raise _Rejected(association_policy.NO_REASON_GIVEN)
        try:
            self._decide(request)
        except AssociationRejected as rejection:
            log.info("rejected %s from %s: %s", request.calling, self._arrival.address, rejection.message)
            raise _Rejected(rejection.code) from rejection
        except Exception as error:
            log.exception("an association request could not be decided")
            raise _Rejected(association_policy.REJECTED_TRANSIENT) from error
        self.connection.max_length = request.max_length
        self.connection.send(self._accept(request))

    def _decide(self, request: AssociateRequest) -> None:
        """Set the grant. Raises AssociationRejected."""
        asked = AssociationRequest(
            calling=request.calling,
            called=request.called,
            address=association_policy.plain_address(self._arrival.address),
            local_address=association_policy.plain_address(self.connection.local_address),
            services=contexts.services_of(request.contexts),
            secured=self._arrival.secured,
            identity=request.identity,
        )
        self.grant = decisions.decide(asked)
        if self.grant.is_self_echo:
            return
        association_policy.admit(self.grant, self._house.admissions)
        self._is_admitted = True

    def _accept(self, request: AssociateRequest) -> bytes:
        """Choose the contexts, open the row and return the acceptance."""
        allowed, stored = self.grant.services, partial(operations.stored_syntaxes, self.grant)
        chosen = contexts.accept(request.contexts, request.roles, allowed, stored)
        answered, roles = negotiation.answer(request, chosen, allowed)
        accepted = [one for one in answered if one.result == negotiation.ACCEPTED]
        self.accepted = {one.context_id: one for one in accepted}
        self.sendable = {
            (one.abstract_syntax, one.transfer_syntax): one.context_id
            for one in accepted
            if roles.get(one.abstract_syntax, (True, False))[1]
        }
        self.negotiated = extended_negotiation.answer(request.extended, {one.abstract_syntax for one in accepted})
        asked = self.grant.request
        refused = {
            contexts.service_of(one.abstract_syntax) or ""
            for one in answered
            if one.result == negotiation.USER_REJECTION
        }
        if refused:
            label = self.grant.actor.name or asked.calling
            message = f"{label} is not allowed to {', '.join(sorted(refused))}. Allow it under Allowed services."
            association_policy.record_refusal(asked, "service", message)
        if not self.grant.is_self_echo:
            opening = Opening(
                peer_id=self.grant.peer_id,
                role="acceptor",
                calling=asked.calling,
                called=asked.called,
                address=asked.address,
                contexts=[one.description for one in answered],
                tls_version=asked.secured.version if asked.secured else "",
            )
            self.row = self._house.rows.open(opening, self.counts)
        return negotiation.acceptance(request, answered, roles, self.negotiated)


def bad_context() -> Ended:
    return Ended("The peer used a presentation context that was not accepted.", pdus.abort())
