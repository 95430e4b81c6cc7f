"""The ways by which files came into a container: who sent how many, and when."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from peewee import JOIN, Select, fn

from portal.access import origins
from portal.models import Acquisition, Blob, File, database

MAX_SOURCES = 5
"""Ways that a page shows."""
FILE_COLUMNS = (
    *(File.id, File.origin_type, File.origin_id, File.origin_via, File.created, File.parent_type),
    Blob.size,
)


@dataclass(frozen=True, kw_only=True)
class FileSource:
    """`files` by one origin, from the first to the last moment."""

    origin: origins.NamedOrigin
    via: str
    files: int
    first: datetime
    last: datetime


@dataclass(frozen=True, kw_only=True)
class FileSources:
    """The ways of most files, how many ways there are, and what came by all of them."""

    shown: tuple[FileSource, ...]
    total: int
    files: int
    size: int
    beside: int
    """Of the files those that lie in the container itself."""


NO_SOURCES = FileSources(shown=(), total=0, files=0, size=0, beside=0)


def for_container(level: str, number: int) -> FileSources:
    """The ways into a session or an acquisition, the one of most files first; one statement, or two with names."""
    lying = _lying(level, number).alias("lying")
    key = (lying.c.origin_type, lying.c.origin_id, lying.c.origin_via)
    figures = (fn.COUNT(lying.c.id), fn.SUM(lying.c.size), fn.MIN(lying.c.created), fn.MAX(lying.c.created))
    found = Select((lying,), (*key, *figures, fn.SUM(lying.c.parent_type == level))).group_by(*key)
    rows = list(database.execute(found.order_by(fn.COUNT(lying.c.id).desc(), fn.MIN(lying.c.id))))
    names = origins.names((row[0], row[1]) for row in rows[:MAX_SOURCES])
    files, size, beside = (sum(row[column] or 0 for row in rows) for column in (3, 4, 7))
    shown = tuple(_way(row, names[row[0], row[1]]) for row in rows[:MAX_SOURCES])
    return FileSources(shown=shown, total=len(rows), files=files, size=size, beside=beside)


def _way(row: Any, origin: origins.NamedOrigin) -> FileSource:
    moment: Any = File.created.python_value
    return FileSource(origin=origin, via=row[2], files=row[3], first=moment(row[5]), last=moment(row[6]))


def _lying(level: str, number: int) -> Any:
    """The live files of a container and, below a session, of its acquisitions."""
    direct = _live(File.select(*FILE_COLUMNS).join(Blob), level).where(File.parent_id == number)
    if level == "acquisition":
        return direct
    # Cross joins, for SQLite takes those in their order: with statistics it would else go through all files.
    below: Any = Acquisition.select(*FILE_COLUMNS).join(File, JOIN.CROSS).join(Blob, JOIN.CROSS)
    below = _live(below, "acquisition").where(File.parent_id == Acquisition.id, File.blob == Blob.id)
    return direct.union_all(below.where(Acquisition.session == number))


def _live(query: Any, parent_type: str) -> Any:
    return query.where(File.parent_type == parent_type, File.deleted_at.is_null())
