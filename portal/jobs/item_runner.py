"""The items of a job, done by some threads at once; what became of each is written some at a time."""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TypeVar

from portal.errors import Unreachable
from portal.jobs import item_row
from portal.jobs.item_failures import FailureStreak, Outcome
from portal.jobs.item_row import Item
from portal.jobs.runs import Run, Stopped
from portal.jobs.thread_pool import TASKS_PER_THREAD, ThreadPool
from portal.models import Job, JobItem, batched_writes, writing
from portal.models.compiled import is_one_of

UNFINISHED_STATES = ("pending", "sent")
"""States of an item that is not over."""
FLUSH_ITEMS = 50
FLUSH_SUCCEEDED_ITEMS = 500
FLUSH_SECONDS = 0.5
ITEMS_PER_PAGE = 500

Check = Callable[[], None]
Task = TypeVar("Task")


def unfinished_pages(job: Job) -> Iterator[list[Item]]:
    """The items that are not over, in their order; in pages, so that no cursor is open while they are worked on."""
    after = 0
    while True:
        wanted = (JobItem.job == job) & JobItem.state.in_(UNFINISHED_STATES) & (JobItem.id > after)
        page = item_row.select_first(wanted, ITEMS_PER_PAGE)
        if not page:
            return
        yield page
        after = page[-1].id


def run_items(
    run: Run,
    tasks: Iterator[Task],
    attempt: Callable[[Task, Check], Sequence[Outcome]],
    tally: "ProgressWriter",
    *,
    at_once: Callable[[], int],
    ahead: int = TASKS_PER_THREAD,
) -> None:
    """Attempt each task, `at_once` many at any moment; its items say how they ended, or that they still wait.

    `attempt` gets a function that raises Stopped where what takes long is to be left. Raises what the other place as a
    whole answers.
    """
    setbacks = FailureStreak(run)

    def check() -> None:
        run.check()
        if crew.is_stopping:
            raise Stopped

    def one(task: Task) -> Sequence[Outcome]:
        check()  # a process that was stopped for long may have lost the job to another
        return attempt(task, check)

    with ThreadPool[Task, Sequence[Outcome]](at_once, one, ahead=ahead) as crew:
        try:
            for outcomes in crew.outcomes(tasks, tally.check):
                tally.add(*(item for item, _error in outcomes))
                for _item, error in outcomes:
                    setbacks.take(error)
        finally:
            for outcomes in crew.stop():
                tally.add(*(item for item, _error in outcomes))
            tally.flush()


def settle_unfinished(run: Run, what: str) -> int:
    """Come back for what still waits, by raising Unreachable with `what` became of it; in the last run it has failed.

    Returns how many that are.
    """
    left = (JobItem.job == run.job) & JobItem.state.in_(UNFINISHED_STATES)
    number = JobItem.select().where(left).count()
    if number and not run.is_last:
        raise Unreachable(f"{number:,} of {run.job.total:,} {what}. {first_reason(run.job, UNFINISHED_STATES)}")
    if number:
        batched_writes.update(JobItem, left, state="failed", check=run.check)
    return number


def first_reason(job: Job, states: Collection[str]) -> str:
    """The first item of some states with its reason, for the sentence of the whole."""
    wanted = JobItem.state.in_(list(states)) & (JobItem.message != "")
    item = JobItem.select().where(JobItem.job == job, wanted).order_by(JobItem.id).first()
    return f"{item.key[:200]}: {item.message}" if item is not None else ""


class ProgressWriter:
    """What has become of items and is not written yet: rows change some at a time, and with them the job's counts.

    `well` and `badly` are the states of items that count as done and as failed; `more` is what changes besides the
    state and its reason.
    """

    def __init__(
        self, run: Run, *, well: Collection[str], badly: Collection[str] = ("failed",), more: Collection[str] = ()
    ) -> None:
        self._run = run
        self._well, self._badly, self._more = well, badly, more
        self._begin()

    def _begin(self) -> None:
        self._alike: dict[str, list[int]] = defaultdict(list)
        """Items of which nothing but the state has changed, which go by one statement: of most exports all."""
        self._others: list[Item] = []
        self._done = self._failed = self._size = 0
        self._since = time.monotonic()

    def add(self, *items: Item) -> None:
        for item in items:
            is_well = item.state in self._well
            if is_well and not item.message and not self._more:
                self._alike[item.state].append(item.id)
            else:
                self._others.append(item)
            self._done += is_well
            self._size += item.size if is_well else 0
            self._failed += item.state in self._badly
        self._flush_in_time()

    def check(self) -> None:
        """Write what has waited long enough, while others are under way; raises Stopped if the run is to end."""
        self._run.check()
        if self._alike or self._others:
            self._flush_in_time()

    def _flush_in_time(self) -> None:
        is_much = len(self._others) >= FLUSH_ITEMS or sum(map(len, self._alike.values())) >= FLUSH_SUCCEEDED_ITEMS
        if is_much or time.monotonic() - self._since > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        job, run = self._run.job, self._run
        with writing():
            for item in self._others:
                item_row.save(item, ("state", "message", "permanent", "attempts", *self._more))
            for state, ids in self._alike.items():
                JobItem.update(state=state, message="", permanent=False).where(is_one_of(JobItem.id, ids)).execute()
            run.write_within(done=job.done + self._done, failed=job.failed + self._failed, bytes=job.bytes + self._size)
        self._begin()
