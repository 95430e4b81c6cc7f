"""What a storage loses in the middle of an export: its bucket as a whole, or a part of one object."""

import os
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import boto3
import pytest
import requests

from portal.access.actors import Actor
from portal.exports import exports
from portal.exports.request import Options
from portal.jobs import jobs, runs
from portal.jobs.thread_pool import TASKS_PER_THREAD
from portal.models import Acquisition, Job, JobItem, Storage, now
from portal.storage import storages
from tests.fixtures.cloud_stores import make_container
from tests.fixtures.stores import ACCESS_KEY, SECRET, Answer, Front, Place, Request
from tests.fixtures.work import add_file, add_files, files_below, until

pytestmark = pytest.mark.xdist_group("stores")

NUMBER = 40
IN_HAND = 4 * TASKS_PER_THREAD
"""Objects that the four threads have in hand at most."""


def run_once(job: Job, place: Place) -> Job:
    """One attempt of a worker at an export."""
    Job.update(due=now()).where(Job.id == job.id).execute()
    destination = place.open(job.params["to"], create_only=place.create_only)
    runs.perform(job.id, lambda this: exports.run(this, destination=destination))
    return jobs.get(job.id)


def start(place: Place, label: str, admin: Actor) -> Job:
    row = storages.add(label, place.provider, prefix=label, secret=place.secret, actor=admin, **place.config)
    storages.record_test(row.id, state="ok", message="Tested.", create_only=place.create_only)
    return exports.start("lab/Trial", to=label, actor=admin)


class Vanishing:
    """A bucket or container of its own, which another program removes when the tenth object is written."""

    def __init__(self, place: Place) -> None:
        field = "bucket" if place.provider == "s3" else "container"
        self.place = Place(place.name, place.provider, {**place.config, field: "vanishing"}, place.secret)
        self._lock, self._writes = threading.Lock(), 0

    def make(self) -> None:
        if self.place.provider == "azure":
            make_container(self.place, "vanishing")
        else:
            requests.put(f"{self.place.config['endpoint']}/vanishing", timeout=20).raise_for_status()

    def remove(self) -> None:
        if self.place.provider == "azure":
            store = self.place.open()._store
            store._request("DELETE", None, {"restype": "container"}).close()  # type: ignore[attr-defined]
            return
        keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET, "region_name": "us-east-1"}
        there = boto3.resource("s3", endpoint_url=self.place.config["endpoint"], **keys).Bucket("vanishing")
        while True:
            there.objects.delete()
            try:
                there.delete()
                break
            except there.meta.client.exceptions.ClientError as error:
                if error.response["Error"]["Code"] != "BucketNotEmpty":  # another object was written meanwhile
                    raise

    def __call__(self, request: Request) -> None:
        with self._lock:
            self._writes += request.method == "PUT"
            if request.method == "PUT" and self._writes == 10:
                self.remove()


@pytest.mark.parametrize("place", ["moto", "azurite"], indirect=True)
def test_a_bucket_that_is_removed_in_the_middle_is_said_once_and_no_object_fails_for_it(
    place: Place, acquisition: Acquisition, admin: Actor, make_front: Callable[..., Front]
) -> None:
    add_files(acquisition, NUMBER, 100, admin)
    vanishing = Vanishing(place)
    vanishing.make()
    fronted = vanishing.place.behind(make_front(place, vanishing))
    job = run_once(start(fronted, "vanishing", admin), fronted)
    assert (job.state, job.failed) == ("failed", 0)
    assert job.message.startswith(("There is no bucket vanishing at", "There is no container vanishing at"))
    items = list(JobItem.select().where(JobItem.job == job, JobItem.state != "verified"))
    assert len(items) == NUMBER - job.done
    assert {item.state for item in items} <= {"pending", "sent"}
    assert 0 < sum(item.message != "" for item in items) <= IN_HAND
    vanishing.make()
    job = run_once(jobs.retry(job.id, actor=admin), fronted)
    assert (job.state, job.done) == ("done", NUMBER)


class Forgetting:
    """Has the store forget the parts of a large object, once, before they become one."""

    def __init__(self, place: Place, name: str) -> None:
        self._place, self._name = place, name
        self.times = 0

    def __call__(self, request: Request) -> Answer | None:
        ends = "comp=blocklist" in request.path or (request.method == "POST" and "uploadId=" in request.path)
        if not ends or self.times:
            return None
        self.times += 1
        if self._place.provider == "azure":  # Azurite forgets none, in whichever way one asks it to
            return Answer(400, b"<Error><Code>InvalidBlockList</Code></Error>")
        self._place.open("forgetting").abort_unfinished(lambda key: key == self._name, older=timedelta(days=-1))
        return None


@pytest.mark.parametrize("place", ["juicefs", "azurite"], indirect=True)
def test_an_upload_that_the_store_forgets_is_sent_again_from_its_start(
    place: Place, acquisition: Acquisition, admin: Actor, make_front: Callable[..., Front]
) -> None:
    add_file(acquisition, "large.bin", os.urandom(9 << 20), admin)
    add_file(acquisition, "small.bin", b"beside", admin)
    forgetting = Forgetting(place, "Trial/S-01/Visit 1/T1/large.bin")
    fronted = place.behind(make_front(place, forgetting))
    job = run_once(start(fronted, "forgetting", admin), fronted)
    assert (job.state, job.done, job.failed, forgetting.times) == ("waiting", 1, 0, 1)
    assert "large.bin: The storage has lost the upload, or a part of it" in job.message
    job = run_once(job, fronted)
    assert (job.state, job.done) == ("done", 2)


def test_a_mount_that_goes_and_comes_back_in_the_middle_is_waited_for(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    add_files(acquisition, NUMBER, 5000, admin)
    place = Place("fs", "fs", {"path": str(folder)})
    elsewhere = folder.with_name("elsewhere")

    def unmount() -> None:
        until(lambda: len(list(folder.rglob("[0-9]*.bin"))) > 4)
        folder.rename(elsewhere)

    other = threading.Thread(target=unmount)
    other.start()
    slowly = Options(bandwidth="50 kB")  # it cannot be at its end before the folder is away
    job = run_once(exports.start("lab/Trial", to="mirror", actor=admin, options=slowly), place)
    other.join()
    assert (job.state, job.failed) == ("waiting", 0)
    assert "does not exist. Mount its disk" in job.message
    assert 0 < job.done < NUMBER
    elsewhere.rename(folder)
    Job.update(params={**job.params, "bandwidth": 0}).where(Job.id == job.id).execute()
    assert run_once(job, place).state == "done"
    assert len(files_below(folder)) == NUMBER + 1
