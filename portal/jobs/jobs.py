"""Jobs: the rows of what runs in the background, which decide; RQ only wakes a worker (`queue`)."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from portal import models
from portal.access import audit, permissions, rights
from portal.access.actors import Actor
from portal.errors import BadValue, Missing, NotAllowed
from portal.jobs import leases, progress
from portal.jobs.kinds import KINDS
from portal.jobs.leases import LISTENER_LEASE
from portal.jobs.progress import ACTIVE_STATES, ENDED_STATES
from portal.jobs.queue import enqueue_function
from portal.jobs.records import JobParams
from portal.models import Association, Job, now, writing

MAX_DUE_AHEAD = timedelta(minutes=15)
"""No row waits longer than this: one that seems to was written before the clock was set back."""


def create(
    kind: str,
    *,
    actor: Actor,
    params: dict[str, Any],
    what: str = "",
    total: int = 0,
    association: Association | None = None,
) -> Job:
    """Write the row of a job, inside the write block of what it belongs to; call `enqueue` after the commit.

    `what` says in words what it works on; `params` holds row numbers, never a secret. A job of the listener starts as
    running: the listener calls `report_progress` while it works, and `finish` at the end.
    """
    if not models.database.in_transaction():
        raise RuntimeError("jobs.create belongs inside models.writing()")
    by_listener = not KINDS[kind].runner
    running = {"state": "running", "started": now(), **leases.columns(LISTENER_LEASE)} if by_listener else {}
    return Job.create(
        kind=kind,
        runner="listener" if by_listener else "worker",
        what=what,
        started_by=actor.name or actor.type,
        params=params,
        storage=JobParams.load(params).storage_id or None,
        total=total,
        association=association,
        **running,
        **actor.origin.fields,
    )


def enqueue(job: Job) -> None:
    """Tell the workers that the job is due; the listener's own jobs need none."""
    kind = KINDS[job.kind]
    if kind.runner:
        enqueue_function(kind.runner, job.id, kind.lane, seconds=kind.max_seconds)


def try_now(job_id: int, *, actor: Actor) -> None:
    """Run a job that waits for its time now; one that is running goes on as it is.

    Raises Missing, NotAllowed, and BadValue for a job that is over.
    """
    job = get_startable(job_id, actor=actor)
    if job.state in ENDED_STATES:
        raise BadValue(f"Job {job_id} has ended already ({job.state}).")
    with writing():
        Job.update(due=now()).where(Job.id == job_id, Job.state == "waiting").execute()
    enqueue(job)


def report_progress(job: Job, *, done: int, failed: int, size: int = 0) -> None:
    """Write how far a job of the listener is, and renew its lease."""
    with writing():
        Job.update(done=done, failed=failed, bytes=size, **leases.columns(LISTENER_LEASE)).where(
            Job.id == job.id
        ).execute()


def finish(job: Job, state: str, message: str, **result: Any) -> None:
    """End a job in any state; `result` is added to what the row holds."""
    with writing():
        row = Job.get_by_id(job.id)
        Job.update(
            state=state, message=message, ended=now(), lease=None, holder="", result={**row.result, **result}
        ).where(Job.id == job.id).execute()


def cancel(job_id: int, *, actor: Actor) -> Job:
    """Cancel a job: at once if it waits, else at the next check of its run (within seconds). Repeating it is harmless.

    Raises Missing, NotAllowed, and BadValue for a job that has ended or that only its peer can end.
    """
    with writing():
        job = get_own(job_id, actor=actor)
        if job.runner != "worker":
            raise BadValue("This job belongs to an association of a peer; the peer ends it.")
        if job.state in ENDED_STATES:
            raise BadValue(f"Job {job_id} has ended already ({job.state}).")
        if job.state != "cancelling":
            changed: dict[str, Any] = {"state": "cancelling"}
            if job.state == "waiting":
                message = f"Cancelled by {actor.name or actor.type} before it began."
                changed = {"state": "cancelled", "ended": now(), "message": message}
            Job.update(**changed).where(Job.id == job_id).execute()
            audit.record(actor, "job:cancelled", "job", job_id, kind=job.kind)
    return get(job_id)


def retry(job_id: int, *, actor: Actor) -> Job:
    """Run an ended job again: what failed is tried again, what is done stays done.

    Raises Missing, NotAllowed, and BadValue for a job that has not ended or that succeeded.
    """
    with writing():
        job = get_startable(job_id, actor=actor)
        if job.state not in ("errors", "failed", "cancelled"):
            raise BadValue(f"Job {job_id} is {job.state}; only one that failed or was cancelled is run again.")
        if not KINDS[job.kind].runner:
            raise BadValue("This job belongs to an association of a peer; the peer asks again.")
        if job.items_kept != "all":
            raise BadValue("The list of its objects was deleted because of its age. Start it again.")
        again = {"state": "waiting", "due": now(), "attempts": 0, "failed": 0, "ended": None, "message": ""}
        kept = {name: value for name, value in job.result.items() if name != "away"}
        result = {**kept, "reopen": True}  # the next run changes the failed items: there may be a million
        Job.update(**again, result=result).where(Job.id == job_id).execute()
        audit.record(actor, "job:retried", "job", job_id, kind=job.kind)
    job = get(job_id)
    enqueue(job)
    return job


def any_exist() -> bool:
    """Whether there is any job."""
    return bool(Job.select(Job.id).exists())


def get(job_id: int) -> Job:
    """Raises Missing."""
    job = Job.get_or_none(Job.id == job_id)
    if job is None:
        raise Missing(f"There is no job {job_id}. One that has ended is kept for as long as Settings say (History).")
    return job


def get_own(job_id: int, *, actor: Actor) -> Job:
    """A job that the actor may see and steer: site admins all, admins of a project its exports. Raises Missing."""
    if rights.is_site_admin(actor):
        rights.require_admin(actor)
        return get(job_id)
    job: Job | None = Job.get_or_none(Job.id == job_id)
    export = job if job is None or job.kind != "verification" else Job.get_or_none(Job.id == job.parent_id)
    if job is None or export is None or KINDS[export.kind].family != "export":
        raise NotAllowed(permissions.ADMINISTER.refusal)
    rights.require_manager(actor, export.params.get("project", 0))
    return job


def get_startable(job_id: int, *, actor: Actor) -> Job:
    """As `get_own`, for a job whose work the actor may begin: what goes to a peer only site admins send."""
    job = get_own(job_id, actor=actor)
    if JobParams.load(job.params).peer_id and not rights.is_site_admin(actor):
        raise NotAllowed("Only site admins send to peers. Ask a site admin to start this job.")
    return job


def list_recent(
    limit: int = 100, before: int | None = None, search: str = "", state: str = "", kinds: Sequence[str] = ()
) -> Sequence[Job]:
    """Jobs, newest first; `before` is the number of the last one seen. `state` may also be `active`."""
    rows = Job.select().order_by(Job.id.desc()).limit(limit)
    if before is not None:
        rows = rows.where(Job.id < before)
    if state:
        rows = rows.where(Job.state.in_(ACTIVE_STATES if state == "active" else (state,)))
    if kinds:
        rows = rows.where(Job.kind.in_(kinds))
    for word in search.split():
        rows = rows.where(Job.what.contains(word) | Job.message.contains(word) | Job.kind.contains(word))
    return list(rows)


def queue_lengths() -> dict[str, int]:
    """How many jobs wait, and how many run."""
    waiting = Job.select().where(Job.state == "waiting").count()
    running = Job.select().where(Job.state.in_(("running", "cancelling"))).count()
    return {"waiting": waiting, "running": running}


def view(job: Job) -> dict[str, Any]:
    """The job as pages and `--json` show it."""
    return progress.view(job)


def is_due(awaited: Any, moment: datetime) -> Any:
    """Whether a moment that a row waits for has come; `awaited` may be a column. One that is too far ahead has, too."""
    return (awaited <= moment) | (awaited > moment + MAX_DUE_AHEAD)
