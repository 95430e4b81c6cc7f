"""C-MOVE and C-GET: what is asked for goes out as it is stored, each sub-operation counted (PS3.4 C.4.2, C.4.3)."""

from collections.abc import Callable
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.dimse_primitives import C_GET, C_MOVE
from pynetdicom.presentation import PresentationContext

from dimse_worker import association_policy, contexts, scu, sending, status
from dimse_worker.sending import MoveOriginator, StoreResponse
from dimse_worker.status import UnknownDestination
from dimse_worker.suboperations import MAX_COUNT, RequestorGone, Responses, SubOperations
from portal.errors import NotAllowed
from portal.models import Peer
from portal.peers import peers
from portal.query import identifiers, retrieve
from portal.query.retrieve import Outgoing, Plan


def service(assoc: Any) -> Callable[[C_MOVE | C_GET, PresentationContext], None]:
    """What serves a C-MOVE or C-GET of an `acceptor.Acceptor`, from its request to the final answer."""
    return lambda request, context: _serve(assoc, request, context)


def _serve(assoc: Any, request: C_MOVE | C_GET, context: PresentationContext) -> None:
    operation = "move" if isinstance(request, C_MOVE) else "get"
    answers = Responses(assoc, request, context)
    try:
        plan, identifier = _plan(assoc, request, context, operation)
        target = _destination(assoc, request) if isinstance(request, C_MOVE) else None
        run = SubOperations(
            assoc, answers, plan, _described(operation, identifier, plan, target or assoc.admission.peer)
        )
    except Exception as error:  # noqa: BLE001 (whatever happened, the requestor needs a status)
        assoc.tally.failed(operation)
        answers.refuse(status.for_error(error))
        return
    try:
        if target is None:
            _get(assoc, run)
        else:
            _move(assoc, run, target, request.MessageID or 0)
    except RequestorGone:
        run.abandon()


def _plan(assoc: Any, request: Any, context: PresentationContext, operation: str) -> tuple[Plan, Dataset]:
    if operation not in assoc.admission.services:
        raise NotAllowed(f"This peer may not {operation}.")
    identifier = identifiers.decode(request.Identifier.getvalue(), str(context.transfer_syntax[0]))
    root = (contexts.MOVE_ROOTS if operation == "move" else contexts.GET_ROOTS)[str(context.abstract_syntax)]
    return retrieve.plan(identifier, assoc.admission.scope, root=root), identifier


def _destination(assoc: Any, request: C_MOVE) -> Peer:
    """The peer of the destination's title that this one may name. Raises UnknownDestination, and keeps the refusal."""
    title = (request.MoveDestination or "").strip(" \0")
    requestor = assoc.admission.peer
    candidates = [peer for peer in peers.with_ae_title(title) if peer.enabled and peers.may_move_to(requestor, peer)]
    candidates.sort(key=lambda peer: peer.id != requestor.id)
    for peer in candidates:
        if peer.host:
            return peer
    message = f"{requestor.label} may not move to {title}: no peer that it may move to has this AE title."
    if candidates:
        message = f"{candidates[0].label} has no host and port to move to. Give it some."
    association_policy.record_refusal(assoc.admission.knock, "destination", message)
    raise UnknownDestination(message)


def _move(assoc: Any, run: SubOperations, target: Peer, message_id: int) -> None:
    originator = MoveOriginator(ae_title=assoc.admission.knock.calling, message_id=message_id)
    sender = scu.Sender(target, run.plan.classes, waiting=run.tick)
    try:
        run.each(lambda outgoing: sender.send(outgoing, originator))
    finally:
        sender.close()
    run.finish()


def _get(assoc: Any, run: SubOperations) -> None:
    """Sub-operations on the requestor's own association; no answer of ours may fall between an object's fragments."""
    number = 0

    def send(outgoing: Outgoing) -> StoreResponse:
        nonlocal number
        chosen = contexts.choose(assoc.accepted_contexts, outgoing.sop_class_uid, outgoing.transfer_syntax_uid)
        if chosen is None:
            raise NotAllowed("The requestor accepts this SOP Class in no transfer syntax that we can send.")
        number = number % MAX_COUNT + 1
        with sending.open_data_set(outgoing, chosen[1], waiting=run.tick) as data:
            command = sending.store_request(outgoing, number)
            return sending.send_object(assoc, chosen[0], command, data, while_sending=run.check, waiting=run.tick)

    run.each(send)
    run.finish()


def _described(operation: str, identifier: Dataset, plan: Plan, target: Peer) -> dict[str, Any]:
    """What the job's row says: what was asked for, in words and by its UIDs, and where it goes."""
    level = str(identifier.get("QueryRetrieveLevel", ""))
    uids = {
        word: [str(uid) for uid in _values(identifier.get(keyword))]
        for word, keyword in (
            ("studies", "StudyInstanceUID"),
            ("series", "SeriesInstanceUID"),
            ("instances", "SOPInstanceUID"),
        )
    }
    params = {"level": level, **uids, "destination": target.id if operation == "move" else None}
    part = {"SERIES": _amount(len(uids["series"]), "series"), "IMAGE": _amount(plan.total, "instance")}.get(level, "")
    return {"kind": operation, "what": f"{part}{plan.words} to {target.label}", "params": params}


def _amount(number: int, one: str) -> str:
    """2 instances of, in front of what they are of."""
    return f"{number:,} {one}{'' if number == 1 or one == 'series' else 's'} of "


def _values(value: Any) -> list[Any]:
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) else list(value)
