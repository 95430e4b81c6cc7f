"""An N-ACTION or N-EVENT-REPORT that came over a connection of ours, and the report of it back over that connection."""

import time
from typing import IO, TYPE_CHECKING

from dimse_worker.sending import ANSWER_SECONDS, POLL_SECONDS, pieces_of
from dimse_worker.status import RESOURCE_LIMITATION, Refused
from dimse_worker.wire import commands
from dimse_worker.wire.commands import Command
from dimse_worker.wire.connection import Ended
from dimse_worker.wire.negotiation import AnsweredContext
from dimse_worker.wire.sender import send_object
from portal.jobs.runs import Interrupted

if TYPE_CHECKING:
    from dimse_worker.wire.association import Association


class Committing:
    """A `commitment.Exchange`."""

    end: Ended | None = None
    """Why the association cannot go on, as soon as that is so: whoever serves it raises this afterwards."""

    def __init__(self, assoc: "Association", context: AnsweredContext, command: Command) -> None:
        self._assoc, self._context_id = assoc, context.context_id
        self.command, self.transfer_syntax_uid = command, context.transfer_syntax
        self.grant, self.counts = assoc.grant, assoc.counts

    @property
    def row_id(self) -> int | None:
        return self._assoc.row_id

    def read(self, file: IO[bytes], limit: int) -> None:
        size = 0
        try:
            for piece in self._assoc.messages.data_set():
                size += len(piece)
                if size <= limit:
                    file.write(piece)
        except Ended as end:
            raise self._ended(end) from end
        if size > limit:
            raise Refused(RESOURCE_LIMITATION, f"The data set has more than {limit:,} bytes.")

    def respond(self, code: int, comment: str = "") -> None:
        try:
            self._assoc.respond(self._context_id, self.command, code, comment=comment)
        except Ended as end:
            raise self._ended(end) from end

    def has_news(self, seconds: float = 0.0) -> bool:
        return self._assoc.connection.poll(seconds)

    def report(self, command: bytes, data_set: IO[bytes], length: int) -> int | None:
        assoc = self._assoc
        deadline = time.monotonic() + ANSWER_SECONDS
        try:
            send_object(assoc.connection, self._context_id, command, pieces_of(data_set), length)
            while not assoc.connection.poll(POLL_SECONDS):
                if time.monotonic() > deadline:
                    raise Interrupted
            context_id, response = assoc.messages.next_command()
        except Ended as end:
            raise self._ended(end) from end
        if response.field == commands.EVENT_REPORT_RSP:
            return response.status
        # The peer goes on with something else: another run sends the report over an association of its own.
        assoc.keep_for_later(context_id, response)
        raise Interrupted

    def _ended(self, end: Ended) -> Interrupted:
        self.end = end
        return Interrupted()
