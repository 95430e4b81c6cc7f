"""kill -9 of worker, queue and web in turn, in the middle of exports to a bucket: these end whole, nothing is left."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from portal.access.actors import Actor
from portal.exports.request import Options
from portal.jobs import jobs, progress
from portal.models import Acquisition, Job
from portal.settings import Settings
from portal.storage.unfinished_uploads import ANY_AGE
from tests.exports.test_faults import check_that_it_is_true, export, fill
from tests.fixtures.free_ports import free_port
from tests.fixtures.stores import Place
from tests.fixtures.work import Module, Process, Valkey, until

pytestmark = [pytest.mark.xdist_group("stores"), pytest.mark.counts_losses]
RATE = "2 MB"
"""A second, so that the kills come before the end."""


class Web(Module):
    """The web server; it answers a while after it has started."""

    def __init__(self, site: Settings, log: Path) -> None:
        self._address = f"127.0.0.1:{free_port()}"
        super().__init__(["portal.processes.web_server", str(site.data), self._address], log)

    def answers(self) -> bool:
        try:
            return requests.get(f"http://{self._address}/sign-in", timeout=5).ok
        except requests.ConnectionError:
            return False


@pytest.fixture
def web(site: Settings, queue: Valkey, tmp_path: Path) -> Iterator[Web]:
    server = Web(site, tmp_path / "web.log")
    server.start()
    until(server.answers, process=server)
    yield server
    server.stop()


def kill_in_turn(
    victims: list[tuple[Process, ...]], expected: dict[str, tuple[int, str]], place: Place, admin: Actor, web: Web
) -> None:
    """Export, kill each in turn at a moment of its own, and start it again; the export ends whole.

    The last ones die while the large object is under way.
    """
    job = export(place, admin, Options(bandwidth=RATE))
    store = place.open(job.params["to"])
    for moment, together in zip(sorted(random.sample(range(len(expected) // 2), 2)), victims[:-1], strict=True):
        until(lambda least=moment: jobs.get(job.id).done >= least)
        kill(together, job)
    until(lambda: any(store.unfinished_uploads(ANY_AGE)))
    kill(victims[-1], job)
    until(lambda: jobs.get(job.id).state in progress.ENDED_STATES, seconds=180)
    failed, _manifest = check_that_it_is_true(jobs.get(job.id), place, expected)
    assert not failed
    assert list(store.unfinished_uploads(ANY_AGE)) == []
    until(web.answers, process=web)


def kill(victims: tuple[Process, ...], job: Job) -> None:
    assert jobs.get(job.id).state not in progress.ENDED_STATES
    for victim in victims:
        victim.kill()
    for victim in victims:
        victim.start()


@pytest.mark.parametrize("place", ["juicefs"], indirect=True)
def test_an_export_to_a_bucket_survives_web_queue_and_worker(
    place: Place, acquisition: Acquisition, admin: Actor, queue: Valkey, worker: Process, web: Web
) -> None:
    kill_in_turn([(web,), (queue,), (worker,)], fill(acquisition, 300, admin), place, admin, web)


@pytest.mark.prove
@pytest.mark.first
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("place", ["juicefs", "moto"], indirect=True)
def test_exports_to_a_bucket_survive_20_rounds_of_kills(
    place: Place,
    acquisition: Acquisition,
    admin: Actor,
    queue: Valkey,
    worker: Process,
    web: Web,
    record_property: Callable[[str, object], None],
) -> None:
    processes = (queue, worker, web)
    expected = fill(acquisition, 1000, admin)
    for _turn in range(20):
        victims = [tuple(random.sample(processes, k=random.choice((1, 2, 3)))) for _time in range(3)]
        kill_in_turn(victims, expected, place, admin, web)
    record_property("exports killed three times and whole", 20)
