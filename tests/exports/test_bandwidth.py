"""The speed that an export is held to: for what is sent, and by itself for what is read back."""

from types import SimpleNamespace

import pytest

from dimse_worker import destinations
from portal import site_settings
from portal.access.actors import Actor
from portal.exports import exports
from portal.exports.request import Options
from portal.jobs import bandwidth, jobs, runs
from portal.models import Acquisition, Storage
from tests.fixtures.work import add_files


class Clock:
    """Stands still but for those who sleep by it."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(bandwidth, "time", SimpleNamespace(sleep=made.sleep, monotonic=made.monotonic))
    return made


def export(admin: Actor, speed: str) -> None:
    job = exports.start("lab/Trial", to="mirror", actor=admin, options=Options(bandwidth=speed))
    runs.perform(job.id, lambda this: exports.run(this, destination=destinations.open_storage(this.job)))
    assert jobs.get(job.id).state == "done"


def test_what_is_sent_and_what_is_read_back_keep_to_the_speed_each_by_itself(
    acquisition: Acquisition, mirror: Storage, admin: Actor, clock: Clock
) -> None:
    site_settings.change({"exports.threads": 1}, actor=admin)
    add_files(acquisition, 10, 100_000, admin)
    export(admin, "1 MB")
    assert clock.now == pytest.approx(0.9)  # after the last one nobody waits
    export(admin, "1 MB")  # all of it is there, and is only read
    assert clock.now == pytest.approx(1.8)
    export(admin, "")
    assert clock.now == pytest.approx(1.8)
