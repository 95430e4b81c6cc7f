"""Planted credentials: after a run of everything, they are nowhere but sealed in the vault's column."""

import base64
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from page_fixtures import PAGES
from store_fixtures import *  # noqa: F403  (fixtures)
from store_fixtures import SECRET, Answer, Front, Place, Running
from web_fixtures import *  # noqa: F403  (fixtures)
from web_fixtures import Visitor
from work_fixtures import *  # noqa: F403  (fixtures)
from work_fixtures import Process, Valkey, add_files, until

from portal import exports, jobs, progress, runtime
from portal.errors import PortalError
from portal.models import Acquisition, Job
from portal.provenance import Actor
from portal.settings import Settings
from portal.storage import storages

pytestmark = pytest.mark.xdist_group("stores")

WRONG = "planted-but-wrong-71f3"


def forms(secret: str) -> Iterator[bytes]:
    """How a secret might be written: as it is, with characters escaped, in base64 at each of its three alignments."""
    yield secret.encode()
    yield base64.b64encode(secret.encode())
    yield base64.b64encode(f"AKIAPORTICO:{secret}".encode())
    for shift in range(3):
        padded = base64.b64encode(b"x" * shift + secret.encode())
        yield padded[4 if shift else 0 : -4]


def leaks(content: bytes) -> list[bytes]:
    planted = [form for secret in (SECRET, WRONG) for form in forms(secret)]
    return [form for form in planted if form in content]


def queue_content() -> bytes:
    """All that the queue holds."""
    redis: Any = runtime.redis()
    return b"\n".join(key + (redis.dump(key) or b"") for key in redis.keys("*"))


def test_what_is_planted_is_found() -> None:
    assert leaks(b"..." + SECRET.encode()) == [SECRET.encode()]
    assert leaks(b"Basic " + base64.b64encode(b"user:" + WRONG.encode()))


def over(job_id: int, worker: Process) -> Job:
    until(lambda: jobs.get(job_id).state in progress.OVER, process=worker)
    return jobs.get(job_id)


def test_credentials_are_nowhere_after_a_run_of_everything(
    running: Running,
    make_front: Callable[..., Front],
    site: Settings,
    acquisition: Acquisition,
    queue: Valkey,
    worker: Process,
    admin: Actor,
    visitor: Visitor,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    place = running["juicefs"]
    add_files(acquisition, 3, 1000, admin)
    heard = [b""]

    def look() -> None:
        heard.append(queue_content())

    def use(label: str, where: Place) -> None:
        config = {"prefix": f"secrets-{label}", **where.config}
        storages.add(label, "s3", secret={"secret_key": WRONG}, actor=admin, **config)
        over(storages.request_test(label, actor=admin), worker)
        look()
        over(exports.start("lab/Trial", to=label, actor=admin).id, worker)
        storages.edit(label, secret={"secret_key": SECRET}, actor=admin)
        over(storages.request_test(label, actor=admin), worker)
        look()
        over(exports.start("lab/Trial", to=label, actor=admin).id, worker)
        with contextlib.suppress(PortalError):
            storages.edit(label, secret={"unknown": SECRET}, actor=admin)
        look()

    broken = make_front(place, lambda request: Answer(400, str(request.headers).encode() + request.path.encode()))
    use("kept", place)
    use("broken", place.behind(broken))
    assert [job.state for job in Job.select().where(Job.kind == "export").order_by(Job.id)] == [
        *("failed", "done", "failed", "failed")
    ]
    pages = page_contents(visitor)
    storages.remove("broken", actor=admin)
    look()
    written = {
        "queue": b"\n".join(heard),
        "pages": pages,
        "log": caplog.text.encode(),
        "views": str([jobs.view(job) for job in Job.select()]).encode(),
        "rows": dump(site).encode(),
        "objects": b"".join(content for content in contents_of(place)),
    }
    written |= {str(path): path.read_bytes() for path in files_of(site.data, tmp_path)}
    found = {name: leaks(content) for name, content in written.items()}
    assert {name: forms for name, forms in found.items() if forms} == {}
    assert len(pages) > 10_000
    assert any(name.endswith("work.log") for name in written)


def page_contents(visitor: Visitor) -> bytes:
    """Each page that needs no row of its own, and those of the storages and jobs."""
    plain = {path for paths in PAGES.values() for path in paths if "{" not in path}
    rows = [f"/jobs/{job.id}" for job in Job.select()] + [
        f"/interfaces/storages/{row.id}{end}" for row in storages.every() for end in ("", "/edit", "/remove")
    ]
    return b"\n".join(visitor.get(path).data for path in sorted(plain) + rows)


def dump(site: Settings) -> str:
    with contextlib.closing(sqlite3.connect(site.database)) as database:
        return "\n".join(database.iterdump())


def contents_of(place: Place) -> Iterator[bytes]:
    """What was written to the bucket, the manifests too."""
    store = place.open("secrets-kept")
    for found in store.list():
        yield found.key.encode()
        yield from store.read(found.key)


def files_of(*folders: Path) -> list[Path]:
    """Every file of the site: database, its log, archive, logs of the processes."""
    return [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
