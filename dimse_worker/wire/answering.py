"""The services of an association: each takes one request from its command to its last response."""

import time
from typing import TYPE_CHECKING

from dimse_worker import commitment, contexts, extended_negotiation, operations, retrieval, status
from dimse_worker.wire import commands, pdus
from dimse_worker.wire.commands import Command
from dimse_worker.wire.committing import Committing
from dimse_worker.wire.connection import Ended
from dimse_worker.wire.memory import Share
from dimse_worker.wire.negotiation import AnsweredContext
from dimse_worker.wire.retrieving import Retrieving
from portal.errors import NotDicom

if TYPE_CHECKING:
    from dimse_worker.wire.association import Association

MAX_IDENTIFIER_SIZE = 1 << 20
"""Bytes of the data set of a request other than C-STORE: enough for a list of 15,000 UIDs."""
UNRECOGNIZED_OPERATION = 0x0211
BATCH_BYTES = 32 << 10
BATCH_SECONDS = 0.05
"""Answers of a C-FIND that are sent at once."""


def serve(assoc: "Association", context: AnsweredContext, request: Command) -> None:
    """Serve one request. Raises Ended where the association cannot go on."""
    if request.field == commands.CANCEL_RQ or request.is_response:
        return None  # of what is over already
    if request.message_id is None:
        raise Ended("The peer sent an incomplete request.", pdus.abort())
    operation, service = SERVICES.get(request.field, ("", _refuse))
    if operation != contexts.service_of(context.abstract_syntax):
        service = _refuse
    elif operation not in ("echo", "commit") and not (request.has_data_set and request.sop_class_uid):
        return _fail(assoc, context, request, operation, NotDicom("The request lacks a UID or its data set."))
    return service(assoc, context, request)


def _refuse(assoc: "Association", context: AnsweredContext, request: Command) -> None:
    """Answer a request that is none of the context's service (PS3.7 C.5.9)."""
    assoc.respond(context.context_id, request, UNRECOGNIZED_OPERATION)


def _fail(
    assoc: "Association", context: AnsweredContext, request: Command, operation: str, error: Exception, *outcomes: str
) -> None:
    assoc.counts.failed(operation, *outcomes)
    reason = status.for_error(error)
    assoc.respond(context.context_id, request, reason.Status, comment=reason.get("ErrorComment") or "")


def _echo(assoc: "Association", context: AnsweredContext, request: Command) -> None:
    assoc.counts.done("echo")
    assoc.respond(context.context_id, request, status.SUCCESS)


def _store(assoc: "Association", context: AnsweredContext, request: Command) -> None:
    """Answer success only when the instance is durable and indexed (PS3.4 B.2.3)."""
    if not request.sop_instance_uid:
        return _fail(assoc, context, request, "store", NotDicom("The request lacks a UID or its data set."))
    try:
        opened = operations.open_store(
            assoc.grant,
            sop_class_uid=request.sop_class_uid,
            sop_instance_uid=request.sop_instance_uid,
            abstract_syntax_uid=context.abstract_syntax,
            transfer_syntax_uid=context.transfer_syntax,
        )
        with opened as incoming, Share(incoming) as share:
            for piece in assoc.messages.data_set():
                share.make_room(len(piece))
                incoming.write(piece)
            stored = incoming.commit()
    except Ended:
        raise
    except Exception as error:  # noqa: BLE001 (whatever happened, the sender needs a status)
        return _fail(assoc, context, request, "store", error, "refused")
    _row_id = assoc.row_id  # which exists before anything counts as done
    assoc.counts.done("store", "reencoded" if stored.is_reencoded else stored.outcome, size=stored.size)
    return assoc.respond(context.context_id, request, status.SUCCESS)


def _find(assoc: "Association", context: AnsweredContext, request: Command) -> None:
    """A pending response with each match, many in one system call, then the final one."""
    encoded = assoc.messages.read_data_set(MAX_IDENTIFIER_SIZE)
    parts: list[bytes | memoryview] = []
    size, sent = 0, time.monotonic()
    pending = {
        is_unmatched: commands.response(request, code, has_data_set=True)
        for is_unmatched, code in ((False, status.PENDING), (True, status.PENDING_UNMATCHED_KEYS))
    }
    try:
        root = contexts.FIND_ROOTS[context.abstract_syntax]
        options = extended_negotiation.query_options(assoc.negotiated, context.abstract_syntax)
        for match in operations.find(assoc.grant, encoded, context.transfer_syntax, root=root, options=options):
            parts += assoc.connection.framed(context.context_id, pending[bool(match.unmatched_keys)], match.identifier)
            size += len(match.identifier)
            if size < BATCH_BYTES and time.monotonic() - sent < BATCH_SECONDS:
                continue
            if assoc.is_cancelled(request.message_id):
                break
            assoc.connection.send(*parts)
            parts, size, sent = [], 0, time.monotonic()
    except Ended:
        raise
    except Exception as error:  # noqa: BLE001 (whatever happened, the requestor needs a status)
        assoc.connection.send(*parts)
        return _fail(assoc, context, request, "find", error)
    if assoc.is_cancelled(request.message_id):
        assoc.counts.failed("find", "cancelled")
        return assoc.respond(context.context_id, request, status.CANCEL)
    assoc.counts.done("find")
    parts += assoc.connection.framed(context.context_id, commands.response(request, status.SUCCESS))
    return assoc.connection.send(*parts)


def _retrieve(assoc: "Association", context: AnsweredContext, request: Command) -> None:
    retrieving = Retrieving(assoc, context, request, assoc.messages.read_data_set(MAX_IDENTIFIER_SIZE))
    retrieval.serve(retrieving)
    if retrieving.end is not None:
        raise retrieving.end


def _commit(assoc: "Association", context: AnsweredContext, request: Command) -> None:
    committing = Committing(assoc, context, request)
    commitment.serve(committing)
    if committing.end is not None:
        raise committing.end


SERVICES = {
    commands.ECHO_RQ: ("echo", _echo),
    commands.STORE_RQ: ("store", _store),
    commands.FIND_RQ: ("find", _find),
    commands.MOVE_RQ: ("move", _retrieve),
    commands.GET_RQ: ("get", _retrieve),
    commands.ACTION_RQ: ("commit", _commit),
    commands.EVENT_REPORT_RQ: ("commit", _commit),
}
