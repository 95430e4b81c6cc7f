"""C-MOVE and C-GET: instances are sent as they are stored, each sub-operation counted (PS3.4 C.4.2, C.4.3)."""

from typing import Any, Literal

from pynetdicom.dimse_primitives import C_GET, C_MOVE
from pynetdicom.presentation import PresentationContext

from dimse_worker import contexts, operations, scu, sending, status
from dimse_worker.sending import MoveOriginator, StoreResponse
from dimse_worker.suboperations import MAX_COUNT, RequestorGone, Responses, SubOperations
from portal.errors import NotAllowed
from portal.query.retrieve import Outgoing


def serve(assoc: Any, request: C_MOVE | C_GET, context: PresentationContext) -> None:
    """Serve a C-MOVE or C-GET of an `acceptor.Acceptor`, from its request to the final response."""
    operation: Literal["move", "get"] = "move" if isinstance(request, C_MOVE) else "get"
    responses = Responses(assoc, request, context)
    try:
        operations.require(assoc.grant, operation)
        encoded = request.Identifier.getvalue() if request.Identifier else b""
        root = (contexts.MOVE_ROOTS if operation == "move" else contexts.GET_ROOTS)[str(context.abstract_syntax)]
        plan, identifier = operations.plan_retrieval(assoc.grant, encoded, str(context.transfer_syntax[0]), root=root)
        destination = None
        if isinstance(request, C_MOVE):
            ae_title = (request.MoveDestination or "").strip(" \0")
            destination = operations.move_destination(assoc.grant, ae_title)
        described = operations.describe_retrieval(operation, identifier, plan, destination or assoc.grant.peer)
        suboperations = SubOperations(assoc, responses, plan, described)
    except Exception as error:  # noqa: BLE001 (whatever happened, the requestor needs a status)
        assoc.counts.failed(operation)
        responses.refuse(status.for_error(error))
        return

    try:
        if destination is None:
            _send_on_own_association(assoc, suboperations)
        else:
            originator = MoveOriginator(ae_title=assoc.grant.request.calling, message_id=request.MessageID or 0)
            sender = scu.Sender(destination, plan.classes, waiting=suboperations.tick)
            try:
                suboperations.run(lambda outgoing: sender.send(outgoing, originator))
            finally:
                sender.close()
        suboperations.finish()
    except RequestorGone:
        suboperations.abandon()


def _send_on_own_association(assoc: Any, suboperations: SubOperations) -> None:
    """Run the sub-operations of a C-GET, on the association of its requestor."""
    message_id = 0

    def send(outgoing: Outgoing) -> StoreResponse:
        nonlocal message_id
        chosen = contexts.choose(assoc.accepted_contexts, outgoing.sop_class_uid, outgoing.transfer_syntax_uid)
        if chosen is None:
            raise NotAllowed("The requestor accepts this SOP Class in no transfer syntax that we can send.")
        message_id = message_id % MAX_COUNT + 1
        with sending.open_data_set(outgoing, chosen[1], waiting=suboperations.tick) as data:
            command = sending.store_request(outgoing, message_id)
            # While fragments are sent only `check`: a pending response must not come between an object's fragments.
            return sending.send_object(
                assoc, chosen[0], command, data, while_sending=suboperations.check, waiting=suboperations.tick
            )

    suboperations.run(send)
