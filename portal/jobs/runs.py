"""One run of a job: it claims the row, renews its lease while it works, and writes how it ended."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from peewee import DatabaseError

from portal import models
from portal.errors import Outage, PortalError
from portal.jobs import lanes, leases, outages, throughput
from portal.jobs.claims import cancelled_message, claim, held_by_run, release
from portal.jobs.kinds import EXPORT_KINDS, KINDS, SHARING_KINDS
from portal.jobs.queue import TimedOut
from portal.jobs.records import JobResult
from portal.models import Job, JobItem, batched_writes, figures, now, writing

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 3.0
TURN_SECONDS = 10.0
"""Seconds after which a run that takes turns lets others go first."""
SHORTER_JOBS_FIRST = "Shorter jobs run first; it continues after them."

_interrupted: list[int] = []
"""Not empty: this process has been asked to stop. A list, since a signal handler must not take a lock."""


class Stopped(Exception):
    """The run ends here; what is done stays done."""


class Cancelled(Stopped):
    """Somebody has cancelled the job."""


class Interrupted(Stopped):
    """The process is to stop; the job continues in another one."""


class Yielded(Stopped):
    """Others of its lane wait; the job continues after them."""


class LeaseLost(Stopped):
    """Another run has claimed the row: this one did not renew its lease in time."""


@dataclass(frozen=True, kw_only=True)
class RunEnd:
    """How a run ended; `result` is added to what the row holds."""

    state: str = "done"
    message: str
    result: dict[str, Any] = field(default_factory=dict)


class Run:
    """The row while this run holds it. Only `check` and `write` touch it; both raise Stopped once the run is to end."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._among = 0, 1
        self._asked: type[Stopped] | None = None
        self._until = job.lease or 0
        """Until when the row is this run's without a look, in milliseconds since boot."""
        self._worked_before = job.samples[-1][0] if job.samples else 0.0
        self._began = time.monotonic()

    @property
    def is_last(self) -> bool:
        """Whether the job has failed if this run fails."""
        return bool(self.job.attempts >= KINDS[self.job.kind].attempts)

    def share(self, threads: int) -> int:
        """How many of a storage's threads this run may use: an equal share with the other runs on it, at least one; the
        oldest jobs get what is left over.

        It changes within a heartbeat after others begin or end. Costs nothing.
        """
        place, number = self._among
        return max(1, threads // number + (place < threads % number))

    def check(self) -> None:
        """Raise Stopped if the run is to end. Costs nothing: call it for each piece of work.

        After a stop of the process that was longer than the lease, it looks first whether the row is still this run's.
        """
        if leases.milliseconds_since_boot() >= self._until:
            with models.connection():
                is_ours = Job.select().where(held_by_run(self.job)).exists()
            if not is_ours:
                self._asked = LeaseLost
            # The heartbeat renews the lease; until then the next look is a second later.
            self._until = leases.milliseconds_since_boot() + 1000
        if self._asked:
            raise self._asked
        if _interrupted:
            raise Interrupted

    def write(self, **columns: Any) -> None:
        """Write progress, from which the next run continues, in one short transaction. Progress resets the attempts."""
        with writing():
            self.write_within(**columns)

    def write_within(self, **columns: Any) -> None:
        """The same inside a write block of the caller, so that rows of its own change with it."""
        if columns.get("done", 0) > self.job.done:
            columns["attempts"] = 1
        if (size := columns.get("bytes", 0) - self.job.bytes) > 0:
            if self.job.kind in EXPORT_KINDS:
                figures.add_to_hour("exported", max(0, columns.get("done", 0) - self.job.done), size)
            seconds = round(self._worked_before + time.monotonic() - self._began, 3)
            columns["samples"] = throughput.add_sample(self.job.samples, (seconds, columns["bytes"]))
        granted = leases.columns()
        is_ours = Job.update(**granted, **columns).where(held_by_run(self.job)).execute()
        if not is_ours:
            raise LeaseLost
        self._until = granted["lease"]
        for name, value in columns.items():
            setattr(self.job, name, value)

    @contextmanager
    def beating(self, every: float) -> Iterator[None]:
        """Renew the lease every so many seconds in a thread of its own, whatever the work does."""
        self._among = self._find_place()
        done = threading.Event()

        def beat() -> None:
            while not done.wait(every):
                try:
                    with models.connection():
                        self._asked = self._renew()
                except DatabaseError as error:
                    log.warning("the lease of job %d could not be renewed: %s", self.job.id, error)

        thread = threading.Thread(target=beat, name=f"lease of job {self.job.id}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _renew(self) -> type[Stopped] | None:
        """Renew the lease; returns why the run is to end, if it is."""
        granted = leases.columns()
        with writing():
            is_ours = Job.update(**granted).where(held_by_run(self.job)).execute()
        if not is_ours:
            return LeaseLost
        self._until = granted["lease"]
        self._among = self._find_place()
        if Job.get_by_id(self.job.id).state == "cancelling":
            return Cancelled
        has_had_its_turn = KINDS[self.job.kind].takes_turns and time.monotonic() - self._began > TURN_SECONDS
        return Yielded if has_had_its_turn and lanes.others_wait(self.job) else None

    def _find_place(self) -> tuple[int, int]:
        """This run's place among those that work on its storage now, from 0, and how many they are."""
        if self.job.storage is None or self.job.kind not in SHARING_KINDS:
            return 0, 1
        theirs = (Job.storage == self.job.storage) & Job.kind.in_(SHARING_KINDS) & (Job.id != self.job.id)
        rows = Job.select(Job.id).where(theirs & Job.ended.is_null() & leases.live())
        others = [row.id for row in rows]
        return sum(other < self.job.id for other in others), len(others) + 1


def interrupt() -> None:
    """Ask the run of this process to stop at its next `check`; safe in a signal handler."""
    _interrupted.append(1)


def perform(job_id: int, work: Callable[[Run], RunEnd], *, beat: float = HEARTBEAT_SECONDS) -> None:
    """Run a job once, if it is due and no other run holds it; running it twice does nothing twice.

    After a PortalError that is not permanent the job waits, each time longer; during an outage for up to a day. A
    defect fails the job, and is raised. A database error is raised, too: the row cannot be written, so its lease
    expires, and the sweep enqueues the job again.
    """
    job = claim(job_id)
    if job is None:
        return
    run = Run(job)
    try:
        with run.beating(beat):
            if JobResult.load(job.result).is_reopened:
                _reopen_failed(run)
            end = work(run)
    except LeaseLost:
        log.warning("job %d has been taken by another run", job_id)
    except Interrupted:
        release(job, state="waiting", due=now(), attempts=max(job.attempts - 1, 0))
    except Yielded:
        job.result.pop("began", None)  # so that it is not listed as an attempt
        release(job, state="waiting", due=now(), attempts=max(job.attempts - 1, 0), message=SHORTER_JOBS_FIRST)
    except Cancelled:
        _finish(job, RunEnd(state="cancelled", message=cancelled_message(job)))
    except PortalError as error:
        _put_back(run, error)
    except TimedOut:
        _finish(job, RunEnd(state="failed", message="It exceeded its time limit. Run it again."))
    except DatabaseError:
        raise
    except Exception as error:
        name = type(error).__name__
        _finish(job, RunEnd(state="failed", message=f"It failed because of a defect in Portico ({name}). See the log."))
        raise
    else:
        _finish(job, end)


def _reopen_failed(run: Run) -> None:
    """Give the failed items another try: somebody has retried the job."""
    failed = (JobItem.job == run.job) & (JobItem.state == "failed")
    batched_writes.update(JobItem, failed, state="pending", message="", permanent=False, attempts=0, check=run.check)
    run.write(result={name: value for name, value in run.job.result.items() if name != "reopen"})


def _put_back(run: Run, error: PortalError) -> None:
    """Have the job wait for its next attempt, or fail it where there is none."""
    job, moment = run.job, now()
    if isinstance(error, Outage) and not error.permanent and KINDS[job.kind].waits_out_outages:
        outage = outages.extend(job, error.message, moment)
        # An outage costs no attempt: nothing that the job works on was at fault.
        kept = {"attempts": max(job.attempts - 1, 0), "result": {**job.result, "away": outage.dump()}}
        if moment < outage.until:
            message = f"{error.message} Retrying until {outage.until:%Y-%m-%d %H:%M} UTC."
            due = outage.next_try(moment)
            release(job, error.message, state="waiting", due=due, message=message, **kept)
        else:
            hours = outages.MAX_OUTAGE // timedelta(hours=1)
            message = f"{error.message} Given up after {hours} hours. Run it again once that is fixed."
            release(job, error.message, state="failed", ended=moment, message=message, **kept)
    elif error.permanent or run.is_last:
        tried = f" Given up after {job.attempts} attempts." if job.attempts > 1 else ""
        _finish(job, RunEnd(state="failed", message=f"{error.message}{tried}"))
    else:
        wait = min(outages.FIRST_WAIT * 2 ** (job.attempts - 1), outages.MAX_WAIT)
        attempt = f"Attempt {job.attempts} of {KINDS[job.kind].attempts}"
        message = f"{error.message} {attempt}; the next one in {round(wait.total_seconds())} s."
        release(job, state="waiting", due=moment + wait, message=message)


def _finish(job: Job, end: RunEnd) -> None:
    release(job, state=end.state, message=end.message, result={**job.result, **end.result}, ended=now())
