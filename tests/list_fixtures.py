"""A site with some sixty of everything that has a list."""

import shutil
from pathlib import Path

import pytest

from portal import models, runtime, settings, vault
from portal.access.actors import Actor, operator
from portal.devices import api_keys, devices
from portal.jobs import jobs
from portal.models import Schedule, writing
from portal.peers import associations, peers, refused_callers
from portal.storage import storages


@pytest.fixture(scope="session")
def full_database(tmp_path_factory: pytest.TempPathFactory, empty_database: Path) -> Path:
    """The database of a site with some sixty of everything that has a list."""
    chosen = settings.load(tmp_path_factory.mktemp("full") / "data", {"PORTAL_MIN_FREE": "1"})
    chosen.data.mkdir()
    shutil.copy(empty_database, chosen.database)
    vault.make(chosen.site_key)
    runtime.start(chosen)
    with models.connection():
        for number in range(60):
            _add_one_of_each(number, operator())
    runtime.archive().close()
    return chosen.database


@pytest.fixture
def empty_database(request: pytest.FixtureRequest, empty_database: Path) -> Path:
    """What a test's site begins with, which is not empty where the test asks for `full`."""
    found: Path = request.getfixturevalue("full_database") if "full" in request.fixturenames else empty_database
    return found


@pytest.fixture
def full(dimse: None) -> None:
    """The site has some sixty of everything that has a list."""


def _add_one_of_each(number: int, actor: Actor) -> None:
    device = devices.add(f"device-{number:02}", actor=actor)
    api_keys.issue(device, name="one", actor=actor)
    peers.register(f"peer-{number:02}", ae_title=f"PEER{number}", all_projects=number % 2 == 0, actor=actor)
    folder = runtime.current().storage_roots[0] / f"s{number}"
    storages.add(f"storage-{number:02}", "fs", path=str(folder), actor=actor)
    refuse(f"CALLER{number}")
    opened = associations.open(
        peer_id=number + 1, role="acceptor", calling="A", called="B", address="10.0.0.1", contexts=[]
    )
    associations.close(associations.Progress(association_id=opened, counts={}, size=1), outcome="released")
    with writing():
        place = {"path": "g/p", "to": "x", "of": "x", "prefix": "", "by": "path"}
        for kind in ("export", "import"):
            jobs.create(kind, actor=actor, params=place, what=f"g/p to x{number}")
        Schedule.create(label=f"nightly-{number}", cron="0 2 * * *", params=place, confirmed_by="a@site.example")
        Schedule.create(
            label=f"schedule-{number:02}", cron="0 2 * * *", params={"path": "g/p", "to": "x"}, confirmed_by="A"
        )


def refuse(title: str) -> None:
    refused_callers.refused(
        calling=title, called="PORTICO", address="10.0.0.1", reason="unknown", sentence="Not registered."
    )
