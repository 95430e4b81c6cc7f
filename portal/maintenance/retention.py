"""Deletion of history that is older than the site keeps it (Settings, History), in small batches.

Never deleted: the audit log, unfinished jobs, the last test of a storage, the last verification of the site, the last
run of a schedule, and the list of objects that an export left in a storage that still exists, which verifications need.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from peewee import fn

from portal import site_settings
from portal.jobs.progress import ACTIVE_STATES, ENDED_STATES
from portal.models import (
    Association,
    AssociationDay,
    Caller,
    Hourly,
    Job,
    JobItem,
    ScheduleRun,
    Storage,
    Table,
    batched_writes,
    now,
    writing,
)
from portal.models.compiled import is_one_of, raw_rows

SWEEP_SECONDS = 1.0
"""Seconds that one sweep takes; the next one continues where it stopped."""
PAUSE_SECONDS = 600.0
"""Seconds until the next sweep, once nothing is left to delete."""
ROWS_PER_PAGE = 500
JOBS_AT_ONCE = 100
MAX_LATER_EXPORTS = 20
"""The latest exports to a storage: an object that one of them verified need not be kept in an older list."""
TRANSFER_KINDS = ("export", "send", "import")
"""Kinds of jobs that record what left the site or came in: they are kept for another time than other kinds."""

Steps = Iterator[None]


class AlreadyDeleted(Exception):
    """Another process has deleted some of these rows meanwhile."""


class Retention:
    """The deletion by one process; a sweep continues where the last one stopped."""

    def __init__(self) -> None:
        self._steps: Steps | None = None
        self._due = 0.0

    def sweep(self) -> None:
        begun = time.monotonic()
        if self._steps is None:
            if begun < self._due:
                return
            self._steps = steps()
        for _write in self._steps:
            # Leave the lock free for others: a process that waits for it asks SQLite only now and then.
            time.sleep(batched_writes.TARGET_SECONDS)
            if time.monotonic() - begun > SWEEP_SECONDS:
                return
        self._steps, self._due = None, time.monotonic() + PAUSE_SECONDS


def steps() -> Steps:
    """Delete all that is old, one short transaction for each step."""
    options = site_settings.get_all()
    before = {
        key.removeprefix("history."): now() - timedelta(days=value)
        for key, value in options.items()
        if key.startswith("history.")
    }
    yield from _delete(Hourly, Hourly.hour < before["hourly"])
    yield from _delete(Caller, Caller.last < before["callers"])
    yield from _sum_associations(before["associations"])

    last_runs = ScheduleRun.select(fn.MAX(ScheduleRun.id)).group_by(ScheduleRun.schedule)
    is_running = ScheduleRun.job.in_(Job.select(Job.id).where(Job.state.in_(ACTIVE_STATES)))
    is_over = ScheduleRun.job.is_null() | ~is_running
    yield from _delete(ScheduleRun, (ScheduleRun.due < before["jobs"]) & is_over & ScheduleRun.id.not_in(last_runs))

    yield from _delete_lists(_ended(before["jobs"]) & Job.kind.in_(TRANSFER_KINDS) & (Job.items_kept != "some"))
    # The page of a storage shows its last test.
    is_test = (Job.kind == "storage_test") & Job.storage.in_(Storage.select(Storage.id))
    tests: Any = Job.select(fn.MAX(Job.id)).where(is_test).group_by(Job.storage).tuples()
    # What the last verification of the site found stays until the next one has ended.
    is_verification = (Job.kind == "site_verification") & Job.state.in_(("done", "errors"))
    verifications: Any = Job.select(fn.MAX(Job.id)).where(is_verification).tuples()
    last_ones = [job_id for (job_id,) in (*tests, *verifications) if job_id]
    yield from _delete_jobs(_ended(before["jobs"]) & Job.kind.not_in(TRANSFER_KINDS) & Job.id.not_in(last_ones))

    listed = JobItem.select(JobItem.id).where(JobItem.job == Job.id)
    of_no_storage = Job.storage.is_null(False) & Job.storage.not_in(Storage.select(Storage.id)) & fn.EXISTS(listed)
    yield from _delete_lists(_ended(before["jobs"]) & (Job.kind == "export") & of_no_storage)
    yield from _delete_jobs(_ended(before["exports"]) & Job.kind.in_(TRANSFER_KINDS) & ~fn.EXISTS(listed))


def _ended(before: datetime) -> Any:
    return Job.state.in_(ENDED_STATES) & (Job.ended < before)


def _delete(table: type[Table], condition: Any) -> Steps:
    batch = batched_writes.BatchWriter()
    while True:
        limit = batch.rows
        with batch.writing():
            some = table.select(table.id).where(condition).limit(limit)
            number = table.delete().where(table.id.in_(some)).execute()
        if number < limit:
            return
        yield


def _delete_jobs(condition: Any) -> Steps:
    """Delete jobs, items first, so that no transaction is long; jobs are marked, so that nobody retries them."""
    while ids := _marked(condition):
        yield
        yield from _delete(JobItem, JobItem.job.in_(ids))
        with writing():
            Job.delete().where(Job.id.in_(ids), condition).execute()
        yield


def _delete_lists(condition: Any) -> Steps:
    while ids := _marked(condition):
        yield
        for job_id in ids:
            yield from _delete_items(Job.get_by_id(job_id))
        with writing():
            Job.update(items_kept="some").where(Job.id.in_(ids)).execute()
        yield


def _marked(condition: Any) -> list[int]:
    """Ids of the next jobs, whose lists are marked as incomplete from now on."""
    rows: Any = Job.select(Job.id).where(condition).order_by(Job.ended).limit(JOBS_AT_ONCE).tuples()
    if not (job_ids := [job_id for (job_id,) in rows]):
        return []
    with writing():
        Job.update(items_kept="dropping").where(Job.id.in_(job_ids), condition).execute()
        marked: Any = Job.select(Job.id).where(Job.id.in_(job_ids), condition).tuples()
        return [job_id for (job_id,) in marked]


def _delete_items(job: Job) -> Steps:
    """Delete the list of a job, except objects in a storage that still exists which no later export has verified."""
    later_exports = None
    if job.kind == "export" and Storage.select().where(Storage.id == job.storage).exists():
        is_later = (Job.storage == job.storage) & (Job.kind == "export") & (Job.id > job.id)
        rows: Any = Job.select(Job.id).where(is_later).order_by(Job.id.desc()).limit(MAX_LATER_EXPORTS).tuples()
        later_exports = [job_id for (job_id,) in rows]

    items = JobItem.select(JobItem.id, JobItem.key, JobItem.state).where(JobItem.job == job)
    after = 0
    while page := raw_rows(items.where(JobItem.id > after).order_by(JobItem.id).limit(ROWS_PER_PAGE)):
        after = page[-1][0]
        kept: set[int] = set()
        if later_exports is not None:
            verified = [(item_id, key) for item_id, key, state in page if state == "verified"]
            keys = [key for _item_id, key in verified]
            again = JobItem.job.in_(later_exports) & JobItem.key.in_(keys) & (JobItem.state == "verified")
            known = {key for (key,) in raw_rows(JobItem.select(JobItem.key).where(again))} if later_exports else set()
            kept = {item_id for item_id, key in verified if key not in known}
        if deleted := [item_id for item_id, _key, _state in page if item_id not in kept]:
            with writing():
                JobItem.delete().where(is_one_of(JobItem.id, deleted)).execute()
        yield


def _sum_associations(before: datetime) -> Steps:
    """Replace associations by sums of their day. A row is deleted in the transaction that adds it to its sum."""
    old = Association.ended.is_null(False) & (Association.started < before)
    while rows := list(Association.select().where(old).order_by(Association.started).limit(ROWS_PER_PAGE)):
        sums: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        for row in rows:
            figures = sums[f"{row.started:%Y-%m-%d}", row.peer_id, row.role, row.outcome]
            stored = row.counts.get("store", {}).get("done", 0)
            figures[:] = [a + b for a, b in zip(figures, (1, row.failures, stored, row.bytes), strict=True)]
        try:
            add_to_days([row.id for row in rows], sums)
        except AlreadyDeleted:
            return
        yield


def add_to_days(ids: list[int], sums: dict[tuple[Any, ...], list[int]]) -> None:
    """Replace associations by their sums in one transaction. Raises AlreadyDeleted if another process was faster."""
    columns: tuple[Any, ...] = (AssociationDay.day, AssociationDay.peer, AssociationDay.role, AssociationDay.outcome)
    figure_columns: tuple[Any, ...] = (
        AssociationDay.number,
        AssociationDay.failures,
        AssociationDay.stored,
        AssociationDay.bytes,
    )
    with writing():
        if Association.delete().where(is_one_of(Association.id, ids)).execute() != len(ids):
            raise AlreadyDeleted
        for key, figures in sums.items():
            # Peers that were deleted may have left several rows of a day: the first of them is added to.
            same = [
                column.is_null() if value is None else column == value
                for column, value in zip(columns, key, strict=True)
            ]
            row = AssociationDay.select(AssociationDay.id).where(*same).first()
            if row is None:
                AssociationDay.insert(dict(zip((*columns, *figure_columns), (*key, *figures), strict=True))).execute()
            else:
                more = {column: column + figure for column, figure in zip(figure_columns, figures, strict=True)}
                AssociationDay.update(more).where(AssociationDay.id == row.id).execute()
