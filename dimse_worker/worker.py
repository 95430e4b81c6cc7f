"""The job runner: an RQ worker that forks one process for each job, sweeps the rows, and outlives its queue."""

import contextlib
import gc
import logging
import os
import signal
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

from peewee import DatabaseError
from redis.client import Pipeline
from redis.exceptions import RedisError
from rq import Queue, Worker
from rq.exceptions import StopRequested
from rq.executions import Execution
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer

import dimse_worker.jobs  # noqa: F401 (loaded once, not by each forked process)
from portal import parent_death, runtime, segment_checks
from portal.access import audit_anchors
from portal.dashboard import disk_usage, overview
from portal.exports import schedules
from portal.ingest import descriptions
from portal.jobs import queue as job_queue
from portal.jobs import runs, sweep
from portal.jobs.queue import Lane
from portal.maintenance import recovery
from portal.maintenance.retention import Retention
from portal.settings import Settings
from portal.storage import health
from portal.trash import trash
from portal.tree import container_sizes
from portal.verification import schedule as verification_schedule

log = logging.getLogger(__name__)

SWEEP_SECONDS = 10.0
ARCHIVE_SWEEP_SECONDS = 300.0
"""Between two sweeps of the archive, which recover what killed processes have left there."""
SEGMENT_CHECK_SECONDS = 3 * 3600.0
"""Between two checks that no segment is missing."""
MONITOR_SECONDS = 5
QUEUE_RETRY_SECONDS = 1.0
WORKER_TTL = 20


class JobWorker(Worker):
    """RQ's forking worker, with other defaults where RQ's do not fit.

    The sweep runs in the thread that forks, between forks, so that no database connection is open across a fork.
    """

    max_connection_wait_time = 2.0

    def __init__(self, lanes: Sequence[Lane]) -> None:
        super().__init__(
            [job_queue.lane_queue(lane) for lane in lanes],
            connection=runtime.redis(),
            serializer=JSONSerializer,
            worker_ttl=WORKER_TTL,
            job_monitoring_interval=MONITOR_SECONDS,
            maintenance_interval=MONITOR_SECONDS,
            log_job_description=False,
        )
        self.log_result_lifespan = False
        self._lanes = lanes
        self._retention = Retention()
        self.is_stopping = False
        self._swept = 0.0
        self._archive_swept = self._segments_checked = time.monotonic()

    def answer_signals(self) -> None:
        """Handle SIGTERM and SIGINT from now on. RQ does so only after it has registered the worker."""
        self._install_signal_handlers()  # type: ignore[no-untyped-call]

    def get_heartbeat_ttl(self, job: RqJob, working_time: float = 0.0) -> int:  # noqa: ARG002 (RQ calls it so)
        return MONITOR_SECONDS + 10

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Register again with a queue that has lost its data.

        RQ may have written a part of the worker's hash since then: only its state.
        """
        if pipeline is None and not self.connection.sismember(self.redis_workers_keys, self.key):
            self.connection.delete(self.key)
            self.register_birth()  # type: ignore[no-untyped-call]
        super().heartbeat(timeout, pipeline)

    @property
    def should_run_maintenance_tasks(self) -> bool:
        self._sweep()
        if self.is_stopping:  # the exception of the signal handler may have been caught by the code that ran then
            raise StopRequested
        return bool(super().should_run_maintenance_tasks)

    def maintain_heartbeats(self, job: RqJob, execution: Execution) -> None:
        """A lost queue does not end a run: the job's row is held by its lease, not by RQ."""
        with contextlib.suppress(RedisError):
            self.heartbeat()
            super().maintain_heartbeats(job, execution)
        self._sweep()

    def fork_work_horse(self, job: RqJob, queue: Queue) -> None:
        self._parent = os.getpid()
        super().fork_work_horse(job, queue)
        if self.is_stopping:
            self._interrupt_horse()

    def setup_work_horse_signals(self) -> None:
        """In the forked process: end with the worker, as an orphan would run beside its successor; stop on SIGTERM."""
        parent_death.die_with_parent(self._parent)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda _number, _frame: runs.interrupt())
        if self.is_stopping:  # the signal came between the fork and here
            runs.interrupt()

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Stop warm: the running job stops at its next step, and another worker continues it from there."""
        self.is_stopping = True
        self._interrupt_horse()
        with contextlib.suppress(RedisError):
            super().request_stop(signum, frame)  # type: ignore[no-untyped-call]
        if not self.horse_pid:  # RQ asks the queue first whether a job runs, and the queue may not answer
            raise StopRequested

    def teardown(self) -> None:
        """End all threads, also while the queue does not answer."""
        with contextlib.suppress(RedisError):
            super().teardown()  # type: ignore[no-untyped-call]
        thread: Any = self.pubsub_thread
        if thread:
            thread.stop()

    def _interrupt_horse(self) -> None:
        if self.horse_pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.horse_pid, signal.SIGTERM)

    def _sweep(self) -> None:
        if time.monotonic() - self._swept < SWEEP_SECONDS:
            return
        try:
            with runtime.connection():
                sweep.sweep()
                schedules.sweep()
                container_sizes.refresh()
                descriptions.refresh()
                health.enqueue_due_tests()
                if time.monotonic() - self._archive_swept >= ARCHIVE_SWEEP_SECONDS:
                    self._archive_swept = time.monotonic()
                    recovery.sweep()
                    trash.sweep()
                    audit_anchors.add_if_due()
                    verification_schedule.sweep()
                    if time.monotonic() - self._segments_checked > SEGMENT_CHECK_SECONDS:
                        self._segments_checked = time.monotonic()
                        segment_checks.check_all()
                overview.refresh()
                disk_usage.take_sample()
                if "short" in self._lanes:
                    self._retention.sweep()
        except (RedisError, DatabaseError) as error:
            log.warning("the sweep could not be done: %s", error)
        self._swept = time.monotonic()


def main(settings: Settings, lanes: Sequence[Lane]) -> None:
    """Run the jobs of some lanes until SIGTERM or SIGINT; waits for a queue that does not answer."""
    runtime.start(settings)
    gc.freeze()  # the collector of a forked process would look through all that is loaded here, and thereby copy it
    while not _work(lanes):
        time.sleep(QUEUE_RETRY_SECONDS)


def _work(lanes: Sequence[Lane]) -> bool:
    """Work until told to stop (True), or until the queue is lost (False)."""
    worker = None
    try:
        worker = JobWorker(lanes)
        worker.answer_signals()
        worker.work(logging_level="WARNING")
    except RedisError as error:
        log.warning("the queue does not answer (%s); waiting for it", type(error).__name__)
    except StopRequested:  # raised before RQ's loop, which would have cleaned up
        if worker is not None:
            worker.teardown()
        return True
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
    return worker is not None and worker.is_stopping
