"""pynetdicom's events: an association's life, and C-ECHO, C-STORE and C-FIND as thin callers of the operations."""

import logging
import time
from io import BytesIO
from typing import Any, cast

from pydicom.dataset import Dataset
from pynetdicom.dimse_primitives import C_FIND
from pynetdicom.events import Event
from pynetdicom.pdu_primitives import A_ABORT, A_ASSOCIATE, A_P_ABORT, UserIdentityNegotiation
from pynetdicom.presentation import PresentationContext

from dimse_worker import association_policy, contexts, extended_negotiation, operations, status
from dimse_worker.stock.receiving import ReceivedDataSet
from dimse_worker.stock.retrieving import MAX_QUEUED_PDUS, is_open
from dimse_worker.stock.sockets import disable_delays

log = logging.getLogger(__name__)


def connection_opened(event: Event) -> None:
    assoc = acceptor_of(event)
    assoc.connected(assoc.dul.socket.socket.getsockname()[0])
    disable_delays(event)


def connection_closed(event: Event) -> None:
    """Free the two threads of a peer that leaves without a request: they would wait until the request's timeout."""
    assoc = acceptor_of(event)
    if not assoc.has_begun:
        assoc.stop_waiting()


def association_requested(event: Event) -> None:
    """Decide about the request. pynetdicom accepts after an error in a notification handler, so none may leave here."""
    assoc = acceptor_of(event)
    try:
        assoc.negotiate()
    except Exception:
        log.exception("an association request could not be decided")
        assoc.reject(association_policy.REJECTED_TRANSIENT)


def extended_negotiation_requested(event: Event) -> dict[str, bytes]:
    return dict(acceptor_of(event).negotiated)


def user_identified(event: Any) -> tuple[bool, bytes | None]:
    """`Acceptor.negotiate` has decided about it before; that it was accepted is all that there is to answer.

    pynetdicom answers no user name (types 1 and 2), though a positive response may be requested (PS3.7 D.3.3.7.2).
    """
    asked = event.assoc.requestor.user_identity
    if asked.positive_response_requested and asked.user_identity_type in (1, 2):
        answer = UserIdentityNegotiation()
        answer.server_response = b""
        event.assoc.acceptor.add_negotiation_item(answer)
    return True, b""


def acse_sent(event: Any) -> None:
    primitive = event.primitive
    if isinstance(primitive, A_ASSOCIATE) and primitive.result == 0:
        acceptor_of(event).before_accept(primitive.presentation_context_definition_results_list)


def acse_received(event: Any) -> None:
    assoc, primitive = acceptor_of(event), event.primitive
    if isinstance(primitive, A_ABORT):
        assoc.set_end_reason("The peer aborted it.")
    elif isinstance(primitive, A_P_ABORT):
        assoc.set_end_reason("The connection was closed without a release.")


def message_received(event: Any) -> None:
    event.assoc.dimse.message_arrived(event.message.command_set)


def echo(event: Event) -> int:
    acceptor_of(event).counts.done("echo")
    return status.SUCCESS


def store(event: Event) -> int | Dataset:
    """Answer success only when the instance is durable and indexed (PS3.4 B.2.3)."""
    assoc, request, context = acceptor_of(event), cast(Any, event.request), event.context
    try:
        with operations.open_store(
            assoc.grant,
            sop_class_uid=str(request.AffectedSOPClassUID),
            sop_instance_uid=str(request.AffectedSOPInstanceUID),
            abstract_syntax_uid=str(context.abstract_syntax),
            transfer_syntax_uid=str(context.transfer_syntax),
        ) as incoming:
            content: ReceivedDataSet = request.DataSet
            for chunk in content.chunks():
                incoming.write(chunk)
            content.close()
            stored = incoming.commit()
    except Exception as error:  # noqa: BLE001 (whatever happened, the sender needs a status)
        assoc.counts.failed("store", "refused")
        return status.for_error(error)
    assoc.counts.done("store", "reencoded" if stored.is_reencoded else stored.outcome, size=stored.size)
    return status.SUCCESS


def find(assoc: Any, request: C_FIND, context: PresentationContext) -> None:
    """Serve a C-FIND of an `acceptor.Acceptor`: a pending response with each match, then the final one.

    The matches arrive encoded, and pynetdicom's own service would encode a data set for each. C-CANCEL is looked at
    before each response.
    """
    response = C_FIND()
    response.MessageID = response.MessageIDBeingRespondedTo = request.MessageID
    response.AffectedSOPClassUID = request.AffectedSOPClassUID

    def respond(code: int, identifier: bytes = b"") -> None:
        response.Status = code
        response.Identifier = BytesIO(identifier) if identifier else None
        assoc.dimse.send_msg(response, context.context_id)

    encoded = request.Identifier.getvalue() if request.Identifier else b""
    try:
        root = contexts.FIND_ROOTS[str(context.abstract_syntax)]
        options = extended_negotiation.query_options(assoc.negotiated, str(context.abstract_syntax))
        syntax = str(context.transfer_syntax[0])
        for match in operations.find(assoc.grant, encoded, syntax, root=root, options=options):
            if request.MessageID in assoc.dimse.cancel_req:
                assoc.counts.failed("find", "cancelled")
                respond(status.CANCEL)
                return
            # A slow reader is waited for, so that memory does not grow with the number of matches.
            while assoc.dul.to_provider_queue.qsize() > MAX_QUEUED_PDUS and is_open(assoc):
                time.sleep(0.001)
            if not is_open(assoc):
                return
            code = status.PENDING_UNMATCHED_KEYS if match.unmatched_keys else status.PENDING
            respond(code, match.identifier)
    except Exception as error:  # noqa: BLE001 (whatever happened, the requestor needs a status)
        assoc.counts.failed("find")
        reason = status.for_error(error)
        response.ErrorComment = reason.get("ErrorComment")
        respond(reason.Status)
        return
    assoc.counts.done("find")
    respond(status.SUCCESS)


def acceptor_of(event: Event) -> Any:
    """The event's association: an `acceptor.Acceptor`, which binds these handlers."""
    return event.assoc
