"""Destinations of a C-MOVE that answer what no peer should: what they do not take is not counted, nobody is harmed."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from portal.models import Association
from portal.settings import Settings
from tests.fixtures.dimse import SECONDARY_CAPTURE, Listener, listening, register, until
from tests.fixtures.hostile import objects as hostile
from tests.fixtures.hostile.raw_peer import (
    ABORT,
    AFFECTED_SOP_CLASS,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    C_STORE,
    COMMAND,
    COMMAND_FIELD,
    DATA_SET_TYPE,
    ECHO,
    HAS_DATA_SET,
    LAST,
    MESSAGE_ID,
    MOVE,
    NO_DATA_SET,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    RESPONDED_TO,
    RESPONSE,
    STATUS,
    STORE,
    Answer,
    Ended,
    RawPeer,
    command_set,
    echo_rq,
    even,
    item,
    message,
    move_rq,
    p_data,
    pdu,
    pdv,
    store_rq,
)
from tests.fixtures.memory_growth import BOUND, growth

SYNTAX = "1.2.840.10008.1.2.1"
COMPLETED, FAILED = 0x1021, 0x1022
STUDY_LEVEL = hostile.text(0x00080052, "CS", "STUDY") + hostile.text(0x0020000D, "UI", hostile.STUDY)
OBJECTS = 3
Behaviour = Callable[[RawPeer], None]


def acceptance(*, contexts: bytes | None = None, user: bytes | None = None, max_length: int = 16_384) -> bytes:
    """An A-ASSOCIATE-AC of the first context, in Explicit VR Little Endian."""
    titles = struct.pack(">Hxx16s16s32x", 1, b"VIEWER".ljust(16), b"PORTICO".ljust(16))
    if contexts is None:
        contexts = accepted(1)
    if user is None:
        user = item(0x50, item(0x51, struct.pack(">I", max_length)) + item(0x52, b"1.2.3"))
    return pdu(ASSOCIATE_AC, titles + item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + user)


def accepted(number: int, syntax: str = SYNTAX, *, result: int = 0) -> bytes:
    return item(0x21, struct.pack("BxBx", number, result) + item(0x40, syntax.encode()))


def answering(content: bytes, *, reads: bool = True) -> Behaviour:
    """Answers the request for an association with this, and then reads what comes, or nothing more."""

    def behave(peer: RawPeer) -> None:
        peer.receive()
        peer.send(content)
        if reads:
            peer.until_ended()

    return behave


def storing(answer: Callable[[RawPeer, int], None]) -> Behaviour:
    """Accepts, and answers each object as it is told: the connection and the object's message id."""

    def behave(peer: RawPeer) -> None:
        peer.receive()
        peer.send(acceptance())
        while True:
            number, is_over = 0, False
            while not is_over:
                kind, content = peer.receive()
                if kind == RELEASE_RQ:
                    return peer.send(pdu(RELEASE_RP, bytes(4)))
                came = peer.took(content)
                is_over = came is not None
                number = came.number(MESSAGE_ID) if came else number
            answer(peer, number)

    return behave


def response(
    number: int, *, status: int | None = 0, field: int = C_STORE | RESPONSE, has_data_set: bool = False
) -> bytes:
    elements: dict[int, int | bytes] = {
        AFFECTED_SOP_CLASS: even(SECONDARY_CAPTURE),
        COMMAND_FIELD: field,
        RESPONDED_TO: number,
        DATA_SET_TYPE: HAS_DATA_SET if has_data_set else NO_DATA_SET,
    }
    if status is not None:
        elements[STATUS] = status
    return command_set(elements)


BAD: dict[str, Behaviour] = {
    "noise": answering(b"\x99" * 10_000),
    "HTTP": answering(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "an acceptance of 4 GB": answering(pdu(ASSOCIATE_AC, b"x", length=2**32 - 1)),
    "a part of an acceptance": answering(acceptance()[:50], reads=False),
    "an empty acceptance": answering(pdu(ASSOCIATE_AC)),
    "an acceptance without contexts": answering(acceptance(contexts=b"")),
    "a context that was not proposed": answering(acceptance(contexts=accepted(255))),
    "a transfer syntax that was not proposed": answering(acceptance(contexts=accepted(1, "1.2.3"))),
    "a transfer syntax of 60,000 characters": answering(acceptance(contexts=accepted(1, "1" * 60_000))),
    "a context without a transfer syntax": answering(acceptance(contexts=item(0x21, b"\1\0\0\0"))),
    "contexts that are longer than the PDU": answering(acceptance(contexts=accepted(1)[:-2])),
    "an acceptance that takes one byte": answering(acceptance(max_length=1)),
    "an acceptance that takes eight bytes": answering(acceptance(max_length=8)),
    "a short rejection": answering(pdu(ASSOCIATE_RJ, b"\0\1")),
    "the end at once": lambda peer: peer.connection.close(),
    "the end in place of an acceptance": answering(b"", reads=False),
    "an abort in place of an acceptance": answering(pdu(ABORT, bytes(4))),
    "a rejection": answering(pdu(ASSOCIATE_RJ, b"\0\1\1\3")),
    "an unknown rejection": answering(pdu(ASSOCIATE_RJ, b"\0\xff\xff\xff")),
    "a release": answering(pdu(RELEASE_RQ, bytes(4))),
    "an acceptance and an abort": answering(acceptance() + pdu(ABORT, bytes(4))),
    "an acceptance and a release": answering(acceptance() + pdu(RELEASE_RQ, bytes(4))),
    "an acceptance and the end": answering(acceptance(), reads=False),
    "a response without a status": storing(lambda peer, n: peer.send(message(1, response(n, status=None)))),
    "a pending response": storing(lambda peer, n: peer.send(message(1, response(n, status=0xFF00)))),
    "a response of a C-ECHO": storing(lambda peer, n: close_after(peer, message(1, response(n, field=0x8030)))),
    "a response to another message": storing(lambda peer, n: close_after(peer, message(1, response(n + 7)))),
    "half a response": storing(lambda peer, n: close_after(peer, message(1, response(n))[:-3])),
    "a response that is cut": storing(lambda peer, n: peer.send(message(1, response(n)[:-1]))),
    "noise as a response": storing(lambda peer, _n: peer.send(p_data(pdv(1, COMMAND | LAST, b"\xff" * 99)))),
    "a value that is longer than its PDU": storing(lambda peer, _n: peer.send(p_data(pdv(1, 3, b"x", length=9999)))),
    "a response of 4 GB": storing(lambda peer, _n: peer.send(pdu(P_DATA, b"x", length=2**32 - 1))),
    "an abort": storing(lambda peer, _n: peer.send(pdu(ABORT, bytes(4)))),
    "a release in place of a response": storing(lambda peer, _n: peer.send(pdu(RELEASE_RQ, bytes(4)))),
    "the end": storing(lambda peer, _n: close_after(peer, b"")),
}
ODD: dict[str, Behaviour] = {
    "a response with a data set": storing(
        lambda peer, n: peer.send(message(1, response(n, has_data_set=True), b"whatever"))
    ),
    "a response over another context": storing(lambda peer, n: peer.send(message(99, response(n)))),
    "many other messages first": storing(
        lambda peer, n: peer.send(message(1, echo_rq()) * 500, message(1, response(n)))
    ),
    "one byte a PDU": storing(
        lambda peer, n: peer.send(*[p_data(pdv(1, COMMAND, bytes((b,)))) for b in response(n)], p_data(pdv(1, 3)))
    ),
}


def close_after(peer: RawPeer, content: bytes) -> None:
    peer.send(content)
    peer.connection.close()


@pytest.fixture
def listener(wire: str, dimse_site: Settings) -> Iterator[Listener]:
    register(moves_to=("any",))
    with listening(dimse_site) as running:
        with RawPeer.associated(running.port) as peer:
            for number in range(OBJECTS):
                data_set = hostile.an_object(uid=f"1.2.3.{number}", sop_class=SECONDARY_CAPTURE)
                assert peer.ask(STORE, store_rq(f"1.2.3.{number}"), data_set).status == 0
            peer.release()
        yield running


@contextmanager
def destination(port_of: socket.socket, behave: Behaviour) -> Iterator[None]:
    """Each connection is served in the same way, until the block ends."""
    is_over = threading.Event()

    def serve() -> None:
        while not is_over.is_set():
            with suppress(OSError, Ended, ValueError), RawPeer(port_of.accept()[0]) as peer:
                peer.connection.settimeout(10)
                behave(peer)

    serving = threading.Thread(target=serve)
    serving.start()
    try:
        yield
    finally:
        is_over.set()
        with socket.create_connection(port_of.getsockname()):
            pass
        serving.join()


def move(peer: RawPeer) -> tuple[int, int, int]:
    """Status and the numbers of completed and failed ones in the final answer."""
    answer: Answer = peer.ask(MOVE, move_rq("VIEWER"), STUDY_LEVEL)
    while answer.status == 0xFF00:
        answer = peer.answer()
    return answer.status, answer.number(COMPLETED), answer.number(FAILED)


def outcomes(listener: Listener, behaviours: dict[str, Behaviour]) -> dict[str, tuple[int, int, int]]:
    found = {}
    with socket.create_server(("127.0.0.1", 0)) as listening_socket:
        port = listening_socket.getsockname()[1]
        register("VIEWER", host="127.0.0.1", port=port, projects=(), store_to=None)
        with growth(listener.process.pid) as grown, RawPeer.associated(listener.port) as peer:
            for name, behave in behaviours.items():
                with destination(listening_socket, behave):
                    found[name] = move(peer)
                assert peer.ask(ECHO, echo_rq()).status == 0
            peer.release()
    assert grown.most < BOUND
    assert "Traceback" not in listener.log.read_text()
    return found


def test_what_a_destination_does_not_take_is_not_counted_as_sent(listener: Listener) -> None:
    assert outcomes(listener, BAD) == dict.fromkeys(BAD, (0xA702, 0, OBJECTS))
    until(lambda: not Association.select().where(Association.outcome == "open").exists(), "each row is closed")


def test_what_a_destination_takes_in_an_odd_way_is_counted(listener: Listener) -> None:
    assert outcomes(listener, ODD) == dict.fromkeys(ODD, (0, OBJECTS, 0))
