"""As many associations as there may be, more of them, and thousands of connections that ask for none."""

import hashlib
import os
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import quantiles
from time import monotonic

import pytest

from portal import models
from portal.settings import Settings
from tests.fixtures.dimse import SECONDARY_CAPTURE, Listener, listening, register, rows, until
from tests.fixtures.hostile import objects as hostile
from tests.fixtures.hostile.raw_peer import (
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ECHO,
    STORE,
    RawPeer,
    associate_rq,
    echo_rq,
    store_rq,
)
from tests.fixtures.memory_growth import BOUND, growth
from tests.fixtures.process_tree import children

MOST = 200
"""Associations at once."""
LOCAL_LIMIT_EXCEEDED = b"\0\2\3\2"
SILENT_SECONDS = 30
FEW_THREADS = 12


@pytest.fixture
def listener(wire: str, dimse_site: Settings) -> Iterator[Listener]:
    register()
    with listening(dimse_site) as running:
        yield running


FAST_ONLY = pytest.mark.parametrize("wire", ["fast"], indirect=True)
"""Each connection costs pynetdicom two threads, and counts as an association before it asks for one."""


def all_closed() -> bool:
    return not models.Association.select().where(models.Association.ended.is_null()).exists()


def send_all(port: int, number: int, count: int, together: threading.Barrier) -> list[int]:
    """Objects of one of ten studies over one association, which begins when all do; their statuses."""
    study, series = f"1.2.826.0.1.3680043.9.8.{number % 10}", f"1.2.826.0.1.3680043.9.{100 + number}"
    with RawPeer.associated(port) as peer:
        together.wait()
        statuses = []
        for each in range(count):
            uid = f"1.2.826.0.1.{number}.{each}"
            data_set = hostile.an_object(uid=uid, sop_class=SECONDARY_CAPTURE)
            for before, after in ((hostile.STUDY, study), (hostile.SERIES, series)):
                data_set = data_set.replace(before.encode(), after.encode())
            statuses.append(peer.ask(STORE, store_rq(uid, each), data_set).status)
        peer.release()
    return statuses


@pytest.mark.timeout(300)
@FAST_ONLY
@pytest.mark.parametrize("processes", [2, pytest.param(1, marks=pytest.mark.prove)])
def test_a_hundred_associations_store_twenty_objects_each(
    processes: int, wire: str, dimse_site: Settings, record_property: Callable[[str, object], None]
) -> None:
    register()
    number = 100
    together = threading.Barrier(number)
    with listening(dimse_site, children=processes) as listener, ThreadPoolExecutor(number) as pool:
        began = monotonic()
        sent = list(pool.map(lambda each: send_all(listener.port, each, 20, together), range(number)))
        record_property("seconds", f"{monotonic() - began:.1f}")
        until(all_closed, "each row is closed")
    assert sent == [[0] * 20] * number
    assert len(rows(models.Instance)) == 2000
    assert sorted(study.n_instances for study in rows(models.Study)) == [200] * 10
    associations = rows(models.Association)
    assert {(row.outcome, row.counts["store"]["done"]) for row in associations} == {("released", 20)}
    assert len(associations) == number


def send_variants(port: int, number: int, uids: list[str], together: threading.Barrier) -> set[tuple[str, str]]:
    """Objects in any order, each in one of three contents; UID and digest of each that was acknowledged."""
    chance = random.Random(number)
    acknowledged = set()
    with RawPeer.associated(port) as peer:
        together.wait()
        for each in chance.sample(uids, len(uids)):
            last = hostile.text(0x00204000, "LT", f"variant {chance.randrange(3)}")
            data_set = hostile.an_object(uid=each, sop_class=SECONDARY_CAPTURE, last=last)
            assert peer.ask(STORE, store_rq(each), data_set).status == 0
            acknowledged.add((each, hashlib.sha256(data_set).hexdigest()))
        peer.release()
    return acknowledged


@FAST_ONLY
def test_what_comes_under_one_uid_from_many_at_once_is_all_kept_and_one_of_it_is_current(
    wire: str, dimse_site: Settings
) -> None:
    """Also in the first moment, in which nobody knows the study."""
    register()
    uids, number = [f"1.2.826.0.1.{each}" for each in range(12)], 8
    together = threading.Barrier(number)
    with listening(dimse_site, children=2) as listener, ThreadPoolExecutor(number) as pool:
        sent = set().union(*pool.map(lambda one: send_variants(listener.port, one, uids, together), range(number)))
    instances = rows(models.Instance)
    assert {(row.sop_uid, row.dataset_digest) for row in instances} == sent
    assert sorted(row.sop_uid for row in instances if row.state == "current") == sorted(uids)
    assert [study.n_instances for study in rows(models.Study)] == [len(uids)]
    assert [series.n_instances for series in rows(models.Series)] == [len(uids)]


@FAST_ONLY
@pytest.mark.parametrize("processes", [1, 2])
def test_of_220_at_once_exactly_20_are_refused(processes: int, wire: str, dimse_site: Settings) -> None:
    register()
    with listening(dimse_site, children=processes) as listener, ExitStack() as stack:
        peers = [stack.enter_context(RawPeer.connect(listener.port)) for _ in range(MOST + 20)]
        for peer in peers:
            peer.send(associate_rq())
        answers = [peer.receive() for peer in peers]
        refused = [content for kind, content in answers if kind == ASSOCIATE_RJ]
        assert refused == [LOCAL_LIMIT_EXCEEDED] * 20

        accepted = [peer for peer, (kind, _content) in zip(peers, answers, strict=True) if kind == ASSOCIATE_AC]
        for peer in accepted:
            assert peer.ask(ECHO, echo_rq()).status == 0
        for peer in accepted:
            peer.release()
        with RawPeer.associated(listener.port) as peer:
            peer.release()
        ended = ["released"] * (MOST + 1)
        until(lambda: [row.outcome for row in rows(models.Association)] == ended, "each row is closed")


def silent(port: int, count: int, *, seconds: float, echoes: list[float]) -> None:
    """Connections from many addresses that say nothing, spread over some seconds; beside them C-ECHO from another."""
    is_over = threading.Event()

    def echo() -> None:
        while not is_over.wait(0.05):
            began = monotonic()
            with RawPeer.associated(port) as peer:
                assert peer.ask(ECHO, echo_rq()).status == 0
                peer.release()
            echoes.append(monotonic() - began)

    with ThreadPoolExecutor(1) as pool, ExitStack() as stack:
        echoing = pool.submit(echo)
        try:
            began = monotonic()
            for number in range(count):
                stack.enter_context(RawPeer.connect(port, f"127.0.{1 + number % 50}.{1 + number // 50 % 50}"))
                is_over.wait(max(0.0, began + seconds * number / count - monotonic()))
        finally:
            is_over.set()
        echoing.result()


def silence(listener: Listener, count: int, seconds: float, record_property: Callable[[str, object], None]) -> None:
    with RawPeer.associated(listener.port) as peer:
        peer.release()
    (child,) = children(listener.process.pid)
    echoes: list[float] = []
    most = 0
    is_over = threading.Event()

    def look() -> None:
        nonlocal most
        while not is_over.wait(0.1):
            most = max(most, len(os.listdir(f"/proc/{child}/task")))

    looking = threading.Thread(target=look)
    looking.start()
    with growth(listener.process.pid) as found:
        try:
            silent(listener.port, count, seconds=seconds, echoes=echoes)
        finally:
            is_over.set()
            looking.join()
    cut = quantiles(echoes, n=20)[-1]
    record_property("echoes", f"{len(echoes)}, p95 {cut * 1000:.0f} ms; most threads {most}; {found.most >> 20} MiB")
    assert found.most < BOUND
    assert 0 < most <= FEW_THREADS
    sockets = Path(f"/proc/{child}/fd")
    until(lambda: len(list(sockets.iterdir())) < 40, "the silent ones are closed", SILENT_SECONDS + 15)
    assert children(listener.process.pid) == [child]


@FAST_ONLY
def test_an_echo_is_answered_beside_a_thousand_silent_connections(
    listener: Listener, record_property: Callable[[str, object], None]
) -> None:
    silence(listener, 1000, 2.0, record_property)


@pytest.mark.prove
@pytest.mark.timeout(300)
@FAST_ONLY
def test_an_echo_is_answered_beside_10_000_silent_connections_in_a_minute(
    listener: Listener, record_property: Callable[[str, object], None]
) -> None:
    silence(listener, 10_000, 60.0, record_property)
