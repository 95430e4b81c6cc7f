"""The trash: what is put there is hidden everywhere, keeps its bytes, and can be restored until it is purged."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from peewee import fn

from portal import site_settings
from portal.access import audit, rights
from portal.access.actors import Actor
from portal.access.rights import Scope
from portal.errors import BadValue, Busy, Missing, NotAllowed
from portal.ingest import descriptions, placement
from portal.jobs import jobs
from portal.jobs.progress import ACTIVE_STATES
from portal.maintenance import purge as maintenance_purge
from portal.maintenance import release
from portal.models import Blob, File, Group, Job, Project, Trash, now, writing
from portal.trash import move
from portal.trash import restore as trash_restore
from portal.trash.restore import RestoreOutcome
from portal.tree import container_sizes, containers

KINDS = ("file", "acquisition", "session", "subject")
MAX_FILES_RESTORED_NOW = 500
"""Files that are restored while somebody waits, within a second or so; of more a job takes care."""


MAX_FILES_PURGED_NOW = 500
"""Files that are purged while somebody waits."""


def measure(kind: str, row_id: int, scope: Scope) -> tuple[int, int]:
    """How many files of how many bytes would go into the trash. Raises Missing."""
    row = _row(kind, row_id, scope)
    if kind == "file":
        return 1, int(row.blob.size)
    return container_sizes.for_containers(kind, [row_id]).get(row_id, container_sizes.EMPTY)


def needs_job(files: int) -> bool:
    """Whether a job moves so many files into the trash."""
    return files > move.FILES_PER_BLOCK


def require_trash_right(actor: Actor) -> None:
    """Raise NotAllowed unless the site lets this actor put things into the trash."""
    rights.require_admin(actor)
    who = site_settings.get("trash.who")
    if who == "nobody":
        raise NotAllowed("This site throws nothing away. A site admin can change that in Settings, under Trash.")
    if who == "users" and actor.type == "device":
        raise NotAllowed("On this site only people throw things away, no device. See Settings, Trash.")


def move_to_trash(kind: str, row_id: int, *, actor: Actor) -> Trash:
    """Put a file, or a container with all that lies in it, into the trash.

    Hidden from everybody when this returns, unless it is large: then a job (`Trash.job`) hides it some files at a
    time, and the containers last. Raises Missing, NotAllowed.
    """
    require_trash_right(actor)
    scope = rights.scope(actor)
    number, size = measure(kind, row_id, scope)
    with writing():
        row = _row(kind, row_id, scope)
        project = _project(row)
        label = row.name if isinstance(row, File) else row.label
        thrown = Trash.create(
            kind=kind, target=row_id, project=project, label=label, files=0, size=0, **actor.origin.fields
        )
        job = _throw(thrown, project, number, actor=actor)
        audit.record(actor, f"{kind}:trashed", kind, row_id, files=number, bytes=size, trash=thrown.id)
    if job is not None:
        jobs.enqueue(job)
    descriptions.refresh()
    return get(thrown.id)


def list_newest(limit: int = 100, before: int | None = None) -> list[Trash]:
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


def active_jobs(rows: Iterable[Trash]) -> dict[int, Job]:
    """Those that a job throws or restores at this moment, by their number."""
    jobs_of = {row.job: row.id for row in rows if row.job is not None}
    found = Job.select().where(Job.id.in_(list(jobs_of)), Job.state.in_(ACTIVE_STATES)) if jobs_of else ()
    return {jobs_of[job.id]: job for job in found}


def count_active_exports(project_id: int) -> int:
    """Exports of a project that go on: what they list is sent, also from the trash."""
    of_project = fn.json_extract(Job.params, "$.project") == project_id
    return int(Job.select().where(Job.kind.in_(("export", "send")), Job.state.in_(ACTIVE_STATES), of_project).count())


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


def restore(trash_id: int, *, actor: Actor) -> RestoreOutcome:
    """Put back what was thrown, with the containers around it, before this returns; see `restoring.restore`.

    Some files at a time: after an interruption the next call goes on. Raises Missing, NotAllowed, Busy.
    """
    rights.require_admin(actor)
    return trash_restore.restore(_restorable(trash_id), actor=actor)


def request_restore(trash_id: int, *, actor: Actor) -> RestoreOutcome | Job:
    """The same for somebody who waits: a job where it takes longer. Raises Missing, NotAllowed, Busy."""
    rights.require_admin(actor)
    if get(trash_id).files <= MAX_FILES_RESTORED_NOW:
        return restore(trash_id, actor=actor)
    with writing():
        thrown = _restorable(trash_id)
        job = _job("restore", thrown, thrown.project, thrown.files, {}, actor=actor)
    jobs.enqueue(job)
    return job


def purge(trash_id: int, *, actor: Actor) -> maintenance_purge.Outcome:
    """Remove what was thrown for good, and give the disk its bytes back, before this returns.

    Some files at a time: after an interruption the next call goes on. Raises Missing, NotAllowed, Busy.
    """
    require_trash_right(actor)
    outcome = maintenance_purge.purge(_idle(trash_id), due=None, actor=actor)
    maintenance_purge.release_bytes()
    return outcome


def request_purge(trash_id: int, *, actor: Actor) -> maintenance_purge.Outcome | Job:
    """The same for somebody who waits: a job where it takes longer. Raises Missing, NotAllowed, Busy."""
    require_trash_right(actor)
    if get(trash_id).files <= MAX_FILES_PURGED_NOW:
        return purge(trash_id, actor=actor)
    with writing():
        thrown = _idle(trash_id)
        job = _job("purge", thrown, thrown.project, thrown.files, {}, actor=actor)
    jobs.enqueue(job)
    return job


def purge_many(days: int, *, actor: Actor) -> maintenance_purge.Outcome:
    """Purge all that has been in the trash for so many days, before this returns. Raises NotAllowed."""
    require_trash_right(actor)
    total = maintenance_purge.Outcome()
    for thrown in list(maintenance_purge.expired(now() - timedelta(days=days))):
        if thrown.id not in active_jobs([thrown]):
            total += maintenance_purge.purge(thrown, due=None, actor=actor)
    maintenance_purge.release_bytes()
    return total


def sweep() -> None:
    """Have a job purge what has been in the trash for longer than the site keeps it, at most one a day."""
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
        total = sum(thrown.files for thrown in old)
        what = f"What was in the trash for {days:,} days"
        job = jobs.create(
            "purge", actor=maintenance_purge.SYSTEM, params={"before": before.isoformat()}, what=what, total=total
        )
    jobs.enqueue(job)


def _throw(thrown: Trash, project: Project, number: int, *, actor: Actor) -> Job | None:
    if needs_job(number):
        newest: int = File.select(fn.MAX(File.id)).scalar() or 0
        return _job("throw", thrown, project, number, {"last_file": newest}, actor=actor)
    move.hide_files(thrown, move.file_ids(thrown.kind, thrown.target))
    move.hide_empty_containers(thrown)
    return None


def _job(kind: str, thrown: Trash, project: Project, files: int, params: dict[str, int], *, actor: Actor) -> Job:
    """The label of what was thrown may be a patient's name: it stays out of the jobs."""
    what = f"{thrown.kind.capitalize()} of {project.group.code}/{project.label}"
    job = jobs.create(kind, actor=actor, params={"trash": thrown.id, **params}, what=what, total=files)
    Trash.update(job=job.id).where(Trash.id == thrown.id).execute()
    return job


def _restorable(trash_id: int) -> Trash:
    thrown = _idle(trash_id)
    if thrown.purging is not None:
        raise Busy(f"{thrown.label} is being purged, and cannot be restored any more.")
    return thrown


def _idle(trash_id: int) -> Trash:
    thrown = get(trash_id)
    job = active_jobs([thrown]).get(trash_id)
    if job is not None:
        raise Busy(
            f"Job {job.id} is at it ({jobs.KINDS[job.kind].label.lower()}). Wait until it is over, or cancel it."
        )
    return thrown


def _row(kind: str, row_id: int, scope: Scope) -> Any:
    if kind not in KINDS:
        raise BadValue(f"{kind[:32]!r} cannot go into the trash.")
    if kind != "file":
        return containers.get(kind, row_id, scope)
    file = File.select(File, Blob).join(Blob).where(File.id == row_id, File.deleted_at.is_null()).get_or_none()
    if file is None:
        raise Missing("There is no file with this id, or it is not yours to see.")
    containers.get(file.parent_type, file.parent_id, scope)
    return file


def _project(row: Any) -> Project:
    if not isinstance(row, File):
        return containers.project_of(row)
    found: Project = Project.get_by_id(placement.project_id_of(row))
    return found
