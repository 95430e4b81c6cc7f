"""Who holds a job's row: a run takes it by a claim, and what it leaves says how it ended."""

import os
import secrets
import socket
from typing import Any

from portal.jobs import leases
from portal.jobs.jobs import KINDS, is_due
from portal.models import Job, now, writing

MAX_KEPT_ATTEMPTS = 20
"""Runs of which a job keeps how they ended."""
WORKER_DIED = "The worker that ran it died."


def claim(job_id: int) -> Job | None:
    """Take the row for this run, or None: it is not due, it is over, or a live run holds it."""
    with writing():
        job = Job.get_or_none(Job.id == job_id)
        if job is None or not _claimable(job):
            return None
        died = job.state == "running"
        if died and job.attempts >= KINDS[job.kind].attempts:
            _end_dead(job)
            return None
        job.state, job.message, job.ended = "running", "", None
        job.attempts += 1
        job.started = job.started or now()
        job.result = {**with_attempt_end(job, WORKER_DIED), "began": now().isoformat()}
        granted = leases.columns()
        job.boot, job.lease = granted["boot"], granted["lease"]
        job.holder = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        job.save()
        return job


def _claimable(job: Job) -> bool:
    if job.state == "waiting":
        return bool(is_due(job.due, now()))
    return job.state == "running" and not leases.is_live(job)


def _end_dead(job: Job) -> None:
    times = "once" if job.attempts == 1 else f"{job.attempts} times in a row"
    message = f"The worker that ran it died {times}. See the log, then run it again."
    result = with_attempt_end(job, WORKER_DIED)
    Job.update(state="failed", ended=now(), lease=None, holder="", message=message, result=result).where(
        Job.id == job.id
    ).execute()


def with_attempt_end(job: Job, message: str) -> dict[str, Any]:
    """The row's result with how the run that began last ended, if that is not in it yet."""
    result: dict[str, Any] = {**job.result}
    began = result.pop("began", None)
    if began is not None:
        last = {"began": began, "ended": now().isoformat(), "message": message}
        result["tries"] = [*result.get("tries", []), last][-MAX_KEPT_ATTEMPTS:]
    return result


def held_by_run(job: Job) -> Any:
    """The condition that the row is still this run's."""
    return (Job.id == job.id) & (Job.holder == job.holder)
