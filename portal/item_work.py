"""The items of a job, done by some threads at once; what became of each is written some at a time."""

import time
from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeVar

from portal import spells
from portal.crew import Crew
from portal.errors import Unreachable
from portal.models import Job, JobItem, writing
from portal.runs import Run, Stopped
from portal.setbacks import Outcome, Setbacks

FLUSH_ITEMS = 50
FLUSH_SECONDS = 0.5
PAGE = 200

Check = Callable[[], None]
Task = TypeVar("Task")


def pending(job: Job) -> Iterator[list[JobItem]]:
    """The items that wait, page by page in their order; what changes meanwhile does not matter."""
    after = 0
    while True:
        wanted = (JobItem.job == job) & (JobItem.state == "pending") & (JobItem.id > after)
        page = list(JobItem.select().where(wanted).order_by(JobItem.id).limit(PAGE))
        if not page:
            return
        yield page
        after = page[-1].id


def each(
    run: Run,
    tasks: Iterator[Task],
    attempt: Callable[[Task, Check], Outcome],
    *,
    threads: int,
    well: Collection[str],
    badly: Collection[str],
) -> None:
    """Attempt each task; the item says by its state how it ended: one of `well`, of `badly`, or still pending.

    `threads` are those of the storage, which this run shares with others that work there.

    Raises what the other place as a whole answers, and Unreachable where some are left for another run.
    """
    tally = _Tally(run, well, badly)
    setbacks = Setbacks(run)

    def check() -> None:
        run.check()
        if crew.is_stopping:
            raise Stopped

    with Crew[Task, Outcome](lambda: run.share(threads), lambda task: attempt(task, check)) as crew:
        try:
            for item, error in crew.outcomes(tasks, tally.check):
                tally.add(item)
                setbacks.take(error)
        finally:
            for item, _error in crew.stop():
                tally.add(item)
            tally.flush()
    _leave(run)


def first_reason(job: Job, states: Collection[str]) -> str:
    """The first item of some states with its reason, for the sentence of the whole."""
    wanted = JobItem.state.in_(list(states)) & (JobItem.sentence != "")
    item = JobItem.select().where(JobItem.job == job, wanted).order_by(JobItem.id).first()
    return f"{item.key[:200]}: {item.sentence}" if item is not None else ""


def _leave(run: Run) -> None:
    """What is left waits for the next run, or fails with the last one."""
    left = (JobItem.job == run.job) & (JobItem.state == "pending")
    number = JobItem.select().where(left).count()
    if number and not run.is_last:
        raise Unreachable(f"{number:,} of {run.job.total:,} are left. {first_reason(run.job, ('pending',))}")
    if number:
        spells.update(JobItem, left, state="failed", check=run.check)
        run.write(failed=run.job.failed + number)


class _Tally:
    def __init__(self, run: Run, well: Collection[str], badly: Collection[str]) -> None:
        self._run = run
        self._well, self._badly = well, badly
        self._items: list[JobItem] = []
        self._since = time.monotonic()

    def add(self, item: JobItem) -> None:
        self._items.append(item)
        self._flush_in_time()

    def check(self) -> None:
        """Write what has waited long enough, while others are under way; raises Stopped if the run is to end."""
        self._run.check()
        if self._items:
            self._flush_in_time()

    def _flush_in_time(self) -> None:
        if len(self._items) >= FLUSH_ITEMS or time.monotonic() - self._since > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        job = self._run.job
        done = [item for item in self._items if item.state in self._well]
        failed = sum(item.state in self._badly for item in self._items)
        columns: list[Any] = [JobItem.state, JobItem.sentence, JobItem.permanent, JobItem.attempts]
        with writing():
            for item in self._items:
                item.save(only=[*columns, JobItem.digest, JobItem.size, JobItem.file])
            size = job.bytes + sum(item.size for item in done)
            self._run.write_within(done=job.done + len(done), failed=job.failed + failed, bytes=size)
        self._items.clear()
        self._since = time.monotonic()
