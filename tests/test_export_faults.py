"""A proxy that misbehaves between exports and their stores: these end done and true, or name what is missing."""

import hashlib
import itertools
import json
import os
import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import boto3
import pytest
from store_fixtures import *  # noqa: F403  (fixtures)
from store_fixtures import ACCESS_KEY, SECRET, SHORT, Answer, Front, Place, Request
from work_fixtures import *  # noqa: F403  (fixtures)
from work_fixtures import add_copies, add_file

from portal import exports, jobs, progress, runs
from portal.export_orders import USUAL, Options
from portal.models import Acquisition, Job, JobItem, now
from portal.provenance import Actor
from portal.storage import storages

pytestmark = pytest.mark.xdist_group("stores")

S3 = ("juicefs", "moto", "rgw")
LARGE = 9 << 20
"""Bytes of an object of two parts."""
FAULTS: dict[str, tuple[str, ...]] = {
    "break": ("PUT",),
    "cut": ("GET", "HEAD", "PUT", "POST", "DELETE"),
    "lose": ("GET", "HEAD", "PUT", "POST", "DELETE"),
    "half": ("GET",),
    "late": ("GET", "HEAD", "PUT", "POST", "DELETE"),
    "500": ("GET", "HEAD", "PUT", "POST", "DELETE"),
    "503": ("GET", "HEAD", "PUT", "POST", "DELETE"),
    "lie": ("PUT",),
}
"""Each fault, and the requests that meet it."""


class Faulty:
    """Chooses faults by a seed, for each request by what it asks for: the order of threads changes nothing.

    With the fault "lie", some objects are never stored, though the answer is yes each time.
    """

    def __init__(self, seed: int, *, one_of: int = 20, faults: tuple[str, ...] = tuple(FAULTS)) -> None:
        self._seed = seed
        self._one_of = one_of
        self._faults = faults
        self._lock = threading.Lock()
        self._times: Counter[tuple[str, str]] = Counter()
        self.met: Counter[str] = Counter()

    def __call__(self, request: Request) -> Answer | str | None:
        fault = self._choose(request.method, request.path)
        if fault == "lie" or self.is_never_stored(request):
            return Answer(200, headers={"ETag": '"1"'})
        if fault == "500":
            return Answer(500, b"<Error><Code>InternalError</Code></Error>")
        if fault == "503":
            return Answer(503, b"<Error><Code>SlowDown</Code></Error>", {"Retry-After": "1"})
        return fault or None

    def breaks(self, method: str, path: str) -> bool:
        return self._choose(method, f"break {path}") == "break"

    def is_never_stored(self, request: Request) -> bool:
        is_candidate = "lie" in self._faults and request.method == "PUT" and "5.bin" in request.path
        return is_candidate and random.Random(f"{self._seed} {request.path}").randrange(50) == 0

    def _choose(self, method: str, path: str) -> str:
        with self._lock:
            self._times[method, path] += 1
            chance = random.Random(f"{self._seed} {method} {path} {self._times[method, path]}")
            if chance.randrange(self._one_of):
                return ""
            is_break = path.startswith("break ")
            fitting = [name for name in self._faults if method in FAULTS[name] and (name == "break") == is_break]
            fault = chance.choice(fitting) if fitting else ""
            self.met[fault or "none"] += 1
            return fault


def objects(place: Place, prefix: str) -> dict[str, tuple[int, str]]:
    """Size and SHA-256 of each object that lies there, read by another client and around the proxy."""
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
    with closing(boto3.client("s3", endpoint_url=place.config["endpoint"], **keys)) as client:

        def content(key: str) -> tuple[int, str]:
            with closing(client.get_object(Bucket="bucket", Key=key)["Body"]) as body:
                found = body.read()
            return len(found), hashlib.sha256(found).hexdigest()

        pages = client.get_paginator("list_objects_v2").paginate(Bucket="bucket", Prefix=f"{prefix}/")
        found = [entry["Key"].removeprefix(f"{prefix}/") for page in pages for entry in page.get("Contents", ())]
        with ThreadPoolExecutor(4) as pool:
            return dict(zip(found, pool.map(content, (f"{prefix}/{key}" for key in found)), strict=True))


def run(job: Job, place: Place) -> Job:
    """What workers do with an export until it is over, without its waits."""
    destination = place.open(job.params["to"], create_only=place.create_only, options={"limits": SHORT})
    while True:
        Job.update(due=now()).where(Job.id == job.id).execute()
        runs.perform(job.id, lambda this: exports.run(this, destination=destination))
        job = jobs.get(job.id)
        if job.state in progress.OVER:
            return job


def check_that_it_is_true(
    job: Job, place: Place, expected: dict[str, tuple[int, str]]
) -> tuple[set[str], dict[str, Any]]:
    """The store holds exactly what the manifest says, and the rest is named; returns the names of what failed."""
    prefix = job.params["to"]
    there = objects(place, prefix)
    assert job.state in ("done", "errors"), job.sentence
    manifest_key = job.result["manifest"]["key"].removeprefix(f"{prefix}/")
    manifest = json.loads(b"".join(place.open(prefix).read(manifest_key)))
    assert there.pop(manifest_key) == (job.result["manifest"]["size"], job.result["manifest"]["sha256"])
    verified = {item["key"].removeprefix(f"{prefix}/"): (item["size"], item["sha256"]) for item in manifest["items"]}
    failed = {item["key"].removeprefix(f"{prefix}/") for item in manifest["failed"]}
    whole = {key: content for key, content in there.items() if expected.get(key) == content}
    assert verified == whole
    assert failed == expected.keys() - whole.keys()
    rows = {item.key: item.sentence for item in JobItem.select().where(JobItem.job == job, JobItem.state == "failed")}
    assert rows.keys() == failed
    assert all(rows.values())
    assert (job.state, job.done, job.failed) == ("errors" if failed else "done", len(verified), len(failed))
    return failed, manifest


def export(
    place: Place, number: int, acquisition: Acquisition, admin: Actor, fronted: Place, options: Options = USUAL
) -> tuple[Job, Any]:
    """Start an export of many small objects and a large one; returns the job, and what is to arrive."""
    digests = add_copies(acquisition, number, admin)
    content = os.urandom(LARGE)
    add_file(acquisition, "large.bin", content, admin)
    label = f"faults-{next(NUMBERS)}"
    row = storages.add(label, place.provider, prefix=label, secret=place.secret, actor=admin, **fronted.config)
    storages.note(row.id, state="degraded", sentence="Tested.", create_only=place.create_only)
    expected = {name: (5000, digest) for name, digest in digests.items()}
    expected["large.bin"] = (LARGE, hashlib.sha256(content).hexdigest())
    expected = {f"Trial/S-01/Visit 1/T1/{name}": found for name, found in expected.items()}
    return exports.start("lab/Trial", to=label, actor=admin, options=options), expected


NUMBERS = itertools.count()


def go_through(
    faulty: Faulty, front: Front, place: Place, acquisition: Acquisition, admin: Actor
) -> tuple[Job, set[str], Any]:
    """Export 2,000 objects through the front with its faults; returns the job as it ended, and what is missing."""
    job, expected = export(place, 1999, acquisition, admin, place.behind(front))
    front.rule, front.breaks = faulty, faulty.breaks
    job = run(job, place.behind(front))
    failed, _manifest = check_that_it_is_true(job, place, expected)
    return job, failed, expected


@pytest.mark.parametrize("place", ["juicefs"], indirect=True)
def test_an_export_through_every_fault_is_true_and_names_exactly_what_is_missing(
    place: Place, acquisition: Acquisition, admin: Actor, make_front: Callable[..., Front]
) -> None:
    faulty = Faulty(seed())
    _job, failed, _expected = go_through(faulty, make_front(place), place, acquisition, admin)
    assert faulty.met.keys() >= FAULTS.keys()
    assert len(failed) < 100


def seed() -> int:
    """A new one each time; a failed test shows it."""
    chosen = random.randrange(1 << 32)
    print(f"seed {chosen}")  # noqa: T201 (pytest shows it where the test fails)
    return chosen


@pytest.mark.prove
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", [*FAULTS, "all"])
@pytest.mark.parametrize("place", S3, indirect=True)
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
    job, failed, _expected = go_through(faulty, make_front(place), place, acquisition, admin)
    damaged = set() if place.keeps_parts else {"Trial/S-01/Visit 1/T1/large.bin"}
    assert failed == damaged if fault not in ("lie", "all") else failed >= damaged
    record_property("seed", chosen)
    record_property("faults", sum(faulty.met.values()))
    record_property("ended", f"{job.state}, {job.done:,} whole, {job.failed:,} named")
