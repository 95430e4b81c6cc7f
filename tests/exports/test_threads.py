"""How many objects are sent to a storage at once: runs that work there share them, and follow each other."""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from peewee import OperationalError

from portal import models
from portal.access.actors import Actor
from portal.exports import exports
from portal.jobs import claims, jobs, runs
from portal.jobs.runs import Run, RunEnd
from portal.jobs.thread_pool import ThreadPool
from portal.models import Job, Storage
from portal.settings import Settings
from portal.storage import storages
from portal.tree import groups, projects
from tests.fixtures.stores import Front, Request, Running
from tests.fixtures.work import add_file, until

pytestmark = pytest.mark.xdist_group("stores")

NUMBER = 24


class Gate:
    """Holds each object that is written, until it is let through."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: Counter[str] = Counter()
        self._passes: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    def __call__(self, request: Request) -> None:
        written = re.search(r"/(One|Two)/\d+\.bin$", request.path)
        if request.method == "PUT" and written:
            self.enter(written[1])

    def enter(self, project: str) -> None:
        with self._changed:
            self._held[project] += 1
            self.most[project] = max(self.most[project], self._held[project])
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self._passes[project] > 0, timeout=30)
            self._passes[project] -= 1
            self._held[project] -= 1

    def wait_for(self, project: str, number: int) -> None:
        """Until so many objects of a project are held, or more, that nobody has let through."""
        with self._changed:
            held = lambda: self._held[project] - self._passes[project]  # noqa: E731
            assert self._changed.wait_for(lambda: held() >= number, timeout=30)

    def let(self, project: str, number: int) -> None:
        """Let so many objects through, whenever they come."""
        with self._changed:
            self._passes[project] += number
            self._changed.notify_all()


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    for project in ("One", "Two"):
        made.let(project, 1000)


@pytest.mark.usefixtures("site")
def test_a_thread_pool_grows_and_shrinks_while_it_works(gate: Gate) -> None:
    size = [4]
    ended: list[int] = []

    def work(task: int) -> int:
        gate.enter("One")
        return task

    def all_of_it() -> None:
        with ThreadPool(lambda: size[0], work) as pool:
            ended.extend(pool.outcomes(iter(range(40)), lambda: None))

    thread = threading.Thread(target=all_of_it, daemon=True)
    thread.start()
    gate.wait_for("One", 4)
    size[0] = 1
    gate.let("One", 8)  # those that were handed out when there were four
    until(lambda: len(ended) == 8)
    gate.most.clear()
    for _task in range(10):
        gate.wait_for("One", 1)
        gate.let("One", 1)
    until(lambda: len(ended) == 18)
    assert gate.most["One"] == 1
    size[0] = 3
    gate.wait_for("One", 3)
    gate.let("One", 22)
    thread.join()
    assert sorted(ended) == list(range(40))
    assert gate.most["One"] == 3


def test_who_waits_hears_of_a_thread_without_a_database(site: Settings) -> None:
    assert Job.select().count() == 0  # the connection of this thread is open
    site.database.rename(site.database.with_suffix(".away"))
    site.database.mkdir()
    with ThreadPool(lambda: 2, str) as pool, pytest.raises(OperationalError, match="unable to open"):
        list(pool.outcomes(iter(range(10)), lambda: None))


@pytest.fixture
def bucket(site: Settings, stores: Running, make_front: Callable[..., Front], gate: Gate, admin: Actor) -> Storage:
    """A storage whose objects stand before the gate."""
    place = stores["moto"].behind(make_front(stores["moto"], gate))
    row = storages.add("bucket", "s3", prefix="threads", secret=place.secret, actor=admin, **place.config)
    storages.record_test(row.id, state="ok", message="Tested.", create_only=True)
    return storages.get("bucket")


class Going:
    """An export of a project that a thread works on, as a worker does."""

    def __init__(self, project: str, admin: Actor) -> None:
        row = projects.add(f"lab/{project}", actor=admin)
        for place in range(NUMBER):
            add_file(row, f"{place:02}.bin", f"{project} {place}".encode(), admin)
        self.job = exports.start(f"lab/{project}", to="bucket", actor=admin)
        self.share = 0
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        with models.connection():
            runs.perform(self.job.id, self._export, beat=0.05)

    def _export(self, run: Run) -> RunEnd:
        self.run = run
        return exports.run(run, destination=storages.open(storages.get("bucket")))

    def end(self) -> Job:
        self._thread.join()
        return jobs.get(self.job.id)


@pytest.mark.parametrize(("threads", "shares"), [(9, [3, 3, 3]), (8, [3, 3, 2]), (4, [2, 1, 1]), (2, [1, 1, 1])])
def test_what_the_threads_of_a_storage_leave_over_is_for_the_first_runs(
    threads: int, shares: list[int], mirror: Storage, admin: Actor
) -> None:
    with models.writing():
        rows = [jobs.create("export", actor=admin, params={"storage": number}) for number in (1, 1, 2, 1)]
    claimed = [row for row in (claims.claim(job.id) for job in rows) if row is not None]
    found = []
    for job in claimed:
        run = Run(job)
        with run.beating(60):
            found.append(run.share(threads))
    assert found == [*shares[:2], threads, shares[2]]


def test_two_exports_to_one_storage_share_its_threads_and_follow_each_other(
    bucket: Storage, gate: Gate, admin: Actor
) -> None:
    groups.add("lab", actor=admin)
    one = Going("One", admin)
    gate.wait_for("One", 4)
    two = Going("Two", admin)
    gate.wait_for("Two", 2)
    until(lambda: one.run.share(4) == 2)
    gate.let("One", 8)  # those that were handed out when there was no other
    gate.wait_for("One", 2)
    until(lambda: jobs.get(one.job.id).done == 8)
    gate.most.clear()
    for _object in range(6):
        gate.wait_for("One", 2)
        gate.let("One", 1)
    gate.wait_for("One", 2)
    assert gate.most["One"] == 2
    gate.let("Two", NUMBER)
    assert two.end().state == "done"
    assert gate.most["Two"] <= 2
    gate.wait_for("One", 4)
    gate.let("One", NUMBER)
    assert one.end().state == "done"
    assert gate.most["One"] == 4
