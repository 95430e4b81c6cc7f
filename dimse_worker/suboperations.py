"""The sub-operations of one C-MOVE or C-GET: their counts, the answers to the requestor, and the ledger."""

import logging
import time
from collections.abc import Callable
from io import BytesIO
from typing import Any

from peewee import PeeweeException
from pydicom.dataset import Dataset
from pynetdicom.dimse_primitives import C_GET, C_MOVE
from pynetdicom.dsutils import encode
from pynetdicom.presentation import PresentationContext

from dimse_worker import status
from dimse_worker.handlers import is_open
from dimse_worker.sending import StoreResponse
from portal import models
from portal.errors import PortalError
from portal.query import retrieve_jobs
from portal.query.retrieve import Outgoing, Plan
from portal.query.retrieve_jobs import SubOperationFailure

log = logging.getLogger(__name__)

PENDING_SECONDS = 0.9
MAX_COUNT = 65_535
"""The counts of an answer are 16 bit: they saturate; the ledger has the truth."""


class RequestorGone(Exception):
    """Who asked has left: nobody is there to be answered."""


class Responses:
    """The responses to one C-MOVE or C-GET request."""

    def __init__(self, assoc: Any, request: C_MOVE | C_GET, context: PresentationContext) -> None:
        self._assoc, self._request, self._context = assoc, request, context

    @property
    def cancelled(self) -> bool:
        return self._request.MessageID in self._assoc.dimse.cancel_req

    def refuse(self, reason: Dataset) -> None:
        """The final answer of a request that was not begun."""
        response = self._response(reason.Status)
        response.ErrorComment = reason.get("ErrorComment")
        self._send(response)

    def pending(self, run: "SubOperations") -> None:
        self._send(self._counted(status.PENDING, run, remaining=True))

    def final(self, code: int, run: "SubOperations", comment: str = "") -> None:
        """Remaining only where it was cancelled; what failed by its UIDs (PS3.4 C.4.2.1.4.2)."""
        response = self._counted(code, run, remaining=code == status.CANCEL)
        if comment:
            response.ErrorComment = status.answer(code, comment).ErrorComment
        if run.failed_uids:
            response.Identifier = BytesIO(self._failed_list(run.failed_uids))
        self._send(response)

    def _counted(self, code: int, run: "SubOperations", *, remaining: bool) -> Any:
        response = self._response(code)
        if remaining:
            response.NumberOfRemainingSuboperations = min(run.remaining, MAX_COUNT)
        response.NumberOfCompletedSuboperations = min(run.completed, MAX_COUNT)
        response.NumberOfFailedSuboperations = min(run.failed, MAX_COUNT)
        response.NumberOfWarningSuboperations = min(run.warned, MAX_COUNT)
        return response

    def _failed_list(self, sop_instance_uids: list[str]) -> bytes:
        """pydicom makes a list of more than 65,534 bytes UN, with a warning (PS3.5 6.2.2)."""
        ds = Dataset()
        ds.FailedSOPInstanceUIDList = sop_instance_uids
        syntax = self._context.transfer_syntax[0]
        return encode(ds, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated) or b""

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
    """The sub-operations of one request: counts, pending answers, ledger."""

    def __init__(self, assoc: Any, answers: Responses, plan: Plan, described: dict[str, Any]) -> None:
        self.plan = plan
        self.total = plan.total
        self.completed = self.failed = self.warned = 0
        self.failed_uids: list[str] = []
        self._assoc, self._answers = assoc, answers
        self._size = 0
        self._blemishes: list[SubOperationFailure] = []
        self._answered = time.monotonic()
        self._operation: Any = described["kind"]
        self._job = retrieve_jobs.start(
            **described, actor=assoc.admission.actor, total=plan.total, association_id=assoc.row_id
        )

    @property
    def remaining(self) -> int:
        return max(self.total - self.completed - self.failed - self.warned, 0)

    def each(self, send: Callable[[Outgoing], StoreResponse]) -> None:
        """One sub-operation after the other, until all are done or the requestor cancels."""
        for outgoing in self.plan:
            self.tick()
            if self._answers.cancelled:
                return
            try:
                answer = send(outgoing)
            except PortalError as error:
                self._add_failure(outgoing, error.message)
            else:
                self._add(outgoing, answer)
        self.failed += self.remaining  # gone from the archive since they were counted

    def tick(self) -> None:
        """Called several times a second: a pending answer and a line in the ledger, about every second."""
        self.check()
        if time.monotonic() - self._answered >= PENDING_SECONDS:
            self._answered = time.monotonic()
            self._answers.pending(self)
            self._note()

    def check(self) -> None:
        """Raises RequestorGone if nobody is there to be answered."""
        if not is_open(self._assoc):
            raise RequestorGone

    def finish(self) -> None:
        self._note()
        code, state = self._outcome()
        _is_written(lambda: retrieve_jobs.finish(self._job, state=state, message=self._message(), status=code))
        self._count(state)
        self._answers.final(code, self, "" if code in (status.SUCCESS, status.CANCEL) else self._message())

    def abandon(self) -> None:
        """End it without an answer."""
        self._note()
        message = f"The requestor ended the association. {self._message()}"
        retrieve_jobs.finish(self._job, state="failed", message=message, status=status.SUBOPERATIONS_FAILED)
        self._count("failed")

    def _outcome(self) -> tuple[int, Any]:
        """Status of the final answer (PS3.4 C.4.2.1.5) and state of the job."""
        if self.remaining:
            return status.CANCEL, "cancelled"
        if self.failed and self.failed == self.total:
            return status.SUBOPERATIONS_FAILED, "failed"
        if self.failed or self.warned:
            return status.SOME_SUBOPERATIONS_FAILED, "errors"
        return status.SUCCESS, "done"

    def _message(self) -> str:
        if not self.total:
            return "Nothing matched."
        parts = [f"{self.completed} of {self.total} sent"]
        for count, word in ((self.warned, "with a warning"), (self.failed, "failed"), (self.remaining, "not tried")):
            if count:
                parts.append(f"{count} {word}")
        return ", ".join(parts) + "."

    def _add(self, outgoing: Outgoing, answer: StoreResponse) -> None:
        comment = f": {answer.comment}" if answer.comment else "."
        if answer.status == status.SUCCESS:
            self.completed += 1
            self._size += answer.size
        elif status.is_warning(answer.status):
            self.warned += 1
            self._size += answer.size
            self._add_blemish(outgoing, f"Taken with warning {answer.status:04X}{comment}", warned=True)
        else:
            self._add_failure(outgoing, f"Refused with status {answer.status:04X}{comment}")

    def _add_failure(self, outgoing: Outgoing, message: str) -> None:
        self.failed += 1
        self.failed_uids.append(outgoing.sop_instance_uid)
        self._add_blemish(outgoing, message, warned=False)

    def _add_blemish(self, outgoing: Outgoing, message: str, *, warned: bool) -> None:
        self._blemishes.append(
            SubOperationFailure(
                sop_instance_uid=outgoing.sop_instance_uid, file_id=outgoing.file_id, warned=warned, message=message
            )
        )

    def _note(self) -> None:
        blemishes, self._blemishes = self._blemishes, []
        done = self.completed + self.warned
        written = _is_written(
            lambda: retrieve_jobs.record_progress(self._job, blemishes, done=done, failed=self.failed, size=self._size)
        )
        if not written:
            self._blemishes = blemishes + self._blemishes

    def _count(self, state: str) -> None:
        if state == "done":
            self._assoc.tally.done(self._operation, size=self._size)
        else:
            self._assoc.tally.failed(self._operation, *(("cancelled",) if state == "cancelled" else ()))


def _is_written(write: Callable[[], None]) -> bool:
    """Whether the ledger could be written. While the database is busy, who asked gets the objects and the answer all
    the same; what went wrong is written with the next line."""
    try:
        write()
    except PeeweeException as error:
        if not models.is_busy(error):
            raise
        log.warning("the ledger of a retrieve could not be written: %s", error)
        return False
    return True
