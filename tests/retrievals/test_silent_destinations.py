"""Destinations of a C-MOVE that fall silent, wherever that is: Pending answers go on, and a C-CANCEL is obeyed."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import pytest

from portal.models import Association, Job
from tests.dimse_worker.test_hostile_destinations import STUDY_LEVEL, acceptance, destination, response, storing
from tests.fixtures.dimse import PATIENCE, SECONDARY_CAPTURE, Listener, register, rows, until
from tests.fixtures.hostile import objects as hostile
from tests.fixtures.hostile.raw_peer import (
    ECHO,
    MOVE,
    STORE,
    RawPeer,
    cancel_rq,
    echo_rq,
    message,
    move_rq,
    store_rq,
)

PENDING, CANCELLED = 0xFF00, 0xFE00
REMAINING, COMPLETED = 0x1020, 0x1021
LARGE = 16 << 20
"""Bytes of pixels that the buffers of a connection do not hold."""
Serve = Callable[[RawPeer, threading.Event], None]


@contextmanager
def full_queue(_over: threading.Event) -> Iterator[int]:
    """A port that answers no request for a connection: as many as may wait to be accepted do so."""
    with socket.socket() as listening, ExitStack() as waiting:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


def behaving(behave: Serve) -> Callable[[threading.Event], AbstractContextManager[int]]:
    @contextmanager
    def place(over: threading.Event) -> Iterator[int]:
        with socket.socket() as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            with destination(listening, lambda peer: behave(peer, over)):
                try:
                    yield listening.getsockname()[1]
                finally:
                    over.set()

    return place


def after(content: bytes) -> Serve:
    """Answers the request for an association with this, and neither reads nor sends anything more."""

    def behave(peer: RawPeer, over: threading.Event) -> None:
        peer.receive()
        peer.send(content)
        over.wait(3 * PATIENCE)

    return behave


def answering(beginning: Callable[[int], bytes]) -> Serve:
    """Reads the first object, begins to answer, and goes on no more."""

    def behave(peer: RawPeer, over: threading.Event) -> None:
        def answer(peer: RawPeer, number: int) -> None:
            peer.send(beginning(number))
            over.wait(3 * PATIENCE)

        storing(answer)(peer)

    return behave


def byte_by_byte(peer: RawPeer, over: threading.Event) -> None:
    """Reads an object of a megabyte at a byte in a while."""
    peer.receive()
    peer.send(acceptance())
    while not over.wait(0.05):
        peer.connection.recv(1)


SILENT: dict[str, Callable[[threading.Event], AbstractContextManager[int]]] = {
    "while connecting": full_queue,
    "in negotiation": behaving(after(b"")),
    "in the middle of an acceptance": behaving(after(acceptance()[:-3])),
    "with a closed window": behaving(after(acceptance())),
    "while it reads byte by byte": behaving(byte_by_byte),
    "before the response to a C-STORE": behaving(answering(lambda _number: b"")),
    "in the middle of a response": behaving(answering(lambda number: message(1, response(number))[:-3])),
}


@pytest.mark.parametrize("place", SILENT.values(), ids=SILENT)
def test_ps3_4_c_4_2_3_pending_goes_on_and_a_cancel_is_obeyed_whatever_is_silent(
    listener: Listener, place: Callable[[threading.Event], AbstractContextManager[int]]
) -> None:
    """FE00 comes although it is waited for: 10 s to connect, 30 to negotiate, 60 to read, 300 to answer."""
    register(moves_to=("any",))
    with RawPeer.associated(listener.port) as peer, place(threading.Event()) as port:
        register("VIEWER", host="127.0.0.1", port=port, projects=(), store_to=None)
        for number, size in enumerate((LARGE, 8)):
            pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, size) + bytes(size)
            data_set = hostile.an_object(uid=f"1.2.3.{number}", sop_class=SECONDARY_CAPTURE, last=pixels)
            assert peer.ask(STORE, store_rq(f"1.2.3.{number}"), data_set).status == 0
        peer.send(message(MOVE, move_rq("VIEWER", 7), STUDY_LEVEL))
        for _ in range(2):
            answer = peer.answer()
            assert (answer.status, answer.number(REMAINING)) == (PENDING, 2)
        peer.send(message(MOVE, cancel_rq(7)))
        while (answer := peer.answer()).status == PENDING:
            pass
        assert (answer.status, answer.number(REMAINING), answer.number(COMPLETED)) == (CANCELLED, 2, 0)
        assert peer.ask(ECHO, echo_rq()).status == 0
        peer.release()
    until(lambda: [(job.state, job.done, job.failed) for job in rows(Job)] == [("cancelled", 0, 0)], "the job's row")
    until(lambda: not Association.select().where(Association.outcome == "open").exists(), "each row is closed")
