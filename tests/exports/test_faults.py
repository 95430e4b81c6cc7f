"""A proxy that misbehaves between exports and their stores: these end done and true, or name what is missing."""

import hashlib
import itertools
import json
import os
import random
from collections.abc import Callable
from typing import Any

import pytest

from portal.access.actors import Actor
from portal.exports import exports
from portal.exports.request import DEFAULT_OPTIONS, Options
from portal.jobs import jobs, progress, runs
from portal.models import Acquisition, Job, JobItem, now
from portal.storage import storages
from tests.fixtures.faults import FAULTS, Faulty, a_promise, objects
from tests.fixtures.stores import SHORT_TIMEOUTS, Answer, Front, Place, Request
from tests.fixtures.work import add_copies, add_file

pytestmark = pytest.mark.xdist_group("stores")

S3 = ("juicefs", "moto", "rgw")
CLOUD = ("azurite", "fake-gcs")
LARGE = 9 << 20
"""Bytes of an object of two parts."""


def run(job: Job, place: Place) -> Job:
    """What workers do with an export until it is over, without its waits."""
    destination = place.open(job.params["to"], create_only=place.create_only, options={"timeouts": SHORT_TIMEOUTS})
    while True:
        Job.update(due=now()).where(Job.id == job.id).execute()
        runs.perform(job.id, lambda this: exports.run(this, destination=destination))
        job = jobs.get(job.id)
        if job.state in progress.ENDED_STATES:
            return job


def check_that_it_is_true(
    job: Job, place: Place, expected: dict[str, tuple[int, str]]
) -> tuple[set[str], dict[str, Any]]:
    """The store holds exactly what the manifest says, and the rest is named; returns the names of what failed."""
    prefix = job.params["to"]
    there = objects(place, prefix)
    assert job.state in ("done", "errors"), job.message
    manifest_key = job.result["manifest"]["key"].removeprefix(f"{prefix}/")
    manifest = json.loads(b"".join(place.open(prefix).read(manifest_key)))
    assert there.pop(manifest_key) == (job.result["manifest"]["size"], job.result["manifest"]["sha256"])
    verified = {item["key"].removeprefix(f"{prefix}/"): (item["size"], item["sha256"]) for item in manifest["items"]}
    failed = {item["key"].removeprefix(f"{prefix}/") for item in manifest["failed"]}
    whole = {key: content for key, content in there.items() if expected.get(key) == content}
    rows = {item.key: item.message for item in JobItem.select().where(JobItem.job == job, JobItem.state == "failed")}
    assert verified == whole, {key: rows[key] for key in whole.keys() - verified.keys()}
    assert failed == expected.keys() - whole.keys()
    assert rows.keys() == failed
    assert all(rows.values())
    assert (job.state, job.done, job.failed) == ("errors" if failed else "done", len(verified), len(failed))
    return failed, manifest


def fill(acquisition: Acquisition, number: int, admin: Actor) -> dict[str, tuple[int, str]]:
    """Many small objects and a large one; returns what of them is to arrive."""
    digests = add_copies(acquisition, number, admin)
    content = os.urandom(LARGE)
    add_file(acquisition, "large.bin", content, admin)
    expected = {name: (5000, digest) for name, digest in digests.items()}
    expected["large.bin"] = (LARGE, hashlib.sha256(content).hexdigest())
    return {f"Trial/S-01/Visit 1/T1/{name}": found for name, found in expected.items()}


def export(place: Place, admin: Actor, options: Options = DEFAULT_OPTIONS) -> Job:
    """Start an export of all to a new prefix there."""
    label = f"faults-{next(NUMBERS)}"
    row = storages.add(label, place.provider, prefix=label, secret=place.secret, actor=admin, **place.config)
    storages.record_test(row.id, state="degraded", message="Tested.", create_only=place.create_only)
    return exports.start("lab/Trial", to=label, actor=admin, options=options)


NUMBERS = itertools.count()


def go_through(
    faulty: Faulty, front: Front, place: Place, acquisition: Acquisition, admin: Actor, number: int = 2000
) -> tuple[Job, set[str]]:
    """Export objects through the front with its faults; returns the job as it ended, and what is missing."""
    expected = fill(acquisition, number - 1, admin)
    job = export(place.behind(front), admin)
    front.rule, front.breaks = faulty, faulty.breaks
    job = run(job, place.behind(front))
    failed, _manifest = check_that_it_is_true(job, place, expected)
    return job, failed


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("place", "number", "one_of"),
    [("juicefs", 2000, 20), *(pytest.param(name, 250, 5, marks=pytest.mark.prove) for name in CLOUD)],
    indirect=["place"],
)
def test_an_export_through_every_fault_is_true_and_names_exactly_what_is_missing(
    place: Place, number: int, one_of: int, acquisition: Acquisition, admin: Actor, make_front: Callable[..., Front]
) -> None:
    faulty = Faulty(seed(), one_of=one_of, never=number // 40)
    _job, failed = go_through(faulty, make_front(place), place, acquisition, admin, number)
    assert faulty.met.keys() >= FAULTS.keys()
    assert len(failed) < number // 10


@pytest.mark.parametrize("place", ["moto"], indirect=True)
def test_a_manifest_that_the_store_loses_in_the_last_run_for_objects_is_written_by_another(
    place: Place, acquisition: Acquisition, admin: Actor, make_front: Callable[..., Front]
) -> None:
    front = make_front(place)
    lost = {"manifest.json": 1, "0005.bin": 1000}

    def rule(request: Request) -> Answer | None:
        name = request.path.rpartition("/")[2]
        if request.method != "PUT" or not lost.get(name):
            return None
        lost[name] -= 1
        return a_promise(request)

    expected = fill(acquisition, 10, admin)
    job = export(place.behind(front), admin)
    front.rule = rule
    job = run(job, place.behind(front))
    failed, _manifest = check_that_it_is_true(job, place, expected)
    assert failed == {"Trial/S-01/Visit 1/T1/0005.bin"}
    assert lost["manifest.json"] == 0


def seed() -> int:
    """A new one each time; a failed test shows it."""
    chosen = random.randrange(1 << 32)
    print(f"seed {chosen}")  # noqa: T201 (pytest shows it where the test fails)
    return chosen


@pytest.mark.prove
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", [*FAULTS, "all"])
@pytest.mark.parametrize("place", [*S3, *CLOUD], indirect=True)
def test_an_export_of_2000_objects_through_one_fault_after_the_other(
    fault: str,
    place: Place,
    acquisition: Acquisition,
    admin: Actor,
    make_front: Callable[..., Front],
    record_property: Callable[[str, object], None],
) -> None:
    faults = tuple(FAULTS) if fault == "all" else (fault,)
    faulty = Faulty(chosen := seed(), one_of=10, faults=faults)
    job, failed = go_through(faulty, make_front(place), place, acquisition, admin)
    large = {"Trial/S-01/Visit 1/T1/large.bin"}
    assert failed >= large or place.keeps_parts
    if fault not in ("lie", "all"):
        assert failed <= large
        assert not failed or not (place.keeps_parts and place.resumes)
    record_property("seed", chosen)
    record_property("faults", sum(faulty.met.values()))
    record_property("ended", f"{job.state}, {job.done:,} whole, {job.failed:,} named")
