"""C-MOVE and C-GET: instances are sent as they are stored, each sub-operation counted (PS3.4 C.4.2, C.4.3)."""

from contextlib import ExitStack
from functools import partial
from typing import cast

from dimse_worker import contexts, operations, scu, status
from dimse_worker.sending import MoveOriginator, ObjectReader, StoreRequest, StoreResponse
from dimse_worker.suboperations import MAX_COUNT, RequestorGone, RetrieveRequest, SubOperations
from portal import runtime
from portal.errors import NotAllowed
from portal.models import Peer
from portal.query.retrieve import Outgoing


def serve(request: RetrieveRequest) -> None:
    """Serve a C-MOVE or C-GET, from its request to the final response."""
    grant, operation = request.grant, request.operation
    try:
        operations.require(grant, operation)
        plan, identifier = operations.plan_retrieval(
            grant,
            request.identifier,
            request.transfer_syntax_uid,
            root=request.root,
            relational=request.is_relational,
        )
        destination = operations.move_destination(grant, request.move_destination) if operation == "move" else None
        described = operations.describe_retrieval(
            operation, identifier, plan, destination or cast(Peer, grant.peer), grant.project_id
        )
        suboperations = SubOperations(request, plan, described)
    except Exception as error:  # noqa: BLE001 (whatever happened, the requestor needs a status)
        request.counts.failed(operation)
        reason = status.for_error(error)
        # A retrieval has a code of its own for what the other services answer A700 to (PS3.4 C.4.2.1.5).
        code = status.CANNOT_COUNT if reason.Status == status.OUT_OF_RESOURCES else reason.Status
        request.respond(code, comment=reason.get("ErrorComment") or "")
        return

    with ExitStack() as after:
        try:
            if destination is None:
                _send_on_own_association(request, suboperations)
            else:
                # It is released after the final response: the requestor does not wait for the destination's good-bye.
                sender = scu.Sender(destination, plan.classes, waiting=suboperations.tick_or_cancel)
                after.callback(sender.close)
                originator = MoveOriginator(ae_title=grant.request.calling, message_id=request.message_id)
                suboperations.run(partial(sender.send, originator=originator))
            suboperations.finish()
        except RequestorGone:
            suboperations.abandon()


def _send_on_own_association(request: RetrieveRequest, suboperations: SubOperations) -> None:
    """Run the sub-operations of a C-GET, on the association of its requestor."""
    message_id = 0

    def send(outgoing: Outgoing, following: Outgoing | None) -> StoreResponse:
        nonlocal message_id
        chosen = contexts.choose(request.accepted, outgoing.sop_class_uid, outgoing.transfer_syntax_uid)
        if chosen is None:
            raise NotAllowed("The requestor accepts this SOP Class in no transfer syntax that we can send.")
        context_id, syntax = chosen
        message_id = message_id % MAX_COUNT + 1
        with reader.open(outgoing, syntax) as data:
            return request.store(
                StoreRequest.of(outgoing, context_id=context_id, message_id=message_id),
                data,
                # Only `check`: a pending response must not come between an object's fragments.
                while_sending=suboperations.check,
                when_sent=partial(reader.read_ahead, following, request.accepted),
                waiting=suboperations.tick,
            )

    with runtime.archive().reader() as archive_reader:
        reader = ObjectReader(archive_reader, suboperations.tick)
        suboperations.run(send)
