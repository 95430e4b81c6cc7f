"""Planted credentials: after a run of everything, they are nowhere but sealed in the vault's column."""

import base64
import contextlib
import json
import logging
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from portal import runtime
from portal.access.actors import Actor, operator
from portal.errors import PortalError
from portal.exports import exports
from portal.jobs import jobs, progress
from portal.models import Acquisition, Job
from portal.settings import Settings
from portal.storage import storages
from portal.users import users
from tests.fixtures.browser import EMAIL, PASSWORD
from tests.fixtures.cloud_stores import ACCOUNT_KEY, GoogleAccount, answering
from tests.fixtures.pages import PAGES, Served, live_in
from tests.fixtures.stores import SECRET, Answer, Front, Place, Running
from tests.fixtures.web import Visitor
from tests.fixtures.work import Process, Valkey, add_files, until

pytestmark = pytest.mark.xdist_group("stores")

WRONG = "planted-but-wrong-71f3"
WRONG_KEY = base64.b64encode(b"planted-but-wrong-71f3-as-long-as-a-key-of-Azure").decode()


GOOGLE_TOKEN = "Bearer token"
"""How the tests' Google account signs each request."""


def forms(secret: str) -> Iterator[bytes]:
    """How a secret might be written: as it is, with characters escaped, in base64 at each of its three alignments."""
    yield secret.encode()
    yield base64.b64encode(secret.encode())
    yield base64.b64encode(f"AKIAPORTICO:{secret}".encode())
    for shift in range(3):
        padded = base64.b64encode(b"x" * shift + secret.encode())
        yield padded[4 if shift else 0 : -4]


def leaks(content: bytes, planted: Iterable[str]) -> list[bytes]:
    return [form for secret in planted for form in forms(secret) if form in content]


def needles(secret: dict[str, str]) -> Iterator[str]:
    """What must be nowhere: the secret, and of a service account each line of its key."""
    for name, text in secret.items():
        lines = json.loads(text)["private_key"].splitlines() if name == "service_account" else [text]
        yield from (line for line in lines if len(line) > 20 and not line.startswith("-----"))


def queue_content() -> bytes:
    """All that the queue holds."""
    redis: Any = runtime.redis()
    return b"\n".join(key + (redis.dump(key) or b"") for key in redis.keys("*"))


def test_what_is_planted_is_found() -> None:
    planted = [SECRET, WRONG, *needles({"service_account": GoogleAccount().json("")})]
    assert leaks(b"..." + SECRET.encode(), planted) == [SECRET.encode()]
    assert leaks(b"Basic " + base64.b64encode(b"user:" + WRONG.encode()), planted)
    assert len(planted) > 20


def over(job_id: int, worker: Process) -> Job:
    until(lambda: jobs.get(job_id).state in progress.ENDED_STATES, process=worker)
    return jobs.get(job_id)


@pytest.fixture
def refused() -> Iterator[str]:
    """The key of an account of Google's that nobody knows."""
    account = GoogleAccount(refusal={"error": "invalid_grant"})
    with answering(account.answer) as front:
        yield account.json(f"{front.url}/token")


def test_credentials_are_nowhere_after_a_run_of_everything(
    stores: Running,
    make_front: Callable[..., Front],
    refused: str,
    site: Settings,
    acquisition: Acquisition,
    queue: Valkey,
    worker: Process,
    admin: Actor,
    app: Flask,
    visitor: Visitor,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    add_files(acquisition, 3, 1000, admin)
    heard = [b""]
    wrong = {
        "juicefs": {"secret_key": WRONG},
        "azurite": {"account_key": WRONG_KEY},
        "fake-gcs": {"service_account": refused},
    }
    assert stores["azurite"].secret == {"account_key": ACCOUNT_KEY}

    def look() -> None:
        heard.append(queue_content())

    def use(label: str, where: Place, *secrets: dict[str, str]) -> None:
        for secret in secrets:
            if secret is secrets[0]:
                config = {"prefix": f"secrets-{label}", **where.config}
                storages.add(label, where.provider, secret=secret, actor=admin, **config)
            else:
                storages.edit(label, secret=secret, actor=admin)
            over(storages.request_test(label, actor=admin), worker)
            look()
            over(exports.start("lab/Trial", to=label, actor=admin).id, worker)
        with contextlib.suppress(PortalError):
            storages.edit(label, secret={"unknown": next(iter(where.secret.values()))}, actor=admin)
        look()

    for name in wrong:
        place = stores[name]
        broken = make_front(place, lambda request: Answer(400, str(request.headers).encode() + request.path.encode()))
        use(f"kept-{name}", place, wrong[name], place.secret)
        use(f"broken-{name}", place.behind(broken), place.secret)
    ended = [job.state for job in Job.select().where(Job.kind == "export").order_by(Job.id)]
    assert ended == ["failed", "done", "failed"] * len(wrong)
    look()
    worker.stop()
    own = str([jobs.view(job) for job in Job.select()]).encode()
    pages = own_pages(visitor) + all_pages(app, visitor)
    storages.remove("broken-juicefs", actor=admin)
    written = {
        "queue": b"\n".join(heard),
        "pages": pages,
        "log": caplog.text.encode(),
        "views": own,
        "rows": dump(site).encode(),
        "objects": b"".join(content for name in wrong for content in contents_of(stores[name])),
    }
    written |= {str(path): path.read_bytes() for path in files_of(site.data, tmp_path)}
    planted = [needle for name in wrong for secret in (wrong[name], stores[name].secret) for needle in needles(secret)]
    found = {name: leaks(content, planted) for name, content in written.items()}
    assert {name: forms for name, forms in found.items() if forms} == {}
    assert len(pages) > 100_000
    assert len(planted) > 40
    assert any(name.endswith("work.log") for name in written)


def own_pages(visitor: Visitor) -> bytes:
    """The pages of the storages and jobs that ran."""
    rows = [f"/jobs/{job.id}" for job in Job.select()] + [
        f"/interfaces/storages/{row.id}{end}" for row in storages.list_all() for end in ("", "/edit", "/remove")
    ]
    return b"\n".join(opened(visitor, path) for path in rows)


def all_pages(app: Flask, visitor: Visitor) -> bytes:
    """Every page of the site, each on rows of its own."""
    users.add(EMAIL, PASSWORD, True, actor=operator())
    served = Served(app)
    live_in(served)
    return b"\n".join(opened(visitor, served.at(path)) for paths in PAGES.values() for path in paths)


def opened(visitor: Visitor, path: str) -> bytes:
    answer = visitor.get(path)
    assert answer.status_code in (200, 302, 303), path
    return answer.data


def dump(site: Settings) -> str:
    with contextlib.closing(sqlite3.connect(site.database)) as database:
        return "\n".join(database.iterdump())


def contents_of(place: Place) -> Iterator[bytes]:
    """What was written to the bucket, the manifests too."""
    store = place.open(f"secrets-kept-{place.name}")
    for found in store.list():
        yield found.key.encode()
        yield from store.read(found.key)


def files_of(*folders: Path) -> list[Path]:
    """Every file of the site: database, its log, archive, logs of the processes."""
    return [path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
