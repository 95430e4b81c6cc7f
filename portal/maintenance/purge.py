"""What is purged from the trash is gone for good: its rows some files at a time, its bytes when they are due."""

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
"""For so long the bytes of what was purged by its age stay: a database of some days ago still finds them."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a purge ended: files that are gone, their bytes, and files that stay in the trash for now."""

    files: int = 0
    size: int = 0
    stayed: int = 0
    due: datetime | None = None
    """When the disk gets the bytes back; None: it has them."""

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(
            files=self.files + other.files,
            size=self.size + other.size,
            stayed=self.stayed + other.stayed,
            due=other.due or self.due,
        )

    @property
    def message(self) -> str:
        files = "1 file is" if self.files == 1 else f"{self.files:,} files are"
        told = [f"{files} purged, {size_in_words(self.size)}."]
        if self.files and self.due:
            told.append(f"The disk gets the bytes back on {self.due:%Y-%m-%d}.")
        if self.stayed:
            stay = "1 file stays" if self.stayed == 1 else f"{self.stayed:,} files stay"
            told.append(f"{stay} in the trash: a job that is not over lists {'it' if self.stayed == 1 else 'them'}.")
        return " ".join(told)


def run(this: Run) -> RunEnd:
    """The job: one thing that somebody purges, or all that has been in the trash for longer than the site keeps it."""
    by_age = "before" in this.job.params
    due = now() + BYTES_KEPT_FOR if by_age else None
    kind = cast(ActorType, this.job.origin_type)
    actor = Actor(type=kind, id=this.job.origin_id, name=this.job.started_by, via=this.job.origin_via, is_admin=True)
    stayed = sum(purge(thrown, due=due, actor=actor, this=this).stayed for thrown in _targets(this.job))
    release_bytes(this)
    job = this.job  # with what earlier runs of it purged
    return RunEnd(message=Outcome(files=job.done, size=job.bytes, stayed=stayed, due=due).message)


def expired(before: datetime) -> Any:
    """What was put into the trash before that moment and no job moves or restores, as a query."""
    moving = Job.select(Job.id).where(Job.id == Trash.job, Job.kind != "purge", Job.state.in_(ACTIVE_STATES))
    return Trash.select().where(Trash.created < before, ~fn.EXISTS(moving)).order_by(Trash.id)


def purge(thrown: Trash, *, due: datetime | None, actor: Actor, this: Run | None = None) -> Outcome:
    """Purge what was thrown, but for files that a job which is not over lists.

    After an interruption the next call goes on. The caller releases the bytes (`finish`).
    """
    _begin(thrown, actor)
    files = size = 0
    while numbers := _unlisted(thrown.id):
        if this:
            this.check()
        with writing():
            gone = _purge_files(thrown.id, numbers, due or now())
            if this:
                this.write_within(done=this.job.done + len(numbers), bytes=this.job.bytes + gone)
        files, size = files + len(numbers), size + gone
    _purge_containers(thrown.id)
    with writing():
        stayed = File.select().where(File.trash == thrown.id).count()
        if not stayed:
            thrown.delete_instance()
        else:
            Trash.update(purging=None).where(Trash.id == thrown.id).execute()
    return Outcome(files=files, size=size, stayed=stayed, due=due)


def _begin(thrown: Trash, actor: Actor) -> None:
    """From here on it cannot be restored. A run that goes on where one was stopped is no act of its own."""
    with writing():
        is_new = Trash.update(purging=now()).where(Trash.id == thrown.id, Trash.purging.is_null()).execute()
        if is_new:
            told = {"files": thrown.files, "bytes": thrown.size}
            audit.record(actor, f"{thrown.kind}:purged", thrown.kind, thrown.target, **told)


def is_intact(segment: str, offset: int) -> bool:
    """Whether the bytes of a record are there still, marked as purged or not, as they are until they are due."""
    blob = Blob.get_or_none(Blob.segment == segment, Blob.offset == offset)
    if blob is None:
        return False
    with runtime.archive().open(blob.segment, blob.offset, blob.size) as content:
        return content.digest() == str(blob.digest)


def purge_rows(segment: str, offset: int) -> list[File]:
    """Purge the rows of a record whose bytes were purged: the database is older than that. Returns what the files were.

    A record is marked only when no file holds it any more, so that each file that names it was purged, with all its
    versions.
    """
    with writing():
        blob = Blob.get_or_none(Blob.segment == segment, Blob.offset == offset)
        if blob is None:
            return []
        older = FileVersion.select(FileVersion.file).where(FileVersion.blob == blob)
        files = list(File.select().where((File.blob == blob) | File.id.in_(older)))
        numbers = [file.id for file in files]
        index.remove_all(numbers)
        for file in files:
            _purge_files(file.trash or 0, [file.id], now())
            audit.record(SYSTEM, "file:purged", "file", file.id, files=1, bytes=blob.size)
        _bury({blob.id}, now())
    return files


def release_bytes(this: Run | None = None) -> None:
    """Give the disk back what is due, and drop pictures of what is gone."""
    descriptions.refresh()
    release.release_purged(this.check if this else lambda: None)
    thumbnails.remove_orphaned()


def _targets(job: Job) -> list[Trash]:
    if "before" in job.params:
        return list(expired(datetime.fromisoformat(job.params["before"])))
    return list(Trash.select().where(Trash.id == job.params["trash"]))


def _unlisted(trash_id: int) -> list[int]:
    """Some files that are to be purged: not those that a job which goes on is to read."""
    listed = JobItem.select(JobItem.id).join(Job).where(JobItem.file == File.id, Job.state.in_(ACTIVE_STATES))
    query = File.select(File.id).where(File.trash == trash_id, ~fn.EXISTS(listed))
    return [row.id for row in query.order_by(File.id).limit(FILES_AT_ONCE)]


def _purge_files(trash_id: int, numbers: list[int], due: datetime) -> int:
    """Remove files with their versions, decisions and records, inside the caller's write block; returns their bytes."""
    files: Any = File.select(File.id, File.blob, File.parent_type, File.parent_id, Blob.size).join(Blob)
    rows = list(files.where(File.id.in_(numbers)).tuples())
    older: Any = FileVersion.select(FileVersion.blob).where(FileVersion.file.in_(numbers)).tuples()
    blobs = {row[1] for row in rows} | {blob for (blob,) in older}
    replaced = succession.successors_after_purge(numbers)  # the decisions that name them go with the files
    Instance.delete().where(Instance.file.in_(numbers)).execute()
    File.delete().where(File.id.in_(numbers)).execute()
    succession.show_after_purge(replaced)
    _bury(blobs, due)
    _drop_index({row[3] for row in rows if row[2] == "acquisition"})
    size = int(sum(row[4] for row in rows))
    Trash.update(files=Trash.files - len(rows), size=Trash.size - size).where(Trash.id == trash_id).execute()
    return size


def _bury(blobs: set[int], due: datetime) -> None:
    """Make tombstones of the records that no file and no version holds any more."""
    held: set[int] = set()
    for table in (File, FileVersion):
        found: Any = table.select(table.blob).where(table.blob.in_(list(blobs))).tuples()
        held |= {blob for (blob,) in found}
    gone = list(blobs - held)
    places: Any = Blob.select(Blob.segment, Blob.offset, Blob.size).where(Blob.id.in_(gone)).tuples()
    tombstones = [{"segment": name, "offset": at, "size": size, "due": due} for name, at, size in places]
    if tombstones:
        PurgedRecord.insert_many(tombstones).on_conflict_ignore().execute()
        Blob.delete().where(Blob.id.in_(gone)).execute()


def _drop_index(acquisitions: set[int]) -> None:
    """Series and studies of which no object is left: their rows hold names of patients."""
    in_series = Instance.select(Instance.id).where(Instance.series == Series.id)
    empty: Any = Series.select(Series.id, Series.study).where(
        Series.acquisition.in_(list(acquisitions)), ~fn.EXISTS(in_series)
    )
    rows = list(empty.tuples())
    Series.delete().where(Series.id.in_([series for series, _ in rows])).execute()
    in_study = Series.select(Series.id).where(Series.study == Study.id)
    Study.delete().where(Study.id.in_([study for _, study in rows]), ~fn.EXISTS(in_study)).execute()


def _purge_containers(trash_id: int) -> None:
    """Remove the containers that went with it and in which nothing is left, from the lowest up."""
    for table, name in CONTAINER_TABLES:
        after = 0
        while numbers := _empty_containers(table, name, trash_id, after):
            after = numbers[-1]
            with writing():
                table.delete().where(table.id.in_(numbers), *_is_empty(table, name)).execute()


def _empty_containers(table: Any, name: str, trash_id: int, after: int) -> list[int]:
    query = table.select(table.id).where(table.trash == trash_id, table.id > after, *_is_empty(table, name))
    return [row.id for row in query.order_by(table.id).limit(FILES_AT_ONCE)]


def _is_empty(table: Any, name: str) -> list[Any]:
    """Conditions: no file lies in it, in whatever state, no container, and no row of the index names it."""
    here = File.select(File.id).where(File.parent_type == name, File.parent_id == table.id)
    # Live files and those in the trash have an index each; both together would be looked for in all files.
    lying: list[Any] = [here.where(File.deleted_at.is_null()), here.where(File.deleted_at.is_null(False))]
    if table is Acquisition:
        lying.append(Series.select(Series.id).where(Series.acquisition == table.id))
    elif table is Session:
        lying.append(Acquisition.select(Acquisition.id).where(Acquisition.session == table.id))
        lying.append(Study.select(Study.id).where(Study.session == table.id))
    else:
        lying.append(Session.select(Session.id).where(Session.subject == table.id))
    return [~fn.EXISTS(query) for query in lying]
