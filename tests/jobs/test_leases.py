"""Leases of jobs: who holds a row, whatever the clock says, and what a run does that was stopped for too long."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from rq.job import Job as QueuedJob
from rq.job import JobStatus
from rq.serializers import JSONSerializer

from portal import models, runtime
from portal.jobs import claims, jobs, leases, runs, sweep
from portal.jobs import queue as job_queue
from portal.jobs.leases import LEASE, LISTENER_LEASE
from portal.jobs.runs import Run, RunEnd
from portal.models import Job
from portal.settings import Settings
from tests.fixtures.work import Valkey
from tests.jobs.test_jobs import a_job

HALF_AN_HOUR = timedelta(minutes=30)
NEVER = 1000.0
Later = Callable[[timedelta], None]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Later:
    """Lets time go by since boot."""
    real = leases.milliseconds_since_boot

    def go(span: timedelta) -> None:
        monkeypatch.setattr(leases, "milliseconds_since_boot", lambda: real() + round(span / timedelta(milliseconds=1)))

    return go


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Later:
    """Sets the wall clock ahead, or back."""

    def turn(span: timedelta) -> None:
        for module in (jobs, sweep, claims, runs, job_queue):
            monkeypatch.setattr(module, "now", lambda: models.now() + span)

    return turn


def taken_by_a_worker(kind: str = "export") -> Job:
    """A job that a worker has begun to run."""
    job = a_job(kind)
    jobs.enqueue(job)
    assert claims.claim(job.id) is not None
    queued = QueuedJob.fetch(f"job-{job.id}", connection=runtime.redis(), serializer=JSONSerializer)
    job_queue.lane_queue("long").remove(queued)
    queued.set_status(JobStatus.STARTED)
    queued.heartbeat(models.now(), ttl=60)
    return job


@pytest.mark.parametrize("jump", [-HALF_AN_HOUR, timedelta(0), HALF_AN_HOUR])
def test_a_job_whose_worker_died_goes_on_after_its_lease_wherever_the_clock_went(
    jump: timedelta, queue: Valkey, set_clock: Later, later: Later
) -> None:
    job = taken_by_a_worker()
    set_clock(jump)
    assert sweep.sweep() == 0
    runs.perform(job.id, lambda _run: RunEnd(message="It ran beside the first."))
    assert jobs.get(job.id).state == "running"

    later(LEASE)
    if not jump:
        set_clock(LEASE)  # by which time RQ has heard nothing either
    assert sweep.sweep() == 1
    runs.perform(job.id, lambda _run: RunEnd(message="Done."))
    assert jobs.get(job.id).message == "Done."


def test_what_ran_before_a_restart_of_the_machine_goes_on_at_once(
    queue: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = a_job(state="running", holder="before", lease=LEASE)
    assert sweep.sweep() == 0
    monkeypatch.setattr(leases, "boot_id", lambda: "the next one")
    assert sweep.sweep() == 1
    runs.perform(job.id, lambda _run: RunEnd(message="Done."))
    assert jobs.get(job.id).state == "done"


def test_a_retrieval_of_a_listener_that_died_ends_wherever_the_clock_went(
    queue: Valkey, set_clock: Later, later: Later
) -> None:
    job = a_job("move")
    set_clock(-HALF_AN_HOUR)
    sweep.sweep()
    assert jobs.get(job.id).state == "running"
    later(LISTENER_LEASE)
    sweep.sweep()
    assert jobs.get(job.id).state == "failed"


def test_a_job_that_was_asked_for_before_the_clock_was_set_back_does_not_wait_for_that_moment(
    queue: Valkey, set_clock: Later
) -> None:
    job = a_job()
    set_clock(-HALF_AN_HOUR)
    assert sweep.sweep() == 1
    runs.perform(job.id, lambda _run: RunEnd(message="Done."))
    assert jobs.get(job.id).state == "done"


def test_a_run_that_was_stopped_for_longer_than_its_lease_sees_before_its_next_step_that_another_has_the_job(
    site: Settings, later: Later
) -> None:
    job = a_job()
    steps = []

    def work(run: Run) -> RunEnd:
        run.check()
        later(LEASE)
        assert claims.claim(job.id) is not None
        run.check()
        steps.append("it went on")
        return RunEnd(message="Done twice.")

    runs.perform(job.id, work, beat=NEVER)
    assert steps == []
    assert (jobs.get(job.id).state, jobs.get(job.id).message) == ("running", "")


def test_a_run_that_was_stopped_for_long_goes_on_where_nobody_has_taken_its_job(site: Settings, later: Later) -> None:
    job = a_job()

    def work(run: Run) -> RunEnd:
        later(LEASE)
        run.check()
        run.write(done=1)
        assert leases.is_live(jobs.get(job.id))
        return RunEnd(message="Done.")

    runs.perform(job.id, work, beat=NEVER)
    assert jobs.get(job.id).state == "done"
