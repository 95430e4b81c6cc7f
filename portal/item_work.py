"""The items of a job, done by some threads at once; what became of each is written some at a time."""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from typing import Any, TypeVar

from portal import spells
from portal.crew import Crew
from portal.errors import Unreachable
from portal.models import Job, JobItem, writing
from portal.runs import Run, Stopped
from portal.setbacks import Outcome, Setbacks

WAITING = ("pending", "sent")
"""States of an item that is not over."""
FLUSH_ITEMS = 50
FLUSH_SECONDS = 0.5
PAGE = 200

Check = Callable[[], None]
Task = TypeVar("Task")


def waiting(job: Job) -> Iterator[list[JobItem]]:
    """The items that are not over, in their order; in pages, so that no cursor is open while they are worked on."""
    after = 0
    while True:
        wanted = (JobItem.job == job) & JobItem.state.in_(WAITING) & (JobItem.id > after)
        page = list(JobItem.select().where(wanted).order_by(JobItem.id).limit(PAGE))
        if not page:
            return
        yield page
        after = page[-1].id


def each(
    run: Run,
    tasks: Iterator[Task],
    attempt: Callable[[Task, Check], Outcome],
    tally: "Tally",
    *,
    at_once: Callable[[], int],
) -> None:
    """Attempt each task, `at_once` many at any moment; the item says how it ended, or that it still waits.

    `attempt` gets a function that raises Stopped where what takes long is to be left. Raises what the other place as a
    whole answers.
    """
    setbacks = Setbacks(run)

    def check() -> None:
        run.check()
        if crew.is_stopping:
            raise Stopped

    with Crew[Task, Outcome](at_once, lambda task: attempt(task, check)) as crew:
        try:
            for item, error in crew.outcomes(tasks, tally.check):
                tally.add(item)
                setbacks.take(error)
        finally:
            for item, _error in crew.stop():
                tally.add(item)
            tally.flush()


def settle(run: Run, what: str) -> int:
    """Come back for what still waits, by raising Unreachable with `what` became of it; in the last run it has failed.

    Returns how many that are.
    """
    left = (JobItem.job == run.job) & JobItem.state.in_(WAITING)
    number = JobItem.select().where(left).count()
    if number and not run.is_last:
        raise Unreachable(f"{number:,} of {run.job.total:,} {what}. {first_reason(run.job, WAITING)}")
    if number:
        spells.update(JobItem, left, state="failed", check=run.check)
    return number


def first_reason(job: Job, states: Collection[str]) -> str:
    """The first item of some states with its reason, for the sentence of the whole."""
    wanted = JobItem.state.in_(list(states)) & (JobItem.sentence != "")
    item = JobItem.select().where(JobItem.job == job, wanted).order_by(JobItem.id).first()
    return f"{item.key[:200]}: {item.sentence}" if item is not None else ""


class Tally:
    """What has become of items and is not written yet: rows change some at a time, and with them the job's counts.

    `well` and `badly` are the states of items that count as done and as failed; `more` are columns that change besides
    the state and its reason.
    """

    def __init__(
        self, run: Run, *, well: Collection[str], badly: Collection[str] = ("failed",), more: Collection[Any] = ()
    ) -> None:
        self._run = run
        self._well, self._badly, self._more = well, badly, more
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
        with writing():
            self._save()
            size = job.bytes + sum(item.size for item in done)
            self._run.write_within(done=job.done + len(done), failed=job.failed + failed, bytes=size)
        self._items, self._since = [], time.monotonic()

    def _save(self) -> None:
        """Items of which nothing but the state has changed go together: of most exports those are all."""
        together: dict[str, list[int]] = defaultdict(list)
        for item in self._items:
            if item.state in self._well and not item.sentence and not self._more:
                together[item.state].append(item.id)
            else:
                item.save(only=[JobItem.state, JobItem.sentence, JobItem.permanent, JobItem.attempts, *self._more])
        for state, ids in together.items():
            JobItem.update(state=state, sentence="", permanent=False).where(JobItem.id.in_(ids)).execute()
