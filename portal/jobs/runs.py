"""One run of a job: it takes the row by a lease, beats while it works, and writes how it ended."""

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
from portal.jobs.claims import claim, held_by_run, with_attempt_end
from portal.jobs.jobs import KINDS
from portal.jobs.queue import TimedOut
from portal.models import Job, JobItem, batched_writes, hourly_counts, now, writing

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 3.0
FIRST_WAIT = timedelta(seconds=10)
MAX_WAIT = timedelta(minutes=10)
TURN_SECONDS = 10.0
"""Seconds after which a run that takes turns lets others go first."""
SHORTER_JOBS_FIRST = "Shorter jobs go first; it goes on after them."
SHARING = ("export", "verification", "import", "import_dry_run")
"""Kinds whose runs do several objects of a storage at once: those that work there now share its threads."""

_interrupted: list[int] = []
"""Not empty: this process has been asked to stop. A list, since a signal handler must not take a lock."""


class Stopped(Exception):
    """The run ends here; what it has done stays done."""


class Cancelled(Stopped):
    """Somebody wants the job to end."""


class Interrupted(Stopped):
    """The process is to stop; the job goes on in another one."""


class Yielded(Stopped):
    """Others of the short lane wait; the job goes on after them."""


class LeaseLost(Stopped):
    """Another run has the row: this one was silent for too long."""


@dataclass(frozen=True, kw_only=True)
class RunEnd:
    """How a run ended; `result` is added to what the row holds."""

    state: str = "done"
    message: str
    result: dict[str, Any] = field(default_factory=dict)


class Run:
    """The row while it is held. Only `check` and `write` touch it, and both raise Stopped once it is time to end."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._among = 0, 1
        self._asked: type[Stopped] | None = None
        self._until = job.lease or 0
        """Until when the row is this run's without a look at it."""
        self._worked_before = job.samples[-1][0] if job.samples else 0.0
        self._began = time.monotonic()

    @property
    def is_last(self) -> bool:
        """Whether the job fails for good if this run does."""
        return bool(self.job.attempts >= KINDS[self.job.kind].attempts)

    def share(self, threads: int) -> int:
        """How many of a storage's threads are this run's: as many as each other that works there now has, and one at
        least; what is left over is for the first of them.

        It changes within a beat when others begin or end. Costs nothing.
        """
        place, number = self._among
        return max(1, threads // number + (place < threads % number))

    def check(self) -> None:
        """Raise Stopped if the run is to end. Costs nothing: call it for each piece of work.

        After a stop of the process that was longer than the lease, it looks first whether the row is still this run's.
        """
        if leases.milliseconds_since_boot() >= self._until:
            self._look()
        if self._asked:
            raise self._asked
        if _interrupted:
            raise Interrupted

    def _look(self) -> None:
        """The beat renews the lease; until then each further look is a second later."""
        with models.connection():
            is_ours = Job.select().where(held_by_run(self.job)).exists()
        if not is_ours:
            self._asked = LeaseLost
        self._until = leases.milliseconds_since_boot() + 1000

    def write(self, **columns: Any) -> None:
        """Write progress in one short transaction: where another run would go on. Progress forgives attempts."""
        with writing():
            self.write_within(**columns)

    def write_within(self, **columns: Any) -> None:
        """The same inside a write block of the caller, so that rows of its own change with it."""
        if columns.get("done", 0) > self.job.done:
            columns["attempts"] = 1
        columns |= self._moved(columns)
        granted = leases.columns()
        is_ours = Job.update(**granted, **columns).where(held_by_run(self.job)).execute()
        if not is_ours:
            raise LeaseLost
        self._until = granted["lease"]
        for name, value in columns.items():
            setattr(self.job, name, value)

    def _moved(self, columns: dict[str, Any]) -> dict[str, Any]:
        """What the bytes that are done now add to the pictures of throughput."""
        size = columns.get("bytes", 0) - self.job.bytes
        if size <= 0:
            return {}
        if self.job.kind in ("export", "send"):
            hourly_counts.add("exported", max(0, columns.get("done", 0) - self.job.done), size)
        seconds = self._worked_before + time.monotonic() - self._began
        return {"samples": throughput.add_sample(self.job.samples, (round(seconds, 3), columns["bytes"]))}

    @contextmanager
    def beating(self, every: float) -> Iterator[None]:
        """Renew the lease in a thread of its own, whatever the work is at; `every` so many seconds."""
        self._among = self._find_place()
        done = threading.Event()
        beat = lambda: self._beat(done, every)  # noqa: E731
        thread = threading.Thread(target=beat, name=f"lease of job {self.job.id}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _beat(self, done: threading.Event, every: float) -> None:
        while not done.wait(every):
            try:
                with models.connection():
                    self._asked = self._renew()
            except DatabaseError as error:
                log.warning("the lease of job %d could not be renewed: %s", self.job.id, error)

    def _renew(self) -> type[Stopped] | None:
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
        if self.job.storage is None or self.job.kind not in SHARING:
            return 0, 1
        theirs = (Job.storage == self.job.storage) & Job.kind.in_(SHARING) & (Job.id != self.job.id)
        rows = Job.select(Job.id).where(theirs & Job.ended.is_null() & leases.live())
        others = [row.id for row in rows]
        return sum(other < self.job.id for other in others), len(others) + 1


def interrupt() -> None:
    """Ask the run of this process to stop at its next `check`; safe in a signal handler."""
    _interrupted.append(1)


def perform(job_id: int, work: Callable[[Run], RunEnd], *, beat: float = HEARTBEAT_SECONDS) -> None:
    """Run a job once, if it is due and nobody else does; running it twice does nothing twice.

    A PortalError that is not permanent puts it back with a growing wait; for a place that is away, for a day. A defect
    fails it, and is raised; so is an error of the database, after which the row cannot be written: its lease runs out,
    and the sweep rings again.
    """
    job = claim(job_id)
    if job is None:
        return
    run = Run(job)
    try:
        with run.beating(beat):
            _reopen(run)
            end = work(run)
    except LeaseLost:
        log.warning("job %d has been taken by another run", job_id)
    except Interrupted:
        _leave(job, state="waiting", due=now(), attempts=max(job.attempts - 1, 0))
    except Yielded:
        job.result.pop("began", None)  # this was no attempt that anybody would want to read of
        _leave(job, state="waiting", due=now(), attempts=max(job.attempts - 1, 0), message=SHORTER_JOBS_FIRST)
    except Cancelled:
        _over(job, RunEnd(state="cancelled", message=_cancelled(job)))
    except PortalError as error:
        _failed(run, error)
    except TimedOut:
        _over(job, RunEnd(state="failed", message="It took longer than such a job may. Run it again."))
    except DatabaseError:
        raise
    except Exception as error:
        name = type(error).__name__
        _over(job, RunEnd(state="failed", message=f"It stopped on a defect of ours ({name}). See the log."))
        raise
    else:
        _over(job, end)


def _reopen(run: Run) -> None:
    """Give the items that failed another try, where somebody asked for that."""
    if run.job.result.get("reopen"):
        failed = (JobItem.job == run.job) & (JobItem.state == "failed")
        batched_writes.update(
            JobItem, failed, state="pending", message="", permanent=False, attempts=0, check=run.check
        )
        run.write(result={name: value for name, value in run.job.result.items() if name != "reopen"})


def _failed(run: Run, error: PortalError) -> None:
    job = run.job
    if isinstance(error, Outage) and not error.permanent and KINDS[job.kind].is_patient:
        _wait_for_place(job, error)
        return
    if error.permanent or run.is_last:
        tried = f" Given up after {job.attempts} attempts." if job.attempts > 1 else ""
        _over(job, RunEnd(state="failed", message=f"{error.message}{tried}"))
        return
    wait = min(FIRST_WAIT * 2 ** (job.attempts - 1), MAX_WAIT)
    seconds = round(wait.total_seconds())
    message = f"{error.message} Attempt {job.attempts} of {KINDS[job.kind].attempts}; the next one in {seconds} s."
    _leave(job, state="waiting", due=now() + wait, message=message)


def _wait_for_place(job: Job, error: Outage) -> None:
    """Of the job's attempts none is spent: nothing that it is about was at fault."""
    moment = now()
    absence = outages.extend(job, error.message, moment)
    kept: dict[str, Any] = {"attempts": max(job.attempts - 1, 0), "result": {**job.result, "away": absence.as_row()}}
    if moment < absence.until:
        message = f"{error.message} It is tried again until {absence.until:%Y-%m-%d %H:%M} UTC."
        _leave(job, error.message, state="waiting", due=absence.next_try(moment), message=message, **kept)
    else:
        hours = outages.MAX_OUTAGE // timedelta(hours=1)
        message = f"{error.message} Given up after {hours} hours. Run it again once that is mended."
        _leave(job, state="failed", ended=moment, message=message, **kept)


def _over(job: Job, end: RunEnd) -> None:
    result = {**job.result, **end.result}
    _leave(job, state=end.state, message=end.message, result=result, ended=now())


def _leave(job: Job, said: str = "", **columns: Any) -> None:
    """Give the row back, unless another run has it. A cancel that came in the last moment loses against the end.

    `said` is how this run ended, where that is not the job's sentence.
    """
    with writing():
        if columns["state"] == "waiting" and Job.get_by_id(job.id).state == "cancelling":
            columns = {"state": "cancelled", "ended": now(), "message": _cancelled(job)}
        job.result = columns.pop("result", job.result)
        said = said or columns.get("message", "Stopped with its process; another one goes on.")
        tried = with_attempt_end(job, said)
        Job.update(lease=None, holder="", result=tried, **columns).where(held_by_run(job)).execute()


def _cancelled(job: Job) -> str:
    if not job.total:
        return "Cancelled."
    return f"Cancelled after {job.done:,} of {job.total:,}; what is done stays."
