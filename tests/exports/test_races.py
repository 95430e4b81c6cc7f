"""An object that appears between dry run and write: it stays, or the page of its storage says that it may not."""

import contextlib
import hashlib
import itertools
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dimse_worker import destinations
from portal import models
from portal.access.actors import Actor
from portal.exports import dry_run, exports
from portal.exports.copier import KEY_HAS_OTHER_CONTENT
from portal.exports.request import Options
from portal.jobs import jobs, runs
from portal.models import Acquisition, Job, JobItem, Storage
from portal.settings import Settings
from portal.storage import connection_test, storages
from tests.fixtures.stores import Front, Place, Request
from tests.fixtures.web import Visitor, text_of
from tests.fixtures.work import add_file, until

pytestmark = pytest.mark.xdist_group("stores")

KEY = "Trial/S-01/Visit 1/T1/raced.bin"
THEIRS = b"another's"
LARGE = 9 << 20
"""Bytes of an object that is sent in parts, for more than a second at the limit below."""


def try_then_export(label: str, admin: Actor) -> Job:
    """A dry run that finds nothing there, and then the export that it was of."""
    tried = exports.dry_run("lab/Trial", to=label, actor=admin, options=Options(bandwidth="6 MB"))
    runs.perform(tried.id, lambda this: dry_run.run(this, destination=destinations.open_storage(this.job)))
    assert jobs.get(tried.id).state == "done"
    job = exports.start_after_dry_run(tried.id, confirmed=True, actor=admin)
    runs.perform(job.id, lambda this: exports.run(this, destination=destinations.open_storage(this.job)))
    return jobs.get(job.id)


def check_that_it_stayed(job: Job) -> None:
    raced = JobItem.get(JobItem.job == job, JobItem.key == KEY)
    assert (job.state, raced.state, raced.message) == ("errors", "failed", KEY_HAS_OTHER_CONTENT)


def makes_it_appear(request: Request, size: int) -> bool:
    """Whether a store has the object by this request: the only one, or the one that ends its parts."""
    if b"raced.bin" not in request.path.encode() + request.body[:1000]:
        return False
    if size < LARGE:
        return request.method in ("PUT", "POST")
    ends_google = request.headers.get("Content-Range", "").endswith(f"-{size - 1}/{size}")
    ends_s3 = request.method == "POST" and "uploadId" in request.path
    return ends_google or ends_s3 or "comp=blocklist" in request.path


@pytest.mark.parametrize(
    ("place", "size"),
    [("rgw", 1000), *itertools.product(["moto", "juicefs", "azurite", "fake-gcs"], [1000, LARGE])],
    indirect=["place"],
)
def test_an_object_that_appears_after_the_dry_run_stays_or_the_page_says_that_it_may_not(
    size: int,
    place: Place,
    acquisition: Acquisition,
    admin: Actor,
    visitor: Visitor,
    make_front: Callable[..., Front],
) -> None:
    add_file(acquisition, "beside.bin", b"beside", admin)
    add_file(acquisition, "raced.bin", os.urandom(size), admin)
    prefix = f"race-{size}"
    theirs = place.open(prefix)

    def rule(request: Request) -> None:
        """Another program is a moment faster than what would make the object appear."""
        if makes_it_appear(request, size) and theirs.stat(KEY) is None:
            digest = hashlib.sha256(THEIRS).hexdigest()
            # Unconditionally, as other programs do; Azurite takes blocks that wait for an object that is there.
            theirs.put(KEY, [THEIRS], size=len(THEIRS), digest=digest, overwrite=True)

    config = place.behind(make_front(place, rule)).config
    storages.add("bucket", place.provider, prefix=prefix, secret=place.secret, actor=admin, **config)
    runs.perform(storages.request_test("bucket", actor=admin), connection_test.run_test)
    job = try_then_export("bucket", admin)
    said = text_of(visitor.get(f"/interfaces/storages/{storages.get('bucket').id}").text)
    if place.create_only:
        check_that_it_stayed(job)
        assert b"".join(theirs.read(KEY)) == THEIRS
    assert ("the later one wins" in said) is not place.create_only


def test_a_file_that_appears_while_ours_is_written_stays(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor, site: Settings
) -> None:
    add_file(acquisition, "beside.bin", b"beside", admin)
    add_file(acquisition, "raced.bin", os.urandom(LARGE), admin)
    ended: list[Job] = []

    def export() -> None:
        with models.connection():
            ended.append(try_then_export("mirror", admin))

    thread = threading.Thread(target=export)
    thread.start()
    try:
        until(lambda: is_under_way((folder / KEY).parent))
        (folder / KEY).write_bytes(THEIRS)
    finally:
        thread.join()
    check_that_it_stayed(ended[0])
    assert (folder / KEY).read_bytes() == THEIRS
    assert not list(folder.rglob(".portico-*"))


def is_under_way(begun: Path) -> bool:
    """Whether a large file of ours is being written, which has no name yet; any may be finished and gone meanwhile."""
    for opened in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if os.readlink(opened).startswith(f"{begun}/#") and opened.stat().st_size > 1000:
                return True
    return False
