"""Thousands of associations that are not as they should be, or end where they should not: the listener goes on."""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from portal import models
from portal.settings import Settings
from tests.fixtures.dimse import SECONDARY_CAPTURE, Listener, listening, register, until
from tests.fixtures.hostile import associations
from tests.fixtures.hostile import objects as hostile
from tests.fixtures.hostile.raw_peer import ECHO, STORE, RawPeer, echo_rq, store_rq
from tests.fixtures.memory_growth import MEGABYTE
from tests.fixtures.process_tree import children

UID = "1.2.826.0.1.3680043.9.7.8"
FLAT = 16 * MEGABYTE
"""By how much a process may grow after the first ones: allocators keep some of what they have had."""
CLOSED_WITHIN = 45.0
"""Seconds; connections that say nothing may stay for thirty."""
BATCH = 5_000


@pytest.fixture
def listener(wire: str, dimse_site: Settings) -> Iterator[Listener]:
    register()
    with listening(dimse_site) as running:
        stores(running)
        yield running


def stores(listener: Listener) -> None:
    with RawPeer.associated(listener.port) as peer:
        assert peer.ask(ECHO, echo_rq()).status == 0
        data_set = hostile.an_object(uid=UID, sop_class=SECONDARY_CAPTURE)
        assert peer.ask(STORE, store_rq(UID), data_set).status == 0
        peer.release()


def held(listener: Listener) -> tuple[int, int]:
    """Threads and descriptors of the process that accepts."""
    (child,) = children(listener.process.pid)
    return len(os.listdir(f"/proc/{child}/task")), len(os.listdir(f"/proc/{child}/fd"))


def resident(listener: Listener) -> int:
    """Bytes that the process takes which accepts."""
    (child,) = children(listener.process.pid)
    pages = int(Path(f"/proc/{child}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def nothing_is_left(listener: Listener, before: tuple[int, int], children_before: list[int], wire: str) -> None:
    """Of the associations that were: no thread, no descriptor, no open row, and no process that had to be replaced."""
    until(lambda: held(listener) <= before, f"threads and descriptors are as before: {before}", CLOSED_WITHIN)
    assert children(listener.process.pid) == children_before
    is_open = models.Association.outcome == "open"
    until(lambda: not models.Association.select().where(is_open).exists(), "each row is closed")
    stores(listener)
    # pynetdicom's threads end with an exception at requests that it cannot decode; ours say why and abort.
    assert wire == "stock" or "Traceback" not in listener.log.read_text()


def stored(uids: set[str]) -> set[str]:
    """Those of these objects that the index has."""
    known = {uid for (uid,) in models.Instance.select(models.Instance.sop_uid).tuples()}
    return uids & known


def fuzz(
    listener: Listener, wire: str, *, seed: int, is_enough: Callable[[Counter[str]], bool], batch: int
) -> Counter[str]:
    """Associations by the batch until it is enough; the process does not grow after the first batch."""
    before, serving = until(lambda: held(listener), "it serves"), children(listener.process.pid)
    counts: Counter[str] = Counter()
    most, first = 0, 0
    while not is_enough(counts):
        found = associations.run(listener.port, seed=seed, first=first, count=batch)
        assert stored(found.acknowledged) == found.acknowledged
        counts += found.counts
        most, first = most or resident(listener) + FLAT, first + batch
        assert resident(listener) < most
    assert counts["PDUs past negotiation"] > counts["PDUs before"]
    assert counts["8001 0000"] > counts["accepted"] / 10
    assert counts["accepted"] > first / 2
    nothing_is_left(listener, before, serving, wire)
    return counts


@pytest.mark.timeout(300)
def test_no_changed_association_does_harm(listener: Listener, wire: str) -> None:
    count = 2000 if wire == "fast" else 120
    fuzz(listener, wire, seed=14, is_enough=lambda counts: counts["PDUs before"] >= count, batch=count // 4)


@pytest.mark.prove
@pytest.mark.first
@pytest.mark.timeout(3 * 3600)
def test_none_of_1_000_000_pdus_does_harm(
    listener: Listener, wire: str, record_property: Callable[[str, object], None]
) -> None:
    seed = random.randrange(1_000_000)
    record_property("seed", seed)

    def is_enough(counts: Counter[str]) -> bool:
        return counts["PDUs before"] + counts["PDUs past negotiation"] >= 1_000_000

    counts = fuzz(listener, wire, seed=seed, is_enough=is_enough, batch=BATCH)
    record_property("PDUs and answers", ", ".join(f"{name}: {count:,}" for name, count in sorted(counts.items())))


def end_everywhere(listener: Listener, wire: str, count: int) -> None:
    before, serving = held(listener), children(listener.process.pid)
    most = 0
    for _ in range(4):
        ended = associations.end_everywhere(listener.port, stored=hostile.STUDY, count=count // 4)
        assert set(ended) >= {*associations.STATES, "in the middle of a C-GET", "in the middle of a C-FIND"}
        most = most or resident(listener) + FLAT
        assert resident(listener) < most
    nothing_is_left(listener, before, serving, wire)


@pytest.mark.timeout(300)
def test_associations_that_end_at_every_state_leave_nothing(listener: Listener, wire: str) -> None:
    end_everywhere(listener, wire, 1024 if wire == "fast" else 256)


@pytest.mark.prove
@pytest.mark.timeout(1200)
def test_5_000_associations_that_end_at_every_state_leave_nothing(listener: Listener, wire: str) -> None:
    end_everywhere(listener, wire, 5120)
