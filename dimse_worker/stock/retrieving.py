"""A C-MOVE or C-GET that came over an association of pynetdicom's, and C-STORE over that association."""

import queue
import time
from collections.abc import Iterator
from io import BytesIO
from typing import Any, Literal

from pynetdicom.association import Association
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_GET, C_MOVE, C_STORE
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext

from dimse_worker import contexts, extended_negotiation
from dimse_worker.sending import ANSWER_SECONDS, POLL_SECONDS, DataSet, StoreRequest, StoreResponse, WaitCallback
from dimse_worker.wire.commands import Counts
from portal.errors import PortalError, Unreachable

MAX_FRAGMENT_LENGTH = 131_072
MAX_QUEUED_PDUS = 64
"""P-DATA-TFs that may wait to be sent, so that a slow reader does not fill the memory."""


class Retrieving:
    """A `suboperations.RetrieveRequest` of an `acceptor.Acceptor`."""

    def __init__(self, assoc: Any, request: C_MOVE | C_GET, context: PresentationContext) -> None:
        self.operation: Literal["move", "get"] = "move" if isinstance(request, C_MOVE) else "get"
        roots = contexts.MOVE_ROOTS if self.operation == "move" else contexts.GET_ROOTS
        self.root = roots[str(context.abstract_syntax)]
        self.is_relational = extended_negotiation.is_relational(assoc.negotiated, str(context.abstract_syntax))
        self.message_id = request.MessageID or 0
        self.move_destination = (request.MoveDestination or "").strip(" \0") if isinstance(request, C_MOVE) else ""
        self.identifier = request.Identifier.getvalue() if request.Identifier else b""
        self.transfer_syntax_uid = str(context.transfer_syntax[0])
        self.grant, self.row_id, self.counts = assoc.grant, assoc.row_id, assoc.counts
        self.accepted: dict[tuple[str, str], int] = {
            (str(one.abstract_syntax), str(one.transfer_syntax[0])): one.context_id or 0
            for one in assoc.accepted_contexts
            if one.as_scu
        }
        self._assoc, self._request, self._context_id = assoc, request, context.context_id or 0

    @property
    def is_open(self) -> bool:
        return is_open(self._assoc)

    @property
    def is_cancelled(self) -> bool:
        return self.message_id in self._assoc.dimse.cancel_req

    def respond(self, code: int, *, comment: str = "", counts: Counts | None = None, identifier: bytes = b"") -> None:
        response: Any = type(self._request)()
        response.MessageID = response.MessageIDBeingRespondedTo = self.message_id
        response.AffectedSOPClassUID = self._request.AffectedSOPClassUID
        response.Status = code
        if comment:
            response.ErrorComment = comment
        if counts is not None:
            response.NumberOfRemainingSuboperations = counts.remaining
            response.NumberOfCompletedSuboperations = counts.completed
            response.NumberOfFailedSuboperations = counts.failed
            response.NumberOfWarningSuboperations = counts.warned
        if identifier:
            response.Identifier = BytesIO(identifier)
        self._assoc.dimse.send_msg(response, self._context_id)

    def store(
        self,
        request: StoreRequest,
        data: DataSet,
        *,
        while_sending: WaitCallback,
        when_sent: WaitCallback,
        waiting: WaitCallback,
    ) -> StoreResponse:
        assoc = self._assoc
        for fragment in _fragments(assoc, request, data):
            while assoc.dul.to_provider_queue.qsize() > MAX_QUEUED_PDUS:
                if not is_open(assoc):
                    raise Unreachable("The association ended before the object was sent completely.")
                while_sending()
                time.sleep(0.001)
            assoc.dul.send_pdu(fragment)
        when_sent()
        response = _wait_for_response(assoc, request.message_id, waiting)
        return StoreResponse(status=response.Status or 0, comment=str(response.ErrorComment or ""), size=data.length)


def is_open(assoc: Association) -> bool:
    """Whether an association still exists, as far as the thread that serves it can see."""
    return assoc.is_established and assoc.dul.is_alive() and not assoc.acse.is_aborted()


def _fragments(assoc: Association, request: StoreRequest, data: DataSet) -> Iterator[P_DATA]:
    """Command and data set as P-DATA of at most the length that the peer accepts (PS3.8 D.1, E.2)."""
    command = C_STORE()
    command.MessageID, command.Priority = request.message_id, 0
    command.AffectedSOPClassUID, command.AffectedSOPInstanceUID = request.sop_class_uid, request.sop_instance_uid
    command.DataSet = BytesIO()  # empty, but not None: the command says that a data set follows
    message = C_STORE_RQ()
    message.primitive_to_message(command)
    max_length = assoc.dimse.maximum_pdu_size
    yield from message.encode_msg(request.context_id, max_length)

    step = min(max_length - 6, MAX_FRAGMENT_LENGTH) & ~1 if max_length else MAX_FRAGMENT_LENGTH
    left = data.length
    try:
        for piece in data.pieces:
            for start in range(0, len(piece), step):
                chunk = piece[start : start + step]
                left -= len(chunk)
                fragment = P_DATA()
                fragment.presentation_data_value_list.append(
                    (request.context_id, (b"\x00" if left else b"\x02") + chunk)
                )
                yield fragment
    except PortalError:
        assoc.abort()
        raise


def _wait_for_response(assoc: Association, message_id: int, waiting: WaitCallback) -> C_STORE:
    """The C-STORE response to this message; other messages that the peer sends meanwhile are dropped."""
    deadline = time.monotonic() + ANSWER_SECONDS
    while time.monotonic() < deadline:
        waiting()
        try:
            _context_id, message = assoc.dimse.msg_queue.get(timeout=POLL_SECONDS)
        except queue.Empty:
            message = None
        if isinstance(message, C_STORE) and message.MessageIDBeingRespondedTo == message_id:
            return message
        if message is None and not is_open(assoc):
            raise Unreachable("The association ended before the peer answered the C-STORE.")
    raise Unreachable(f"The peer did not answer the C-STORE within {ANSWER_SECONDS:.0f} s.")
