"""The jobs of incoming C-MOVEs and C-GETs: one row each, and an item for each sub-operation that failed or warned."""

from collections.abc import Sequence
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


@dataclass(frozen=True, kw_only=True)
class RetrieveProgress:
    """How far a retrieval is: what the recipient has accepted, with a warning or without, what failed, and bytes."""

    done: int
    failed: int
    size: int
    failures: Sequence[SubOperationFailure] = ()
    """Those that are not written yet."""


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


def record_progress(job: Job | None, progress: RetrieveProgress) -> None:
    """Write the progress and the new failures."""
    if job is not None:
        with skip_if_disk_full(f"the progress of job {job.id}"), writing():
            _write(job, progress)


def finish(
    job: Job | None,
    progress: RetrieveProgress,
    *,
    state: Literal["done", "errors", "failed", "cancelled"],
    message: str,
    status: int,
) -> None:
    """Write the last progress and end the job, at once.

    `status` is that of the final response (PS3.4 C.4.2.1.5), stored as four hex digits.
    """
    if job is not None:
        with skip_if_disk_full(f"the end of job {job.id}"), writing():
            _write(job, progress)
            jobs.finish(job, state, message, status=f"{status:04X}")


def _write(job: Job, progress: RetrieveProgress) -> None:
    for failure in progress.failures:
        outcome = {"state": "sent" if failure.warned else "failed", "message": failure.message}
        mine = (JobItem.job == job) & (JobItem.key == failure.sop_instance_uid)
        if not JobItem.update(**outcome).where(mine).execute():
            JobItem.create(job=job, file=failure.file_id, key=failure.sop_instance_uid, **outcome)
    jobs.report_progress(job, done=progress.done, failed=progress.failed, size=progress.size)
