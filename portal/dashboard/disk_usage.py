"""Disk usage: how full the archive's disk is, what fills it, and when it will be full."""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from peewee import fn

from portal import runtime
from portal.access import origins
from portal.ingest import disk_reserve
from portal.models import Blob, DiskDay, File, Trash, now, writing

log = logging.getLogger(__name__)

SAMPLE_INTERVAL = timedelta(minutes=10)
"""How often the worker samples; the last sample of each day is kept."""
SMALL_SITE_INTERVAL = timedelta(seconds=10)
SMALL_SITE_BYTES = 1_000_000_000
"""A smaller site is sampled more often, so that the first objects of a new site show."""
HISTORY_KEPT = timedelta(days=400)
FORECAST_WINDOW = timedelta(days=30)
"""The days whose growth the forecast continues."""
MIN_FORECAST_HISTORY = timedelta(days=7)
"""Without this much history there is no forecast."""
FORECAST_HORIZON = timedelta(days=3650)
FULL_SOON = timedelta(days=60)
MIN_DAYS_SHOWN, MAX_DAYS_SHOWN = 14, 90
"""Days in the chart."""
MAX_FILES_SAMPLED = 200_000
"""Files outside the archive that are measured; further ones, of an export to this disk, count as everything else."""
LATEST_FILES, WRITERS_SHOWN = 5_000, 8
"""The latest files, by whose size the page ranks writers, and the number of writers that it shows."""

PARTS = ("Archive", "Database", "Other files of Portico", "Everything else")

ForecastKind = Literal["full", "date", "far", "still", "short"]


@dataclass(frozen=True, kw_only=True)
class DiskSpace:
    """The disk at this moment, in bytes."""

    total: int
    free: int
    floor: int
    """The reserve: with less free, uploads and C-STORE stop."""

    @property
    def used(self) -> int:
        return self.total - self.free

    @property
    def left(self) -> int:
        """What can still be stored; negative below the reserve."""
        return self.free - self.floor


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """When the disk will be full, if it grows as in the last 30 days."""

    kind: ForecastKind
    a_day: int = 0
    """Bytes of growth."""
    moment: datetime | None = None
    known: int = 0
    """Days of history."""


@dataclass(frozen=True, kw_only=True)
class DayColumn:
    """One day of the chart."""

    begin: datetime
    row: DiskDay | None


@dataclass(frozen=True, kw_only=True)
class DiskStatus:
    """What Home and the disk page show; `last` is the latest sample of what fills the disk."""

    room: DiskSpace
    forecast: Forecast
    days: tuple[DiskDay, ...]

    @property
    def last(self) -> DiskDay | None:
        return self.days[-1] if self.days else None

    @property
    def soon(self) -> bool:
        """Whether it will be full before a new disk could be bought."""
        moment = self.forecast.moment
        return moment is not None and moment < now() + FULL_SOON

    @property
    def columns(self) -> tuple[DayColumn, ...]:
        """The days of the chart, up to today; those without a sample have no row."""
        if not self.days:
            return ()
        top = now().replace(hour=0, minute=0, second=0, microsecond=0)
        known = {row.day: row for row in self.days}
        first = datetime.fromisoformat(f"{self.days[0].day}T00:00:00+00:00")
        number = min(MAX_DAYS_SHOWN, max(MIN_DAYS_SHOWN, (top - first).days + 1))
        begins = (top - timedelta(days=back) for back in range(number - 1, -1, -1))
        return tuple(DayColumn(begin=begin, row=known.get(f"{begin:%Y-%m-%d}")) for begin in begins)

    @property
    def stacks(self) -> tuple[tuple[int, ...], ...]:
        """The columns as sizes from bottom to top, in the order of `PARTS`."""
        stacks = []
        for row in (column.row for column in self.columns):
            ours = (row.segments, row.database, row.rest) if row else ()
            stacks.append((*ours, max(0, row.used - sum(ours))) if row else ())
        return tuple(stacks)

    @property
    def parts(self) -> tuple[tuple[str, int], ...]:
        """What fills the used space; a single part until the first sample."""
        if self.last is None:
            return (("In use", self.room.used),)
        ours = (self.last.segments, self.last.database, self.last.rest)
        others = max(0, self.room.used - sum(ours))
        return tuple(zip(PARTS, (*ours, others), strict=True))


@dataclass(frozen=True, kw_only=True)
class Writer:
    """One writer of the latest files."""

    origin: origins.NamedOrigin
    files: int
    size: int


@dataclass(frozen=True, kw_only=True)
class LatestWriters:
    """The writers of the latest files, and the age of the oldest of these files."""

    files: int
    since: datetime | None
    writers: tuple[Writer, ...]


def disk_space() -> DiskSpace:
    """The archive's disk."""
    disk = os.statvfs(runtime.current().archive)
    free = disk.f_frsize * disk.f_bavail
    used = disk.f_frsize * (disk.f_blocks - disk.f_bfree)
    return DiskSpace(total=used + free, free=free, floor=disk_reserve.minimum_free())


def current_status() -> DiskStatus:
    """The disk now, its days and its forecast; one statement."""
    space, moment = disk_space(), now()
    first, last = f"{moment - HISTORY_KEPT:%Y-%m-%d}", f"{moment:%Y-%m-%d}"
    days = tuple(DiskDay.select().where(DiskDay.day >= first, DiskDay.day <= last).order_by(DiskDay.day))
    known = [(day.at, day.total - day.free) for day in days if moment - FORECAST_WINDOW <= day.at <= moment]
    return DiskStatus(room=space, forecast=forecast([*known, (moment, space.used)], space, moment), days=days)


def forecast(known: Sequence[tuple[datetime, int]], space: DiskSpace, moment: datetime) -> Forecast:
    """The least-squares line through the used bytes over time, continued until only the reserve is free."""
    span = moment - min(at for at, _ in known)
    if space.left <= 0:
        return Forecast(kind="full", known=span.days)
    if span < MIN_FORECAST_HISTORY:
        return Forecast(kind="short", known=span.days)
    points = [((at - moment) / timedelta(days=1), used) for at, used in known]
    middle = sum(day for day, _ in points) / len(points)
    level = sum(used for _, used in points) / len(points)
    spread = sum((day - middle) ** 2 for day, _ in points)
    a_day = sum((day - middle) * (used - level) for day, used in points) / spread if spread else 0.0
    if a_day < 1:
        return Forecast(kind="still", known=span.days)
    days_left = space.left / a_day
    if days_left > FORECAST_HORIZON.days:
        return Forecast(kind="far", a_day=round(a_day), known=span.days)
    return Forecast(kind="date", a_day=round(a_day), moment=moment + timedelta(days=days_left), known=span.days)


def latest_writers() -> LatestWriters:
    """Two statements on the newest rows, whatever the size of the site."""
    newest = File.select(File.origin_type, File.origin_id, File.created, File.blob).order_by(File.id.desc())
    some = newest.limit(LATEST_FILES).alias("some")
    begin = fn.MIN(some.c.created).coerce(False)
    columns = (some.c.origin_type, some.c.origin_id, fn.COUNT(some.c.blob_id), fn.SUM(Blob.size), begin)
    found: Any = Blob.select(*columns).join(some, on=(some.c.blob_id == Blob.id))
    rows = list(found.group_by(some.c.origin_type, some.c.origin_id).order_by(fn.SUM(Blob.size).desc()).tuples())
    top = rows[:WRITERS_SHOWN]
    names = origins.names((kind, number) for kind, number, *_ in top)
    begins = [datetime.fromisoformat(row[4]).replace(tzinfo=UTC) for row in rows]
    since = min(begins, default=None)
    writers = (Writer(origin=names[row[0], row[1]], files=row[2], size=row[3]) for row in top)
    return LatestWriters(files=sum(row[2] for row in rows), since=since, writers=tuple(writers))


def trash_totals() -> tuple[int, int]:
    """Files in the trash, and their bytes."""
    row: Any = Trash.select(fn.COALESCE(fn.SUM(Trash.files), 0), fn.COALESCE(fn.SUM(Trash.size), 0)).tuples().get()
    return int(row[0]), int(row[1])


def take_sample() -> bool:
    """Sample the disk if that is due, and keep the sample as this day's; returns whether it was due.

    A folder that cannot be read counts as empty.
    """
    moment = now()
    last = DiskDay.select().order_by(DiskDay.day.desc()).first()
    if last is not None:
        is_small = last.segments + last.rest < SMALL_SITE_BYTES
        if moment - (SMALL_SITE_INTERVAL if is_small else SAMPLE_INTERVAL) < last.at <= moment:
            return False
    space, chosen = disk_space(), runtime.current()
    segments = sum(_sizes(chosen.archive, MAX_FILES_SAMPLED * 100))
    database = sum(_size(path) for path in chosen.data.glob(f"{chosen.database.name}*"))
    whole = sum(_sizes(chosen.data, MAX_FILES_SAMPLED, leave=chosen.archive))
    row = {"at": moment, "total": space.total, "free": space.free, "segments": segments, "database": database}
    row["rest"] = max(0, whole - database)
    with writing():
        DiskDay.insert(day=f"{moment:%Y-%m-%d}", **row).on_conflict(conflict_target=[DiskDay.day], update=row).execute()
        DiskDay.delete().where(DiskDay.day < f"{moment - HISTORY_KEPT:%Y-%m-%d}").execute()
    return True


def _sizes(folder: Path, most: int, leave: Path | None = None) -> Iterator[int]:
    """The disk usage of each file below a folder, without other disks that are mounted there."""
    waiting, seen = [folder], 0
    device = _device(folder)
    while waiting and seen < most:
        try:
            entries = os.scandir(waiting.pop())
        except OSError as error:
            log.warning("a folder cannot be measured: %s", error)
            continue
        with entries:
            for entry in entries:
                seen += 1
                path = Path(entry.path)
                if not entry.is_dir(follow_symlinks=False):
                    yield _size(path)
                elif path != leave and _device(path) == device:
                    waiting.append(path)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_blocks * 512
    except OSError:
        return 0


def _device(path: Path) -> int | None:
    try:
        return path.stat().st_dev
    except OSError:
        return None
