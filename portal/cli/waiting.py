"""Waiting for a job's end on the command line."""

import time

from portal import jobs, progress
from portal.errors import Unreachable
from portal.models import Job

PAUSE = 0.1


def until_over(job_id: int, *, patience: float | None = None) -> Job:
    """The job's row once it is over. Raises Unreachable if no worker has taken it after `patience` seconds."""
    given_up = None if patience is None else time.monotonic() + patience
    while True:
        job = jobs.get(job_id)
        if job.state in progress.OVER:
            return job
        if given_up is not None and time.monotonic() > given_up:
            raise Unreachable(f"Job {job_id} is still {job.state} after {patience:.0f} s. Is `portal up` running?")
        time.sleep(PAUSE)
