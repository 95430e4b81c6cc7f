"""The figures and shapes of charts: the last 24 hours of peers and devices, hour by hour."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from peewee import Case, fn

from portal.models import Association, DeviceHour, now

HOURS, DAYS = 24, 7
SUCCESSFUL_OUTCOMES = ("open", "released")

Figures = tuple[int, int]
"""All, and how many of them failed."""


@dataclass(frozen=True, kw_only=True)
class Hour:
    """One hour from its beginning (UTC); `failed` are included in `all`."""

    begin: datetime
    all: int = 0
    failed: int = 0


@dataclass(frozen=True, kw_only=True)
class DailyRequests:
    """The requests of a device on one day, and the bytes that it uploaded."""

    day: date
    all: int
    failed: int
    size: int


@dataclass(frozen=True, kw_only=True)
class BarPaths:
    """The bars of a day as three SVG paths: all, the failed ones at the bottom, and a stub for each empty hour."""

    bars: str
    bad: str
    stubs: str


@dataclass(frozen=True, kw_only=True)
class Day:
    """24 hours in order; the last one is not over."""

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

    def shapes(self, width: int, height: int) -> BarPaths:
        """One path for each kind of bar, so that a list of fifty days has three shapes a day rather than 24."""
        most, step = self.most, width / HOURS
        bars, bad, stubs = [], [], []
        for number, hour in enumerate(self.hours):
            if not hour.all:
                stubs.append(_bar(number * step, step, height, 1))
                continue
            tall = max((height - 2) * hour.all / most, 2)
            bars.append(_bar(number * step, step, height, tall))
            if hour.failed:
                bad.append(_bar(number * step, step, height, max(tall * hour.failed / hour.all, 2)))
        return BarPaths(bars="".join(bars), bad="".join(bad), stubs="".join(stubs))


def associations(peer_id: int | None = None) -> Day:
    """Associations that began in each hour, of one peer or of all; one statement on an index."""
    begins = _begins()
    found = _associations(begins)
    if peer_id is not None:
        found = found.where(Association.peer == peer_id)
    return _day(begins, {text: (every, failed) for text, every, failed in found.tuples()})


def for_peers(peer_ids: Sequence[int]) -> dict[int, Day]:
    """The associations of some peers by hour; one statement on an index."""
    begins = _begins()
    found = _associations(begins, Association.peer).where(Association.peer.in_(peer_ids))
    return _days(begins, peer_ids, found.tuples())


def for_devices(device_ids: Sequence[int]) -> dict[int, Day]:
    """The requests of some devices by hour; one statement on an index."""
    begins = _begins()
    hour: Any = fn.SUBSTR(DeviceHour.hour, 1, 13).coerce(False)
    found: Any = DeviceHour.select(DeviceHour.device, hour, DeviceHour.requests, DeviceHour.failures)
    found = found.where(DeviceHour.device.in_(device_ids), DeviceHour.hour >= begins[0])
    return _days(begins, device_ids, found.tuples())


def week_for_device(device_id: int, zone: ZoneInfo) -> tuple[DailyRequests, ...]:
    """Its requests on the last seven days in that time zone, today last; one statement.

    Hours of UTC are counted, each on the day in which it begins: in a zone that is half an hour off, the first half
    hour after midnight belongs to the day before.
    """
    today = now().astimezone(zone).date()
    days = [today - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    begin = datetime.combine(days[0], time(), zone)
    rows = DeviceHour.select().where(DeviceHour.device == device_id, DeviceHour.hour >= begin)
    sums = dict.fromkeys(days, (0, 0, 0))
    for row in rows:
        day = row.hour.astimezone(zone).date()
        every, failed, size = sums.get(day, (0, 0, 0))
        sums[day] = (every + row.requests, failed + row.failures, size + row.bytes)
    return tuple(DailyRequests(day=day, all=sums[day][0], failed=sums[day][1], size=sums[day][2]) for day in days)


def _associations(begins: Sequence[datetime], *key: Any) -> Any:
    """An association counts as failed if it, or an operation within it, failed."""
    hour: Any = fn.SUBSTR(Association.started, 1, 13).coerce(False)
    wrong = Association.outcome.not_in(SUCCESSFUL_OUTCOMES) | (Association.failures > 0)
    found = Association.select(*key, hour, fn.COUNT(Association.id), fn.SUM(Case(None, [(wrong, 1)], 0)))
    return found.where(Association.started >= begins[0]).group_by(*key, hour)


def _begins() -> list[datetime]:
    top = now().replace(minute=0, second=0, microsecond=0)
    return [top - timedelta(hours=back) for back in range(HOURS - 1, -1, -1)]


def _days(begins: Sequence[datetime], keys: Sequence[int], rows: Iterable[tuple[int, str, int, int]]) -> dict[int, Day]:
    counted: dict[int, dict[str, Figures]] = {key: {} for key in keys}
    for key, text, every, failed in rows:
        counted[key][text] = (every, failed)
    silent = _day(begins, {})
    return {key: _day(begins, figures) if figures else silent for key, figures in counted.items()}


def _day(begins: Sequence[datetime], counted: dict[str, Figures]) -> Day:
    figures = [counted.get(f"{begin:%Y-%m-%d %H}", (0, 0)) for begin in begins]
    return Day(hours=tuple(Hour(begin=begin, all=n, failed=m) for begin, (n, m) in zip(begins, figures, strict=True)))


def _bar(left: float, step: float, height: int, tall: float) -> str:
    return f"M{left:g} {height}v{-round(tall, 1):g}h{round(step - 1, 1):g}v{round(tall, 1):g}z"
