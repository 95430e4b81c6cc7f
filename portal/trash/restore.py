"""Restoring from the trash: each object is judged as if it arrived now, some files at a time."""

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
from portal.ingest import alternates, conflicts, descriptions, duplicates, index, placement, zip_index
from portal.ingest.duplicates import DuplicateComparison
from portal.ingest.index import SAME
from portal.jobs.runs import Run, RunEnd
from portal.maintenance.trash_params import TrashParams
from portal.models import CURRENT, DICOM, HELD, SUPERSEDED, Blob, File, Instance, Trash, object_places, writing
from portal.trash.move import CONTAINER_TABLES

REPLACED = "replaced"
FILES_PER_BLOCK = 25
"""Files that one write block restores: some 30 ms."""


@dataclass(frozen=True, kw_only=True)
class RestoreOutcome:
    """How many files were restored, what became of them, and how many stay in the trash."""

    back: int
    held: int
    replaced: int
    """Shown in place of another object under their UID, as an admin had decided."""
    hidden: int
    """Hidden, as an admin had decided."""
    stayed: int

    @property
    def message(self) -> str:
        parts = [f"{_files(self.back)} restored."]
        if self.held:
            parts.append(f"{self.held:,} of them {'is' if self.held == 1 else 'are'} held: see Conflicts.")
        for number, what in ((self.replaced, "shown in place of what arrived meanwhile"), (self.hidden, "hidden")):
            if number:
                parts.append(f"{number:,} of them {'is' if number == 1 else 'are'} {what}, as decided in Conflicts.")
        if self.stayed:
            one = self.stayed == 1
            parts.append(
                f"{_files(self.stayed)} {'stays' if one else 'stay'} in the trash: the same "
                f"{'object has' if one else 'objects have'} arrived again meanwhile."
            )
        return " ".join(parts)


class _Read(NamedTuple):
    """What is read of an object before the write block that restores it."""

    header: Header
    compared: DuplicateComparison


def run(this: Run) -> RunEnd:
    """The job: files that are restored stay so if the run ends early."""
    entry = Trash.get_or_none(Trash.id == TrashParams.load(this.job.params).trash_id)
    if entry is None:
        return RunEnd(message="It is no longer in the trash.")
    job = this.job
    kind = cast(ActorType, job.origin_type)
    actor = Actor(type=kind, id=job.origin_id, name=job.started_by, via=job.origin_via, is_admin=True)
    return RunEnd(message=restore(entry, actor=actor, this=this).message)


def restore(entry: Trash, *, actor: Actor, this: Run | None = None) -> RestoreOutcome:
    """Restore the containers, then the files; an object that contradicts newer ones is held as a conflict.

    An object stays in the trash if the same one has arrived again in its container.
    """
    with writing():
        _restore_containers(entry)
    states: Counter[str] = Counter()
    after = seen = 0
    begun = this.job.total - File.select().where(File.trash == entry.id).count() if this else 0
    waiting = File.select(File, Blob).join(Blob).where(File.trash == entry.id).order_by(File.id).limit(FILES_PER_BLOCK)
    while block := list(waiting.where(File.id > after)):
        after, seen = block[-1].id, seen + len(block)
        objects = {file.id: _read(entry.project_id, file) for file in block if file.mimetype == DICOM}
        if this:
            this.check()
        with writing():
            left = File.select(File.id).where(File.id.in_([file.id for file in block]), File.trash == entry.id)
            numbers = {row.id for row in left}
            files = [file for file in block if file.id in numbers]
            outcomes = [_restore_file(entry.project_id, file, objects.get(file.id)) for file in files]
            zips = zip_index.unsettle([file.id for file in files])
            sizes = [file.blob.size for file, state in zip(files, outcomes, strict=True) if state is not None]
            remaining = Trash.update(files=Trash.files - len(sizes), size=Trash.size - sum(sizes))
            remaining.where(Trash.id == entry.id).execute()
            if this:
                this.write_within(done=begun + seen)
        states.update(state for state in outcomes if state is not None)
        with_held = sum(zip_index.settle(file_id)[HELD] > 0 for file_id in zips)
        states.update({HELD: with_held, CURRENT: -with_held})
    descriptions.refresh()
    back, held, replaced, hidden = states.total(), states[HELD], states[REPLACED], states[SUPERSEDED]
    with writing():
        stayed = File.select().where(File.trash == entry.id).count()
        if not stayed:
            entry.delete_instance()
        audit.record(actor, f"{entry.kind}:restored", entry.kind, entry.target, files=back, held=held, stayed=stayed)
    return RestoreOutcome(back=back, held=held, replaced=replaced, hidden=hidden, stayed=stayed)


def _restore_containers(entry: Trash) -> None:
    """Those that were moved to the trash with the entry, and those around it."""
    for table in CONTAINER_TABLES:
        table.update(trash=None).where(table.trash == entry.id).execute()
    parent_type, parent_id = entry.kind, entry.target
    if entry.kind == "file":
        file = File.get_by_id(entry.target)
        parent_type, parent_id = file.parent_type, file.parent_id
    placement.take_out_of_trash(parent_type, parent_id)


def _restore_file(project_id: int, file: File, read: _Read | None) -> str | None:
    """The state of the file's object now, judged and decided on again; None where it stays in the trash.

    A file that is no object, or whose object cannot be read, is shown as a plain file.
    """
    if read is None:
        _show(file)
        return CURRENT
    parsed, compared = read
    dataset_digest = file.blob.dataset_digest or ""
    container = file.parent_type, file.parent_id
    verdict = index.judge(project_id, parsed, dataset_digest, container, compared=compared)
    if verdict.state == SAME:
        return None
    if compared.same is not None:
        # The same object, encoded differently: it has arrived again if it is in this very container.
        same = File.get_by_id(compared.same.file_id)
        if (same.parent_type, same.parent_id) == container and not compared.same.member:
            return None

    _show(file)
    decided = index.conflict_of(file.id)
    verdict = conflicts.hold_if_undecided(verdict, decided)
    index.add(project_id, file, parsed, dataset_digest, verdict)
    if decided is not None:
        conflicts.reapply(decided, parsed)
    if verdict.message == index.UNCOMPARED:
        alternates.request_comparison()
    state = str(Instance.get(Instance.file == file).state)
    return REPLACED if verdict.state == HELD and state == CURRENT else state


def _show(file: File) -> None:
    file.name = placement.free_name(file.parent_type, file.parent_id, file.name)
    file.deleted_at = file.trash = None
    file.save(only=[File.name, File.deleted_at, File.trash])


def _read(project_id: int, file: File) -> _Read | None:
    """The header of an object, compared with those that have arrived under its UID; None where it cannot be read."""
    blob = file.blob
    place = object_places.behind(object_places.of_blob(blob), blob.dataset_offset or 0)
    try:
        with runtime.archive().open(blob.segment, blob.offset, blob.size) as content:
            parsed = header.read_file(cast(BinaryIO, content), blob.size)[0]
            with contextlib.ExitStack() as opened:
                compared = duplicates.compare(
                    project_id,
                    parsed,
                    lambda: opened.enter_context(duplicates.open_data_set(place, parsed.transfer_syntax)),
                )
            return _Read(parsed, compared)
    except (BadValue, Damaged):
        return None


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number:,} files"
