"""What is restored from the trash comes back as if it arrived now, some files at a time."""

import contextlib
from collections import Counter
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, cast

from portal import runtime
from portal.access import audit
from portal.access.actors import Actor, ActorType
from portal.dicom import header
from portal.dicom.header import Header
from portal.errors import BadValue, Damaged
from portal.ingest import alternates, conflicts, descriptions, duplicates, index, placement
from portal.ingest.duplicates import DuplicateComparison
from portal.ingest.index import SAME, ContainerKey
from portal.jobs.runs import Run, RunEnd
from portal.models import CURRENT, HELD, SUPERSEDED, Blob, Conflict, File, Instance, Trash, writing
from portal.trash.move import CONTAINER_TABLES

REPLACED = "replaced"
FILES_PER_BLOCK = 25
"""Files that one write block restores: some 30 ms."""


@dataclass(frozen=True, kw_only=True)
class RestoreOutcome:
    """How a restore ended: files that are back, what is to be told of these, and those that stay in the trash."""

    back: int
    held: int
    replaced: int
    """Shown in place of another object under their UID, as an admin had decided."""
    hidden: int
    """Hidden, as an admin had decided."""
    stayed: int

    @property
    def message(self) -> str:
        told = [f"{_files(self.back)} {'is' if self.back == 1 else 'are'} back."]
        if self.held:
            told.append(f"{self.held:,} of them {'is' if self.held == 1 else 'are'} held: see Conflicts.")
        for number, what in ((self.replaced, "shown in place of what came meanwhile"), (self.hidden, "hidden")):
            if number:
                told.append(f"{number:,} of them {'is' if number == 1 else 'are'} {what}, as was decided in Conflicts.")
        if self.stayed:
            one = self.stayed == 1
            told.append(
                f"{_files(self.stayed)} {'stays' if one else 'stay'} in the trash: "
                f"{'it has' if one else 'they have'} come again meanwhile, the same."
            )
        return " ".join(told)


class _Read(NamedTuple):
    """What is read of an object before the write block that restores it."""

    header: Header
    compared: DuplicateComparison


def run(this: Run) -> RunEnd:
    """The job: what is back stays so, if the run ends in between."""
    thrown = Trash.get_or_none(Trash.id == this.job.params["trash"])
    if thrown is None:
        return RunEnd(message="Nothing of it is in the trash any more.")
    job = this.job
    kind = cast(ActorType, job.origin_type)
    actor = Actor(type=kind, id=job.origin_id, name=job.started_by, via=job.origin_via, is_admin=True)
    return RunEnd(message=restore(thrown, actor=actor, this=this).message)


def restore(thrown: Trash, *, actor: Actor, this: Run | None = None) -> RestoreOutcome:
    """Put back the containers, then the files; what contradicts newer objects is held as a conflict.

    An object that has come again meanwhile, the same, stays in the trash.
    """
    with writing():
        _revive(thrown)
    states: Counter[str] = Counter()
    after = seen = 0
    begun = this.job.total - File.select().where(File.trash == thrown.id).count() if this else 0
    while chunk := _waiting(thrown.id, after):
        after, seen = chunk[-1].id, seen + len(chunk)
        objects = [_read(thrown.project_id, file) if file.type == "dicom" else None for file in chunk]
        if this:
            this.check()
        with writing():
            chunk, objects = _still_there(thrown.id, chunk, objects)
            outcomes = [_restore_file(thrown.project_id, file, read) for file, read in zip(chunk, objects, strict=True)]
            _account(thrown, [file for file, outcome in zip(chunk, outcomes, strict=True) if outcome is not None])
            if this:
                this.write_within(done=begun + seen)
        states.update(outcome for outcome in outcomes if outcome is not None)
    descriptions.refresh()
    with writing():
        stayed = File.select().where(File.trash == thrown.id).count()
        if not stayed:
            thrown.delete_instance()
        told = {"files": states.total(), "held": states[HELD], "stayed": stayed}
        audit.record(actor, f"{thrown.kind}:restored", thrown.kind, thrown.target, **told)
    return RestoreOutcome(
        back=states.total(),
        held=states[HELD],
        replaced=states[REPLACED],
        hidden=states[SUPERSEDED],
        stayed=stayed,
    )


def _revive(thrown: Trash) -> None:
    """The containers that went with it, and those around it."""
    for table in CONTAINER_TABLES:
        table.update(trash=None).where(table.trash == thrown.id).execute()
    parent_type, parent_id = thrown.kind, thrown.target
    if thrown.kind == "file":
        file = File.get_by_id(thrown.target)
        parent_type, parent_id = file.parent_type, file.parent_id
    placement.take_out_of_trash(parent_type, parent_id)


def _waiting(trash_id: int, after: int) -> list[File]:
    found = File.select(File, Blob).join(Blob).where(File.trash == trash_id, File.id > after)
    return list(found.order_by(File.id).limit(FILES_PER_BLOCK))


def _still_there(
    trash_id: int, files: list[File], objects: list[_Read | None]
) -> tuple[list[File], list[_Read | None]]:
    """But for those that were purged meanwhile."""
    rows = File.select(File.id).where(File.id.in_([file.id for file in files]), File.trash == trash_id)
    there = {row.id for row in rows}
    kept = [(file, read) for file, read in zip(files, objects, strict=True) if file.id in there]
    return [file for file, _ in kept], [read for _, read in kept]


def _restore_file(project_id: int, file: File, read: _Read | None) -> str | None:
    """The state of the file now, as if it arrived and were decided on again; None where it stays in the trash.

    One that is no object, or cannot be read, is shown as a file.
    """
    if read is None:
        _show(file)
        return CURRENT
    parsed, compared = read
    dataset_digest = file.blob.dataset_digest or ""
    container = file.parent_type, file.parent_id
    verdict = index.judge(project_id, parsed, dataset_digest, container, compared=compared)
    if verdict.state == SAME or _came_again_here(container, compared):
        return None
    _show(file)
    decided = Conflict.get_or_none(Conflict.file == file)
    verdict = conflicts.hold_if_undecided(verdict, decided)
    index.add(project_id, file, parsed, dataset_digest, verdict)
    if decided is not None:
        conflicts.reapply(decided, parsed)
    if verdict.message == index.UNCOMPARED:
        alternates.request_comparison()
    state = str(Instance.get(Instance.file == file).state)
    return REPLACED if verdict.state == HELD and state == CURRENT else state


def _came_again_here(container: ContainerKey, compared: DuplicateComparison) -> bool:
    """Whether the same object, encoded otherwise, lies in the container that this one is to come back to."""
    if compared.same is None:
        return False
    file = File.get_by_id(compared.same)
    return (file.parent_type, file.parent_id) == container


def _show(file: File) -> None:
    file.name = placement.free_name(file.parent_type, file.parent_id, file.name)
    file.deleted_at = file.trash = None
    file.save(only=[File.name, File.deleted_at, File.trash])


def _read(project_id: int, file: File) -> _Read | None:
    """With what it is to those that came under its UID meanwhile."""
    blob = file.blob
    try:
        with runtime.archive().open(blob.segment, blob.offset, blob.size) as content:
            parsed = header.read_file(cast(BinaryIO, content), blob.size)[0]
            with contextlib.ExitStack() as opened:
                compared = duplicates.compare(
                    project_id,
                    parsed,
                    lambda: opened.enter_context(duplicates.open_data_set(blob, parsed.transfer_syntax)),
                )
            return _Read(parsed, compared)
    except (BadValue, Damaged):
        return None


def _account(thrown: Trash, back: list[File]) -> None:
    size = sum(file.blob.size for file in back)
    Trash.update(files=Trash.files - len(back), size=Trash.size - size).where(Trash.id == thrown.id).execute()


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number:,} files"
