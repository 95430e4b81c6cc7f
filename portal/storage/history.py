"""What a storage holds of ours, and how tests, exports and imports went: by rows of its jobs, not of their items."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from peewee import fn

from portal.models import Job, Storage, now

DAYS_SHOWN = 30
SUCCEEDED_STATES, FAILED_STATES = ("done",), ("errors", "failed")


@dataclass(frozen=True, kw_only=True)
class JobTotals:
    """Sums of what each export brought there, or each import from there; what two of them share is counted twice."""

    exports: int = 0
    objects: int = 0
    size: int = 0
    last: datetime | None = None
    """When the last export ended; none where that runs."""


NO_TOTALS = JobTotals()


@dataclass(frozen=True, kw_only=True)
class DailyCounts:
    """Jobs of one kind on each day: all that ended well or badly, and the bad ones among them."""

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
    """What some storages hold of ours; those that hold nothing are missing. One statement, by an index.

    Of the kind `import`: what came from there.
    """
    sums = fn.COUNT(Job.id), fn.SUM(Job.done), fn.SUM(Job.bytes), fn.MAX(Job.ended)
    found: Any = Job.select(Job.storage, *sums).where(
        Job.storage.in_(list(storage_ids)), Job.kind == kind, Job.done > 0
    )
    return {
        storage: JobTotals(exports=exports, objects=objects, size=size, last=Job.ended.python_value(last))
        for storage, exports, objects, size, last in found.group_by(Job.storage).tuples()
    }


def last_test(storage_id: int) -> Job | None:
    """The test that waits or runs, else the one that ended last; one statement, by an index."""
    test = Job.alias()
    tests = test.select(test.id).where(test.storage == storage_id, test.kind == "storage_test").limit(1)
    active, ended = tests.where(test.ended.is_null()).order_by(test.id.desc()), tests.order_by(test.ended.desc())
    found: Job | None = Job.get_or_none(Job.id == fn.COALESCE(active, ended))
    return found


def export_that_tested(storage: Storage, test: Job | None) -> Job | None:
    """The export that tested a storage before it began, where that was after its last test of its own, by an index."""
    if storage.tested is None or (test is not None and (test.ended is None or test.ended >= storage.tested)):
        return None
    at: Any = fn.json_extract(Job.result, "$.tested.at")
    exports = Job.select().where(Job.storage == storage.id, Job.kind == "export", at.is_null(False))
    found: Job | None = exports.order_by(at.desc()).first()
    return found


def export_test_view(export: Job) -> dict[str, Any]:
    """The test of a storage that an export made, as the view of a test has it; `export` is its number."""
    tested = export.result["tested"]
    result = {"steps": tested["steps"], "uploads": tested["uploads"]}
    told = {"state": tested["state"], "message": tested["message"], "ended": tested["at"], "is_over": True}
    return {"id": export.id, "export": export.id, "result": result, **told}


def recent_transfers(storage_id: int, *, most: int) -> list[Job]:
    """Its exports and imports, the latest first."""
    found = Job.select().where(Job.storage == storage_id, Job.kind.in_(("export", "import")))
    by_age = (Job.id + 0).desc()  # not by the bare number, for which SQLite would walk the jobs of all storages
    return list(found.order_by(by_age).limit(most))


def last_30_days(storage_id: int, mode: str, zone: ZoneInfo) -> Month:
    """How its tests ended day by day, and what its mode allows; one statement, by an index."""
    today = now().astimezone(zone).date()
    days = tuple(today - timedelta(days=back) for back in range(DAYS_SHOWN - 1, -1, -1))
    found: Any = Job.select(Job.kind, Job.ended, Job.state).where(
        Job.storage == storage_id,
        Job.kind.in_([kind for kind, _name in _kinds(mode)]),
        Job.ended >= datetime.combine(days[0], time(), zone),
        Job.state.in_((*SUCCEEDED_STATES, *FAILED_STATES)),
    )
    counted: dict[tuple[str, date, bool], int] = {}
    for kind, ended, state in found.tuples():
        key = kind, ended.astimezone(zone).date(), state in FAILED_STATES
        counted[key] = counted.get(key, 0) + 1
    return Month(days=days, rows=tuple(_row(*kind, days, counted) for kind in _kinds(mode)))


def _kinds(mode: str) -> tuple[tuple[str, str], ...]:
    used = (("export", "Exports"), ("import", "Imports"))
    return (("storage_test", "Tests"), *(pair for pair in used if mode in (pair[0], "both")))


def _row(kind: str, name: str, days: Sequence[date], counted: dict[tuple[str, date, bool], int]) -> DailyCounts:
    failed = tuple(counted.get((kind, day, True), 0) for day in days)
    well = (counted.get((kind, day, False), 0) for day in days)
    return DailyCounts(name=name, all=tuple(map(sum, zip(well, failed, strict=True))), failed=failed)
