"""The trash: an item in it is hidden everywhere, keeps its bytes, and can be restored until it is purged."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from peewee import fn

from portal import site_settings
from portal.access import audit, rights
from portal.access.actors import Actor
from portal.access.rights import Scope
from portal.errors import BadValue, Busy, Missing, NotAllowed
from portal.ingest import descriptions, placement, zip_index
from portal.jobs import jobs, kinds
from portal.jobs.progress import ACTIVE_STATES
from portal.maintenance import purge as maintenance_purge
from portal.maintenance import release
from portal.maintenance.trash_params import TrashParams
from portal.models import Blob, File, Group, Job, Project, Trash, now, writing
from portal.trash import move, original
from portal.trash import restore as trash_restore
from portal.trash.restore import RestoreOutcome
from portal.tree import container_sizes, containers

KINDS = ("file", "acquisition", "session", "subject")
MAX_FILES_RESTORED_NOW = 500
"""Files that are restored while the caller waits, within a second or so; more are left to a job."""
MAX_FILES_PURGED_NOW = 500
"""Files that are purged while the caller waits."""


def measure(kind: str, row_id: int, scope: Scope) -> tuple[int, int]:
    """Number and bytes of the files that would be moved to the trash. Raises Missing."""
    row = _row(kind, row_id, scope)
    if kind == "file":
        return 1, int(row.blob.size)
    return container_sizes.for_containers(kind, [row_id]).get(row_id, container_sizes.EMPTY)


def needs_job(files: int) -> bool:
    """Whether this number of files is moved to the trash by a job."""
    return files > move.FILES_PER_BLOCK


def require_trash_right(actor: Actor) -> None:
    """Raise NotAllowed unless the site lets actors of this type move items to the trash."""
    rights.require_may_write(actor)
    who = site_settings.get("trash.who")
    if who == "nobody":
        raise NotAllowed("This site moves nothing to the trash. A site admin can change that in Settings, under Trash.")
    if who == "users" and actor.type == "device":
        raise NotAllowed("On this site devices cannot move items to the trash, only users can. See Settings, Trash.")


def require_movable(kind: str, row_id: int, *, actor: Actor) -> None:
    """Raise NotAllowed unless the actor may move this file or container to the trash; Missing."""
    require_trash_right(actor)
    scope = rights.scope(actor)
    project_id = _project_of(_row(kind, row_id, scope)).id
    is_original = project_id not in scope.manages and original.is_live(kind, row_id)
    rights.require_delete(actor, project_id, original=is_original)


def is_movable(kind: str, row_id: int, project_id: int, *, actor: Actor, scope: Scope) -> bool:
    """Whether `require_movable` would let the actor, whose scope this is, move what is in this project."""
    who = site_settings.get_cached("trash.who")
    if actor.read_only or who == "nobody" or (who == "users" and actor.type == "device"):
        return False
    if project_id in scope.manages:
        return True
    return scope.writes(project_id) and not original.is_live(kind, row_id)


def move_to_trash(kind: str, row_id: int, *, actor: Actor) -> Trash:
    """Move a file, or a container with its content, to the trash.

    It is hidden from everybody when this returns, unless it is large: then a job (`Trash.job`) hides it some files at
    a time, and the containers last. Raises Missing, NotAllowed.
    """
    require_trash_right(actor)
    scope = rights.scope(actor)
    number, size = measure(kind, row_id, scope)
    with writing():
        require_movable(kind, row_id, actor=actor)
        row = _row(kind, row_id, scope)
        label, project = row.name if isinstance(row, File) else row.label, _project_of(row)
        entry = Trash.create(
            kind=kind, target=row_id, project=project, label=label, files=0, size=0, **actor.origin.fields
        )
        job, zips = None, []
        if needs_job(number):
            newest: int = File.select(fn.MAX(File.id)).scalar() or 0
            job = _create_job("trash", entry, project, number, newest, actor=actor)
        else:
            zips = move.hide_files(entry, move.file_ids(kind, row_id))
            move.hide_empty_containers(entry)
        audit.record(actor, f"{kind}:trashed", kind, row_id, files=number, bytes=size, trash=entry.id)
    if job is not None:
        jobs.enqueue(job)
    for file_id in zips:
        zip_index.settle(file_id)
    descriptions.refresh()
    return get(entry.id)


def list_newest(limit: int = 100, before: int | None = None) -> list[Trash]:
    """The items in the trash, the last deleted first; for the next page, `before` is the id of the last one."""
    rows = Trash.select(Trash, Project, Group).join(Project).join(Group)
    if before is not None:
        rows = rows.where(Trash.id < before)
    return list(rows.order_by(Trash.id.desc()).limit(limit))


def get(trash_id: int) -> Trash:
    """Raises Missing."""
    entry = Trash.get_or_none(Trash.id == trash_id)
    if entry is None:
        raise Missing(f"No item in the trash has the number {trash_id}. `portal trash list` shows them all.")
    return entry


def in_scope(trash_id: int, scope: Scope) -> Trash:
    """The same, within a scope. Raises Missing."""
    entry = Trash.get_or_none(Trash.id == trash_id, Trash.project.in_(scope.projects))
    if entry is None:
        raise Missing(f"No item in the trash has the number {trash_id}, or you do not have access to it.")
    return entry


def active_jobs(rows: Iterable[Trash]) -> dict[int, Job]:
    """By row number: the job that moves, restores or purges it at this moment."""
    row_by_job = {row.job: row.id for row in rows if row.job is not None}
    active = Job.select().where(Job.id.in_(list(row_by_job)), Job.state.in_(ACTIVE_STATES)) if row_by_job else ()
    return {row_by_job[job.id]: job for job in active}


def count_active_exports(project_id: int) -> int:
    """Number of exports of a project that are not over: they also send the files they list that are in the trash."""
    of_project = fn.json_extract(Job.params, "$.project") == project_id
    return int(Job.select().where(Job.kind.in_(("export", "send")), Job.state.in_(ACTIVE_STATES), of_project).count())


def view(entry: Trash) -> dict[str, Any]:
    """One item of the trash for `--json`."""
    return {
        "id": entry.id,
        "kind": entry.kind,
        "label": entry.label,
        "project": f"{entry.project.group.code}/{entry.project.label}",
        "files": entry.files,
        "bytes": entry.size,
        "trashed": entry.created.isoformat(),
        "by": {"type": entry.origin_type, "id": entry.origin_id, "via": entry.origin_via},
    }


def restore(trash_id: int, *, actor: Actor) -> RestoreOutcome:
    """Restore an item, with the containers around it, before this returns; see `portal.trash.restore`.

    Some files at a time: after an interruption the next call continues. Raises Missing, NotAllowed, Busy.
    """
    _require_restorable(trash_id, actor)
    return trash_restore.restore(_restorable(trash_id), actor=actor)


def request_restore(trash_id: int, *, actor: Actor) -> RestoreOutcome | Job:
    """The same for a caller who waits: by a job where it takes longer. Raises Missing, NotAllowed, Busy."""
    _require_restorable(trash_id, actor)
    if get(trash_id).files <= MAX_FILES_RESTORED_NOW:
        return restore(trash_id, actor=actor)
    with writing():
        entry = _restorable(trash_id)
        job = _create_job("restore", entry, entry.project, entry.files, actor=actor)
    jobs.enqueue(job)
    return job


def require_purgeable(trash_id: int, *, actor: Actor) -> None:
    """Raise NotAllowed unless the actor may delete this item for ever, as the admins of its project may; Missing."""
    require_trash_right(actor)
    rights.require_manager(actor, in_scope(trash_id, rights.scope(actor)).project_id)


def purge(trash_id: int, *, actor: Actor) -> maintenance_purge.Outcome:
    """Delete an item permanently, and free its bytes on the disk, before this returns.

    Some files at a time: after an interruption the next call continues. Raises Missing, NotAllowed, Busy.
    """
    require_purgeable(trash_id, actor=actor)
    outcome = maintenance_purge.purge(_idle(trash_id), due=None, actor=actor)
    maintenance_purge.release_bytes()
    return outcome


def request_purge(trash_id: int, *, actor: Actor) -> maintenance_purge.Outcome | Job:
    """The same for a caller who waits: by a job where it takes longer. Raises Missing, NotAllowed, Busy."""
    require_purgeable(trash_id, actor=actor)
    if get(trash_id).files <= MAX_FILES_PURGED_NOW:
        return purge(trash_id, actor=actor)
    with writing():
        entry = _idle(trash_id)
        job = _create_job("purge", entry, entry.project, entry.files, actor=actor)
    jobs.enqueue(job)
    return job


def purge_many(days: int, *, actor: Actor) -> maintenance_purge.Outcome:
    """Purge all items that have been in the trash for this number of days, before this returns. Raises NotAllowed."""
    require_trash_right(actor)
    rights.require_admin(actor)
    total = maintenance_purge.Outcome()
    for entry in list(maintenance_purge.expired(now() - timedelta(days=days))):
        if entry.id not in active_jobs([entry]):
            total += maintenance_purge.purge(entry, due=None, actor=actor)
    maintenance_purge.release_bytes()
    return total


def sweep() -> None:
    """Create a job that purges the items that are older than the site keeps them, at most one a day."""
    days = site_settings.get("trash.days")
    if site_settings.get("trash.who") == "nobody" or not days:
        return
    moment = now()
    by_age = (
        Job.kind == "purge",
        Job.origin_type == maintenance_purge.SYSTEM.type,
        Job.created > moment - timedelta(days=1),
    )
    if Job.select().where(*by_age).exists():
        return
    before = moment - timedelta(days=days)
    old = maintenance_purge.expired(before)
    if not old.exists() and not release.is_due():
        return
    with writing():
        if Job.select().where(*by_age).exists():
            return  # another worker was faster
        total = sum(entry.files for entry in old)
        what = f"Items in the trash for {days:,} days"
        job = jobs.create(
            "purge", actor=maintenance_purge.SYSTEM, params=TrashParams(before=before).dump(), what=what, total=total
        )
    jobs.enqueue(job)


def _create_job(kind: str, entry: Trash, project: Project, files: int, last_file_id: int = 0, *, actor: Actor) -> Job:
    # The label of an item may be a patient's name: it stays out of the jobs.
    what = f"{entry.kind.capitalize()} of {project.group.code}/{project.label}"
    params = TrashParams(trash_id=entry.id, last_file_id=last_file_id).dump()
    job = jobs.create(kind, actor=actor, params=params, what=what, total=files)
    Trash.update(job=job.id).where(Trash.id == entry.id).execute()
    return job


def _require_restorable(trash_id: int, actor: Actor) -> None:
    """Raise NotAllowed unless the actor might have moved the item to the trash: that is undone by the same right."""
    entry = in_scope(trash_id, rights.scope(actor))
    rights.require_delete(actor, entry.project_id, original=original.is_in_trash(entry))


def _project_of(row: Any) -> Project:
    if isinstance(row, File):
        return Project.get_by_id(placement.project_id_of(row))
    return containers.project_of(row)


def _restorable(trash_id: int) -> Trash:
    entry = _idle(trash_id)
    if entry.purging is not None:
        raise Busy(f"{entry.label} is being purged and can no longer be restored.")
    return entry


def _idle(trash_id: int) -> Trash:
    entry = get(trash_id)
    job = active_jobs([entry]).get(trash_id)
    if job is not None:
        raise Busy(
            f"Job {job.id} works on it ({kinds.KINDS[job.kind].label.lower()}). Wait until it is over, or cancel it."
        )
    return entry


def _row(kind: str, row_id: int, scope: Scope) -> Any:
    if kind not in KINDS:
        raise BadValue(f"{kind[:32]!r} cannot be moved to the trash.")
    if kind != "file":
        return containers.get(kind, row_id, scope)
    file = File.select(File, Blob).join(Blob).where(File.id == row_id, File.deleted_at.is_null()).get_or_none()
    if file is None:
        raise Missing("There is no file with this id, or you do not have access to it.")
    containers.get(file.parent_type, file.parent_id, scope)
    return file
