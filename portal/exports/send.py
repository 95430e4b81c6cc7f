"""Sends: exports to a DICOM peer, instance by instance, each with what the peer answered to its C-STORE."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from portal.errors import Damaged, Outage, PortalError, Unreachable
from portal.exports import copier, plan, send_plan
from portal.exports.copier import ARRIVED_STATES
from portal.jobs import item_runner
from portal.jobs.item_failures import MAX_FAILURES_IN_A_ROW
from portal.jobs.item_row import Item
from portal.jobs.item_runner import ProgressWriter
from portal.jobs.runs import Run, RunEnd
from portal.models import Job, JobItem
from portal.query.retrieve import Outgoing


class PeerConnection(Protocol):
    """A peer while objects are sent to it."""

    def send(self, outgoing: Outgoing) -> str:
        """Send one object; returns the warning with which it was taken, else nothing.

        Raises PortalError with the peer's reason where it was not, permanent or not; Unreachable where the whole peer
        does not answer, or turns us away; Away where no association with it comes about.
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

    What is taken is done: nothing is read back, so the peer's answer is all that is known (PS3.4 B.2.3).
    """
    plan.plan(this)
    copier.recount(this)
    _each(this, destination)
    copier.settle(this)
    warned = JobItem.select().where(JobItem.job == this.job, JobItem.state == "warned").count()
    return _end(this.job, destination.label, warned)


def _each(this: Run, destination: Destination) -> None:
    """One instance after the other; some failures in a row that may pass are taken for one of the peer as a whole."""
    tally, in_a_row = ProgressWriter(this, well=ARRIVED_STATES), 0
    try:
        with destination.open(send_plan.classes(this.job), check=this.check) as taker:
            for item, outgoing in send_plan.unfinished_items(this.job):
                this.check()
                error = _attempt(item, outgoing, taker)
                tally.add(item)
                if isinstance(error, Unreachable) and error.permanent:
                    raise error
                if isinstance(error, Outage):  # before an object is at fault, after which it may have gone
                    raise Unreachable(error.message) if in_a_row else error
                in_a_row = in_a_row + 1 if error is not None and not error.permanent else 0
                if error is not None and in_a_row == MAX_FAILURES_IN_A_ROW:
                    raise error
    finally:
        tally.flush()


def _attempt(item: Item, outgoing: Outgoing | None, taker: PeerConnection) -> PortalError | None:
    """Send one; the item says how far it got. Returns why it got no further."""
    try:
        if outgoing is None:
            raise Damaged(send_plan.GONE)
        warning = _persist(outgoing, taker)
    except PortalError as error:
        item.message, item.permanent = error.message, error.permanent
        item.attempts += 1
        if error.permanent and not isinstance(error, Unreachable):
            item.state = "failed"
        return error
    item.state, item.message, item.permanent = ("warned" if warning else "stored"), warning, False
    return None


def _persist(outgoing: Outgoing, taker: PeerConnection) -> str:
    """Once more over a new association where one ended in the middle. A peer that is away then is so by this object."""
    try:
        return taker.send(outgoing)
    except Unreachable as error:
        if error.permanent or isinstance(error, Outage):
            raise
    try:
        return taker.send(outgoing)
    except Outage as error:
        raise Unreachable(error.message, permanent=error.permanent) from error


def _end(job: Job, label: str, warned: int) -> RunEnd:
    result = {"warned": warned}
    stayed = _stayed(job)
    if not job.total:
        return RunEnd(message=f"There was nothing to send.{stayed}", result=result)
    if job.failed == job.total:
        message = f"{label} took none of {_in_words(job.total)}. {item_runner.first_reason(job, ('failed',))}"
        return RunEnd(state="failed", message=message, result=result)
    warning = f", {warned:,} of them with a warning" if warned else ""
    if job.failed:
        taken = f"{label} took {job.total - job.failed:,} of {_in_words(job.total)}{warning}."
        left = f"{job.failed:,} {'was' if job.failed == 1 else 'were'} not taken."
        return RunEnd(
            state="errors", message=f"{taken} {left} {item_runner.first_reason(job, ('failed',))}", result=result
        )
    return RunEnd(message=f"{label} took {_in_words(job.total)}{warning}.{stayed}", result=result)


def _stayed(job: Job) -> str:
    """What stayed here, in words."""
    held, unmatched = job.result.get("held_back", 0), job.result.get("unmatched", 0)
    words = f" {unmatched:,} that no peer takes, or no rule, stayed here." if unmatched else ""
    return words + (f" {held:,} that conflict with another object, or gave way to one, stayed here." if held else "")


def _in_words(number: int) -> str:
    return "1 instance" if number == 1 else f"{number:,} instances"
