"""The totals of the whole site: counted live, or in the background on a large site."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from peewee import fn

from portal.models import File, Instance, Study, Total, now, writing

MAX_FILES_COUNTED_LIVE = 20_000
"""A site with at most so many files is counted while the page waits."""
COUNT_INTERVAL = timedelta(minutes=10)


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Each number is None until a large site has been counted; `counted` is None if it was counted live."""

    studies: int | None
    instances: int | None
    files: int | None
    counted: datetime | None = None


def get(*, at_once: int = MAX_FILES_COUNTED_LIVE) -> Totals:
    """The totals, read by two SQL statements."""
    if not _is_large(at_once):
        return Totals(counted=None, **_counted())
    rows = list(Total.select())
    known = {row.name: row.number for row in rows}
    counted = min((row.counted for row in rows), default=None)
    return Totals(
        studies=known.get("studies"), instances=known.get("instances"), files=known.get("files"), counted=counted
    )


def refresh(*, at_once: int = MAX_FILES_COUNTED_LIVE) -> bool:
    """Count a large site again if that is due; returns whether it was."""
    last = Total.select(Total.counted).order_by(Total.counted).first()
    if not _is_large(at_once) or (last is not None and last.counted > now() - COUNT_INTERVAL):
        return False
    rows = [{"name": name, "number": number, "counted": now()} for name, number in _counted().items()]
    with writing():
        Total.delete().execute()
        Total.insert_many(rows).execute()
    return True


def _is_large(at_once: int) -> bool:
    return bool((File.select(fn.MAX(File.id)).scalar() or 0) > at_once)


def _counted() -> dict[str, int]:
    """What is visible: without files in the trash and studies without instances."""
    studies = Study.select(fn.COUNT(Study.id)).where(Study.n_instances > 0)
    files = File.select(fn.COUNT(File.id)).where(File.deleted_at.is_null())
    row: Any = Instance.select(studies, fn.COUNT(Instance.id), files).tuples().get()
    return dict(zip(("studies", "instances", "files"), row, strict=True))
