"""The trash: what is put there is hidden everywhere at once, keeps its bytes, and can be restored."""

from dataclasses import dataclass
from typing import Any, BinaryIO, cast

from peewee import fn

from portal import alternates, audit, conflicts, containers, header, index, placement, rights, runtime, site
from portal.errors import BadValue, Damaged, Missing, NotAllowed
from portal.index import SAME
from portal.models import (
    ALTERNATE,
    CURRENT,
    Acquisition,
    Blob,
    Conflict,
    File,
    Group,
    Project,
    Session,
    Subject,
    Trash,
    now,
    writing,
)
from portal.provenance import Actor
from portal.rights import Scope

CONTAINERS: tuple[Any, ...] = (Subject, Session, Acquisition)
KINDS = ("file", "acquisition", "session", "subject")
CHUNK = 100
"""Files that one write block restores."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a restore ended: files that are back, of these those that are held now, and those that stay in the trash."""

    back: int
    held: int
    stayed: int

    @property
    def sentence(self) -> str:
        told = [f"{_files(self.back)} {'is' if self.back == 1 else 'are'} back."]
        if self.held:
            told.append(f"{self.held:,} of them {'is' if self.held == 1 else 'are'} held: see Conflicts.")
        if self.stayed:
            one = self.stayed == 1
            told.append(
                f"{_files(self.stayed)} {'stays' if one else 'stay'} in the trash: "
                f"{'it has' if one else 'they have'} come again meanwhile, the same."
            )
        return " ".join(told)


def contents(kind: str, row_id: int, scope: Scope) -> tuple[int, int]:
    """How many files of how many bytes would go into the trash. Raises Missing."""
    _row(kind, row_id, scope)
    found = File.select(fn.COUNT(File.id), fn.SUM(Blob.size)).join(Blob)
    row: Any = found.where(_within(kind, row_id), File.deleted_at.is_null()).tuples().get()
    return int(row[0]), int(row[1] or 0)


def require_thrower(actor: Actor) -> None:
    """Raise NotAllowed unless the site lets this actor put things into the trash."""
    rights.require_admin(actor)
    who = site.get("trash.who")
    if who == "nobody":
        raise NotAllowed("This site throws nothing away. A site admin can change that in Settings, under Trash.")
    if who == "users" and actor.type == "device":
        raise NotAllowed("On this site only people throw things away, no device. See Settings, Trash.")


def throw(kind: str, row_id: int, *, actor: Actor) -> Trash:
    """Put a file, or a container with all that lies in it, into the trash; hidden from everybody when this returns.

    Raises Missing, NotAllowed.
    """
    require_thrower(actor)
    scope = rights.scope(actor)
    number, size = contents(kind, row_id, scope)
    with writing():
        row = _row(kind, row_id, scope)
        thrown = Trash.create(
            kind=kind,
            target=row_id,
            project=_project_id(row),
            label=row.name if isinstance(row, File) else row.label,
            files=number,
            size=size,
            **actor.origin.fields,
        )
        _hide(kind, row_id, thrown.id)
        audit.record(actor, f"{kind}:trashed", kind, row_id, files=number, bytes=size, trash=thrown.id)
    return thrown


def every(limit: int = 100, before: int | None = None) -> list[Trash]:
    """What is in the trash, the last thrown first; page on with the last one's id."""
    found = Trash.select(Trash, Project, Group).join(Project).join(Group)
    if before is not None:
        found = found.where(Trash.id < before)
    return list(found.order_by(Trash.id.desc()).limit(limit))


def get(trash_id: int) -> Trash:
    """Raises Missing."""
    found = Trash.get_or_none(Trash.id == trash_id)
    if found is None:
        raise Missing(f"Nothing in the trash has the number {trash_id}. `portal trash list` shows what is there.")
    return found


def view(thrown: Trash) -> dict[str, Any]:
    """One thing of the trash for `--json`."""
    return {
        "id": thrown.id,
        "kind": thrown.kind,
        "label": thrown.label,
        "project": f"{thrown.project.group.code}/{thrown.project.label}",
        "files": thrown.files,
        "bytes": thrown.size,
        "trashed": thrown.created.isoformat(),
        "by": {"type": thrown.origin_type, "id": thrown.origin_id, "via": thrown.origin_via},
    }


def restore(trash_id: int, *, actor: Actor) -> Outcome:
    """Put back what was thrown, with the containers around it; what contradicts newer objects is held as a conflict.

    An object that has come again meanwhile, the same, stays in the trash. Some files at a time, so that peers can
    store meanwhile: after an interruption the next call goes on. Raises Missing, NotAllowed.
    """
    rights.require_admin(actor)
    thrown = get(trash_id)
    with writing():
        _revive(thrown)
    back = held = after = 0
    while chunk := _waiting(trash_id, after):
        after = chunk[-1].id
        with writing():
            outcomes = [_restore_file(file) for file in chunk]
        back += sum(outcome is not None for outcome in outcomes)
        held += sum(outcome == "held" for outcome in outcomes)
    with writing():
        stayed = File.select().where(File.trash == trash_id).count()
        _account(thrown, stayed)
        audit.record(actor, f"{thrown.kind}:restored", thrown.kind, thrown.target, files=back, held=held, stayed=stayed)
    return Outcome(back=back, held=held, stayed=stayed)


def _row(kind: str, row_id: int, scope: Scope) -> Any:
    if kind not in KINDS:
        raise BadValue(f"{kind[:32]!r} cannot go into the trash.")
    if kind != "file":
        return containers.get(kind, row_id, scope)
    file = File.get_or_none(File.id == row_id, File.deleted_at.is_null())
    if file is None:
        raise Missing("There is no file with this id, or it is not yours to see.")
    containers.get(file.parent_type, file.parent_id, scope)
    return file


def _project_id(row: Any) -> int:
    return placement.project_of(row) if isinstance(row, File) else int(containers.project_of(row).id)


def _below(kind: str, row_id: int) -> tuple[Any, Any, Any]:
    """Conditions on subjects, sessions and acquisitions: those that go with a container; None of a level above it."""
    subjects = Subject.id == row_id if kind == "subject" else None
    sessions = Session.id == row_id if kind == "session" else Session.subject == row_id if kind == "subject" else None
    if kind == "acquisition":
        return subjects, sessions, Acquisition.id == row_id
    acquisitions = Acquisition.session.in_(Session.select(Session.id).where(sessions)) if sessions is not None else None
    return subjects, sessions, acquisitions


def _within(kind: str, row_id: int) -> Any:
    """The files that lie in a container, at whatever depth."""
    if kind == "file":
        return File.id == row_id
    found: Any = None
    for table, condition in zip(CONTAINERS, _below(kind, row_id), strict=True):
        if condition is not None:
            lies = (File.parent_type == table._meta.table_name) & File.parent_id.in_(
                table.select(table.id).where(condition)
            )
            found = lies if found is None else found | lies
    return found


def _hide(kind: str, row_id: int, trash_id: int) -> None:
    """Only what is not in the trash already: that stays with what it was thrown with."""
    File.update(deleted_at=now(), trash=trash_id).where(_within(kind, row_id), File.deleted_at.is_null()).execute()
    if kind != "file":
        for table, condition in zip(CONTAINERS, _below(kind, row_id), strict=True):
            if condition is not None:
                table.update(trash=trash_id).where(condition, table.trash.is_null()).execute()
    index.remove_all(File.select(File.id).where(File.trash == trash_id))


def _revive(thrown: Trash) -> None:
    """The containers that went with it, and those around it."""
    for table in CONTAINERS:
        table.update(trash=None).where(table.trash == thrown.id).execute()
    parent_type, parent_id = thrown.kind, thrown.target
    if thrown.kind == "file":
        file = File.get_by_id(thrown.target)
        parent_type, parent_id = file.parent_type, file.parent_id
    placement.revive(parent_type, parent_id)


def _waiting(trash_id: int, after: int) -> list[File]:
    found = File.select(File, Blob).join(Blob).where(File.trash == trash_id, File.id > after)
    return list(found.order_by(File.id).limit(CHUNK))


def _restore_file(file: File) -> str | None:
    """The state in which the file is shown again, as if it arrived now; None where it stays in the trash.

    One that is no object, or cannot be read, is shown as a file.
    """
    parsed = _header(file) if file.type == "dicom" else None
    if parsed is None:
        _show(file)
        return CURRENT
    project_id, dataset_digest = placement.project_of(file), file.blob.dataset_digest or ""
    verdict = index.judge(project_id, parsed, dataset_digest)
    if verdict.state == SAME:
        return None
    _show(file)
    index.add(project_id, file, parsed, dataset_digest, verdict)
    decided = Conflict.get_or_none(Conflict.file == file)
    if decided is not None:
        conflicts.repeat(decided)
    if verdict.state == ALTERNATE:
        alternates.request_comparison()
    return verdict.state


def _show(file: File) -> None:
    file.name = placement.free_name(file.parent_type, file.parent_id, file.name)
    file.deleted_at = file.trash = None
    file.save(only=[File.name, File.deleted_at, File.trash])


def _header(file: File) -> header.Header | None:
    blob = file.blob
    try:
        with runtime.archive().open(blob.segment, blob.offset, blob.size) as content:
            return header.read_file(cast(BinaryIO, content), blob.size)[0]
    except (BadValue, Damaged):
        return None


def _account(thrown: Trash, stayed: int) -> None:
    """What is left in the trash; nothing, and the row goes."""
    if not stayed:
        thrown.delete_instance()
        return
    size = File.select(fn.SUM(Blob.size)).join(Blob).where(File.trash == thrown.id).scalar()
    Trash.update(files=stayed, size=size or 0).where(Trash.id == thrown.id).execute()


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number:,} files"
