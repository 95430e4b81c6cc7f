"""Whatever a peer sends or announces, for however long: no process of the listener grows with it."""

import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from portal import runtime
from portal.models import Instance
from portal.settings import Settings
from tests.fixtures.dimse import SECONDARY_CAPTURE, STUDY_FIND, Listener, listening, newest_association, register, until
from tests.fixtures.hostile import objects as hostile
from tests.fixtures.hostile.raw_peer import (
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    COMMAND,
    ECHO,
    FIND,
    LAST,
    P_DATA,
    STORE,
    Ended,
    RawPeer,
    associate_rq,
    context,
    echo_rq,
    find_rq,
    message,
    p_data,
    pdu,
    pdv,
    store_rq,
)
from tests.fixtures.memory_growth import BOUND, MEGABYTE, growth

UID = "1.2.826.0.1.3680043.9.7.4"
PIXELS = 0x7FE00010
PART = MEGABYTE // 8
WHOLE = COMMAND | LAST


@pytest.fixture(params=["fast", "stock"], autouse=True)
def wire(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("PORTAL_DIMSE_WIRE", request.param)
    return str(request.param)


@pytest.fixture
def listener(wire: str, dimse_site: Settings) -> Iterator[Listener]:
    register()
    with listening(dimse_site) as running:
        with RawPeer.associated(running.port) as peer:
            assert peer.ask(ECHO, echo_rq()).status == 0
            assert peer.ask(FIND, find_rq(), hostile.text(0x00080052, "CS", "STUDY")).status == 0
            data_set = hostile.an_object(uid="1.2.3", sop_class=SECONDARY_CAPTURE)
            assert peer.ask(STORE, store_rq("1.2.3"), data_set).status == 0
            peer.release()
        yield running


FAST_ONLY = pytest.mark.parametrize("wire", ["fast"], indirect=True)
"""pynetdicom takes as many bytes as a PDU announces, and keeps what it received of an object until it is whole."""
ENDLESS = {
    "a command": (b"", p_data(pdv(ECHO, COMMAND, bytes(PART)))),
    "a command in small parts": (b"", p_data(*[pdv(ECHO, COMMAND, bytes(2))] * 10_000)),
    "an identifier": (p_data(pdv(FIND, WHOLE, find_rq())), p_data(pdv(FIND, 0, bytes(PART)))),
    "an identifier in small parts": (p_data(pdv(FIND, WHOLE, find_rq())), p_data(*[pdv(FIND, 0, bytes(2))] * 10_000)),
    "requests without waiting": (b"", message(ECHO, echo_rq()) * 1000),
}


def send_100_megabytes(peer: RawPeer, part: bytes) -> None:
    for _ in range(100 * MEGABYTE // len(part)):
        peer.send(part)


@pytest.mark.parametrize("what", ENDLESS)
def test_what_never_ends_is_ended_before_it_takes_memory(listener: Listener, what: str) -> None:
    """Except for echoes: whoever does not read their answers waits, and is not waited for."""
    begin, endless = ENDLESS[what]
    with growth(listener.process.pid) as found, RawPeer.associated(listener.port) as peer:
        peer.connection.settimeout(1.0)
        peer.send(begin)
        with suppress(OSError):
            send_100_megabytes(peer, endless)
    assert found.most < BOUND
    until(lambda: newest_association().outcome == "aborted", "the row is closed")


def test_a_data_set_that_never_ends_takes_no_memory_and_leaves_nothing_on_the_disk(listener: Listener) -> None:
    archive = runtime.archive().root

    def used() -> int:
        return sum(path.stat().st_blocks * 512 for path in archive.rglob("*") if path.is_file())

    before = used()
    begin = p_data(pdv(STORE, WHOLE, store_rq(UID)))
    head = hostile.an_object(
        uid=UID, sop_class=SECONDARY_CAPTURE, last=hostile.element(PIXELS, "OB", b"", length=1 << 31)
    )
    part = p_data(pdv(STORE, 0, bytes(PART)))
    with growth(listener.process.pid) as found:
        for _ in range(3):
            with RawPeer.associated(listener.port) as peer:
                peer.send(begin, p_data(pdv(STORE, 0, head)))
                send_100_megabytes(peer, part)
    assert found.most < BOUND
    until(lambda: newest_association().outcome == "aborted", "the row is closed")
    until(lambda: used() < before + 8 * MEGABYTE, "the space is free again")
    with RawPeer.associated(listener.port) as peer:
        data_set = hostile.an_object(uid=UID, sop_class=SECONDARY_CAPTURE)
        assert peer.ask(STORE, store_rq(UID), data_set).status == 0
        peer.release()


@FAST_ONLY
@pytest.mark.parametrize("length", [4 * MEGABYTE, 16 * MEGABYTE])
def test_200_large_pdus_that_are_announced_take_nothing(listener: Listener, length: int) -> None:
    """Their first bytes come and then no more; those that are too large are aborted."""
    with growth(listener.process.pid) as found, ExitStack() as stack:
        peers = [stack.enter_context(RawPeer.associated(listener.port)) for _ in range(100)]
        for peer in peers:
            peer.send(pdu(P_DATA, pdv(STORE, WHOLE, store_rq(UID)), length=length))
        more = [stack.enter_context(RawPeer.connect(listener.port)) for _ in range(100)]
        for peer in more:
            peer.send(pdu(1, associate_rq()[6:], length=length))
        with RawPeer.associated(listener.port) as peer:
            assert peer.ask(ECHO, echo_rq()).status == 0
    assert found.most < BOUND


@FAST_ONLY
def test_a_hundred_objects_of_4_megabytes_on_their_way_take_little_memory(listener: Listener) -> None:
    """None of them ever ends; a hundred associations that have stored take some 50 MB by themselves."""
    head = hostile.an_object(
        uid=UID, sop_class=SECONDARY_CAPTURE, last=hostile.element(PIXELS, "OB", b"", length=1 << 30)
    )
    part = p_data(pdv(STORE, 0, bytes(PART)))
    with growth(listener.process.pid) as found, ExitStack() as stack:
        peers = [stack.enter_context(RawPeer.associated(listener.port)) for _ in range(100)]
        for peer in peers:
            peer.send(p_data(pdv(STORE, WHOLE, store_rq(UID))), p_data(pdv(STORE, 0, head)))
            for _ in range(4 * MEGABYTE // PART):
                peer.send(part)
        with RawPeer.associated(listener.port) as peer:
            assert peer.ask(ECHO, echo_rq()).status == 0
    assert found.most < 3 * BOUND


def test_objects_that_do_not_wait_for_answers_take_no_memory(listener: Listener, wire: str) -> None:
    """Each is stored in its turn; pynetdicom would keep them, and ends the association."""
    data_set = hostile.an_object(
        uid=UID, sop_class=SECONDARY_CAPTURE, last=hostile.element(PIXELS, "OB", bytes(6 * MEGABYTE))
    )
    several = message(STORE, store_rq(UID), data_set, fragment=PART) * 30
    with growth(listener.process.pid) as found, RawPeer.associated(listener.port) as peer, suppress(ConnectionError):
        peer.send(several)
        assert [peer.answer().status for _ in range(30)] == [0] * 30
    assert found.most < (3 if wire == "stock" else 1) * BOUND


def inflating(size: int) -> bytes:
    """Deflated zeros, made of a part that is used again and again: a gigabyte takes some seconds otherwise."""
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    head = deflater.compress(hostile.element(0x00100020, "UN", b"", length=size)) + deflater.flush(zlib.Z_FULL_FLUSH)
    part = deflater.compress(bytes(10 * MEGABYTE)) + deflater.flush(zlib.Z_FULL_FLUSH)
    return head + part * (size // (10 * MEGABYTE)) + deflater.flush()


def test_an_identifier_that_inflates_to_a_gigabyte_is_refused(listener: Listener) -> None:
    identifier = inflating(1000 * MEGABYTE)
    assert len(identifier) < 1 << 20
    wanted = associate_rq([context(FIND, STUDY_FIND, DeflatedExplicitVRLittleEndian)])
    with growth(listener.process.pid) as found, RawPeer.associated(listener.port, wanted) as peer:
        answer = peer.ask(FIND, find_rq(), identifier)
        assert (answer.status, "1,048,576 bytes" in answer.comment) == (0xA900, True)
        peer.release()
    assert found.most < BOUND


@pytest.mark.prove
@pytest.mark.timeout(1200)
def test_an_object_of_4_gb_takes_no_memory(listener: Listener, record_property: Callable[[str, object], None]) -> None:
    """Its pixels in fragments, which alone may be longer than a value (PS3.5 A.4)."""
    size, fragment = 4_400 * MEGABYTE, 1000 * MEGABYTE
    begin = hostile.element(PIXELS, "OB", b"", length=hostile.UNDEFINED_LENGTH) + hostile.item(b"")
    head = hostile.an_object(uid=UID, sop_class=SECONDARY_CAPTURE, last=begin)
    part = p_data(pdv(STORE, 0, bytes(PART)))
    wanted = associate_rq([context(STORE, SECONDARY_CAPTURE, "1.2.840.10008.1.2.5")])
    with growth(listener.process.pid) as found, RawPeer.associated(listener.port, wanted) as peer:
        peer.connection.settimeout(300)
        peer.send(p_data(pdv(STORE, WHOLE, store_rq(UID))), p_data(pdv(STORE, 0, head)))
        for at in range(0, size, fragment):
            length = min(fragment, size - at)
            peer.send(p_data(pdv(STORE, 0, struct.pack("<HHI", 0xFFFE, 0xE000, length))))
            for _ in range(length // PART):
                peer.send(part)
        peer.send(p_data(pdv(STORE, LAST, struct.pack("<HHI", 0xFFFE, 0xE0DD, 0))))
        assert peer.answer().status == 0
        peer.release()
    record_property("grown", f"{found.most / MEGABYTE:.0f} MiB")
    assert found.most < BOUND
    (instance,) = Instance.select().where(Instance.sop_uid == UID)
    assert instance.file.blob.size > size


def test_contexts_by_the_thousand_are_refused_or_answered_and_take_nothing(listener: Listener) -> None:
    """Ids are bytes: more than 128 cannot be told apart."""
    many = [context(2 * n % 256 + 1, f"1.2.3.{n}", ExplicitVRLittleEndian) for n in range(13_000)]
    syntaxes = [f"1.2.840.10008.1.2.4.{n}" for n in range(2000)]
    asked = associate_rq([context(1, SECONDARY_CAPTURE, *syntaxes, ExplicitVRLittleEndian)])
    with growth(listener.process.pid) as found:
        for wanted in (associate_rq(many), asked):
            assert len(wanted) < MEGABYTE
            with RawPeer.connect(listener.port) as peer:
                peer.send(wanted)
                with suppress(Ended):
                    assert peer.receive()[0] in (ASSOCIATE_AC, ASSOCIATE_RJ)
        with RawPeer.associated(listener.port) as peer:
            assert peer.ask(ECHO, echo_rq()).status == 0
    assert found.most < BOUND
