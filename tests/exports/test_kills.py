"""kill -9 of the worker and of Valkey in the middle of exports: these end done by themselves, and nothing twice."""

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from portal.access.actors import Actor
from portal.exports import exports
from portal.jobs import jobs
from portal.models import Acquisition, Job, Storage
from portal.storage import storages
from tests.fixtures.work import Process, Valkey, add_copies, files_below, until

pytestmark = pytest.mark.counts_losses
TOTAL = 5000


def is_over(job_id: int) -> bool:
    return jobs.get(job_id).state in ("done", "errors", "failed", "cancelled")


def wait_for(job: Job, done: int, worker: Process) -> None:
    """Until the export has gone that far; it must not be over then, or nothing is proved."""
    until(lambda: jobs.get(job.id).done >= done, process=worker)
    assert not is_over(job.id)


def objects(folder: Path) -> dict[str, int]:
    """The whole objects that are there, each with the number of its file on the disk."""
    return {str(path.relative_to(folder)): path.stat().st_ino for path in folder.rglob("*.bin") if path.is_file()}


def check_that_it_is_whole(job: Job, digests: dict[str, str], folder: Path, earlier: dict[str, int]) -> None:
    job = jobs.get(job.id)
    assert (job.state, job.done, job.failed) == ("done", TOTAL, 0)
    there = files_below(folder)
    key = job.result["manifest"]["key"]
    assert hashlib.sha256((folder / key).read_bytes()).hexdigest() == job.result["manifest"]["sha256"]
    expected = {f"Trial/S-01/Visit 1/T1/{name}": digest for name, digest in digests.items()}
    assert {name: digest for name, digest in there.items() if name != key} == expected
    manifest = json.loads((folder / key).read_bytes())
    assert {item["key"]: item["sha256"] for item in manifest["items"]} == expected
    assert len(manifest["items"]) == manifest["counts"]["verified"] == TOTAL
    assert manifest["failed"] == []
    assert earlier.items() <= objects(folder).items()


@pytest.mark.first
def test_an_export_survives_the_worker_and_then_the_queue(
    acquisition: Acquisition, mirror: Storage, folder: Path, queue: Valkey, worker: Process, admin: Actor
) -> None:
    digests = add_copies(acquisition, TOTAL, admin)
    job = exports.start("lab/Trial", to="mirror", actor=admin)
    wait_for(job, 100, worker)
    worker.kill()
    first = objects(folder)
    worker.start()
    wait_for(job, len(first) + 100, worker)
    queue.kill()
    second = objects(folder)
    queue.start()
    until(lambda: is_over(job.id), process=worker)
    check_that_it_is_whole(job, digests, folder, first | second)


@pytest.mark.prove
def test_an_export_survives_worker_and_queue_at_once(
    acquisition: Acquisition, mirror: Storage, folder: Path, queue: Valkey, worker: Process, admin: Actor
) -> None:
    digests = add_copies(acquisition, TOTAL, admin)
    job = exports.start("lab/Trial", to="mirror", actor=admin)
    wait_for(job, 500, worker)
    queue.kill()
    worker.kill()
    earlier = objects(folder)
    worker.start()
    queue.start()
    until(lambda: is_over(job.id), process=worker)
    check_that_it_is_whole(job, digests, folder, earlier)


@pytest.mark.prove
@pytest.mark.timeout(3600)
def test_exports_survive_kills_at_random_moments(
    acquisition: Acquisition,
    folder: Path,
    queue: Valkey,
    worker: Process,
    admin: Actor,
    record_property: Callable[[str, object], None],
) -> None:
    digests = add_copies(acquisition, TOTAL, admin)
    for number in range(20):
        storages.add(f"mirror-{number}", "fs", path=str(folder / str(number)), actor=admin)
        job = exports.start("lab/Trial", to=f"mirror-{number}", actor=admin)
        wait_for(job, random.randrange(1, TOTAL - 500), worker)
        earlier = objects(folder / str(number))
        for victim in random.sample((queue, worker), k=random.choice((1, 2))):
            victim.kill()
            victim.start()
        until(lambda export=job.id: is_over(export), seconds=120, process=worker)
        check_that_it_is_whole(job, digests, folder / str(number), earlier)
    record_property("exports killed and whole", 20)
