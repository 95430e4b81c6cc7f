"""Requests for an association that are large, slow, or name what nobody knows."""

import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from portal import models
from portal.settings import Settings
from tests.fixtures.dimse import SECONDARY_CAPTURE, STUDY_FIND, VERIFICATION, Listener, listening, register, rows, until
from tests.fixtures.hostile import objects as hostile
from tests.fixtures.hostile.raw_peer import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ECHO,
    FIND,
    STORE,
    USUAL,
    USUAL_USER,
    Ended,
    RawPeer,
    associate_rq,
    context,
    echo_rq,
    find_rq,
    item,
    message,
    role,
    store_rq,
)
from tests.fixtures.memory_growth import BOUND, MEGABYTE, growth

pytestmark = pytest.mark.parametrize("wire", ["fast"], indirect=True)
"""pynetdicom decodes requests in its own way, and keeps them."""
SYNTAX = "1.2.840.10008.1.2.1"
PADDING = item(0x99, bytes(65_000))


@pytest.fixture
def listener(wire: str, dimse_site: Settings) -> Iterator[Listener]:
    register()
    with listening(dimse_site) as running:
        with RawPeer.associated(running.port) as peer:
            assert peer.ask(ECHO, echo_rq()).status == 0
            peer.release()
        yield running


def many_syntaxes(number: int) -> list[str]:
    return [f"1.2.{each}" for each in range(number)]


ABORTED = {
    "no titles": b"\1\0\0\0\0\4abcd",
    "half an item": associate_rq([b"\x20\0\0"]),
    "an item that is too long": associate_rq([item(0x20, b"\1\0\0\0", length=0xFFFF)]),
    "a context without an id": associate_rq([item(0x20, b"")]),
    "129 contexts": associate_rq([context(2 * n % 256 + 1, VERIFICATION, SYNTAX) for n in range(129)]),
    "130,000 contexts": associate_rq([item(0x20, b"\1\0\0\0")] * 130_000),
    "an id twice": associate_rq([*USUAL, *USUAL]),
    "an even id": associate_rq([context(2, VERIFICATION, SYNTAX)]),
    "id 0": associate_rq([context(0, VERIFICATION, SYNTAX)]),
    "16,000 transfer syntaxes": associate_rq([context(1, VERIFICATION, *[""] * 16_000)]),
    "2,000 UIDs": associate_rq(
        [context(2 * n + 1, f"1.3.{n}", *(f"1.2.{n}.{each}" for each in range(20))) for n in range(100)]
    ),
    "a role that is too short": associate_rq(user=[item(0x54, b"\0")]),
    "a role whose UID ends too late": associate_rq(user=[item(0x54, b"\xff\xff1.2\1\1")]),
    "2,000 roles": associate_rq(user=[role(f"1.2.{n}", scu=True, scp=True) for n in range(2000)]),
}
REJECTED = {
    "protocol version 2": (associate_rq(version=2), b"\0\1\2\2"),
    "another application context": (associate_rq(application=b"1.2.3"), b"\0\1\1\2"),
    "no application context": (associate_rq(application=b""), b"\0\1\1\2"),
    "titles of spaces": (associate_rq(calling=b"", called=b""), b"\0\1\1\3"),
    "titles of control characters": (associate_rq(calling=b"\x1b[2J\r\n\7", called=b"\x7f" * 16), b"\0\1\1\3"),
    "titles of zeros": (associate_rq(calling=bytes(16), called=bytes(16)), b"\0\1\1\3"),
    "PDUs of one byte": (associate_rq(max_length=1), b"\0\1\1\1"),
    "PDUs of 127 bytes": (associate_rq(max_length=127), b"\0\1\1\1"),
}
ACCEPTED = {
    "all bits of the protocol version": associate_rq(version=0xFFFF),
    "PDUs of any length": associate_rq(max_length=0),
    "PDUs of 4 GB": associate_rq(max_length=2**32 - 1),
    "PDUs of 128 bytes": associate_rq(max_length=128),
    "a title with spaces around": associate_rq(calling=b" SCANNER "),
    "128 contexts": associate_rq([*USUAL, *(context(2 * n + 1, f"1.2.3.{n}", SYNTAX) for n in range(5, 128))]),
    "a context without a transfer syntax": associate_rq([*USUAL, context(11, SECONDARY_CAPTURE)]),
    "a context without an abstract syntax": associate_rq([*USUAL, context(11, "", SYNTAX)]),
    "a context of 60,000 characters": associate_rq([*USUAL, context(11, "1." * 30_000 + "1", SYNTAX)]),
    "a transfer syntax of 60,000 characters": associate_rq([*USUAL, context(11, "1.2.3", "1." * 30_000)]),
    "unknown items": associate_rq([item(0x77, b"what"), *USUAL, item(0xFF, b"")]),
    "unknown user items": associate_rq(user=[*USUAL_USER, item(0x99, b"whatever")]),
    "a megabyte of unknown items": associate_rq([*[PADDING] * 15, *USUAL]),
    "no user information": associate_rq(user=[item(0x51, b"")]),
    "asynchronous operations": associate_rq(user=[*USUAL_USER, item(0x53, struct.pack(">HH", 0, 0))]),
    "a user's name and password": associate_rq(user=[*USUAL_USER, item(0x58, b"\2\1\0\4name\0\4word")]),
    "extended negotiation": associate_rq(
        user=[*USUAL_USER, item(0x56, struct.pack(">H", len(STUDY_FIND)) + STUDY_FIND.encode() + b"\1" * 90)]
    ),
    "a role of a class that is not proposed": associate_rq(user=[*USUAL_USER, role("1.2.3", scu=False, scp=True)]),
}


def answer_to(listener: Listener, wanted: bytes) -> tuple[int, bytes]:
    """Type and content of the answer; an abort is one."""
    with RawPeer.connect(listener.port) as peer:
        peer.send(wanted)
        try:
            return peer.receive()
        except Ended as end:
            return (ABORT if str(end) == "A-ABORT" else 0), b""


def test_requests_that_cannot_be_decoded_are_aborted_and_take_no_memory(listener: Listener) -> None:
    with growth(listener.process.pid) as found:
        assert {name: answer_to(listener, wanted)[0] for name, wanted in ABORTED.items()} == dict.fromkeys(
            ABORTED, ABORT
        )
    assert found.most < BOUND
    assert "Traceback" not in listener.log.read_text()


def test_requests_that_we_cannot_fulfil_are_rejected_with_their_reason(listener: Listener) -> None:
    answers = {name: answer_to(listener, wanted) for name, (wanted, _code) in REJECTED.items()}
    assert answers == {name: (ASSOCIATE_RJ, code) for name, (_wanted, code) in REJECTED.items()}
    assert "Traceback" not in listener.log.read_text()


def test_requests_that_are_unusual_are_accepted(listener: Listener) -> None:
    for name, wanted in ACCEPTED.items():
        with RawPeer.connect(listener.port) as peer:
            peer.send(wanted)
            assert peer.receive()[0] == ASSOCIATE_AC, name
            assert peer.ask(ECHO, echo_rq()).status == 0
            peer.release()
    until(lambda: len(rows(models.Association)) == len(ACCEPTED) + 1, "each has its row")
    assert max(len(str(row.contexts)) for row in rows(models.Association)) < 40_000
    assert "Traceback" not in listener.log.read_text()


def test_a_request_may_come_byte_by_byte_and_with_its_first_messages(listener: Listener) -> None:
    wanted = associate_rq() + message(ECHO, echo_rq(3))
    with RawPeer.connect(listener.port) as peer:
        for at in range(len(wanted)):
            peer.send(wanted[at : at + 1])
        assert peer.receive()[0] == ASSOCIATE_AC
        assert peer.answer().responded_to == 3
        peer.send(message(ECHO, echo_rq(4)), message(ECHO, echo_rq(5)))
        assert (peer.answer().responded_to, peer.answer().responded_to) == (4, 5)
        peer.release()


def test_large_requests_that_do_not_end_keep_nobody_out(listener: Listener) -> None:
    large = associate_rq([*[PADDING] * 15, *USUAL])
    with growth(listener.process.pid) as found, ExitStack() as stack:
        for _ in range(60):
            peer = stack.enter_context(RawPeer.connect(listener.port))
            peer.send(large[:-1])
        for _ in range(5):
            with RawPeer.connect(listener.port) as peer:
                peer.send(associate_rq()[:100])
                time.sleep(0.05)
                peer.send(associate_rq()[100:])
                assert peer.receive()[0] == ASSOCIATE_AC
                peer.release()
    assert found.most < BOUND


def test_large_requests_are_not_kept_as_long_as_their_associations(listener: Listener) -> None:
    large = associate_rq([*[PADDING] * 15, *USUAL])
    assert len(large) > 0.9 * MEGABYTE
    with growth(listener.process.pid) as found, ExitStack() as stack:
        peers = [stack.enter_context(RawPeer.associated(listener.port, large)) for _ in range(150)]
        assert [peer.ask(ECHO, echo_rq()).status for peer in peers] == [0] * 150
    assert found.most < BOUND


def test_a_request_behind_one_that_fails_or_is_cancelled_keeps_its_data_set(listener: Listener) -> None:
    """Peers should wait for the answer (PS3.7 D.3.3.3); one that does not is not told that its object is bad."""
    uid = "1.2.3.4"
    data_set = hostile.an_object(uid=uid, sop_class=SECONDARY_CAPTURE)
    with RawPeer.associated(listener.port) as peer:
        store = message(STORE, store_rq(uid, 2), data_set)
        peer.send(message(FIND, find_rq(1), hostile.text(0x00080052, "CS", "NOTHING")), store)
        assert [peer.answer().status for _ in range(2)] == [0xA900, 0]
        peer.release()
