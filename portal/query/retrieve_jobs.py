"""The jobs of incoming C-MOVEs and C-GETs: one row each, and an item for each sub-operation that failed or warned."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from portal.access.actors import Actor
from portal.jobs import jobs
from portal.models import Association, Job, JobItem, skip_if_disk_full, writing


@dataclass(frozen=True, kw_only=True)
class SubOperationFailure:
    """A sub-operation that failed, or that the recipient accepted with a warning; `message` says why."""

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
    """Create the running job of one C-MOVE or C-GET. `params`: the requested UIDs and the destination.

    Returns None on a full disk, where the retrieval runs without a row.
    """
    running = None
    with skip_if_disk_full(f"a {kind} by {actor.name}"):
        with writing():
            association = Association.get_or_none(Association.id == association_id)
            job = jobs.create(kind, actor=actor, params=params, what=what, total=total, association=association)
        running = job
    return running  # noqa: RET504 (the block above may have been left)


def record_progress(
    job: Job | None, failures: Iterable[SubOperationFailure], *, done: int, failed: int, size: int
) -> None:
    """Write the progress and the new failures; `done` counts what was accepted, with a warning or without."""
    if job is None:
        return
    with skip_if_disk_full(f"the progress of job {job.id}"), writing():
        for failure in failures:
            outcome = {"state": "sent" if failure.warned else "failed", "message": failure.message}
            mine = (JobItem.job == job) & (JobItem.key == failure.sop_instance_uid)
            if not JobItem.update(**outcome).where(mine).execute():
                JobItem.create(job=job, file=failure.file_id, key=failure.sop_instance_uid, **outcome)
        jobs.report_progress(job, done=done, failed=failed, size=size)


def finish(
    job: Job | None, *, state: Literal["done", "errors", "failed", "cancelled"], message: str, status: int
) -> None:
    """End the job; `status` is that of the final response (PS3.4 C.4.2.1.5), stored as four hex digits."""
    if job is not None:
        with skip_if_disk_full(f"the end of job {job.id}"):
            jobs.finish(job, state, message, status=f"{status:04X}")
