"""Two lanes of jobs: no long job holds up a short one, and what waits says what it waits for."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portal.access.actors import Actor
from portal.cli.waiting import wait_for_job
from portal.errors import Unreachable
from portal.jobs import jobs, lanes, runs
from portal.jobs.kinds import KINDS
from portal.jobs.leases import LEASE
from portal.jobs.queue import SILENT_QUEUE_RETRY_SECONDS, count_lane_workers
from portal.jobs.runs import SHORTER_JOBS_FIRST, TURN_SECONDS, Run, RunEnd
from portal.models import Acquisition, Job, Storage, now, writing
from portal.peers import peers
from portal.settings import Settings
from portal.storage import storages
from portal.trash import trash
from tests.dimse_worker.test_worker import SLOWLY, a_long_job, is_over
from tests.fixtures.free_ports import free_port
from tests.fixtures.web import Visitor, text_of
from tests.fixtures.work import Process, Valkey, until, work_process
from tests.jobs.test_jobs import a_job


@pytest.fixture
def long_worker(site: Settings, queue: Valkey, tmp_path: Path) -> Iterator[Process]:
    process = work_process(site, tmp_path / "long.log", "--lane", "long")
    process.start()
    yield process
    process.stop()


@pytest.fixture
def short_worker(site: Settings, queue: Valkey, tmp_path: Path) -> Iterator[Process]:
    process = work_process(site, tmp_path / "short.log", "--lane", "short")
    process.start()
    yield process
    process.stop()


def running(kind: str = "export", **changes: Any) -> Job:
    return a_job(kind, state="running", holder="somebody", lease=LEASE, **changes)


def short_jobs(acquisition: Acquisition, mirror: Storage, actor: Actor) -> list[int]:
    """One of each kind of the short lane, asked for one after the other."""
    peers.register("Nobody", ae_title="NOBODY", host="127.0.0.1", port=free_port(), actor=actor)
    with writing():
        comparison = jobs.create("comparison", actor=actor, params={})
    jobs.enqueue(comparison)
    thrown = trash.move_to_trash("acquisition", acquisition.id, actor=actor)
    assert thrown.job is not None
    asked = [storages.request_test("mirror", actor=actor), peers.request_echo("Nobody", actor=actor)]
    return [comparison.id, thrown.job, *asked]


def test_a_full_short_lane_goes_on_beside_an_export_that_takes_hours(
    acquisition: Acquisition, mirror: Storage, long_worker: Process, short_worker: Process, admin: Actor
) -> None:
    export = a_long_job(acquisition, admin, SLOWLY)
    until(lambda: jobs.get(export.id).done > 0, process=long_worker)
    short = short_jobs(acquisition, mirror, admin)
    until(lambda: all(map(is_over, short)), process=short_worker)
    assert {KINDS[jobs.get(number).kind].lane for number in short} == {"short"}
    assert jobs.get(export.id).state == "running"


def test_a_worker_of_long_jobs_takes_no_short_one_and_the_job_says_that_nobody_does(
    mirror: Storage, long_worker: Process, admin: Actor
) -> None:
    until(lambda: count_lane_workers("long") == 1, process=long_worker)
    number = storages.request_test("mirror", actor=admin)
    assert lanes.wait_reason(jobs.get(number)) == "No worker for short jobs is running. Is `portal up` running?"
    assert lanes.wait_reason(a_job("export")) == "A worker takes it within seconds."
    assert lanes.wait_reason(a_job("export", due=now() + 2 * LEASE)) == ""


def test_what_waits_for_a_worker_says_which_job_has_it_and_how_many_are_ahead(
    long_worker: Process, visitor: Visitor
) -> None:
    until(lambda: count_lane_workers("long") == 1, process=long_worker)
    busy = running()
    first, second = a_job("import"), a_job("verification", what="of an export")
    waits = f"Waits for export {busy.id} to finish (1 of 1 long workers is busy)."
    assert lanes.wait_reasons([busy, first, second]) == {
        first.id: waits,
        second.id: f"{waits} 1 other job is ahead of it.",
    }
    assert waits in text_of(visitor.get(f"/jobs/{first.id}").text)
    assert f"{waits} 1 other job is ahead of it." in text_of(visitor.get("/jobs/").text)


def test_several_busy_workers_are_named_while_they_are_few(long_worker: Process) -> None:
    until(lambda: count_lane_workers("long") == 1, process=long_worker)
    for _ in range(2):
        running()
    assert "Waits for export 1 or export 2 to finish" in lanes.wait_reason(a_job())
    for _ in range(3):
        running("send")
    assert "Waits for one of 5 jobs to finish (1 of 1 long workers is busy). 1 other job" in lanes.wait_reason(a_job())


def test_a_command_that_waits_says_on_stderr_what_for(site: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    job = a_job("echo")
    with pytest.raises(Unreachable, match=r"Job 1 is still waiting after 1 s\. The queue .* does not answer\. Is"):
        wait_for_job(job.id, patience=1.2)
    assert capsys.readouterr().err == "Job 1: The queue (Valkey) does not answer. Is `portal up` running?\n"


def test_a_long_job_of_the_short_lane_lets_others_go_first_and_goes_on(
    site: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = a_job("trash", total=2)
    real = time.monotonic

    def work(run: Run) -> RunEnd:
        run.write(done=1)
        monkeypatch.setattr("portal.jobs.runs.time.monotonic", lambda: real() + TURN_SECONDS)
        a_job("echo")
        until(lambda: run._asked is not None)
        run.check()
        raise AssertionError("it went on")

    runs.perform(job.id, work, beat=0.02)
    left = jobs.get(job.id)
    assert (left.state, left.done, left.holder, left.message) == ("waiting", 1, "", SHORTER_JOBS_FIRST)
    assert "tries" not in left.result
    runs.perform(job.id, lambda _run: RunEnd(message="Done."))
    assert jobs.get(job.id).state == "done"


def test_a_queue_that_does_not_answer_is_not_asked_again_by_each_page(
    queue: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = a_job()
    queue.kill()
    assert lanes.wait_reason(job) == lanes.SILENT_QUEUE
    queue.start()
    assert lanes.wait_reason(job) == lanes.SILENT_QUEUE
    later = time.monotonic() + SILENT_QUEUE_RETRY_SECONDS
    monkeypatch.setattr("portal.jobs.queue.time.monotonic", lambda: later)
    assert lanes.wait_reason(job) == "No worker for long jobs is running. Is `portal up` running?"
