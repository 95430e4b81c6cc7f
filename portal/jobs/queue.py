"""The queues of the job runner: RQ wakes, forks and stops runs; the rows of the jobs decide what is to run."""

import logging
import time
from datetime import datetime, timedelta
from pathlib import Path
from socket import gethostname
from typing import Any, Literal

from redis.exceptions import RedisError
from rq import Queue, Worker
from rq.exceptions import DuplicateJobError, NoSuchJobError
from rq.job import Job as QueuedJob
from rq.job import JobStatus
from rq.serializers import JSONSerializer
from rq.timeouts import JobTimeoutException

from portal import runtime
from portal.models import now

log = logging.getLogger(__name__)

Lane = Literal["short", "long"]
LANES: tuple[Lane, ...] = ("short", "long")
"""Each has workers of its own, so that a long job never holds up a short one."""
TimedOut = JobTimeoutException
"""What RQ raises in the middle of a run that takes longer than its kind may."""
FAILURE_TTL_SECONDS = 60
"""How long RQ keeps a run that raised; the job's row keeps how it ended."""
HEARTBEAT_TIMEOUT = timedelta(seconds=15)
"""A run or worker that RQ lists and that sends no heartbeat for this time is dead."""

SILENT_QUEUE_RETRY_SECONDS = 15.0
"""Seconds until a queue that did not answer is asked again how many workers it has."""
_silent: list[tuple[Any, float]] = []
"""The queue that did not answer last, and until when it is not asked."""


def lane_queue(lane: Lane) -> Queue:
    return Queue(f"portico-{lane}", connection=runtime.redis(), serializer=JSONSerializer)


def enqueue_function(function: str, job_id: int, lane: Lane, *, seconds: int = -1) -> None:
    """Have a worker of the lane run a function of `dimse_worker.jobs`, for at most so many seconds (-1: any).

    A lost queue is no failure of the request: the sweep enqueues again.
    """
    try:
        lane_queue(lane).enqueue_call(
            f"dimse_worker.jobs.{function}",
            args=(job_id,),
            timeout=seconds,
            result_ttl=0,
            failure_ttl=FAILURE_TTL_SECONDS,
            job_id=_name(job_id),
            unique=True,
        )
    except DuplicateJobError:
        log.debug("job %d is in the queue already", job_id)
    except RedisError as error:
        log.warning("job %d waits for the sweep: the queue does not answer (%s)", job_id, type(error).__name__)


def queued_names() -> set[str]:
    """RQ's names of what waits in the queues. Raises RedisError if there is no queue."""
    return {name for lane in LANES for name in lane_queue(lane).get_job_ids()}


def is_live(job_id: int, waiting: set[str]) -> bool:
    """Whether RQ will still run it, or does. A dead RQ job of that name is forgotten, so that it can be enqueued."""
    try:
        queued = QueuedJob.fetch(_name(job_id), connection=runtime.redis(), serializer=JSONSerializer)
    except NoSuchJobError:
        return False
    if queued.get_status() == JobStatus.QUEUED and queued.id in waiting:
        return True
    if queued.get_status() == JobStatus.STARTED and _beats(queued.last_heartbeat):
        return True
    # Not `queued.delete()`: RQ 3.0 raises there once an execution of a killed worker has expired.
    runtime.redis().delete(queued.key, queued.execution_registry.key)
    return False


def is_reachable() -> bool:
    """Whether the queue's server answers PING."""
    try:
        return bool(runtime.redis().ping())
    except RedisError:
        return False


def count_workers() -> int:
    """How many workers are alive according to the queue. Raises RedisError if there is no queue."""
    return len(Worker.all(connection=runtime.redis()))


def heartbeats() -> dict[int, datetime] | None:
    """The last heartbeat of each worker of this machine by its process id; None if there is no queue."""
    try:
        here = [worker for worker in Worker.all(connection=runtime.redis()) if worker.hostname == gethostname()]
    except RedisError:
        return None
    return {worker.pid: worker.last_heartbeat for worker in here if worker.pid and worker.last_heartbeat}


def silent_workers() -> list[int]:
    """Process ids of workers of this machine that run, but have sent no heartbeat for long.

    A killed worker stays in the queue for a minute or so; its process is gone, and another worker has its work.
    """
    return [pid for pid, beat in (heartbeats() or {}).items() if not _beats(beat) and Path(f"/proc/{pid}").exists()]


def count_lane_workers(lane: Lane) -> int | None:
    """How many workers take the jobs of a lane; None if there is no queue.

    A queue that did not answer is not asked again for some seconds: each page with a waiting job would wait for it.
    """
    server = runtime.redis()
    if any(asked is server and time.monotonic() < until for asked, until in _silent):
        return None
    try:
        return len(Worker.all(queue=lane_queue(lane)))
    except RedisError:
        _silent[:] = [(server, time.monotonic() + SILENT_QUEUE_RETRY_SECONDS)]
        return None


def _beats(beat: datetime | None) -> bool:
    """Whether the last heartbeat is recent. One from the future was sent before the clock was set back: a live worker
    sends the next one within seconds."""
    return beat is not None and abs(now() - beat) < HEARTBEAT_TIMEOUT


def _name(job_id: int) -> str:
    return f"job-{job_id}"
