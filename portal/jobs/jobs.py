"""Jobs: what runs in the background. The row is the truth; RQ is only the doorbell (`job_queue`).

`run_echo` and its neighbours enqueue their namesakes in `dimse_worker/jobs.py`; `runs.py` is what those run in.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from portal import models
from portal.access import audit, rights
from portal.access.actors import Actor
from portal.errors import BadValue, Missing
from portal.jobs import leases, progress
from portal.jobs.leases import LISTENER_LEASE
from portal.jobs.progress import ACTIVE_STATES, ENDED_STATES
from portal.jobs.queue import Lane, enqueue_function
from portal.models import Association, Job, now, writing

MAX_DUE_AHEAD = timedelta(minutes=15)
"""No moment that a row waits for lies farther ahead, unless the clock has been set back since it was written."""


def run_echo(job_id: int) -> None:
    """C-ECHO to one peer."""
    enqueue_function("run_echo", job_id, "short", seconds=120)


def run_storage_test(job_id: int) -> None:
    """Test one storage, step by step."""
    enqueue_function("run_storage_test", job_id, "short", seconds=300)


def run_export(job_id: int) -> None:
    """Copy what an export lists to its storage."""
    enqueue_function("run_export", job_id, "long")


def run_send(job_id: int) -> None:
    """Send what an export lists to its DICOM peer."""
    enqueue_function("run_send", job_id, "long")


def run_dry_run(job_id: int) -> None:
    """Find out what an export would do."""
    enqueue_function("run_dry_run", job_id, "long")


def run_verification(job_id: int) -> None:
    """Compare what an export left in its storage with its manifest."""
    enqueue_function("run_verification", job_id, "long")


def run_import(job_id: int) -> None:
    """Take in what lies in a storage."""
    enqueue_function("run_import", job_id, "long")


def run_import_dry_run(job_id: int) -> None:
    """Find out what an import would do."""
    enqueue_function("run_import_dry_run", job_id, "long")


def run_comparison(job_id: int) -> None:
    """Compare the alternates that nobody has compared."""
    enqueue_function("run_comparison", job_id, "short")


def run_throw(job_id: int) -> None:
    """Hide what was put into the trash, some files at a time."""
    enqueue_function("run_throw", job_id, "short")


def run_restore(job_id: int) -> None:
    """Restore what was put into the trash, some files at a time."""
    enqueue_function("run_restore", job_id, "short")


def run_purge(job_id: int) -> None:
    """Purge what was put into the trash, some files at a time."""
    enqueue_function("run_purge", job_id, "short")


@dataclass(frozen=True, kw_only=True)
class Kind:
    label: str
    run: Callable[[int], None] | None
    """None: the listener does it itself, within an association."""
    lane: Lane = "long"
    """Whose workers run it."""
    attempts: int = 1
    """Runs without any progress after which the job has failed."""
    takes_turns: bool = False
    """Whether it may take long although its lane is the short one: it lets others that wait go first, now and then."""
    is_patient: bool = False
    """Whether it waits for a storage or peer that is away: such runs are no attempts (`absences`)."""


KINDS = {
    "echo": Kind(label="Echo", run=run_echo, lane="short"),
    "storage_test": Kind(label="Storage test", run=run_storage_test, lane="short"),
    "export": Kind(label="Export", run=run_export, attempts=8, is_patient=True),
    "send": Kind(label="Send (C-STORE)", run=run_send, attempts=8, is_patient=True),
    "dry_run": Kind(label="Dry run", run=run_dry_run, attempts=8),
    "verification": Kind(label="Verification", run=run_verification, attempts=8, is_patient=True),
    "import": Kind(label="Import", run=run_import, attempts=8, is_patient=True),
    "import_dry_run": Kind(label="Dry run of an import", run=run_import_dry_run, attempts=8),
    "comparison": Kind(label="Comparison", run=run_comparison, lane="short", takes_turns=True, attempts=3),
    "throw": Kind(label="Move to the trash", run=run_throw, lane="short", takes_turns=True, attempts=3),
    "restore": Kind(label="Restore", run=run_restore, lane="short", takes_turns=True, attempts=3),
    "purge": Kind(label="Purge", run=run_purge, lane="short", takes_turns=True, attempts=3),
    "move": Kind(label="Move (C-MOVE)", run=None),
    "get": Kind(label="Get (C-GET)", run=None),
}
RETRIEVAL_KINDS = tuple(name for name, kind in KINDS.items() if kind.run is None)
"""What peers ask for, beside what people start."""


def create(
    kind: str,
    *,
    actor: Actor,
    params: dict[str, Any],
    what: str = "",
    total: int = 0,
    association: Association | None = None,
) -> Job:
    """Write the row of a job, inside the write block of what it belongs to; `ring(job)` after the commit.

    `what` says in words what it works on; `params` holds row numbers, never a secret. A job of the listener begins as
    running: it calls `advance` while it works and `finish` at its end.
    """
    if not models.database.in_transaction():
        raise RuntimeError("jobs.create belongs inside models.writing()")
    by_listener = KINDS[kind].run is None
    running = {"state": "running", "started": now(), **leases.columns(LISTENER_LEASE)} if by_listener else {}
    return Job.create(
        kind=kind,
        runner="listener" if by_listener else "worker",
        what=what,
        started_by=actor.name or actor.type,
        params=params,
        storage=params.get("storage"),
        total=total,
        association=association,
        **running,
        **actor.origin.fields,
    )


def enqueue(job: Job) -> None:
    """Tell the workers that the job is due."""
    run = KINDS[job.kind].run
    if run is not None:
        run(job.id)


def try_now(job_id: int, *, actor: Actor) -> None:
    """Have a job that waits for its time run now; one that runs is at it already.

    Raises Missing, NotAllowed, and BadValue for a job that is over.
    """
    rights.require_admin(actor)
    job = get(job_id)
    if job.state in ENDED_STATES:
        raise BadValue(f"Job {job_id} has ended already ({job.state}).")
    with writing():
        Job.update(due=now()).where(Job.id == job_id, Job.state == "waiting").execute()
    enqueue(job)


def report_progress(job: Job, *, done: int, failed: int, size: int = 0) -> None:
    """Write how far a job of the listener is, and that it lives."""
    with writing():
        Job.update(done=done, failed=failed, bytes=size, **leases.columns(LISTENER_LEASE)).where(
            Job.id == job.id
        ).execute()


def finish(job: Job, state: str, message: str, **result: Any) -> None:
    """End a job, whatever it was; `result` is added to what the row holds."""
    with writing():
        row = Job.get_by_id(job.id)
        Job.update(
            state=state, message=message, ended=now(), lease=None, holder="", result={**row.result, **result}
        ).where(Job.id == job.id).execute()


def cancel(job_id: int, *, actor: Actor) -> Job:
    """Stop a job: at once if it waits, else as soon as its run looks (within seconds). Twice is once.

    Raises Missing, NotAllowed, and BadValue for a job that is over or that only its peer can end.
    """
    rights.require_admin(actor)
    with writing():
        job = get(job_id)
        if job.runner != "worker":
            raise BadValue("This job belongs to an association of a peer; the peer ends it.")
        if job.state in ENDED_STATES:
            raise BadValue(f"Job {job_id} has ended already ({job.state}).")
        if job.state != "cancelling":
            _cancel(job, actor)
            audit.record(actor, "job:cancelled", "job", job_id, kind=job.kind)
    return get(job_id)


def retry(job_id: int, *, actor: Actor) -> Job:
    """Run an ended job again: what failed is tried anew, what is done stays done.

    Raises Missing, NotAllowed, and BadValue for a job that is not over or that went well.
    """
    rights.require_admin(actor)
    with writing():
        job = get(job_id)
        if job.state not in ("errors", "failed", "cancelled"):
            raise BadValue(f"Job {job_id} is {job.state}; only one that failed or was cancelled is run again.")
        if KINDS[job.kind].run is None:
            raise BadValue("This job belongs to an association of a peer; the peer asks again.")
        if job.items_kept != "all":
            raise BadValue("The list of its objects was dropped by its age. Start it anew.")
        again = {"state": "waiting", "due": now(), "attempts": 0, "failed": 0, "ended": None, "message": ""}
        kept = {name: value for name, value in job.result.items() if name != "away"}
        result = {**kept, "reopen": True}  # the items that failed are a run's to change: there may be a million
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
    return progress.view(job, KINDS[job.kind].label)


def _cancel(job: Job, actor: Actor) -> None:
    if job.state == "running":
        Job.update(state="cancelling").where(Job.id == job.id).execute()
        return
    message = f"Cancelled by {actor.name or actor.type} before it began."
    Job.update(state="cancelled", ended=now(), message=message).where(Job.id == job.id).execute()


def is_due(awaited: Any, moment: datetime) -> Any:
    """Whether a moment that a row waits for has come; for a column too. One that is too far ahead has."""
    return (awaited <= moment) | (awaited > moment + MAX_DUE_AHEAD)
