"""The ledger of incoming C-MOVEs and C-GETs: one job row each, and a row for each sub-operation that went wrong."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from portal.access.actors import Actor
from portal.jobs import jobs
from portal.models import Association, Job, JobItem, skip_if_disk_full, writing


@dataclass(frozen=True, kw_only=True)
class SubOperationFailure:
    """A sub-operation that failed, or that the other side took with a warning; `sentence` says why."""

    sop_instance_uid: str
    file_id: int | None
    warned: bool
    message: str


def start(
    kind: Literal["move", "get"],
    *,
    actor: Actor,
    what: str,
    params: dict[str, Any],
    total: int,
    association_id: int | None,
) -> Job | None:
    """The running job of one C-MOVE or C-GET. `params` says what was asked for and where it goes.

    None where the disk is full: what is asked for is read, and goes out without a row.
    """
    begun = None
    with skip_if_disk_full(f"a {kind} by {actor.name}"):
        with writing():
            association = Association.get_or_none(Association.id == association_id)
            job = jobs.create(kind, actor=actor, params=params, what=what, total=total, association=association)
        begun = job
    return begun  # noqa: RET504 (the block above may have been left)


def record_progress(
    job: Job | None, blemishes: Iterable[SubOperationFailure], *, done: int, failed: int, size: int
) -> None:
    """Write how far it is, and what went wrong since; `done` counts what arrived, with a warning or without."""
    if job is None:
        return
    with skip_if_disk_full(f"how far job {job.id} is"), writing():
        for one in blemishes:
            outcome = {"state": "sent" if one.warned else "failed", "message": one.message}
            mine = (JobItem.job == job) & (JobItem.key == one.sop_instance_uid)
            if not JobItem.update(**outcome).where(mine).execute():
                JobItem.create(job=job, file=one.file_id, key=one.sop_instance_uid, **outcome)
        jobs.report_progress(job, done=done, failed=failed, size=size)


def finish(
    job: Job | None, *, state: Literal["done", "errors", "failed", "cancelled"], message: str, status: int
) -> None:
    """End the job; `status` is that of the final answer (PS3.4 C.4.2.1.5), kept as four hex digits."""
    if job is not None:
        with skip_if_disk_full(f"the end of job {job.id}"):
            jobs.finish(job, state, message, status=f"{status:04X}")
