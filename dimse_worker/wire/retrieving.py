"""A C-MOVE or C-GET that came over a connection of ours, and C-STORE back over that connection."""

import time
from typing import TYPE_CHECKING, Literal

from dimse_worker import contexts, extended_negotiation
from dimse_worker.sending import ANSWER_SECONDS, POLL_SECONDS, DataSet, StoreRequest, StoreResponse, WaitCallback
from dimse_worker.wire import commands, pdus
from dimse_worker.wire.commands import Command, Counts
from dimse_worker.wire.connection import Ended
from dimse_worker.wire.messages import bad_message
from dimse_worker.wire.negotiation import AnsweredContext
from dimse_worker.wire.sender import send_object
from portal.errors import PortalError, Unreachable

if TYPE_CHECKING:
    from dimse_worker.wire.association import Association


class Retrieving:
    """A `suboperations.RetrieveRequest`. It reads the connection while it runs, so that a C-CANCEL counts at once."""

    end: Ended | None = None
    """Why the association cannot go on, as soon as that is so: whoever serves it raises this afterwards."""

    def __init__(self, assoc: "Association", context: AnsweredContext, command: Command, identifier: bytes) -> None:
        self._assoc, self._context, self._command = assoc, context, command
        self._connection = assoc.connection
        self.operation: Literal["move", "get"] = "move" if command.field == commands.MOVE_RQ else "get"
        roots = contexts.MOVE_ROOTS if self.operation == "move" else contexts.GET_ROOTS
        self.root, self.transfer_syntax_uid = roots[context.abstract_syntax], context.transfer_syntax
        self.is_relational = extended_negotiation.is_relational(assoc.negotiated, context.abstract_syntax)
        self.message_id = command.message_id or 0
        self.move_destination, self.identifier = command.move_destination, identifier
        self.accepted, self.grant = assoc.sendable, assoc.grant
        self.counts = assoc.counts
        self._cancelled = False
        self._store_response: Command | None = None

    @property
    def row_id(self) -> int | None:
        return self._assoc.row_id

    @property
    def is_open(self) -> bool:
        self._look()
        return self.end is None

    @property
    def is_cancelled(self) -> bool:
        self._look()
        return self._cancelled

    def respond(self, code: int, *, comment: str = "", counts: Counts | None = None, identifier: bytes = b"") -> None:
        encoded = commands.response(self._command, code, comment=comment, has_data_set=bool(identifier), counts=counts)
        try:
            if self.end is None:
                self._connection.send_message(self._context.context_id, encoded, identifier or None)
        except Ended as end:
            self.end = end

    def store(
        self,
        request: StoreRequest,
        data: DataSet,
        *,
        while_sending: WaitCallback,
        when_sent: WaitCallback,
        waiting: WaitCallback,
    ) -> StoreResponse:
        command = commands.store_request(request.sop_class_uid, request.sop_instance_uid, request.message_id)
        try:
            send_object(
                self._connection, request.context_id, command, data.pieces, data.length, while_sending=while_sending
            )
        except PortalError as error:
            self.end = Ended(f"We aborted it: an object could not be sent completely. {error}", pdus.abort())
            raise
        except Ended as end:
            self.end = end
            raise Unreachable("The association ended before the object was sent completely.") from end
        when_sent()
        deadline = time.monotonic() + ANSWER_SECONDS
        while (response := self._take_response(request.message_id)) is None:
            if self.end is not None:
                raise Unreachable("The association ended before the peer answered the C-STORE.")
            if time.monotonic() > deadline:
                self.end = Ended("We aborted it: the peer did not answer a C-STORE.", pdus.abort())
                raise Unreachable(f"The peer did not answer the C-STORE within {ANSWER_SECONDS:.0f} s.")
            if not self._connection.poll(POLL_SECONDS):
                waiting()
        return StoreResponse.of(response, data.length)

    def _take_response(self, message_id: int) -> Command | None:
        """The response to a C-STORE, if it has arrived."""
        self._look()
        response, self._store_response = self._store_response, None
        return response if response is not None and response.responded_to == message_id else None

    def _look(self) -> None:
        """Read the messages that have arrived: a C-CANCEL of this request, and responses to C-STORE."""
        assoc = self._assoc
        try:
            while self.end is None and self._store_response is None and assoc.may_read():
                context_id, command = assoc.messages.next_command()
                if command.field == commands.CANCEL_RQ:
                    self._cancelled = self._cancelled or command.responded_to == self.message_id
                elif command.field == commands.STORE_RSP:
                    assoc.messages.skip_data_set()
                    self._store_response = command
                elif self.operation == "get":  # the responses that we wait for come behind it
                    raise bad_message("a request before the response to another one")
                else:
                    assoc.keep_for_later(context_id, command)
        except Ended as end:
            self.end = end
