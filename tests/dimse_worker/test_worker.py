import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from portal import runtime
from portal.access.actors import Actor
from portal.exports import exports
from portal.exports.request import Options
from portal.jobs import jobs
from portal.jobs import queue as job_queue
from portal.models import Acquisition, Job, Storage, writing
from portal.settings import Settings
from portal.storage import storages
from tests.fixtures.process_tree import children
from tests.fixtures.work import Process, Valkey, add_copies, until, work_process


def is_over(job_id: int) -> bool:
    return jobs.view(jobs.get(job_id))["is_over"] is True


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


SLOWLY = "100 kB"
"""A second, of the 10 MB of a long job: by itself it does not end while a test waits."""


def a_long_job(acquisition: Acquisition, admin: Actor, bandwidth: str = "", number: int = 2000) -> Job:
    """An export of many objects of 5 kB."""
    add_copies(acquisition, number, admin)
    return exports.start("lab/Trial", to="mirror", actor=admin, options=Options(bandwidth=bandwidth))


def test_a_storage_is_tested_step_by_step(mirror: Storage, folder: Path, worker: Process, admin: Actor) -> None:
    number = storages.request_test("mirror", actor=admin)
    until(lambda: is_over(number), process=worker)
    job = jobs.get(number)
    steps = job.result["steps"]
    assert [(step["name"], step["state"]) for step in steps] == [
        ("Folder allowed", "ok"),
        ("Folder found", "ok"),
        ("Listed", "ok"),
        ("Test object written", "ok"),
        ("Read back", "ok"),
        ("Overwriting refused", "ok"),
        ("Deleted", "ok"),
    ]
    assert all(step["message"] and step["ms"] is not None for step in steps)
    assert (job.state, job.done, job.total) == ("done", 7, 7)
    assert storages.view(storages.get("mirror"))["state"] == "ok"
    assert list(folder.iterdir()) == []


def test_a_test_stops_at_the_first_failure_and_names_it(
    mirror: Storage, folder: Path, worker: Process, admin: Actor
) -> None:
    folder.rmdir()
    number = storages.request_test("mirror", actor=admin)
    until(lambda: is_over(number), process=worker)
    job = jobs.get(number)
    assert [step["state"] for step in job.result["steps"]] == ["ok", "bad", "off", "off", "off", "off", "off"]
    assert job.state == "failed"
    assert (
        job.message
        == f"Folder found: The folder {folder} does not exist. Mount its disk or create it, then test again."
    )
    row = storages.get("mirror")
    assert (row.state, row.message) == ("failed", job.message)
    assert row.since is not None


def test_a_storage_for_import_is_only_read(folder: Path, worker: Process, admin: Actor) -> None:
    storages.add("inbox", "fs", path=str(folder), mode="import", actor=admin)
    folder.chmod(0o500)
    number = storages.request_test("inbox", actor=admin)
    until(lambda: is_over(number), process=worker)
    assert [step["state"] for step in jobs.get(number).result["steps"]] == ["ok", "ok", "ok", *["skip"] * 4]
    assert storages.get("inbox").state == "ok"


def test_a_worker_waits_for_a_queue_that_is_not_there_yet(
    site: Settings, mirror: Storage, queue: Valkey, tmp_path: Path, admin: Actor
) -> None:
    queue.kill()
    process = work_process(site, tmp_path / "work.log")
    process.start()
    number = storages.request_test("mirror", actor=admin)
    until(lambda: "waiting for it" in process.said(), process=process)
    queue.start()
    until(lambda: is_over(number), process=process)
    process.stop()


def test_a_worker_outlives_its_queue_and_rings_for_itself(
    mirror: Storage, queue: Valkey, worker: Process, admin: Actor
) -> None:
    first = storages.request_test("mirror", actor=admin)
    until(lambda: is_over(first), process=worker)
    queue.kill()
    second = storages.request_test("mirror", actor=admin)
    queue.start()
    until(lambda: is_over(second), process=worker)
    until(lambda: job_queue.count_workers() == 1, process=worker)
    assert jobs.get(second).state == "done"


def test_a_worker_of_which_the_queue_knows_half_registers_again(worker: Process) -> None:
    until(lambda: job_queue.count_workers() == 1, process=worker)
    (key,) = runtime.redis().smembers("rq:workers")
    runtime.redis().flushall()
    runtime.redis().hset(key, "state", "busy")
    until(lambda: job_queue.count_workers() == 1, process=worker)
    assert runtime.redis().hexists(key, "birth")


def test_sigterm_stops_a_worker_that_waits(worker: Process) -> None:
    until(lambda: job_queue.count_workers() == 1, process=worker)
    worker.send(signal.SIGTERM)
    assert worker.wait(15) == 0


def test_sigterm_stops_a_worker_in_the_middle_and_another_one_goes_on(
    site: Settings, acquisition: Acquisition, mirror: Storage, worker: Process, tmp_path: Path, admin: Actor
) -> None:
    job = a_long_job(acquisition, admin, number=10_000)
    until(lambda: jobs.get(job.id).done > 0, process=worker)
    worker.send(signal.SIGTERM)
    assert worker.wait(10) == 0
    stopped = jobs.get(job.id)
    assert (stopped.state, stopped.lease, stopped.holder) == ("waiting", None, "")
    assert 0 < stopped.done < stopped.total
    successor = work_process(site, tmp_path / "second.log")
    successor.start()
    until(lambda: is_over(job.id), process=successor)
    successor.stop()
    assert jobs.get(job.id).message == "10,000 objects exported and verified."


def test_a_running_export_is_cancelled_within_seconds(
    acquisition: Acquisition, mirror: Storage, folder: Path, worker: Process, admin: Actor
) -> None:
    job = a_long_job(acquisition, admin, SLOWLY)
    until(lambda: jobs.get(job.id).done > 0, process=worker)
    jobs.cancel(job.id, actor=admin)
    until(lambda: is_over(job.id), seconds=20, process=worker)
    job = jobs.get(job.id)
    assert job.state == "cancelled"
    there = [path for path in folder.rglob("*") if path.is_file()]
    assert len(there) == job.done < job.total
    assert job.message == f"Cancelled after {job.done:,} of 2,000; completed items are kept."


def test_no_work_horse_outlives_its_worker(
    acquisition: Acquisition, mirror: Storage, worker: Process, admin: Actor
) -> None:
    job = a_long_job(acquisition, admin, SLOWLY)
    until(lambda: jobs.get(job.id).done > 0, process=worker)
    horses = children(worker.pid)
    assert len(horses) == 1
    worker.kill()
    until(lambda: not is_alive(horses[0]), seconds=5)


@pytest.mark.first
def test_a_work_horse_that_is_killed_costs_its_lease_and_nothing_else(
    acquisition: Acquisition, mirror: Storage, worker: Process, admin: Actor
) -> None:
    job = a_long_job(acquisition, admin, number=10_000)
    until(lambda: jobs.get(job.id).done > 0, process=worker)
    os.kill(children(worker.pid)[0], signal.SIGKILL)
    until(lambda: is_over(job.id), process=worker)
    assert (jobs.get(job.id).state, jobs.get(job.id).done) == ("done", 10_000)


def test_a_job_that_nobody_rang_for_is_found_by_the_sweep(mirror: Storage, worker: Process, admin: Actor) -> None:
    with writing():
        job = jobs.create("storage_test", actor=admin, params={"storage": mirror.id})
    until(lambda: is_over(job.id), process=worker)
    assert jobs.get(job.id).state == "done"


def test_a_worker_has_loaded_what_jobs_need_before_it_forks_and_no_thread_runs_then() -> None:
    program = (
        "import dimse_worker.worker, os, sys\n"
        "print('dimse_worker.jobs' in sys.modules, 'numpy' in sys.modules, os.listdir('/proc/self/task'))"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS")}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        assert process.stdout.read().strip() == f"True True ['{process.pid}']"
