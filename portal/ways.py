"""The ways by which files came into a container: who sent how many, and when."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from peewee import fn

from portal import origins
from portal.models import Acquisition, Blob, File

MOST = 5
"""Ways that a page shows."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """`files` by one origin, from the first to the last moment."""

    origin: origins.Named
    via: str
    files: int
    first: datetime
    last: datetime


@dataclass(frozen=True, kw_only=True)
class Ways:
    """The ways of most files, how many ways there are, and what came by all of them."""

    shown: tuple[Way, ...]
    total: int
    files: int
    size: int
    beside: int
    """Of the files those that lie in the container itself."""


NONE = Ways(shown=(), total=0, files=0, size=0, beside=0)


def into(level: str, number: int) -> Ways:
    """The ways into a session or an acquisition, the one of most files first; two or three statements."""
    key = (File.origin_type, File.origin_id, File.origin_via)
    moments = (fn.MIN(File.created), fn.MAX(File.created))
    found: Any = File.select(
        *key, fn.COUNT(File.id), fn.SUM(Blob.size), *moments, fn.SUM(File.parent_type == level)
    ).join(Blob)
    found = found.where(_within(level, number), File.deleted_at.is_null()).group_by(*key)
    rows = list(found.order_by(fn.COUNT(File.id).desc(), fn.MIN(File.id)).tuples())
    names = origins.names((row[0], row[1]) for row in rows[:MOST])
    ways = tuple(
        Way(origin=names[row[0], row[1]], via=row[2], files=row[3], first=row[5], last=row[6]) for row in rows[:MOST]
    )
    files, size, beside = (sum(row[column] or 0 for row in rows) for column in (3, 4, 7))
    return Ways(shown=ways, total=len(rows), files=files, size=size, beside=beside)


def _within(level: str, number: int) -> Any:
    if level == "acquisition":
        return (File.parent_type == "acquisition") & (File.parent_id == number)
    acquisitions = Acquisition.select(Acquisition.id).where(Acquisition.session == number)
    found = (File.parent_type == "acquisition") & File.parent_id.in_(acquisitions)
    return found | ((File.parent_type == "session") & (File.parent_id == number))
