"""Files and bytes of containers: counted when they are shown, on a large site in advance."""

import functools
import itertools
import operator
from array import array
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from peewee import JOIN, fn

from portal.models import Acquisition, Blob, File, Project, Session, Subject, Usage, now, writing

MAX_FILES_COUNTED_NOW = 20_000
"""Files of the largest site whose projects are counted while the page waits."""
REFRESH_INTERVAL = timedelta(minutes=10)

_LEVELS: tuple[tuple[str, Any], ...] = (
    ("project", Project),
    ("subject", Subject),
    ("session", Session),
    ("acquisition", Acquisition),
)


class ContainerSize(NamedTuple):
    files: int
    size: int


EMPTY = ContainerSize(0, 0)


class SizeColumns(NamedTuple):
    """SQL expressions on one row of a level, to sort by."""

    files: Any
    size: Any


def for_containers(level: str, ids: Sequence[int], *, at_once: int = MAX_FILES_COUNTED_NOW) -> dict[int, ContainerSize]:
    """Live files and their bytes in some containers of one level, at any depth below them; by one statement.

    For projects of a site with more than `at_once` files, the amounts of the last `refresh`.
    """
    if level != "project" or not _is_large(at_once):
        return _count(level, ids)
    rows = Usage.select().where(Usage.project.in_(list(ids)))
    return {row.project_id: ContainerSize(row.files, row.size) for row in rows}


def size_columns(level: str, *, at_once: int = MAX_FILES_COUNTED_NOW) -> SizeColumns:
    """The same amounts for each row of a level; for projects of a large site those of the last `refresh`."""
    if level == "project" and _is_large(at_once):
        last = Usage.project == Project.id
        return SizeColumns(Usage.select(Usage.files).where(last), Usage.select(Usage.size).where(last))

    top = [name for name, _ in _LEVELS].index(level)
    columns = []
    for aggregate in (fn.COUNT(File.id), fn.SUM(Blob.size)):
        amounts = [fn.COALESCE(_correlated(top, depth, aggregate), 0) for depth in range(top, len(_LEVELS))]
        columns.append(functools.reduce(operator.add, amounts))
    return SizeColumns(*columns)


def file_ids(level: str, row_id: int) -> "array[int]":
    """Row numbers of the live files in a container, at any depth below it, in ascending order."""
    top = [name for name, _ in _LEVELS].index(level)
    rows = (_live_files(top, depth, [row_id]).tuples().iterator() for depth in range(top, len(_LEVELS)))
    return array("q", sorted(row[0] for row in itertools.chain.from_iterable(rows)))


def has_file(level: str, row_id: int, condition: Any) -> bool:
    """Whether a live file in a container, at any depth below it, fulfils a condition."""
    top = [name for name, _ in _LEVELS].index(level)
    return any(_live_files(top, depth, [row_id]).where(condition).exists() for depth in range(top, len(_LEVELS)))


def refresh(*, at_once: int = MAX_FILES_COUNTED_NOW) -> bool:
    """Count all projects again if the site is large and the last count is old; returns whether that was done."""
    last = Usage.select(Usage.counted).order_by(Usage.counted.desc()).first()
    if not _is_large(at_once) or (last is not None and last.counted > now() - REFRESH_INTERVAL):
        return False
    ids = [row.id for row in Project.select(Project.id)]
    sizes = _count("project", ids)
    rows = [{"project": number, "counted": now(), **sizes.get(number, EMPTY)._asdict()} for number in ids]
    with writing():
        Usage.delete().execute()
        Usage.insert_many(rows).execute()
    return True


def _is_large(at_once: int) -> bool:
    newest: int = File.select(fn.MAX(File.id)).scalar() or 0
    return newest > at_once


def _correlated(top: int, depth: int, aggregate: Any) -> Any:
    """An aggregate of the files directly in containers of one depth, below the row of the query around it."""
    kind, table = _LEVELS[depth]
    conditions: list[Any] = [File.parent_type == kind, File.parent_id == table.id, File.deleted_at.is_null()]
    conditions += [getattr(below, name) == above.id for (name, above), (_, below) in _steps(top, depth)]
    tables = [one for _, one in _LEVELS[top + 1 : depth + 1]] + [File, Blob]
    query: Any = tables[0].select(aggregate)
    for one in tables[1:]:
        query = query.join(one, JOIN.CROSS)
    return query.where(*conditions, Blob.id == File.blob)


def _count(level: str, ids: Sequence[int]) -> dict[int, ContainerSize]:
    names = [name for name, _ in _LEVELS]
    depths = range(names.index(level), len(_LEVELS))
    query = _amounts(names.index(level), depths[0], ids)
    for depth in depths[1:]:
        query = query.union_all(_amounts(names.index(level), depth, ids))
    sizes: dict[int, ContainerSize] = {}
    for number, files, size in query.tuples():
        before = sizes.get(number, EMPTY)
        sizes[number] = ContainerSize(before.files + files, before.size + (size or 0))
    return sizes


def _amounts(top: int, depth: int, ids: Sequence[int]) -> Any:
    root = _LEVELS[top][1]
    return _live_files(top, depth, ids).select(root.id, fn.COUNT(File.id), fn.SUM(Blob.size)).group_by(root.id)


def _live_files(top: int, depth: int, ids: Sequence[int]) -> Any:
    """The files directly in containers of one depth, joined with the container of the top level that these are in."""
    # Cross joins, since SQLite takes those in their order: from the few containers down, and not through all files.
    root = _LEVELS[top][1]
    query: Any = root.select(File.id)
    conditions: list[Any] = [root.id.in_(list(ids))]
    for (kind, above), (_, table) in _steps(top, depth):
        query = query.join(table, JOIN.CROSS)
        conditions.append(getattr(table, kind) == above.id)
    kind, table = _LEVELS[depth]
    query = query.join(File, JOIN.CROSS).join(Blob, JOIN.CROSS)
    conditions += [File.parent_type == kind, File.parent_id == table.id, File.deleted_at.is_null()]
    return query.where(*conditions, Blob.id == File.blob)


def _steps(top: int, depth: int) -> Iterable[tuple[tuple[str, Any], tuple[str, Any]]]:
    """Each level with the one below it."""
    return itertools.pairwise(_LEVELS[top : depth + 1])
