"""Permanent deletion of what is in the trash: rows in batches, bytes when they are due."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast

from peewee import fn

from portal import runtime
from portal.access import audit
from portal.access.actors import Actor, ActorType
from portal.ingest import descriptions, index, succession
from portal.jobs.progress import ACTIVE_STATES
from portal.jobs.runs import Run, RunEnd
from portal.maintenance import release
from portal.maintenance.trash_params import TrashParams
from portal.models import (
    Acquisition,
    Blob,
    File,
    FileVersion,
    Instance,
    Job,
    JobItem,
    PurgedRecord,
    Series,
    Session,
    Study,
    Subject,
    Trash,
    now,
    writing,
)
from portal.quantities import size as size_in_words
from portal.tree import thumbnails

SYSTEM = Actor(type="system", name="Portico", via="portal", is_admin=True)
FILES_AT_ONCE = 200
"""Files that one write block purges: some 30 ms."""
CONTAINER_TABLES: tuple[tuple[Any, str], ...] = (
    (Acquisition, "acquisition"),
    (Session, "session"),
    (Subject, "subject"),
)
BYTES_KEPT_FOR = timedelta(days=7)
"""Bytes that were purged by age are kept this long, so that a restored backup of the database still finds them."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a purge: files deleted, their bytes, and files that stay in the trash for now."""

    files: int = 0
    size: int = 0
    stayed: int = 0
    due: datetime | None = None
    """When the disk space is freed; None: it already is."""

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(
            files=self.files + other.files,
            size=self.size + other.size,
            stayed=self.stayed + other.stayed,
            due=other.due or self.due,
        )

    @property
    def message(self) -> str:
        files = "1 file" if self.files == 1 else f"{self.files:,} files"
        sentences = [f"{files} purged, {size_in_words(self.size)}."]
        if self.files and self.due:
            sentences.append(f"Disk space is freed on {self.due:%Y-%m-%d}.")
        if self.stayed == 1:
            sentences.append("1 file stays in the trash: an unfinished job lists it.")
        elif self.stayed:
            sentences.append(f"{self.stayed:,} files stay in the trash: an unfinished job lists them.")
        return " ".join(sentences)


def run(job_run: Run) -> RunEnd:
    """The job: purges one row of the trash, or all that are older than the site keeps them."""
    job = job_run.job
    params = TrashParams.load(job.params)
    if params.before:
        due = now() + BYTES_KEPT_FOR
        rows = list(expired(params.before))
    else:
        due = None
        rows = list(Trash.select().where(Trash.id == params.trash_id))

    kind = cast(ActorType, job.origin_type)
    actor = Actor(type=kind, id=job.origin_id, name=job.started_by, via=job.origin_via, is_admin=True)
    stayed = sum(purge(trash_row, due=due, actor=actor, job_run=job_run).stayed for trash_row in rows)
    release_bytes(job_run)

    job = job_run.job  # its figures include what earlier attempts purged
    return RunEnd(message=Outcome(files=job.done, size=job.bytes, stayed=stayed, due=due).message)


def expired(before: datetime) -> Any:
    """A query for what was moved to the trash before that moment and which no job is moving or restoring."""
    moving = Job.select(Job.id).where(Job.id == Trash.job, Job.kind != "purge", Job.state.in_(ACTIVE_STATES))
    return Trash.select().where(Trash.created < before, ~fn.EXISTS(moving)).order_by(Trash.id)


def purge(trash_row: Trash, *, due: datetime | None, actor: Actor, job_run: Run | None = None) -> Outcome:
    """Purge one row of the trash, except files that an unfinished job lists.

    After an interruption the next call continues. The caller releases the bytes (`release_bytes`).
    """
    with writing():  # from here on it cannot be restored
        is_new = Trash.update(purging=now()).where(Trash.id == trash_row.id, Trash.purging.is_null()).execute()
        if is_new:  # continuing after an interruption is no event of its own
            figures = {"files": trash_row.files, "bytes": trash_row.size}
            audit.record(actor, f"{trash_row.kind}:purged", trash_row.kind, trash_row.target, **figures)

    files = size = 0
    while True:
        listed = JobItem.select(JobItem.id).join(Job).where(JobItem.file == File.id, Job.state.in_(ACTIVE_STATES))
        unlisted = File.select(File.id).where(File.trash == trash_row.id, ~fn.EXISTS(listed))
        file_ids = [row.id for row in unlisted.order_by(File.id).limit(FILES_AT_ONCE)]
        if not file_ids:
            break
        if job_run:
            job_run.check()
        with writing():
            purged_size = _purge_files(trash_row.id, file_ids, due or now())
            if job_run:
                job_run.write_within(done=job_run.job.done + len(file_ids), bytes=job_run.job.bytes + purged_size)
        files, size = files + len(file_ids), size + purged_size
    _purge_containers(trash_row.id)

    with writing():
        stayed = File.select().where(File.trash == trash_row.id).count()
        if not stayed:
            trash_row.delete_instance()
        else:
            Trash.update(purging=None).where(Trash.id == trash_row.id).execute()
    return Outcome(files=files, size=size, stayed=stayed, due=due)


def is_intact(segment: str, offset: int) -> bool:
    """Whether the bytes of a record are unchanged: also those of a purged record are, until they are due."""
    blob = Blob.get_or_none(Blob.segment == segment, Blob.offset == offset)
    if blob is None:
        return False
    with runtime.archive().open(blob.segment, blob.offset, blob.size) as content:
        return content.digest() == str(blob.digest)


def purge_rows(segment: str, offset: int) -> list[File]:
    """Purge the rows of a record whose bytes were purged after this database was saved. Returns the former files.

    A record is marked only when no file refers to it, so each file that refers to it now was purged, with all its
    versions.
    """
    with writing():
        blob = Blob.get_or_none(Blob.segment == segment, Blob.offset == offset)
        if blob is None:
            return []
        older = FileVersion.select(FileVersion.file).where(FileVersion.blob == blob)
        files = list(File.select().where((File.blob == blob) | File.id.in_(older)))
        index.remove_all([file.id for file in files])
        for file in files:
            _purge_files(file.trash or 0, [file.id], now())
            audit.record(SYSTEM, "file:purged", "file", file.id, files=1, bytes=blob.size)
        _add_tombstones({blob.id}, now())
    return files


def release_bytes(job_run: Run | None = None) -> None:
    """Free the disk space that is due, and delete thumbnails of deleted files."""
    descriptions.refresh()
    release.release_purged(job_run.check if job_run else release.no_check)
    thumbnails.remove_orphaned()


def _purge_files(trash_id: int, file_ids: list[int], due: datetime) -> int:
    """Delete files with their versions, decisions and records, inside the caller's write block; returns their bytes."""
    files: Any = File.select(File.id, File.blob, File.parent_type, File.parent_id, Blob.size).join(Blob)
    rows = list(files.where(File.id.in_(file_ids)).tuples())
    older: Any = FileVersion.select(FileVersion.blob).where(FileVersion.file.in_(file_ids)).tuples()
    blobs = {row[1] for row in rows} | {blob for (blob,) in older}
    replaced = succession.successors_after_purge(file_ids)  # decisions are deleted with the files that they name
    Instance.delete().where(Instance.file.in_(file_ids)).execute()
    File.delete().where(File.id.in_(file_ids)).execute()
    succession.show_after_purge(replaced)
    _add_tombstones(blobs, due)

    # Series and studies without any object are deleted too: their rows contain names of patients.
    acquisitions = {row[3] for row in rows if row[2] == "acquisition"}
    instances = Instance.select(Instance.id).where(Instance.series == Series.id)
    of_files = Series.acquisition.in_(list(acquisitions))
    if len(acquisitions) < len({row[2:4] for row in rows}):  # a zip of a session or project is of no acquisition
        of_files |= Series.acquisition.is_null()
    emptied: Any = Series.select(Series.id, Series.study).where(of_files, ~fn.EXISTS(instances))
    emptied_series = list(emptied.tuples())
    Series.delete().where(Series.id.in_([series for series, _ in emptied_series])).execute()
    series = Series.select(Series.id).where(Series.study == Study.id)
    Study.delete().where(Study.id.in_([study for _, study in emptied_series]), ~fn.EXISTS(series)).execute()

    size = int(sum(row[4] for row in rows))
    Trash.update(files=Trash.files - len(rows), size=Trash.size - size).where(Trash.id == trash_id).execute()
    return size


def _add_tombstones(blobs: set[int], due: datetime) -> None:
    """Replace the rows of records that no file and no version refers to by tombstones."""
    used: set[int] = set()
    for table in (File, FileVersion):
        rows: Any = table.select(table.blob).where(table.blob.in_(list(blobs))).tuples()
        used |= {blob for (blob,) in rows}
    unused = list(blobs - used)
    places: Any = Blob.select(Blob.segment, Blob.offset, Blob.size).where(Blob.id.in_(unused)).tuples()
    tombstones = [{"segment": name, "offset": at, "size": size, "due": due} for name, at, size in places]
    if tombstones:
        PurgedRecord.insert_many(tombstones).on_conflict_ignore().execute()
        Blob.delete().where(Blob.id.in_(unused)).execute()


def _purge_containers(trash_id: int) -> None:
    """Delete the empty containers of this row of the trash, acquisitions first, subjects last."""
    for table, name in CONTAINER_TABLES:
        after = 0
        while True:
            query = table.select(table.id).where(table.trash == trash_id, table.id > after, *_is_empty(table, name))
            container_ids = [row.id for row in query.order_by(table.id).limit(FILES_AT_ONCE)]
            if not container_ids:
                break
            after = container_ids[-1]
            with writing():
                table.delete().where(table.id.in_(container_ids), *_is_empty(table, name)).execute()


def _is_empty(table: Any, name: str) -> list[Any]:
    """Conditions: it contains no file in any state and no container, and no row of the index refers to it."""
    files = File.select(File.id).where(File.parent_type == name, File.parent_id == table.id)
    # Live files and those in the trash have an index each; one query for both would search all files.
    contents: list[Any] = [files.where(File.deleted_at.is_null()), files.where(File.deleted_at.is_null(False))]
    if table is Acquisition:
        contents.append(Series.select(Series.id).where(Series.acquisition == table.id))
    elif table is Session:
        contents.append(Acquisition.select(Acquisition.id).where(Acquisition.session == table.id))
        contents.append(Study.select(Study.id).where(Study.session == table.id))
    else:
        contents.append(Session.select(Session.id).where(Session.subject == table.id))
    return [~fn.EXISTS(query) for query in contents]
