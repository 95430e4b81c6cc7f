"""What pictures show: the last 24 hours by hour, as figures. Templates draw them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from peewee import Case, fn

from portal.models import Association, now

HOURS = 24
AS_THEY_SHOULD = ("open", "released")


@dataclass(frozen=True, kw_only=True)
class Hour:
    """One hour from its first moment (UTC); `failed` are among `all`."""

    begin: datetime
    all: int = 0
    failed: int = 0


@dataclass(frozen=True, kw_only=True)
class Day:
    """24 hours in their order, the last one still running."""

    hours: tuple[Hour, ...]

    @property
    def all(self) -> int:
        return sum(hour.all for hour in self.hours)

    @property
    def failed(self) -> int:
        return sum(hour.failed for hour in self.hours)

    @property
    def most(self) -> int:
        return max(hour.all for hour in self.hours)

    @property
    def busiest(self) -> datetime | None:
        return max(self.hours, key=lambda hour: hour.all).begin if self.all else None


def associations(peer_id: int | None = None) -> Day:
    """Associations that began in each hour, of one peer or of all; one statement, by an index."""
    top = now().replace(minute=0, second=0, microsecond=0)
    begins = [top - timedelta(hours=back) for back in range(HOURS - 1, -1, -1)]
    hour: Any = fn.SUBSTR(Association.started, 1, 13).coerce(False)
    failed = fn.SUM(Case(None, [(Association.outcome.not_in(AS_THEY_SHOULD), 1)], 0))
    found: Any = Association.select(hour, fn.COUNT(Association.id), failed).where(Association.started >= begins[0])
    if peer_id is not None:
        found = found.where(Association.peer == peer_id)
    counted = {text: figures for text, *figures in found.group_by(hour).tuples()}
    return Day(hours=tuple(_hour(begin, counted) for begin in begins))


def _hour(begin: datetime, counted: dict[str, list[int]]) -> Hour:
    every, failed = counted.get(f"{begin:%Y-%m-%d %H}", (0, 0))
    return Hour(begin=begin, all=every, failed=failed)
