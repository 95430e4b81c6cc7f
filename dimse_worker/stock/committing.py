"""An N-ACTION or N-EVENT-REPORT that came over an association of pynetdicom's, and our report back over it."""

import queue
import time
from typing import IO, Any, cast

from pynetdicom.dimse_primitives import N_ACTION, N_EVENT_REPORT
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.presentation import PresentationContext

from dimse_worker.sending import ANSWER_SECONDS, POLL_SECONDS, pieces_of
from dimse_worker.status import RESOURCE_LIMITATION, Refused
from dimse_worker.stock.retrieving import MAX_FRAGMENT_LENGTH, MAX_QUEUED_PDUS, is_open
from dimse_worker.wire import commands
from dimse_worker.wire.commands import Command
from portal.jobs.runs import Interrupted

_LAST_OF_COMMAND = b"\x03"
"""Control byte of a whole command, which is shorter than the shortest P-DATA-TF that a peer takes (PS3.8 E.2)."""


class Committing:
    """A `commitment.Exchange` of an `acceptor.Acceptor`."""

    def __init__(self, assoc: Any, request: N_ACTION | N_EVENT_REPORT, context: PresentationContext) -> None:
        self._assoc, self._context_id = assoc, context.context_id or 0
        self._data_set: Any = cast(Any, request)._dataset_variant
        self.command = _command(request, has_data_set=bool(self._data_set and self._data_set.size))
        self.transfer_syntax_uid = str(context.transfer_syntax[0])
        self.grant, self.counts = assoc.grant, assoc.counts
        self.row_id: int | None = assoc.row_id

    def read(self, file: IO[bytes], limit: int) -> None:
        if self._data_set.size > limit:
            self._data_set.close()
            raise Refused(RESOURCE_LIMITATION, f"The data set has more than {limit:,} bytes.")
        for chunk in self._data_set.chunks():
            file.write(chunk)
        self._data_set.close()

    def respond(self, code: int, comment: str = "") -> None:
        self._send(_LAST_OF_COMMAND + commands.response(self.command, code, comment=comment))

    def has_news(self, seconds: float = 0.0) -> bool:
        deadline = time.monotonic() + seconds
        while is_open(self._assoc) and self._assoc.dimse.msg_queue.empty() and not self._is_releasing():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.01)
        return True

    def report(self, command: bytes, data_set: IO[bytes], length: int) -> int | None:
        self._send(_LAST_OF_COMMAND + command)
        longest = self._assoc.dimse.maximum_pdu_size
        step = max(min(longest - 6, MAX_FRAGMENT_LENGTH) & ~1, 2) if longest else MAX_FRAGMENT_LENGTH
        for piece in pieces_of(data_set):
            for start in range(0, len(piece), step):
                chunk = piece[start : start + step]
                length -= len(chunk)
                self._send((b"\x00" if length else b"\x02") + chunk)
        deadline = time.monotonic() + ANSWER_SECONDS
        messages = self._assoc.dimse.msg_queue
        while time.monotonic() < deadline and is_open(self._assoc) and not self._is_releasing():
            try:
                context_id, message = messages.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            if isinstance(message, N_EVENT_REPORT) and message.MessageIDBeingRespondedTo is not None:
                return message.Status
            # The peer goes on with something else: another run sends the report over an association of its own.
            messages.put((context_id, message))
            break
        raise Interrupted

    def _is_releasing(self) -> bool:
        return self._assoc.dul.peek_next_pdu() is not None

    def _send(self, fragment: bytes) -> None:
        """Send one fragment with its control byte (PS3.8 E.2), once the peer has read most of those before."""
        assoc = self._assoc
        while assoc.dul.to_provider_queue.qsize() > MAX_QUEUED_PDUS and is_open(assoc):
            time.sleep(0.001)
        if not is_open(assoc):
            raise Interrupted
        data = P_DATA()
        data.presentation_data_value_list.append((self._context_id, fragment))
        assoc.dul.send_pdu(data)


def _command(request: N_ACTION | N_EVENT_REPORT, *, has_data_set: bool) -> Command:
    """The command that pynetdicom has decoded, as the fast path has it."""
    if isinstance(request, N_ACTION):
        return Command(
            field=commands.ACTION_RQ,
            has_data_set=has_data_set,
            message_id=request.MessageID,
            requested_class_uid=str(request.RequestedSOPClassUID or ""),
            requested_instance_uid=str(request.RequestedSOPInstanceUID or ""),
            action_type=request.ActionTypeID,
        )
    return Command(
        field=commands.EVENT_REPORT_RQ,
        has_data_set=has_data_set,
        message_id=request.MessageID,
        sop_class_uid=str(request.AffectedSOPClassUID or ""),
        sop_instance_uid=str(request.AffectedSOPInstanceUID or ""),
        event_type=request.EventTypeID,
    )
