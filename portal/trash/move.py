"""Moving to the trash: files are hidden some at a time, so that peers can store meanwhile, then their containers."""

from array import array
from collections.abc import Iterator, Sequence
from typing import Any, cast

from peewee import fn

from portal.ingest import descriptions, index, zip_index
from portal.jobs.runs import Run, RunEnd
from portal.maintenance.trash_params import TrashParams
from portal.models import Acquisition, Blob, File, Session, Subject, Trash, now, writing
from portal.tree import container_sizes

CONTAINER_TABLES: tuple[Any, ...] = (Subject, Session, Acquisition)
FILES_PER_BLOCK = 500
"""Files that one write block hides: some 30 ms."""


def file_ids(kind: str, row_id: int) -> "array[int]":
    """Row numbers of the live files of a file or a container."""
    return array("q", [row_id]) if kind == "file" else container_sizes.file_ids(kind, row_id)


def run(this: Run) -> RunEnd:
    """The job: hide the files that were in the container when the job was created, then the containers left empty."""
    params = TrashParams.load(this.job.params)
    entry = Trash.get_or_none(Trash.id == params.trash_id)
    if entry is None:
        return RunEnd(message="It has been restored meanwhile.")
    numbers = [number for number in file_ids(entry.kind, entry.target) if number <= params.last_file_id]
    done = this.job.total - len(numbers)
    for block in _blocks(numbers):
        this.check()
        done += len(block)
        with writing():
            zips = hide_files(entry, block)
            this.write_within(done=done)
        for file_id in zips:
            this.check()
            zip_index.settle(file_id)
    for table, level in _container_levels(entry):
        for block in _blocks(level):
            this.check()
            with writing():
                _hide_empty(entry, table, block)
    descriptions.refresh()

    files = Trash.get_by_id(entry.id).files
    hidden = any(table.select().where(table.trash == entry.id).exists() for table in CONTAINER_TABLES)
    if not files and not hidden:
        with writing():
            entry.delete_instance()
    return RunEnd(message=f"{files:,} {'file' if files == 1 else 'files'} moved to the trash.")


def hide_files(entry: Trash, numbers: Sequence[int]) -> list[int]:
    """Hide those of some files that are still live, and count them in the entry, inside the caller's write block.

    Returns the zips among them, which the caller settles then: one may have more members than a write block takes.
    """
    live = File.select(File.id, Blob.size).join(Blob).where(File.id.in_(list(numbers)), File.deleted_at.is_null())
    sizes: dict[int, int] = dict(cast(Any, live.tuples()))
    File.update(deleted_at=now(), trash=entry.id).where(File.id.in_(list(sizes))).execute()
    zips = zip_index.unsettle(list(sizes))
    index.remove_all(list(sizes.keys() - set(zips)))
    Trash.update(files=Trash.files + len(sizes), size=Trash.size + sum(sizes.values())).where(
        Trash.id == entry.id
    ).execute()
    return zips


def hide_empty_containers(entry: Trash) -> None:
    """Hide the containers that are left empty, from the lowest level up, inside the caller's write block."""
    for table, level in _container_levels(entry):
        for block in _blocks(level):
            _hide_empty(entry, table, block)


def _hide_empty(entry: Trash, table: Any, numbers: Sequence[int]) -> None:
    # A container that has got something new meanwhile stays visible, and so do those above it.
    name = table._meta.table_name
    live = (File.parent_type == name, File.parent_id == table.id, File.deleted_at.is_null())
    empty = [~fn.EXISTS(File.select(File.id).where(*live))]
    if table is not Acquisition:
        below = CONTAINER_TABLES[CONTAINER_TABLES.index(table) + 1]
        empty.append(~fn.EXISTS(below.select(below.id).where(getattr(below, name) == table.id, below.trash.is_null())))
    table.update(trash=entry.id).where(table.id.in_(list(numbers)), table.trash.is_null(), *empty).execute()


def _container_levels(entry: Trash) -> Iterator[tuple[Any, list[int]]]:
    """Each table with the row numbers of the live containers of an entry, the lowest level first."""
    if entry.kind == "file":
        return
    top = [table._meta.table_name for table in CONTAINER_TABLES].index(entry.kind)
    levels: list[tuple[Any, list[int]]] = [(CONTAINER_TABLES[top], [entry.target])]
    for table in CONTAINER_TABLES[top + 1 :]:
        above, numbers = levels[-1]
        parent = getattr(table, above._meta.table_name)
        live = (table.select(table.id).where(parent.in_(block), table.trash.is_null()) for block in _blocks(numbers))
        levels.append((table, [row.id for query in live for row in query]))
    yield from reversed(levels)


def _blocks(numbers: Sequence[int]) -> Iterator[list[int]]:
    for begin in range(0, len(numbers), FILES_PER_BLOCK):
        yield list(numbers[begin : begin + FILES_PER_BLOCK])
