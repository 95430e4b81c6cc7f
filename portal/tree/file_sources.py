"""The sources of the files in a container: who sent how many, and when."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from peewee import JOIN, Select, fn

from portal.access import origins
from portal.models import Acquisition, Blob, File, database

MAX_SOURCES = 5
"""Sources that a page lists."""
FILE_COLUMNS = (
    *(File.id, File.origin_type, File.origin_id, File.origin_via, File.created, File.parent_type),
    Blob.size,
)


@dataclass(frozen=True, kw_only=True)
class FileSource:
    """One origin that sent `files` of them, from `first` to `last`."""

    origin: origins.NamedOrigin
    via: str
    files: int
    first: datetime
    last: datetime


@dataclass(frozen=True, kw_only=True)
class FileSources:
    """The sources of most files, how many sources there are, and what came from all of them."""

    shown: tuple[FileSource, ...]
    total: int
    files: int
    size: int
    beside: int
    """Files directly in the container."""


NO_SOURCES = FileSources(shown=(), total=0, files=0, size=0, beside=0)


def for_container(level: str, number: int) -> FileSources:
    """The sources of a session or an acquisition, the one of most files first; one statement, or two with names."""
    live = _live_files(level, number).alias("live")
    key = (live.c.origin_type, live.c.origin_id, live.c.origin_via)
    figures = (fn.COUNT(live.c.id), fn.SUM(live.c.size), fn.MIN(live.c.created), fn.MAX(live.c.created))
    sources = Select((live,), (*key, *figures, fn.SUM(live.c.parent_type == level))).group_by(*key)
    rows = list(database.execute(sources.order_by(fn.COUNT(live.c.id).desc(), fn.MIN(live.c.id))))
    names = origins.names((row[0], row[1]) for row in rows[:MAX_SOURCES])
    files, size, beside = (sum(row[column] or 0 for row in rows) for column in (3, 4, 7))
    moment: Any = File.created.python_value
    shown = tuple(
        FileSource(origin=names[row[0], row[1]], via=row[2], files=row[3], first=moment(row[5]), last=moment(row[6]))
        for row in rows[:MAX_SOURCES]
    )
    return FileSources(shown=shown, total=len(rows), files=files, size=size, beside=beside)


def _live_files(level: str, number: int) -> Any:
    """The live files of a container and, below a session, of its acquisitions."""
    live = File.deleted_at.is_null()
    direct = File.select(*FILE_COLUMNS).join(Blob).where(File.parent_type == level, live, File.parent_id == number)
    if level == "acquisition":
        return direct
    # Cross joins, since SQLite takes those in their order: with statistics it would otherwise go through all files.
    below: Any = Acquisition.select(*FILE_COLUMNS).join(File, JOIN.CROSS).join(Blob, JOIN.CROSS)
    below = below.where(File.parent_type == "acquisition", live)
    below = below.where(File.parent_id == Acquisition.id, File.blob == Blob.id)
    return direct.union_all(below.where(Acquisition.session == number))
