"""The sub-operations of one C-MOVE or C-GET: their counts, the responses to the requestor, and the job's rows."""

import logging
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any, Literal

from peewee import PeeweeException
from pydicom.dataset import Dataset
from pynetdicom.dimse_primitives import C_GET, C_MOVE
from pynetdicom.dsutils import encode
from pynetdicom.presentation import PresentationContext

from dimse_worker import status
from dimse_worker.sending import StoreResponse, is_open
from portal import models
from portal.errors import PortalError
from portal.peers.associations import Retrieved
from portal.query import retrieve_jobs
from portal.query.retrieve import Outgoing, Plan
from portal.query.retrieve_jobs import SubOperationFailure

log = logging.getLogger(__name__)

PENDING_SECONDS = 0.9
MAX_COUNT = 65_535
"""The counts of a response have 16 bit: above that they stay at the maximum; the job's row has the exact ones."""


class RequestorGone(Exception):
    """The requestor ended the association, so that there is nobody to respond to."""


class Responses:
    """The responses to one C-MOVE or C-GET request."""

    def __init__(self, assoc: Any, request: C_MOVE | C_GET, context: PresentationContext) -> None:
        self._assoc, self._request, self._context = assoc, request, context

    @property
    def cancelled(self) -> bool:
        return self._request.MessageID in self._assoc.dimse.cancel_req

    def refuse(self, reason: Dataset) -> None:
        """The final response to a request that was not started."""
        response = self._response(reason.Status)
        response.ErrorComment = reason.get("ErrorComment")
        self._send(response)

    def pending(self, suboperations: "SubOperations") -> None:
        self._send(self._with_counts(status.PENDING, suboperations, remaining=True))

    def final(self, code: int, suboperations: "SubOperations", comment: str = "") -> None:
        """The number of remaining ones only after a cancel; the UIDs of the failed ones (PS3.4 C.4.2.1.4.2)."""
        response = self._with_counts(code, suboperations, remaining=code == status.CANCEL)
        if comment:
            response.ErrorComment = status.answer(code, comment).ErrorComment
        if suboperations.failed_uids:
            # pydicom writes a list of more than 65,534 bytes as UN, with a warning (PS3.5 6.2.2).
            identifier = Dataset()
            identifier.FailedSOPInstanceUIDList = suboperations.failed_uids
            syntax = self._context.transfer_syntax[0]
            encoded = encode(identifier, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
            response.Identifier = BytesIO(encoded or b"")
        self._send(response)

    def _with_counts(self, code: int, suboperations: "SubOperations", *, remaining: bool) -> Any:
        response = self._response(code)
        if remaining:
            response.NumberOfRemainingSuboperations = min(suboperations.remaining, MAX_COUNT)
        response.NumberOfCompletedSuboperations = min(suboperations.completed, MAX_COUNT)
        response.NumberOfFailedSuboperations = min(suboperations.failed, MAX_COUNT)
        response.NumberOfWarningSuboperations = min(suboperations.warned, MAX_COUNT)
        return response

    def _response(self, code: int) -> Any:
        response = type(self._request)()
        response.MessageID = self._request.MessageID
        response.MessageIDBeingRespondedTo = self._request.MessageID
        response.AffectedSOPClassUID = self._request.AffectedSOPClassUID
        response.Status = code
        return response

    def _send(self, response: Any) -> None:
        self._assoc.dimse.send_msg(response, self._context.context_id)


class SubOperations:
    """Runs the sub-operations of one request: counts them, sends the pending responses, and keeps the job's rows."""

    def __init__(self, assoc: Any, responses: Responses, plan: Plan, described: dict[str, Any]) -> None:
        self.plan = plan
        self.total = plan.total
        self.completed = self.failed = self.warned = 0
        self.failed_uids: list[str] = []
        self._assoc, self._responses = assoc, responses
        self._size = 0
        self._failures: list[SubOperationFailure] = []
        self._responded = time.monotonic()
        self._operation: Any = described["kind"]
        self._destination_id: int | None = described["params"]["destination"]
        self._job = retrieve_jobs.start(
            **described, actor=assoc.grant.actor, total=plan.total, association_id=assoc.row_id
        )

    @property
    def remaining(self) -> int:
        return max(self.total - self.completed - self.failed - self.warned, 0)

    def run(self, send: Callable[[Outgoing], StoreResponse]) -> None:
        """Run one sub-operation after the other, until all are done or the requestor cancels."""
        for outgoing in self.plan:
            self.tick()
            if self._responses.cancelled:
                return
            try:
                response = send(outgoing)
            except PortalError as error:
                self._add_failure(outgoing, error.message)
                continue
            comment = f": {response.comment}" if response.comment else "."
            if response.status == status.SUCCESS:
                self.completed += 1
                self._add_sent(outgoing, response)
            elif status.is_warning(response.status):
                self.warned += 1
                self._add_sent(outgoing, response)
                message = f"Accepted with warning {response.status:04X}{comment}"
                self._failures.append(self._failure(outgoing, message, warned=True))
            else:
                self._add_failure(outgoing, f"Refused with status {response.status:04X}{comment}")
        self.failed += self.remaining  # those that were deleted from the archive since they were counted

    def tick(self) -> None:
        """Called several times a second: sends a pending response and writes the job's row about every second."""
        self.check()
        if time.monotonic() - self._responded >= PENDING_SECONDS:
            self._responded = time.monotonic()
            self._responses.pending(self)
            self._write_progress()

    def check(self) -> None:
        """Raise RequestorGone if the association has ended."""
        if not is_open(self._assoc):
            raise RequestorGone

    def finish(self) -> None:
        """End the job, and send the final response with its status (PS3.4 C.4.2.1.5)."""
        self._write_progress()
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
        _is_written(lambda: retrieve_jobs.finish(self._job, state=state, message=self._message(), status=code))
        self._count(state)
        self._responses.final(code, self, "" if code in (status.SUCCESS, status.CANCEL) else self._message())

    def abandon(self) -> None:
        """End the job without a response."""
        self._write_progress()
        message = f"The requestor ended the association. {self._message()}"
        retrieve_jobs.finish(self._job, state="failed", message=message, status=status.SUBOPERATIONS_FAILED)
        self._count("failed")

    def _message(self) -> str:
        if not self.total:
            return "Nothing matched."
        parts = [f"{self.completed} of {self.total} sent"]
        for count, word in ((self.warned, "with a warning"), (self.failed, "failed"), (self.remaining, "not tried")):
            if count:
                parts.append(f"{count} {word}")
        return ", ".join(parts) + "."

    def _add_sent(self, outgoing: Outgoing, response: StoreResponse) -> None:
        self._size += response.size
        self._assoc.counts.retrieved(
            Retrieved(study_id=outgoing.study_id, operation=self._operation, destination_id=self._destination_id)
        )

    def _add_failure(self, outgoing: Outgoing, message: str) -> None:
        self.failed += 1
        self.failed_uids.append(outgoing.sop_instance_uid)
        self._failures.append(self._failure(outgoing, message, warned=False))

    def _failure(self, outgoing: Outgoing, message: str, *, warned: bool) -> SubOperationFailure:
        return SubOperationFailure(
            sop_instance_uid=outgoing.sop_instance_uid, file_id=outgoing.file_id, warned=warned, message=message
        )

    def _write_progress(self) -> None:
        failures, self._failures = self._failures, []
        done = self.completed + self.warned
        written = _is_written(
            lambda: retrieve_jobs.record_progress(self._job, failures, done=done, failed=self.failed, size=self._size)
        )
        if not written:
            self._failures = failures + self._failures

    def _count(self, state: str) -> None:
        if state == "done":
            self._assoc.counts.done(self._operation, size=self._size)
        else:
            self._assoc.counts.failed(self._operation, *(("cancelled",) if state == "cancelled" else ()))


def _is_written(write: Callable[[], None]) -> bool:
    """Whether `write` succeeded. While the database is busy the retrieval goes on: the requestor gets its objects and
    responses, and the failures are written with the next progress."""
    try:
        write()
    except PeeweeException as error:
        if not models.is_busy(error):
            raise
        log.warning("the progress of a retrieval could not be written: %s", error)
        return False
    return True
