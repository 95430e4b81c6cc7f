"""Sends: exports to a DICOM peer, instance by instance, each with what the peer answered to its C-STORE."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from portal.commitments import confirmations
from portal.errors import Damaged, Outage, PortalError, Unreachable
from portal.exports import plan, send_plan
from portal.exports.results import PlanResult
from portal.jobs import item_runner
from portal.jobs.item_failures import MAX_FAILURES_IN_A_ROW
from portal.jobs.item_runner import ProgressWriter
from portal.jobs.runs import Run, RunEnd
from portal.models import JobItem
from portal.query.retrieve import Outgoing

TAKEN_STATES = ("stored", "warned")
"""States of an instance that the peer took, the second with a warning."""


class PeerConnection(Protocol):
    """A peer while objects are sent to it."""

    def send(self, outgoing: Outgoing) -> str:
        """Send one object; returns the warning with which it was taken, else nothing.

        Raises PortalError with the peer's reason where it was not, permanent or not; Unreachable where the peer as a
        whole does not answer, or refuses; Outage where no association can be established.
        """
        ...


class Destination(Protocol):
    """A peer as the worker knows it: what is to be sent decides what is proposed to it."""

    label: str

    def open(
        self, classes: Sequence[tuple[str, str]], *, check: Callable[[], None]
    ) -> AbstractContextManager[PeerConnection]: ...


def run(this: Run, *, destination: Destination) -> RunEnd:
    """Do what of a send is not done yet. An instance may be sent again after a kill; it is counted once.

    An instance that the peer took is done: nothing is read back, its answer is all that is known (PS3.4 B.2.3).
    """
    plan.plan(this)
    _send_items(this, destination)
    if item_runner.settle_unfinished(this, "could not be sent yet"):
        this.write(attempts=1)
    confirmations.start(this)
    warned = JobItem.select().where(JobItem.job == this.job, JobItem.state == "warned").count()

    job, result = this.job, {"warned": warned}
    planned = PlanResult.load(job.result)
    skipped = f" {planned.unmatched:,} skipped (not taken by peers, or by the rules)." if planned.unmatched else ""
    skipped += f" {planned.held_back:,} skipped (in conflict or replaced)." if planned.held_back else ""
    if not job.total:
        return RunEnd(message=f"There was nothing to send.{skipped}", result=result)
    total = "1 instance" if job.total == 1 else f"{job.total:,} instances"
    warning = f", {warned:,} of them with a warning" if warned else ""
    if not job.failed:
        return RunEnd(message=f"{destination.label} took {total}{warning}.{skipped}", result=result)
    reason = item_runner.first_reason(job, ("failed",))
    if job.failed == job.total:
        return RunEnd(state="failed", message=f"{destination.label} took none of {total}. {reason}", result=result)
    taken = f"{destination.label} took {job.total - job.failed:,} of {total}{warning}."
    return RunEnd(state="errors", message=f"{taken} {job.failed:,} failed. {reason}", result=result)


def _send_items(this: Run, destination: Destination) -> None:
    """One instance after the other; after some temporary failures in a row the peer as a whole is at fault."""
    writer, in_a_row = ProgressWriter(this, done_states=TAKEN_STATES), 0
    try:
        with destination.open(send_plan.classes(this.job), check=this.check) as connection:
            for item, outgoing in send_plan.unfinished_items(this.job):
                this.check()
                error = None
                try:
                    if outgoing is None:
                        raise Damaged(send_plan.GONE)
                    warning = _send_twice(outgoing, connection)
                    item.state, item.message, item.permanent = ("warned" if warning else "stored"), warning, False
                except PortalError as met:
                    error = met
                    item.message, item.permanent = error.message, error.permanent
                    item.attempts += 1
                    if error.permanent and not isinstance(error, Unreachable):
                        item.state = "failed"
                writer.add(item)
                if isinstance(error, Unreachable) and error.permanent:
                    raise error
                if isinstance(error, Outage):  # after a failure the object may be at fault: then it is no outage
                    raise Unreachable(error.message) if in_a_row else error
                in_a_row = in_a_row + 1 if error is not None and not error.permanent else 0
                if error is not None and in_a_row == MAX_FAILURES_IN_A_ROW:
                    raise error
    finally:
        writer.flush()


def _send_twice(outgoing: Outgoing, connection: PeerConnection) -> str:
    """Send again over a new association where one ended in the middle: this object may be what makes it fail."""
    try:
        return connection.send(outgoing)
    except Unreachable as error:
        if error.permanent or isinstance(error, Outage):
            raise
    try:
        return connection.send(outgoing)
    except Outage as error:
        raise Unreachable(error.message, permanent=error.permanent) from error
