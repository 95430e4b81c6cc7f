"""Which run holds a job's row: a run claims and releases it, and the row keeps how each of the last runs ended."""

import os
import secrets
import socket
from typing import Any

from portal.jobs import leases
from portal.jobs.jobs import is_due
from portal.jobs.kinds import KINDS
from portal.jobs.records import JobResult
from portal.models import Job, now, writing

MAX_KEPT_ATTEMPTS = 20
"""Runs of which a job keeps how they ended."""
WORKER_DIED = "The worker that ran it died."


def claim(job_id: int) -> Job | None:
    """Take the row for this run. None: the job is not due, has ended, or is held by a live run."""
    with writing():
        job = Job.get_or_none(Job.id == job_id)
        if job is None:
            return None
        worker_died = job.state == "running" and not leases.is_live(job)
        if not worker_died and not (job.state == "waiting" and is_due(job.due, now())):
            return None
        if worker_died and job.attempts >= KINDS[job.kind].attempts:
            times = "once" if job.attempts == 1 else f"{job.attempts} times in a row"
            job.state, job.ended, job.lease, job.holder = "failed", now(), None, ""
            job.message = f"The worker that ran it died {times}. See the log, then run it again."
            job.result = with_attempt_end(job, WORKER_DIED)
            job.save()
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


def with_attempt_end(job: Job, message: str) -> dict[str, Any]:
    """The row's result with how the run that began last ended, unless it says so already."""
    result: dict[str, Any] = {**job.result}
    began = result.pop("began", None)
    if began is not None:
        ended_run = {"began": began, "ended": now().isoformat(), "message": message}
        result["tries"] = [*JobResult.load(result).ended_runs, ended_run][-MAX_KEPT_ATTEMPTS:]
    return result


def release(job: Job, ended_message: str = "", **columns: Any) -> None:
    """Give the row back with how this run ended, unless another run holds it.

    `ended_message` says how the run ended, where that is not the job's message. A job that is to wait but was cancelled
    in the last moment is cancelled.
    """
    with writing():
        if columns["state"] == "waiting" and Job.get_by_id(job.id).state == "cancelling":
            columns = {"state": "cancelled", "ended": now(), "message": cancelled_message(job)}
        job.result = columns.pop("result", job.result)
        ended_message = ended_message or columns.get("message", "Stopped with its process; another one continues.")
        result = with_attempt_end(job, ended_message)
        Job.update(lease=None, holder="", result=result, **columns).where(held_by_run(job)).execute()


def cancelled_message(job: Job) -> str:
    if not job.total:
        return "Cancelled."
    return f"Cancelled after {job.done:,} of {job.total:,}; completed items are kept."


def held_by_run(job: Job) -> Any:
    """The condition that the row is still this run's."""
    return (Job.id == job.id) & (Job.holder == job.holder)
