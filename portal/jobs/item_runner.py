"""Running the items of a job: some threads attempt them, and what became of each is written in batches."""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from portal.errors import NoSpace, NotAllowed, PortalError, Unreachable
from portal.jobs import item_row
from portal.jobs.item_failures import MAX_FAILURES_IN_A_ROW, Outcome
from portal.jobs.item_row import UNFINISHED_STATES, Item
from portal.jobs.runs import Run, Stopped
from portal.jobs.thread_pool import TASKS_PER_THREAD, ThreadPool
from portal.models import Job, JobItem, batched_writes, writing
from portal.models.compiled import is_one_of
from portal.storage_drivers.store import ContainerMissing, ObjectLost

FLUSH_ITEMS = 50
FLUSH_SUCCEEDED_ITEMS = 500
FLUSH_SECONDS = 0.5
STORAGE_WIDE_ERRORS = NotAllowed, NoSpace, Unreachable
"""Errors that another object would meet too."""

Check = Callable[[], None]
Task = TypeVar("Task")


def add_items(run: Run, rows: Iterable[tuple[Any, ...]], *more: str, progress: Callable[[int], dict[str, Any]]) -> None:
    """Write planned items in batches, from rows as `JobItem.add` takes them.

    `progress` gives the columns of the job that change with each batch, by how many items are written.
    """
    number = 0
    writer = batched_writes.BatchWriter()
    for chunk in writer.chunks(rows):
        run.check()
        number += len(chunk)
        with writer.writing():
            JobItem.add(chunk, *more)
            run.write_within(**progress(number))


def run_items(
    run: Run,
    tasks: Iterator[Task],
    attempt: Callable[[Task, Check], Sequence[Outcome]],
    *,
    done_states: Collection[str],
    failed_states: Collection[str] = ("failed",),
    columns: Collection[str] = (),
    threads: Callable[[], int],
    tasks_per_thread: int = TASKS_PER_THREAD,
    unfinished: str,
) -> int:
    """Attempt each task, as many at once as `threads` says at that moment; then settle what is `unfinished`.

    `attempt` returns the task's items, done, failed or still waiting; its function raises Stopped where a long attempt
    is to be left. Raises the errors of the storage as a whole.
    """
    failures = _FailureStreak(is_last_run=run.is_last)
    writer = ProgressWriter(run, done_states=done_states, failed_states=failed_states, columns=columns)

    def check() -> None:
        run.check()
        if pool.is_stopping:
            raise Stopped

    def attempt_task(task: Task) -> Sequence[Outcome]:
        check()  # a process that was stopped for long may have lost the job to another
        return attempt(task, check)

    with ThreadPool[Task, Sequence[Outcome]](threads, attempt_task, ahead=tasks_per_thread) as pool:
        try:
            for outcomes in pool.outcomes(tasks, writer.check):
                writer.add(*(item for item, _error in outcomes))
                for _item, error in outcomes:
                    failures.record(error)
        finally:
            writer.add(*(item for outcomes in pool.stop() for item, _error in outcomes))
            writer.flush()
    return settle_unfinished(run, unfinished)


def settle_unfinished(run: Run, what: str) -> int:
    """Raise Unreachable where items still wait, so that the job comes back for them; in its last run they have failed.

    `what` says what became of them, for the message. Returns how many have failed now.
    """
    left = (JobItem.job == run.job) & JobItem.state.in_(UNFINISHED_STATES)
    number = JobItem.select().where(left).count()
    if number and not run.is_last:
        raise Unreachable(f"{number:,} of {run.job.total:,} {what}. {first_reason(run.job, UNFINISHED_STATES)}")
    if number:
        batched_writes.update(JobItem, left, state="failed", check=run.check)
        run.write(failed=run.job.failed + number)
    return number


def first_reason(job: Job, states: Collection[str]) -> str:
    """The first item of some states with its message, for the message of the job."""
    wanted = JobItem.state.in_(list(states)) & (JobItem.message != "")
    item = JobItem.select().where(JobItem.job == job, wanted).order_by(JobItem.id).first()
    return f"{item.key[:200]}: {item.message}" if item is not None else ""


class _FailureStreak:
    """The failures of one run, one after the other."""

    def __init__(self, *, is_last_run: bool) -> None:
        self._is_last_run = is_last_run
        self._in_a_row = 0

    def record(self, error: PortalError | None) -> None:
        """Count the error of the next item, or None. Raises it where the storage as a whole is at fault.

        That is so where the container is missing, or after some errors in a row. In the last run of a job an object
        that the storage did not keep does not end the run, so that each such object gets its message.
        """
        if error is None:
            self._in_a_row = 0
            return
        self._in_a_row = self._in_a_row + 1 if isinstance(error, STORAGE_WIDE_ERRORS) or not error.permanent else 0
        is_object_alone = self._is_last_run and isinstance(error, ObjectLost)
        is_streak = self._in_a_row >= MAX_FAILURES_IN_A_ROW and not is_object_alone
        if is_streak or isinstance(error, ContainerMissing):
            raise error


class ProgressWriter:
    """Writes outcomes of items in batches, and the job's counts with them in the same transaction.

    The counts begin with those of the items, which a retry changed.
    Items in `done_states` count as done, those in `failed_states` as failed; `columns` are written besides the state.
    """

    def __init__(
        self,
        run: Run,
        *,
        done_states: Collection[str],
        failed_states: Collection[str] = ("failed",),
        columns: Collection[str] = (),
    ) -> None:
        self._run = run
        self._done_states, self._failed_states, self._columns = done_states, failed_states, columns
        self._begin_batch()
        sums = item_row.sum_by_state(run.job)
        done = [sums[state] for state in done_states if state in sums]
        self._done, self._size = sum(number for number, _size in done), sum(size for _number, size in done)
        self._failed = sum(sums[state][0] for state in failed_states if state in sums)

    def _begin_batch(self) -> None:
        self._succeeded: dict[str, list[int]] = defaultdict(list)
        """Ids by state of items of which only the state has changed: one statement writes them all."""
        self._others: list[Item] = []
        self._since = time.monotonic()

    def add(self, *items: Item) -> None:
        for item in items:
            is_done = item.state in self._done_states
            if is_done and not item.message and not self._columns:
                self._succeeded[item.state].append(item.id)
            else:
                self._others.append(item)
            self._done += is_done
            self._size += item.size if is_done else 0
            self._failed += item.state in self._failed_states
        self._flush_if_due()

    def check(self) -> None:
        """Write what has waited long enough, while others are under way; raises Stopped if the run is to end."""
        self._run.check()
        if self._succeeded or self._others:
            self._flush_if_due()

    def _flush_if_due(self) -> None:
        succeeded = sum(map(len, self._succeeded.values()))
        is_full = len(self._others) >= FLUSH_ITEMS or succeeded >= FLUSH_SUCCEEDED_ITEMS
        if is_full or time.monotonic() - self._since > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        with writing():
            for item in self._others:
                item_row.save(item, ("state", "message", "permanent", "attempts", *self._columns))
            for state, ids in self._succeeded.items():
                JobItem.update(state=state, message="", permanent=False).where(is_one_of(JobItem.id, ids)).execute()
            self._run.write_within(done=self._done, failed=self._failed, bytes=self._size)
        self._begin_batch()
