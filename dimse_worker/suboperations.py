"""The sub-operations of one C-MOVE or C-GET: their counts, the responses to the requestor, and the job's rows."""

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import chain, pairwise
from typing import Any, Literal, Protocol

from peewee import PeeweeException

from dimse_worker import status
from dimse_worker.association_counts import AssociationCounts
from dimse_worker.association_policy import AssociationGrant
from dimse_worker.sending import DataSet, StoreRequest, StoreResponse, WaitCallback
from dimse_worker.wire.commands import Counts
from portal import models
from portal.errors import PortalError
from portal.models import Job
from portal.peers.associations import Retrieved
from portal.query import retrieve, retrieve_jobs
from portal.query.identifiers import Root
from portal.query.retrieve import Outgoing, Plan
from portal.query.retrieve_jobs import RetrieveProgress, SubOperationFailure

log = logging.getLogger(__name__)

PENDING_SECONDS = 0.7
"""With the time between two calls of `tick`, less than the second in which a requestor hears of us."""
CANCEL_SECONDS = 0.5
"""How long the running sub-operation of a cancelled C-MOVE may still take, before its association is aborted."""
MAX_COUNT = 65_535
"""The counts of a response have 16 bit: above that they stay at the maximum; the job's row has the exact ones."""


class RequestorGone(Exception):
    """The association with the requestor has ended, so that there is nobody to respond to."""


class Cancelled(Exception):
    """The requestor has cancelled, and the running sub-operation does not end in time."""


class RetrieveRequest(Protocol):
    """One C-MOVE or C-GET of a peer and the association that it came over, as both protocol paths offer them."""

    operation: Literal["move", "get"]
    root: Root
    message_id: int
    move_destination: str
    """The AE title that a C-MOVE names, without padding."""
    identifier: bytes
    transfer_syntax_uid: str
    """Of its presentation context, and so of the identifier."""
    is_relational: bool
    """Whether it may leave out the unique keys of the levels above (PS3.4 C.4.2.2.2, C.4.3.2.2)."""
    grant: AssociationGrant
    counts: AssociationCounts

    @property
    def row_id(self) -> int | None:
        """Number of the association's row, which is waited for; None or 0 if it has none."""

    @property
    def accepted(self) -> Mapping[tuple[str, str], int]:
        """The contexts that we may send over: SOP Class and transfer syntax → presentation context's id."""

    @property
    def is_open(self) -> bool:
        """Whether the association still exists, as far as it has told us."""

    @property
    def is_cancelled(self) -> bool:
        """Whether a C-CANCEL for this request has arrived."""

    def respond(self, code: int, *, comment: str = "", counts: Counts | None = None, identifier: bytes = b"") -> None:
        """Send a response. One that cannot be sent any more is none: `is_open` says so afterwards."""

    def store(
        self,
        request: StoreRequest,
        data: DataSet,
        *,
        while_sending: WaitCallback,
        when_sent: WaitCallback,
        waiting: WaitCallback,
    ) -> StoreResponse:
        """One sub-operation of a C-GET: send an object over this association, and wait for its response.

        `when_sent` is called once, before the wait.
        Raises Unreachable if the association ends or no response arrives, and what `data` raises, after which the
        association is aborted.
        """


class SubOperations:
    """Runs the sub-operations of one request: counts them, sends the pending responses, and keeps the job's rows."""

    def __init__(self, request: RetrieveRequest, plan: Plan, described: dict[str, Any]) -> None:
        self.plan = plan
        self.total = plan.total
        self.completed = self.failed = self.warned = 0
        self.failed_uids: list[str] = []
        self._request = request
        self._cancelled_at: float | None = None
        self._size = 0
        self._failures: list[SubOperationFailure] = []
        self._responded = time.monotonic()
        self._operation: Any = described["kind"]
        self._destination_id: int | None = described["params"]["destination"]
        self._job = retrieve_jobs.start(
            **described, actor=request.grant.actor, total=plan.total, association_id=request.row_id
        )

    @property
    def remaining(self) -> int:
        return max(self.total - self.completed - self.failed - self.warned, 0)

    def run(self, send: Callable[[Outgoing, Outgoing | None], StoreResponse]) -> None:
        """Run one sub-operation after the other, until all are done or the requestor cancels.

        `send` is told what follows, which it may read already.
        """
        for outgoing, following in pairwise(chain(self.plan, (None,))):
            if outgoing is None:
                break
            self.tick()
            if self._is_cancelled():
                return
            try:
                response = send(outgoing, following)
            except Cancelled:
                return
            except PortalError as error:
                self._add_failure(outgoing.sop_instance_uid, outgoing.file_id, error.message)
                continue
            comment = f": {response.comment}" if response.comment else "."
            if response.status == status.SUCCESS:
                self.completed += 1
                self._add_sent(outgoing, response)
            elif status.is_warning(response.status):
                self.warned += 1
                self._add_sent(outgoing, response)
                message = f"Accepted with warning {response.status:04X}{comment}"
                self._add_failure(outgoing.sop_instance_uid, outgoing.file_id, message, warned=True)
            else:
                self._add_failure(
                    outgoing.sop_instance_uid, outgoing.file_id, f"Refused with status {response.status:04X}{comment}"
                )
        # Those that were deleted from the archive since they were counted.
        for sop_instance_uid in self.plan.untried.values():
            self._add_failure(sop_instance_uid, None, "It was deleted from the archive before it was sent.")
        self.failed += self.remaining

    def tick(self) -> None:
        """Called several times a second: sends a pending response and writes the job's row about every second."""
        self.check()
        if time.monotonic() - self._responded >= PENDING_SECONDS:
            self._responded = time.monotonic()
            self._request.respond(status.PENDING, counts=self._counts(remaining=True))
            self._write(retrieve_jobs.record_progress)

    def tick_or_cancel(self) -> None:
        """As `tick`, where the running sub-operation can be ended: raises Cancelled soon after a C-CANCEL."""
        self.tick()
        if self._is_cancelled() and self._cancelled_at and time.monotonic() - self._cancelled_at > CANCEL_SECONDS:
            raise Cancelled("The requestor has cancelled.")

    def check(self) -> None:
        """Raise RequestorGone if the association has ended."""
        if not self._request.is_open:
            raise RequestorGone

    def finish(self) -> None:
        """End the job, and send the final response with its status (PS3.4 C.4.2.1.5)."""
        code: int
        state: Literal["done", "errors", "failed", "cancelled"]
        if self.remaining:
            code, state = status.CANCEL, "cancelled"
        elif self.failed and self.failed == self.total:
            code, state = status.SUBOPERATIONS_FAILED, "failed"
        elif self.failed or self.warned:
            code, state = status.SOME_SUBOPERATIONS_FAILED, "errors"
        else:
            code, state = status.SUCCESS, "done"
        self._write(partial(retrieve_jobs.finish, state=state, message=self._message(), status=code))
        self._count_operation(state)
        comment = "" if code in (status.SUCCESS, status.CANCEL) else status.comment(self._message())
        # The number of remaining ones only after a cancel; the UIDs of the failed ones (PS3.4 C.4.2.1.4.2).
        counts, syntax = self._counts(remaining=code == status.CANCEL), self._request.transfer_syntax_uid
        failed = retrieve.encode_failed_list(self.failed_uids, syntax) if self.failed_uids else b""
        self._request.respond(code, comment=comment, counts=counts, identifier=failed)

    def abandon(self) -> None:
        """End the job without a response."""
        message = f"The association with the requestor has ended. {self._message()}"
        self._write(partial(retrieve_jobs.finish, state="failed", message=message, status=status.SUBOPERATIONS_FAILED))
        self._count_operation("failed")

    def _counts(self, *, remaining: bool) -> Counts:
        return Counts(
            remaining=min(self.remaining, MAX_COUNT) if remaining else None,
            completed=min(self.completed, MAX_COUNT),
            failed=min(self.failed, MAX_COUNT),
            warned=min(self.warned, MAX_COUNT),
        )

    def _is_cancelled(self) -> bool:
        if self._cancelled_at is None and self._request.is_cancelled:
            self._cancelled_at = time.monotonic()
        return self._cancelled_at is not None

    def _message(self) -> str:
        if not self.total:
            return "Nothing matched."
        parts = [f"{self.completed} of {self.total} sent"]
        for count, word in ((self.warned, "with a warning"), (self.failed, "failed"), (self.remaining, "not sent")):
            if count:
                parts.append(f"{count} {word}")
        return ", ".join(parts) + "."

    def _add_sent(self, outgoing: Outgoing, response: StoreResponse) -> None:
        self._size += response.size
        self._request.counts.retrieved(
            Retrieved(study_id=outgoing.study_id, operation=self._operation, destination_id=self._destination_id)
        )

    def _add_failure(self, sop_instance_uid: str, file_id: int | None, message: str, *, warned: bool = False) -> None:
        if not warned:
            self.failed += 1
            self.failed_uids.append(sop_instance_uid)
        failure = SubOperationFailure(
            sop_instance_uid=sop_instance_uid, file_id=file_id, warned=warned, message=message
        )
        self._failures.append(failure)

    def _write(self, write: Callable[[Job | None, RetrieveProgress], None]) -> None:
        """Write the progress. While the database is busy the retrieval goes on: the requestor gets its objects and
        responses, and the failures are written with the next progress."""
        failures, self._failures = self._failures, []
        done = self.completed + self.warned
        try:
            write(self._job, RetrieveProgress(done=done, failed=self.failed, size=self._size, failures=failures))
        except PeeweeException as error:
            if not models.is_busy(error):
                raise
            self._failures = failures + self._failures
            log.warning("the progress of a retrieval could not be written: %s", error)

    def _count_operation(self, state: str) -> None:
        if state == "done":
            self._request.counts.done(self._operation, size=self._size)
        else:
            self._request.counts.failed(self._operation, *(("cancelled",) if state == "cancelled" else ()))
