"""Waiting for a job's end on the command line."""

import time

from portal import jobs, progress
from portal.cli.printing import complaint
from portal.errors import Unreachable
from portal.models import Job

PAUSE = 0.1
SLOW = 20.0


def until_over(job_id: int, *, patience: float | None = None) -> Job:
    """The job's row once it is over. Raises Unreachable if it is not after `patience` seconds; None: however long."""
    begun, warned = time.monotonic(), False
    while (job := jobs.get(job_id)).state not in progress.OVER:
        waited = time.monotonic() - begun
        if patience is not None and waited > patience:
            raise Unreachable(f"Job {job_id} is still {job.state} after {patience:.0f} s. Is `portal up` running?")
        if job.state == "waiting" and waited > SLOW and not warned:
            complaint(f"No worker has taken job {job_id} yet. Is `portal up` running?")
            warned = True
        time.sleep(PAUSE)
    return job
