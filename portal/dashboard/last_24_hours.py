"""The last 24 hours, hour by hour and kind by kind; each by one statement on an index."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from peewee import Value, fn

from portal.models import Association, Hourly, Job, figures, now

HOURS = 24
ASSOCIATION_OUTCOMES = ("released", "open", "aborted", "rejected", "lost", "failed", "refused")
"""How associations end; `refused` are callers that were refused before one began."""
JOB_OUTCOMES = ("done", "errors", "failed", "cancelled")

Unit = Literal["number", "size"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """The counts of one kind in each hour."""

    kind: str
    counts: tuple[int, ...]
    unit: Unit = "number"

    @property
    def all(self) -> int:
        return sum(self.counts)

    @property
    def most(self) -> int:
        return max(self.counts)


@dataclass(frozen=True, kw_only=True)
class Day:
    """24 hours in order; the last one is not over."""

    begins: tuple[datetime, ...]
    rows: tuple[Row, ...]

    @property
    def all(self) -> int:
        return sum(row.all for row in self.rows)

    @property
    def seen(self) -> tuple[Row, ...]:
        """The kinds that occurred."""
        return tuple(row for row in self.rows if row.all)

    @property
    def silent(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if not row.all)

    def busiest(self, row: Row) -> datetime:
        return self.begins[row.counts.index(row.most)]


def associations() -> Day:
    """Associations that began in each hour, by outcome, and refused callers."""
    begins = _begins()
    hour = _hour(Association.started)
    began: Any = Association.select(hour, Association.outcome, fn.COUNT(Association.id)).where(
        Association.started >= begins[0]
    )
    refused = Hourly.select(_hour(Hourly.hour), Value("refused"), Hourly.number).where(
        Hourly.kind == "refused", Hourly.hour >= begins[0]
    )
    return _day(begins, ASSOCIATION_OUTCOMES, began.group_by(hour, Association.outcome).union_all(refused).tuples())


def jobs() -> Day:
    """Jobs that ended in each hour, by their state."""
    begins = _begins()
    hour = _hour(Job.ended)
    ended: Any = Job.select(hour, Job.state, fn.COUNT(Job.id)).where(Job.ended >= begins[0])
    return _day(begins, JOB_OUTCOMES, ended.group_by(hour, Job.state).tuples())


def exported_objects() -> Day:
    """Objects exported in each hour, and their bytes."""
    begins = _begins()
    found: Any = Hourly.select(_hour(Hourly.hour), Hourly.number, Hourly.bytes).where(
        Hourly.kind == "exported", Hourly.hour >= begins[0]
    )
    rows = {hour: (number, size) for hour, number, size in found.tuples()}
    counts = [rows.get(_text(begin), (0, 0)) for begin in begins]
    return Day(
        begins=begins,
        rows=(
            Row(kind="objects", counts=tuple(number for number, _ in counts)),
            Row(kind="data", counts=tuple(size for _, size in counts), unit="size"),
        ),
    )


def _day(begins: tuple[datetime, ...], kinds: Sequence[str], found: Iterable[tuple[str, str, int]]) -> Day:
    counted = {(hour, kind): number for hour, kind, number in found}
    rows = (Row(kind=kind, counts=tuple(counted.get((_text(begin), kind), 0) for begin in begins)) for kind in kinds)
    return Day(begins=begins, rows=tuple(rows))


def _begins() -> tuple[datetime, ...]:
    top = figures.start_of_hour(now())
    return tuple(top - timedelta(hours=back) for back in range(HOURS - 1, -1, -1))


def _hour(column: Any) -> Any:
    return fn.SUBSTR(column, 1, 13).coerce(False)


def _text(begin: datetime) -> str:
    return f"{begin:%Y-%m-%d %H}"
