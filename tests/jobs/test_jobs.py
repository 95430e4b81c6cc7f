from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from portal import models, runtime
from portal.access.actors import Actor
from portal.errors import BadValue, Damaged, Missing, NotAllowed, Unreachable
from portal.jobs import jobs, leases, runs, sweep
from portal.jobs import queue as job_queue
from portal.jobs.kinds import KINDS
from portal.jobs.runs import Run, RunEnd
from portal.models import Audit, Job, now, writing
from portal.settings import Settings
from tests.fixtures.work import Valkey, until

SYSTEM = Actor(type="system", name="test", is_admin=True)


def a_job(kind: str = "export", **changes: Any) -> Job:
    """A job with changes to its row, in which a span of time is a moment so far from now, or a lease so long."""
    with writing():
        job = jobs.create(kind, actor=SYSTEM, params={}, what="something")
    if lease := changes.pop("lease", None):
        changes = leases.columns(lease) | changes
    if changes:
        moments = {name: now() + value for name, value in changes.items() if isinstance(value, timedelta)}
        Job.update(**changes | moments).where(Job.id == job.id).execute()
    return jobs.get(job.id)


def waiting(job: Job) -> list[str]:
    """RQ's queue, as far as this job is in it."""
    lane = KINDS[job.kind].lane
    return [name for name in job_queue.lane_queue(lane).get_job_ids() if name == f"job-{job.id}"]


def fail(error: Exception) -> Callable[[Run], RunEnd]:
    def work(_run: Run) -> RunEnd:
        raise error

    return work


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.runner])
def test_each_job_waits_in_the_lane_of_its_kind(kind: str, queue: Valkey) -> None:
    job = a_job(kind)
    jobs.enqueue(job)
    assert len(waiting(job)) == 1


def test_a_job_is_written_only_with_what_it_belongs_to(site: Settings) -> None:
    with pytest.raises(RuntimeError, match=r"inside models.writing"):
        jobs.create("export", actor=SYSTEM, params={})


def test_a_job_says_who_started_it_and_what_it_works_on(site: Settings, admin: Actor) -> None:
    with writing():
        job = jobs.create("export", actor=admin, params={"storage": 1}, what="lab/Trial to mirror", total=3)
    view = jobs.view(job)
    assert (view["label"], view["what"], view["started_by"]) == ("Export", "lab/Trial to mirror", "admin@site.example")
    assert (view["state"], view["total"], view["is_over"]) == ("waiting", 3, False)
    assert view["origin"] == {"type": "user", "id": "1", "via": "web"}


def test_a_lost_queue_fails_no_request_and_takes_no_time(site: Settings) -> None:
    jobs.enqueue(a_job())
    assert job_queue.is_reachable() is False


def test_ringing_twice_rings_once(queue: Valkey) -> None:
    job = a_job()
    jobs.enqueue(job)
    jobs.enqueue(job)
    assert len(waiting(job)) == 1


def test_the_queue_holds_nothing_but_the_number(queue: Valkey) -> None:
    job = a_job()
    jobs.enqueue(job)
    held = runtime.redis().hgetall(f"rq:job:job-{job.id}")
    assert held[b"description"] == f"dimse_worker.jobs.run_export({job.id})".encode()
    assert b"something" not in b"".join(held.values())


def test_the_sweep_rings_for_what_a_lost_queue_has_forgotten(queue: Valkey) -> None:
    job = a_job()
    jobs.enqueue(job)
    queue.kill()
    queue.start()
    assert waiting(job) == []
    assert sweep.sweep() == 1
    assert len(waiting(job)) == 1
    assert sweep.sweep() == 0
    assert len(waiting(job)) == 1


@pytest.mark.parametrize(
    ("changes", "rung"),
    [
        ({"state": "waiting"}, 1),
        ({"state": "waiting", "due": timedelta(minutes=10)}, 0),
        ({"state": "waiting", "due": timedelta(days=1)}, 1),  # the clock was set back
        ({"state": "running", "lease": timedelta(seconds=-1)}, 1),
        ({"state": "running", "lease": timedelta(minutes=5)}, 0),
        ({"state": "running", "lease": timedelta(days=1)}, 0),
        ({"state": "running", "lease": timedelta(days=1), "boot": "another"}, 1),
        ({"state": "running", "boot": "", "lease": None}, 1),  # as the release before left it
        ({"state": "done"}, 0),
        ({"state": "failed"}, 0),
        ({"state": "cancelled"}, 0),
    ],
)
def test_the_sweep_rings_for_each_due_row_and_for_no_other(changes: dict[str, Any], rung: int, queue: Valkey) -> None:
    job = a_job(**changes)
    assert sweep.sweep() == rung
    assert len(waiting(job)) == rung


@pytest.mark.parametrize(
    "changes",
    [
        {"due": timedelta(days=1)},
        {"state": "running", "holder": "dead", "lease": timedelta(days=1), "boot": "another", "attempts": 1},
    ],
)
def test_a_row_that_was_written_while_the_clock_was_ahead_is_run(changes: dict[str, Any], site: Settings) -> None:
    job = a_job(**changes)
    runs.perform(job.id, lambda _run: RunEnd(message="Done."))
    assert jobs.get(job.id).state == "done"


def test_the_sweep_ends_what_was_being_cancelled_when_its_run_died(queue: Valkey) -> None:
    job = a_job(state="cancelling", lease=timedelta(seconds=-1))
    sweep.sweep()
    assert jobs.get(job.id).state == "cancelled"


def test_the_sweep_fails_what_a_dead_listener_left(queue: Valkey) -> None:
    job = a_job("move")
    sweep.sweep()
    assert jobs.get(job.id).state == "running"
    Job.update(**leases.columns(timedelta(seconds=-1))).execute()
    sweep.sweep()
    assert (jobs.get(job.id).state, jobs.get(job.id).message) == ("failed", "The listener ended unexpectedly.")


def test_a_job_of_the_listener_runs_at_once_and_is_rung_for_by_nobody(queue: Valkey) -> None:
    job = a_job("get", total=4)
    jobs.enqueue(job)
    assert waiting(job) == []
    jobs.report_progress(job, done=3, failed=1, size=100)
    jobs.finish(job, "errors", "3 of 4 objects were sent.", failed_uids=["1.2.3"])
    job = jobs.get(job.id)
    assert (job.state, job.done, job.failed, job.bytes) == ("errors", 3, 1, 100)
    assert job.result == {"failed_uids": ["1.2.3"]}


def test_a_run_ends_its_job_in_a_sentence(site: Settings) -> None:
    job = a_job()
    runs.perform(job.id, lambda _run: RunEnd(message="Good.", result={"number": 1}))
    job = jobs.get(job.id)
    assert (job.state, job.message, job.result["number"], job.lease) == ("done", "Good.", 1, None)
    assert job.started <= job.ended


@pytest.mark.parametrize("state", ["done", "failed", "cancelled", "cancelling"])
def test_a_job_that_is_over_is_not_run_again(state: str, site: Settings) -> None:
    job = a_job(state=state)
    runs.perform(job.id, fail(AssertionError("it ran")))
    assert jobs.get(job.id).state == state


def test_a_job_that_another_run_holds_is_not_run_beside_it(site: Settings) -> None:
    job = a_job(state="running", holder="other", lease=timedelta(hours=1))
    runs.perform(job.id, fail(AssertionError("it ran")))
    assert jobs.get(job.id).holder == "other"


def test_a_job_that_is_no_more_is_not_run(site: Settings) -> None:
    runs.perform(4711, fail(AssertionError("it ran")))


def test_what_may_pass_is_tried_again_later_and_later(site: Settings) -> None:
    job = a_job()
    waits = []
    for attempt in range(1, 8):
        Job.update(due=now()).execute()
        runs.perform(job.id, fail(Unreachable("The storage does not answer.")))
        job = jobs.get(job.id)
        assert job.state == "waiting"
        assert job.message.startswith(f"The storage does not answer. Attempt {attempt} of 8; the next one in ")
        waits.append(round((job.due - now()).total_seconds()))
    assert waits == [10, 20, 40, 80, 160, 320, 600]
    Job.update(due=now()).execute()
    runs.perform(job.id, fail(Unreachable("The storage does not answer.")))
    job = jobs.get(job.id)
    assert (job.state, job.message) == ("failed", "The storage does not answer. Given up after 8 attempts.")


def test_progress_forgives_earlier_attempts(site: Settings) -> None:
    job = a_job(attempts=6)

    def work(run: Run) -> RunEnd:
        run.write(done=1)
        raise Unreachable("It went away.")

    runs.perform(job.id, work)
    assert jobs.get(job.id).message == "It went away. Attempt 1 of 8; the next one in 10 s."


def test_what_is_permanent_fails_at_once(site: Settings) -> None:
    job = a_job()
    runs.perform(job.id, fail(Damaged("It is broken.")))
    assert (jobs.get(job.id).state, jobs.get(job.id).message) == ("failed", "It is broken.")


def test_a_defect_of_ours_fails_the_job_and_is_not_swallowed(site: Settings) -> None:
    job = a_job()
    with pytest.raises(ZeroDivisionError):
        runs.perform(job.id, fail(ZeroDivisionError("secret detail")))
    job = jobs.get(job.id)
    assert (job.state, job.message) == (
        "failed",
        "It failed because of a defect in Portico (ZeroDivisionError). See the log.",
    )


def test_a_run_that_takes_too_long_says_so(site: Settings) -> None:
    job = a_job("echo")
    runs.perform(job.id, fail(job_queue.TimedOut("RQ's words")))
    assert jobs.get(job.id).message == "It exceeded its time limit. Run it again."


def test_a_job_whose_runs_die_without_a_word_is_given_up(site: Settings) -> None:
    job = a_job("echo", state="running", attempts=1, holder="dead", lease=timedelta(seconds=-1))
    runs.perform(job.id, fail(AssertionError("it ran")))
    job = jobs.get(job.id)
    assert (job.state, job.message) == ("failed", "The worker that ran it died once. See the log, then run it again.")


def test_a_run_that_comes_back_late_writes_nothing(site: Settings) -> None:
    job = a_job()

    def work(run: Run) -> RunEnd:
        Job.update(holder="another").execute()
        run.write(done=1)
        raise AssertionError("it went on")

    runs.perform(job.id, work)
    job = jobs.get(job.id)
    assert (job.state, job.done, job.holder) == ("running", 0, "another")


def test_a_run_that_has_lost_its_row_does_not_end_the_job(site: Settings) -> None:
    job = a_job()

    def work(_run: Run) -> RunEnd:
        Job.update(holder="another").execute()
        return RunEnd(message="Done.")

    runs.perform(job.id, work)
    assert jobs.get(job.id).state == "running"


def test_a_waiting_job_is_cancelled_at_once(site: Settings, admin: Actor) -> None:
    job = jobs.cancel(a_job().id, actor=admin)
    assert (job.state, job.message) == ("cancelled", "Cancelled by admin@site.example before it began.")
    assert Audit.get(Audit.action == "job:cancelled").target_id == str(job.id)


def test_a_running_job_is_cancelled_when_its_run_looks(site: Settings, admin: Actor) -> None:
    job = a_job(total=10)

    def work(run: Run) -> RunEnd:
        run.write(done=4)
        jobs.cancel(job.id, actor=admin)
        jobs.cancel(job.id, actor=admin)
        while True:
            run.check()

    runs.perform(job.id, work)
    cancelled = jobs.get(job.id)
    assert (cancelled.state, cancelled.message) == ("cancelled", "Cancelled after 4 of 10; completed items are kept.")
    assert Audit.select().where(Audit.action == "job:cancelled").count() == 1


def test_what_is_over_is_not_cancelled(site: Settings, admin: Actor) -> None:
    with pytest.raises(BadValue, match="has ended already"):
        jobs.cancel(a_job(state="done").id, actor=admin)
    with pytest.raises(BadValue, match="the peer ends it"):
        jobs.cancel(a_job("move").id, actor=admin)
    with pytest.raises(Missing, match="There is no job 4711"):
        jobs.cancel(4711, actor=admin)


def test_a_failed_job_is_run_again_and_a_good_one_is_not(site: Settings, admin: Actor) -> None:
    job = jobs.retry(a_job(state="failed", attempts=8).id, actor=admin)
    assert (job.state, job.attempts) == ("waiting", 0)
    for state in ("done", "waiting", "running"):
        with pytest.raises(BadValue, match="only one that failed or was cancelled"):
            jobs.retry(a_job(state=state).id, actor=admin)


def test_only_an_admin_cancels_and_retries(site: Settings) -> None:
    other = Actor(type="user", id="2", name="b@site.example")
    with pytest.raises(NotAllowed):
        jobs.cancel(a_job().id, actor=other)
    with pytest.raises(NotAllowed):
        jobs.retry(a_job(state="failed").id, actor=other)


def test_jobs_are_listed_newest_first_in_parts_and_by_state_and_words(site: Settings) -> None:
    for state in ("waiting", "running", "done", "failed"):
        a_job(state=state, message=f"It is {state} 100% sure")
    assert [job.state for job in jobs.list_recent()] == ["failed", "done", "running", "waiting"]
    assert [job.state for job in jobs.list_recent(limit=2)] == ["failed", "done"]
    assert [job.state for job in jobs.list_recent(limit=2, before=jobs.list_recent(limit=2)[-1].id)] == [
        "running",
        "waiting",
    ]
    assert [job.state for job in jobs.list_recent(state="active")] == ["running", "waiting"]
    assert [job.state for job in jobs.list_recent(search="something is DONE")] == ["done"]
    assert jobs.list_recent(search="nothing") == []
    assert jobs.list_recent(search="%_%") == []
    assert jobs.queue_lengths() == {"waiting": 1, "running": 1}


def test_the_time_left_follows_from_the_row(site: Settings) -> None:
    job = a_job(state="running", bytes=100_000, result={"bytes": 300_000}, started=now() - timedelta(seconds=1000))
    view = jobs.view(job)
    assert (view["rate"], view["seconds_left"]) == (100, 2000)
    assert jobs.view(a_job())["seconds_left"] is None


def test_a_lease_is_renewed_while_the_work_goes_on(site: Settings) -> None:
    job = a_job()

    def work(run: Run) -> RunEnd:
        until(lambda: jobs.get(job.id).lease > run.job.lease)
        return RunEnd(message="Done.")

    runs.perform(job.id, work)
    assert jobs.get(job.id).state == "done"
    assert models.database.obj.is_closed() is False
