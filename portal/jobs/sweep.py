"""The sweep of jobs: it enqueues each due row, and ends what no run will end."""

from portal.jobs import leases, queue
from portal.jobs.jobs import enqueue, is_due
from portal.models import Job, now, writing

MAX_ENQUEUED_JOBS = 1000
"""Rows that one sweep enqueues; the next one takes the next."""


def sweep() -> int:
    """Enqueue each due row without a live RQ job, and end what no run will end; returns how many were enqueued.

    The one mechanism for start-up, retries with back-off and a lost queue. Raises RedisError if there is no queue.
    """
    _end_abandoned()
    queued = queue.queued_names()
    waits = (Job.state == "waiting") & is_due(Job.due, now())
    abandoned = (Job.state == "running") & leases.expired()
    due = Job.select().where(Job.runner == "worker", waits | abandoned).order_by(Job.due).limit(MAX_ENQUEUED_JOBS)
    enqueued = 0
    for job in list(due):
        if not queue.is_live(job.id, queued):
            enqueue(job)
            enqueued += 1
    return enqueued


def _end_abandoned() -> None:
    """End runs that died while they were being cancelled, and jobs of a listener that died."""
    moment = now()
    silent = leases.expired()
    with writing():
        Job.update(state="cancelled", ended=moment, lease=None, message="Cancelled.").where(
            Job.state == "cancelling", silent
        ).execute()
        Job.update(state="failed", ended=moment, lease=None, message="The listener ended unexpectedly.").where(
            Job.runner == "listener", Job.state == "running", silent
        ).execute()
