"""Storage commitment over an association that we have accepted: N-ACTION and N-EVENT-REPORT (PS3.4 J.3, PS3.7 10.1)."""

import contextlib
import logging
import tempfile
from collections.abc import Callable
from contextlib import closing
from typing import IO, Protocol

from dimse_worker import status
from dimse_worker.association_counts import AssociationCounts
from dimse_worker.association_policy import AssociationGrant
from dimse_worker.status import Refused
from dimse_worker.wire import commands
from dimse_worker.wire.commands import Command
from portal.commitments import commitments, confirmations, information
from portal.commitments.commitments import Report
from portal.errors import NotAllowed, Outage
from portal.jobs import jobs, runs
from portal.jobs.runs import Interrupted, Run, RunEnd

log = logging.getLogger(__name__)

REQUEST_STORAGE_COMMITMENT = 1
"""The one Action Type (PS3.4 J.3.2.1)."""
MAX_IN_MEMORY = 1 << 20
GRACE_SECONDS = 0.25
"""How long the peer may take to release the association, before the report is sent over it: many release at once."""


class Exchange(Protocol):
    """One N-ACTION or N-EVENT-REPORT request, over an association of either protocol path.

    Each method raises Interrupted where the association cannot go on; `serve` returns then.
    """

    command: Command
    transfer_syntax_uid: str
    grant: AssociationGrant
    counts: AssociationCounts

    @property
    def row_id(self) -> int | None: ...

    def read(self, file: IO[bytes], limit: int) -> None:
        """Write the data set to a file. Raises Refused for one of more than `limit` bytes."""
        ...

    def respond(self, code: int, comment: str = "") -> None: ...

    def has_news(self, seconds: float = 0.0) -> bool:
        """Whether the peer sends something, or has left: then the association is not ours to send over."""
        ...

    def report(self, command: bytes, data_set: IO[bytes], length: int) -> int | None:
        """Send an N-EVENT-REPORT with the first `length` bytes of a file; the status of the response."""
        ...


def serve(exchange: Exchange) -> None:
    """Serve one request of the service class, from its command to its response, and where it is ours its report."""
    is_action = exchange.command.field == commands.ACTION_RQ
    answered: list[int] = []

    def respond(code: int, comment: str = "") -> None:
        answered.append(code)
        (exchange.counts.done if code == status.SUCCESS else exchange.counts.failed)("commit")
        exchange.respond(code, comment)

    def answer() -> None:
        with tempfile.SpooledTemporaryFile(max_size=MAX_IN_MEMORY) as file:
            require_known(exchange.command, is_action=is_action)
            exchange.read(file, information.MAX_SIZE)
            (_take_request if is_action else _take_report)(exchange, file, respond)
        if not answered:
            raise Refused(status.RESOURCE_LIMITATION, "The request was interrupted here. Ask again.")

    with contextlib.suppress(Interrupted):
        try:
            answer()
        except Interrupted:
            raise
        except Exception as error:
            if answered:  # the job's row says what is left to do
                log.exception("a request for storage commitment waits for another run")
            else:
                respond(*status.for_normalized(error))


def require_known(command: Command, *, is_action: bool) -> None:
    """Raise Refused unless the command means what the service class has (PS3.7 10.1.1.1.8, 10.1.4.1.10)."""
    sop_class = command.requested_class_uid if is_action else command.sop_class_uid
    sop_instance = command.requested_instance_uid if is_action else command.sop_instance_uid
    if sop_class != information.SOP_CLASS:
        raise Refused(status.NO_SUCH_SOP_CLASS, "This is not the SOP Class of storage commitment.")
    if sop_instance != information.SOP_INSTANCE:
        raise Refused(status.NO_SUCH_INSTANCE, "This is not the instance of storage commitment.")
    if is_action and command.action_type != REQUEST_STORAGE_COMMITMENT:
        raise Refused(status.NO_SUCH_ACTION, "Storage commitment has action type 1 only.")
    if not is_action and command.event_type not in (commitments.ALL_KEPT, commitments.SOME_FAILED):
        raise Refused(status.NO_SUCH_EVENT, "Storage commitment has event types 1 and 2 only.")
    if not command.has_data_set:
        raise Refused(status.INVALID_ARGUMENT, "The request has no data set.")


def _take_request(exchange: Exchange, file: IO[bytes], respond: Callable[..., None]) -> None:
    """Keep a request, say so, and report over this association what can be said before the peer does something else."""
    grant = exchange.grant
    if grant.peer is None or "commit" not in grant.peer.services:
        raise NotAllowed("This peer is not allowed to request storage commitment here.")
    syntax = exchange.transfer_syntax_uid
    summary = information.summarize(file, syntax)
    job = commitments.accept(
        grant.peer, summary, actor=grant.actor, project_id=grant.project_id, association_id=exchange.row_id
    )
    if job is None:
        respond(status.SUCCESS)
        return

    def work(this: Run) -> RunEnd:
        commitments.write_instances(this, file, syntax)
        respond(status.SUCCESS)
        return commitments.run(this, report=report, waiting=leave_if_news)

    def leave_if_news() -> None:
        if exchange.has_news():
            raise Interrupted

    def report(ready: Report) -> None:
        if exchange.has_news(GRACE_SECONDS):
            raise Interrupted
        send_report(ready, syntax, exchange.report)

    try:
        runs.perform(job.id, work)
    finally:
        jobs.enqueue(job)  # the job runner has nothing to do where it is over


def send_report(ready: Report, transfer_syntax_uid: str, send: Callable[[bytes, IO[bytes], int], int | None]) -> None:
    """Encode a report, send it, and look at what the peer responds. Raises Outage unless that is a success."""
    command = commands.event_report_request(
        information.SOP_CLASS, information.SOP_INSTANCE, ready.event_type, message_id=1
    )
    with closing(ready.encode(transfer_syntax_uid)) as data_set:
        code = send(command, data_set, data_set.tell())
    if code != status.SUCCESS:
        label = ready.job.params["to"]
        said = "without a status" if code is None else f"with status {code:04X}"
        raise Outage(f"{label} responded to the report of storage commitment {said}.")


def _take_report(exchange: Exchange, file: IO[bytes], respond: Callable[..., None]) -> None:
    """Take what a peer says about objects that we have sent to it."""
    if exchange.grant.peer is None:
        raise NotAllowed("This caller is not registered.")
    confirmations.take_report(exchange.grant.peer.id, file, exchange.transfer_syntax_uid)
    respond(status.SUCCESS)
