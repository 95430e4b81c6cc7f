"""The sweep of jobs: each due row is in the queue, and what nobody will end has ended."""

from collections.abc import Sequence

from portal.jobs import leases, queue
from portal.jobs.jobs import enqueue, is_due
from portal.models import Job, now, writing

MAX_ENQUEUED_JOBS = 1000
"""Rows that one sweep rings for; the next one takes the next."""


def sweep() -> int:
    """Ring for each due row without a live RQ job, and end what nobody will end; returns how many were rung.

    The one mechanism for start-up, retries with back-off and a lost queue. Raises RedisError if there is no queue.
    """
    _end_abandoned()
    waiting = queue.queued_names()
    rung = 0
    for job in _due():
        if not queue.is_live(job.id, waiting):
            enqueue(job)
            rung += 1
    return rung


def _due() -> Sequence[Job]:
    moment = now()
    waits = (Job.state == "waiting") & is_due(Job.due, moment)
    abandoned = (Job.state == "running") & leases.expired()
    return list(
        Job.select().where(Job.runner == "worker", waits | abandoned).order_by(Job.due).limit(MAX_ENQUEUED_JOBS)
    )


def _end_abandoned() -> None:
    """A run that died while it was being cancelled, and what a dead listener left behind."""
    moment = now()
    silent = leases.expired()
    with writing():
        Job.update(state="cancelled", ended=moment, lease=None, message="Cancelled.").where(
            Job.state == "cancelling", silent
        ).execute()
        Job.update(state="failed", ended=moment, lease=None, message="The listener ended unexpectedly.").where(
            Job.runner == "listener", Job.state == "running", silent
        ).execute()
