"""What goes into the trash is hidden, some files at a time, so that peers can store meanwhile."""

from array import array
from collections.abc import Iterator, Sequence
from typing import Any, cast

from peewee import fn

from portal.ingest import descriptions, index
from portal.jobs.runs import Run, RunEnd
from portal.models import Acquisition, Blob, File, Session, Subject, Trash, now, writing
from portal.tree import container_sizes

CONTAINER_TABLES: tuple[Any, ...] = (Subject, Session, Acquisition)
FILES_PER_BLOCK = 500
"""Files that one write block hides: some 30 ms."""


def file_ids(kind: str, row_id: int) -> "array[int]":
    """Row numbers of the live files that go with a file or a container."""
    return array("q", [row_id]) if kind == "file" else container_sizes.file_ids(kind, row_id)


def run(this: Run) -> RunEnd:
    """The job: hide the files that lay there when they were thrown, then the containers that are left empty."""
    thrown = Trash.get_or_none(Trash.id == this.job.params["trash"])
    if thrown is None:
        return RunEnd(message="It has been restored meanwhile.")
    numbers = [one for one in file_ids(thrown.kind, thrown.target) if one <= this.job.params["last_file"]]
    done = this.job.total - len(numbers)
    for chunk in _chunks(numbers):
        this.check()
        done += len(chunk)
        with writing():
            hide_files(thrown, chunk)
            this.write_within(done=done)
    for table, level in _levels(thrown):
        for chunk in _chunks(level):
            this.check()
            with writing():
                _close(thrown, table, chunk)
    descriptions.refresh()
    return _ended(thrown)


def hide_files(thrown: Trash, numbers: Sequence[int]) -> None:
    """Hide files, and count them in what was thrown, inside the caller's write block; but for those that are gone."""
    live = File.select(File.id, Blob.size).join(Blob).where(File.id.in_(list(numbers)), File.deleted_at.is_null())
    sizes: dict[int, int] = dict(cast(Any, live.tuples()))
    File.update(deleted_at=now(), trash=thrown.id).where(File.id.in_(list(sizes))).execute()
    index.remove_all(list(sizes))
    Trash.update(files=Trash.files + len(sizes), size=Trash.size + sum(sizes.values())).where(
        Trash.id == thrown.id
    ).execute()


def hide_empty_containers(thrown: Trash) -> None:
    """Hide the containers in which nothing is left, from the lowest up, inside the caller's write block."""
    for table, level in _levels(thrown):
        for chunk in _chunks(level):
            _close(thrown, table, chunk)


def _close(thrown: Trash, table: Any, numbers: Sequence[int]) -> None:
    """Not those in which something has come meanwhile: that is seen, and so is the way to it."""
    name = table._meta.table_name
    lying = (File.parent_type == name, File.parent_id == table.id, File.deleted_at.is_null())
    empty = [~fn.EXISTS(File.select(File.id).where(*lying))]
    if table is not Acquisition:
        below = CONTAINER_TABLES[CONTAINER_TABLES.index(table) + 1]
        empty.append(~fn.EXISTS(below.select(below.id).where(getattr(below, name) == table.id, below.trash.is_null())))
    table.update(trash=thrown.id).where(table.id.in_(list(numbers)), table.trash.is_null(), *empty).execute()


def _levels(thrown: Trash) -> Iterator[tuple[Any, list[int]]]:
    """Each table with the live containers that go with what was thrown, the lowest first."""
    if thrown.kind == "file":
        return
    top = [table._meta.table_name for table in CONTAINER_TABLES].index(thrown.kind)
    levels: list[tuple[Any, list[int]]] = [(CONTAINER_TABLES[top], [thrown.target])]
    for table in CONTAINER_TABLES[top + 1 :]:
        above, numbers = levels[-1]
        parent = getattr(table, above._meta.table_name)
        found = (table.select(table.id).where(parent.in_(chunk), table.trash.is_null()) for chunk in _chunks(numbers))
        levels.append((table, [row.id for query in found for row in query]))
    yield from reversed(levels)


def _ended(thrown: Trash) -> RunEnd:
    files = Trash.get_by_id(thrown.id).files
    closed = any(table.select().where(table.trash == thrown.id).exists() for table in CONTAINER_TABLES)
    if not files and not closed:
        with writing():
            thrown.delete_instance()
    return RunEnd(message=f"{files:,} {'file is' if files == 1 else 'files are'} in the trash.")


def _chunks(numbers: Sequence[int]) -> Iterator[list[int]]:
    for begin in range(0, len(numbers), FILES_PER_BLOCK):
        yield list(numbers[begin : begin + FILES_PER_BLOCK])
