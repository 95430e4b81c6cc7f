"""Who is let in, who is not, and how many: over all processes of a listener."""

import os
import signal
import socket
import struct
from collections import Counter
from contextlib import ExitStack

import pytest

from portal import models
from portal.peers import refused_callers
from portal.settings import Settings
from tests.fixtures.dimse import (
    STUDY_FIND,
    VERIFICATION,
    Listener,
    listening,
    newest_association,
    register,
    rows,
    until,
)
from tests.fixtures.hostile import objects as hostile
from tests.fixtures.hostile.raw_peer import (
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ECHO,
    FIND,
    USUAL,
    Ended,
    RawPeer,
    associate_rq,
    cancel_rq,
    context,
    echo_rq,
    find_rq,
    item,
    message,
    pdu,
)
from tests.fixtures.process_tree import children

LIMIT = 200
IMPLICIT = "1.2.840.10008.1.2"


def test_of_220_at_once_exactly_20_are_refused_by_all_processes_together(dimse_site: Settings) -> None:
    register()
    with listening(dimse_site, children=2) as listener, ExitStack() as stack:
        peers = [stack.enter_context(RawPeer.connect(listener.port)) for _ in range(LIMIT + 20)]
        for peer in peers:
            peer.send(associate_rq([USUAL[0]]))
        answers = [peer.receive() for peer in peers]
        assert Counter(kind for kind, _content in answers) == {ASSOCIATE_AC: LIMIT, ASSOCIATE_RJ: 20}
        assert {content for kind, content in answers if kind == ASSOCIATE_RJ} == {bytes((0, 2, 3, 2))}
        (refusal,) = refused_callers.list_all()
        assert (refusal.reason, refusal.count) == ("limit", 20)

        accepted = [peer for peer, (kind, _content) in zip(peers, answers, strict=True) if kind == ASSOCIATE_AC]
        for peer in accepted:
            assert peer.ask(ECHO, echo_rq()).status == 0
            peer.release()
        until(lambda: all(row.outcome == "released" for row in rows(models.Association)), "each row is closed")
        assert len(rows(models.Association)) == LIMIT
        assert len({row.process for row in rows(models.Association)}) == 2
        with RawPeer.associated(listener.port) as peer:
            peer.release()


def test_the_places_of_a_process_that_is_killed_are_free_again(listener: Listener) -> None:
    register()
    with ExitStack() as stack:
        for _ in range(LIMIT):
            stack.enter_context(RawPeer.associated(listener.port))
        with RawPeer.connect(listener.port) as one_more:
            one_more.send(associate_rq())
            assert one_more.receive()[0] == ASSOCIATE_RJ
        (child,) = children(listener.process.pid)
        os.kill(child, signal.SIGKILL)
        until(lambda: children(listener.process.pid) not in ([], [child]), "there is another process")
        with RawPeer.associated(listener.port) as peer:
            assert peer.ask(ECHO, echo_rq()).status == 0


def test_a_silent_connection_makes_room_for_another_and_nobody_waits_for_it(listener: Listener) -> None:
    register()
    with ExitStack() as stack:
        silent = [stack.enter_context(RawPeer.connect(listener.port)) for _ in range(400)]
        with RawPeer.associated(listener.port) as peer:
            assert peer.ask(ECHO, echo_rq()).status == 0
            peer.release()
        silent[0].connection.settimeout(20)
        assert silent[0].connection.recv(1) == b""  # the first one, long before its time is up
        silent[-1].send(associate_rq())
        assert silent[-1].receive()[0] == ASSOCIATE_AC


def test_a_stop_ends_silent_connections_and_lets_associations_finish(listener: Listener) -> None:
    register()
    with RawPeer.connect(listener.port) as silent, RawPeer.associated(listener.port) as peer:
        listener.process.send_signal(signal.SIGTERM)
        assert silent.until_ended() == "ConnectionError"
        assert peer.ask(ECHO, echo_rq()).status == 0
        peer.release()
    assert listener.process.wait(timeout=20) == 0
    assert [(row.outcome, row.counts) for row in rows(models.Association)] == [
        ("released", {"echo": {"done": 1, "failed": 0}})
    ]


def answer(listener: Listener, request: bytes) -> tuple[int, bytes]:
    with RawPeer.connect(listener.port) as peer:
        peer.send(request)
        return peer.receive()


def test_another_application_context_and_another_protocol_are_rejected_by_name(listener: Listener) -> None:
    register()
    for application in (b"1.2.3", b""):
        assert answer(listener, associate_rq(application=application)) == (ASSOCIATE_RJ, bytes((0, 1, 1, 2)))
    for version in (0, 2, 0xFFFE):
        assert answer(listener, associate_rq(version=version)) == (ASSOCIATE_RJ, bytes((0, 1, 2, 2)))
    for version in (1, 3, 0xFFFF):  # only bit 0 counts
        assert answer(listener, associate_rq(version=version))[0] == ASSOCIATE_AC


def test_each_context_is_answered_with_its_own_result_also_one_without_transfer_syntaxes(listener: Listener) -> None:
    register(services=("echo", "store"))
    asked = [
        context(1, VERIFICATION, IMPLICIT),
        context(3, VERIFICATION),
        context(5, "1.2.840.10008.5.1.4.31", IMPLICIT),
        context(7, STUDY_FIND, IMPLICIT),
        context(255, VERIFICATION, "1.2.3"),
    ]
    kind, content = answer(listener, associate_rq(asked, user=()))
    assert kind == ASSOCIATE_AC
    results, at = {}, 68
    while at < len(content):
        item_kind, length = struct.unpack_from(">BxH", content, at)
        if item_kind == 0x21:
            results[content[at + 4]] = content[at + 6]
            assert content[at + 8] == 0x40  # a transfer syntax stands there in any case
        at += 4 + length
    assert results == {1: 0, 3: 4, 5: 3, 7: 1, 255: 4}
    (row,) = until(lambda: rows(models.Association), "the row is written")
    assert [one["result"] for one in row.contexts] == [0, 4, 3, 1, 4]


BAD_REQUESTS = {
    "an even id": associate_rq([context(2, VERIFICATION, IMPLICIT)]),
    "the same id twice": associate_rq([context(1, VERIFICATION, IMPLICIT)] * 2),
    "an item that is longer than its request": associate_rq([item(0x20, b"\1\0\0\0", length=900)]),
    "a context of one byte": associate_rq([item(0x20, b"\1")]),
    "half an item": associate_rq([b"\x20\0\0"]),
    "a role of a wrong length": associate_rq(user=[item(0x54, b"\0\x1e1.2.3\0\1")]),
    "titles that are cut": pdu(1, associate_rq()[6:40]),
}


def test_a_request_that_cannot_be_decoded_is_aborted_and_leaves_no_row(listener: Listener) -> None:
    register()
    ends = {}
    for name, request in BAD_REQUESTS.items():
        with RawPeer.connect(listener.port) as peer:
            peer.send(request)
            ends[name] = peer.until_ended()
    assert ends == dict.fromkeys(BAD_REQUESTS, "A-ABORT")
    assert rows(models.Association) == []


def test_a_request_in_small_pieces_and_with_its_first_message_behind_it_is_served(listener: Listener) -> None:
    register()
    with RawPeer.connect(listener.port) as peer:
        request = associate_rq()
        for start in range(0, len(request) - 40, 40):
            peer.send(request[start : start + 40])
        rest = request[start + 40 :]
        peer.send(rest, message(ECHO, echo_rq(5)))
        assert peer.receive()[0] == ASSOCIATE_AC
        assert peer.answer().responded_to == 5


def test_a_message_over_a_context_that_was_not_accepted_ends_the_association(listener: Listener) -> None:
    register(services=("echo",))
    with RawPeer.associated(listener.port) as peer, pytest.raises(Ended, match="A-ABORT"):
        peer.ask(FIND, echo_rq())
    until(lambda: newest_association().outcome == "aborted", "the row is closed")
    assert newest_association().message == "The peer used a presentation context that was not accepted."


def test_a_reset_connection_is_an_association_without_a_release(listener: Listener) -> None:
    register()
    with RawPeer.associated(listener.port) as peer:
        assert peer.ask(ECHO, echo_rq()).status == 0
        peer.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    until(lambda: newest_association().outcome == "aborted", "the row is closed")
    (row,) = rows(models.Association)
    assert (row.message, row.counts["echo"]["done"]) == ("The connection was closed without a release.", 1)


def test_a_cancel_that_comes_in_the_same_segment_as_its_query_counts(listener: Listener) -> None:
    register()
    every_study = hostile.text(0x00080052, "CS", "STUDY") + hostile.text(0x0020000D, "UI", "")
    query, cancel = message(FIND, find_rq(7), every_study), message(FIND, cancel_rq(7))
    with RawPeer.associated(listener.port) as peer:
        peer.send(query + message(FIND, cancel_rq(8)) + message(ECHO, echo_rq(9)))
        assert [(one.responded_to, one.status) for one in (peer.answer(), peer.answer())] == [(7, 0), (9, 0)]
        peer.send(query + cancel + message(ECHO, echo_rq(9)))
        assert [(one.responded_to, one.status) for one in (peer.answer(), peer.answer())] == [(7, 0xFE00), (9, 0)]
        peer.send(cancel + query)  # what comes before its request is for an earlier one
        assert peer.answer().status == 0
        peer.release()
    until(lambda: newest_association().outcome == "released", "the row is closed")
    assert newest_association().counts["find"] == {"done": 2, "failed": 1, "cancelled": 1}
