"""The processes that `portal up` supervises: when one that has ended is started again."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from signal import SIGKILL

import pytest

from portal import settings
from portal.processes import child_process
from portal.processes.child_process import Child
from portal.processes.supervisor import Plan, Supervisor
from tests.fixtures.up import until

PLAN = Plan(host="127.0.0.1", port=8080, listeners=1, workers=1, sample=False)
Kill = Callable[[Child], float]


@pytest.fixture
def supervised(site: settings.Settings) -> dict[str, Child]:
    """The processes of a site by name; each is a program that only waits."""
    found = Supervisor(site, PLAN, print)._processes()
    return {child.name: replace(child, arguments=["sleep", "60"]) for child in found}


@pytest.fixture
def kill() -> Kill:
    """Starts a process, kills it, and says in how many seconds it is due."""

    def once(child: Child) -> float:
        os.close(child.start())
        child.signal(SIGKILL)
        until(lambda: child.ended() is not None)
        assert child.due is not None
        return child.due - time.monotonic()

    return once


@pytest.mark.parametrize("name", ["web", "listen"])
def test_what_others_wait_for_is_back_within_five_seconds_however_often_it_is_killed(
    name: str, supervised: dict[str, Child], kill: Kill
) -> None:
    pauses = [kill(supervised[name]) for _ in range(8)]
    assert pauses[0] <= 0.5
    assert 4 < max(pauses) <= 5


def test_a_worker_that_cannot_start_is_left_in_peace_for_longer(supervised: dict[str, Child], kill: Kill) -> None:
    assert max(kill(supervised["work-long-1"]) for _ in range(8)) > 25


def test_the_ends_of_a_process_are_forgotten_after_a_minute_of_its_life(
    supervised: dict[str, Child], kill: Kill, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = supervised["web"]
    for _ in range(6):
        kill(web)
    web.start()
    late = time.monotonic() + child_process.STEADY_SECONDS + 1
    web.signal(SIGKILL)
    monkeypatch.setattr("portal.processes.child_process.time.monotonic", lambda: late)
    until(lambda: web.ended() is not None)
    assert web.due is not None
    assert web.due - late <= 0.5
