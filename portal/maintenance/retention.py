"""What has happened is kept by its age (Settings, History); what is older is dropped, some rows at a time.

The audit log is never dropped. Nor are jobs that have not ended, the last test of a storage, the last time that a
schedule was due, and which objects an export has left in a storage that is still there: verifications ask for that.
"""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
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
"""Seconds that one sweep takes; the next one goes on where it was."""
PAUSE_SECONDS = 600.0
"""Seconds until the next look, once nothing is left to drop."""
ROWS_PER_PAGE = 500
JOBS_AT_ONCE = 100
MAX_LATER_EXPORTS = 20
"""Exports to one storage, the latest ones, of which it is known that they have brought an object anew."""
TRANSFER_KINDS = ("export", "send", "import")
"""Kinds of jobs that say what left the site or came in: their rows have an age of their own."""

Steps = Iterator[None]


class AlreadyDropped(Exception):
    """Another process has dropped some of these rows meanwhile."""


class Retention:
    """The dropping of one process; a sweep goes on where the last one stopped."""

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
            time.sleep(
                batched_writes.TARGET_SECONDS
            )  # for who waits for the lock: SQLite looks only now and then whether it is free
            if time.monotonic() - begun > SWEEP_SECONDS:
                return
        self._steps, self._due = None, time.monotonic() + PAUSE_SECONDS


def steps() -> Steps:
    """Drop all that is old, one short write for each step."""
    options = site_settings.get_all()
    before = {
        key.removeprefix("history."): now() - timedelta(days=value)
        for key, value in options.items()
        if key.startswith("history.")
    }
    yield from _drop(Hourly, Hourly.hour < before["hourly"])
    yield from _drop(Caller, Caller.last < before["callers"])
    yield from _sum_associations(before["associations"])
    yield from _drop(ScheduleRun, _old_times(before["jobs"]))
    yield from _drop_lists(_ended(before["jobs"]) & Job.kind.in_(TRANSFER_KINDS) & (Job.items_kept != "some"))
    yield from _drop_jobs(_ended(before["jobs"]) & Job.kind.not_in(TRANSFER_KINDS) & Job.id.not_in(_last_tests()))
    listed = JobItem.select(JobItem.id).where(JobItem.job == Job.id)
    of_no_storage = Job.storage.is_null(False) & Job.storage.not_in(Storage.select(Storage.id)) & fn.EXISTS(listed)
    yield from _drop_lists(_ended(before["jobs"]) & (Job.kind == "export") & of_no_storage)
    yield from _drop_jobs(_ended(before["exports"]) & Job.kind.in_(TRANSFER_KINDS) & ~fn.EXISTS(listed))


def _ended(before: datetime) -> Any:
    return Job.state.in_(ENDED_STATES) & (Job.ended < before)


def _last_tests() -> list[int]:
    """The last test of each storage, which its page shows."""
    tests = (Job.kind == "storage_test") & Job.storage.in_(Storage.select(Storage.id))
    newest: Any = Job.select(fn.MAX(Job.id)).where(tests).group_by(Job.storage).tuples()
    return [number for (number,) in newest]


def _old_times(before: datetime) -> Any:
    newest = ScheduleRun.select(fn.MAX(ScheduleRun.id)).group_by(ScheduleRun.schedule)
    going_on = ScheduleRun.job.in_(Job.select(Job.id).where(Job.state.in_(ACTIVE_STATES)))
    over = ScheduleRun.job.is_null() | ~going_on
    return (ScheduleRun.due < before) & over & ScheduleRun.id.not_in(newest)


def _drop(table: type[Table], condition: Any) -> Steps:
    spell = batched_writes.BatchWriter()
    while True:
        asked = spell.rows
        with spell.writing():
            some = table.select(table.id).where(condition).limit(asked)
            number = table.delete().where(table.id.in_(some)).execute()
        if number < asked:
            return
        yield


def _drop_jobs(condition: Any) -> Steps:
    """The items first, so that no write has more rows than some hundred; a job is marked, so that nobody retries it."""
    while ids := _marked(condition):
        yield
        yield from _drop(JobItem, JobItem.job.in_(ids))
        with writing():
            Job.delete().where(Job.id.in_(ids), condition).execute()
        yield


def _drop_lists(condition: Any) -> Steps:
    while ids := _marked(condition):
        yield
        for number in ids:
            yield from _drop_items(Job.get_by_id(number))
        with writing():
            Job.update(items_kept="some").where(Job.id.in_(ids)).execute()
        yield


def _marked(condition: Any) -> list[int]:
    """Some of the jobs, whose lists are whole no longer from now on."""
    rows: Any = Job.select(Job.id).where(condition).order_by(Job.ended).limit(JOBS_AT_ONCE).tuples()
    if not (found := [number for (number,) in rows]):
        return []
    with writing():
        Job.update(items_kept="dropping").where(Job.id.in_(found), condition).execute()
        left: Any = Job.select(Job.id).where(Job.id.in_(found), condition).tuples()
        return [number for (number,) in left]


def _drop_items(job: Job) -> Steps:
    later = _later_exports(job)
    after = 0
    columns = (JobItem.id, JobItem.key, JobItem.state)
    while page := raw_rows(
        JobItem.select(*columns).where(JobItem.job == job, JobItem.id > after).order_by(JobItem.id).limit(ROWS_PER_PAGE)
    ):
        after = page[-1][0]
        kept = _kept(page, later)
        if dropped := [number for number, _key, _state in page if number not in kept]:
            with writing():
                JobItem.delete().where(is_one_of(JobItem.id, dropped)).execute()
        yield


def _later_exports(job: Job) -> list[int] | None:
    """The latest exports to the storage of this one; None where nobody asks any more what it left there."""
    if job.kind != "export" or not Storage.select().where(Storage.id == job.storage).exists():
        return None
    later = (Job.storage == job.storage) & (Job.kind == "export") & (Job.id > job.id)
    rows: Any = Job.select(Job.id).where(later).order_by(Job.id.desc()).limit(MAX_LATER_EXPORTS).tuples()
    return [number for (number,) in rows]


def _kept(page: Sequence[tuple[Any, ...]], later: list[int] | None) -> set[int]:
    """What lies there by this export alone."""
    if later is None:
        return set()
    keys = [key for _number, key, state in page if state == "verified"]
    named = (JobItem.job.in_(later)) & JobItem.key.in_(keys) & (JobItem.state == "verified")
    again = {key for (key,) in raw_rows(JobItem.select(JobItem.key).where(named))} if later else set()
    return {number for number, key, state in page if state == "verified" and key not in again}


def _sum_associations(before: datetime) -> Steps:
    """Associations become sums of their day, each once: its row goes with the same write."""
    old = Association.ended.is_null(False) & (Association.started < before)
    while rows := list(Association.select().where(old).order_by(Association.started).limit(ROWS_PER_PAGE)):
        sums: dict[tuple[Any, ...], list[int]] = defaultdict(lambda: [0, 0, 0, 0])
        for row in rows:
            kept = sums[f"{row.started:%Y-%m-%d}", row.peer_id, row.role, row.outcome]
            stored = row.counts.get("store", {}).get("done", 0)
            kept[:] = [a + b for a, b in zip(kept, (1, row.failures, stored, row.bytes), strict=True)]
        try:
            _replace([row.id for row in rows], sums)
        except AlreadyDropped:
            return
        yield


def _replace(ids: list[int], sums: dict[tuple[Any, ...], list[int]]) -> None:
    with writing():
        if Association.delete().where(is_one_of(Association.id, ids)).execute() != len(ids):
            raise AlreadyDropped
        for (day, peer, role, outcome), figures in sums.items():
            _add(figures, day=day, peer=peer, role=role, outcome=outcome)


def _add(figures: list[int], **of: Any) -> None:
    """A peer that was removed may have left several rows of a day: one of them is added to."""
    names = ("number", "failures", "stored", "bytes")
    same = [
        getattr(AssociationDay, name).is_null() if value is None else getattr(AssociationDay, name) == value
        for name, value in of.items()
    ]
    row = AssociationDay.select(AssociationDay.id).where(*same).first()
    if row is None:
        AssociationDay.create(**of, **dict(zip(names, figures, strict=True)))
        return
    more = {name: getattr(AssociationDay, name) + figure for name, figure in zip(names, figures, strict=True)}
    AssociationDay.update(**more).where(AssociationDay.id == row.id).execute()
