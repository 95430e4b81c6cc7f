"""What was exported to and imported from a storage, and how its tests went: from its jobs, not from their items."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from peewee import fn

from portal.models import Job, Storage, now
from portal.storage import step_results
from portal.storage.step_results import ExportTest

DAYS_SHOWN = 30
SUCCEEDED_STATES, FAILED_STATES = ("done",), ("errors", "failed")


@dataclass(frozen=True, kw_only=True)
class JobTotals:
    """Sums over all exports to a storage, or imports from it; an object of two jobs is counted twice."""

    exports: int = 0
    objects: int = 0
    size: int = 0
    last: datetime | None = None
    """When the last job ended; None while it runs."""


NO_TOTALS = JobTotals()


@dataclass(frozen=True, kw_only=True)
class DailyCounts:
    """Jobs of one kind on each day: all that ended, and the failed ones among them."""

    name: str
    all: tuple[int, ...]
    failed: tuple[int, ...]

    @property
    def most(self) -> int:
        return max(self.all)


@dataclass(frozen=True, kw_only=True)
class Month:
    """The last 30 days of a time zone in their order, today last."""

    days: tuple[date, ...]
    rows: tuple[DailyCounts, ...]


def job_totals(storage_ids: Sequence[int], kind: str = "export") -> dict[int, JobTotals]:
    """The totals of some storages, by id, without those of which there are none. One statement, by an index.

    `kind` is export or import.
    """
    sums = fn.COUNT(Job.id), fn.SUM(Job.done), fn.SUM(Job.bytes), fn.MAX(Job.ended)
    totals: Any = Job.select(Job.storage, *sums).where(
        Job.storage.in_(list(storage_ids)), Job.kind == kind, Job.done > 0
    )
    return {
        storage: JobTotals(exports=exports, objects=objects, size=size, last=Job.ended.python_value(last))
        for storage, exports, objects, size, last in totals.group_by(Job.storage).tuples()
    }


def last_test(storage_id: int) -> Job | None:
    """The test that is waiting or running, else the one that ended last; one statement, by an index."""
    test = Job.alias()
    tests = test.select(test.id).where(test.storage == storage_id, test.kind == "storage_test").limit(1)
    active, ended = tests.where(test.ended.is_null()).order_by(test.id.desc()), tests.order_by(test.ended.desc())
    last: Job | None = Job.get_or_none(Job.id == fn.COALESCE(active, ended))
    return last


def export_that_tested(storage: Storage, test: Job | None) -> Job | None:
    """The export that tested a storage before it began, where that is newer than the last test; by an index."""
    if storage.tested is None or (test is not None and (test.ended is None or test.ended >= storage.tested)):
        return None
    at: Any = fn.json_extract(Job.result, "$.tested.at")
    exports = Job.select().where(Job.storage == storage.id, Job.kind == "export", at.is_null(False))
    last: Job | None = exports.order_by(at.desc()).first()
    return last


def export_test_view(export: Job) -> dict[str, Any]:
    """The test that an export made, in the shape of the view of a test job; `export` is the export's number."""
    test = ExportTest.load(export.result)
    result = {**step_results.dump_steps(test.steps), "uploads": test.uploads}
    outcome = {"state": test.state, "message": test.message, "ended": test.at, "is_over": True}
    return {"id": export.id, "export": export.id, "result": result, **outcome}


def recent_transfers(storage_id: int, *, limit: int) -> list[Job]:
    """Its exports and imports, the newest first."""
    transfers = Job.select().where(Job.storage == storage_id, Job.kind.in_(("export", "import")))
    by_age = (Job.id + 0).desc()  # not by the bare number, for which SQLite would walk the jobs of all storages
    return list(transfers.order_by(by_age).limit(limit))


def last_30_days(storage_id: int, mode: str, zone: ZoneInfo) -> Month:
    """How its tests, and the jobs that its mode allows, ended day by day; one statement, by an index."""
    today = now().astimezone(zone).date()
    days = tuple(today - timedelta(days=back) for back in range(DAYS_SHOWN - 1, -1, -1))
    kinds = [("storage_test", "Tests")]
    kinds += [(kind, name) for kind, name in (("export", "Exports"), ("import", "Imports")) if mode in (kind, "both")]
    ended_jobs: Any = Job.select(Job.kind, Job.ended, Job.state).where(
        Job.storage == storage_id,
        Job.kind.in_([kind for kind, _name in kinds]),
        Job.ended >= datetime.combine(days[0], time(), zone),
        Job.state.in_((*SUCCEEDED_STATES, *FAILED_STATES)),
    )
    counts: Counter[tuple[str, date, bool]] = Counter(
        (kind, ended.astimezone(zone).date(), state in FAILED_STATES) for kind, ended, state in ended_jobs.tuples()
    )
    rows = []
    for kind, name in kinds:
        failed = tuple(counts[kind, day, True] for day in days)
        succeeded = (counts[kind, day, False] for day in days)
        rows.append(DailyCounts(name=name, all=tuple(map(sum, zip(succeeded, failed, strict=True))), failed=failed))
    return Month(days=days, rows=tuple(rows))
