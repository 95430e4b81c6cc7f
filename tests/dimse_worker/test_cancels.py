"""C-CANCEL in every state: of what runs, what is over, what has not begun, and what is none of its business."""

from tests.fixtures.dimse import SECONDARY_CAPTURE, Listener, newest_association, register, until
from tests.fixtures.hostile import objects as hostile
from tests.fixtures.hostile.raw_peer import (
    C_GET,
    C_STORE,
    COMMAND_FIELD,
    DATA_SET_TYPE,
    ECHO,
    FIND,
    GET,
    LAST,
    MESSAGE_ID,
    NO_DATA_SET,
    RESPONDED_TO,
    RESPONSE,
    STATUS,
    STORE,
    Answer,
    RawPeer,
    cancel_rq,
    command_set,
    echo_rq,
    find_rq,
    get_rq,
    message,
    p_data,
    pdv,
    store_rq,
)

CANCELLED, PENDING = 0xFE00, 0xFF00
REMAINING, COMPLETED = 0x1020, 0x1021
OBJECTS = 30
STUDY_LEVEL = hostile.text(0x00080052, "CS", "STUDY") + hostile.text(0x0020000D, "UI", hostile.STUDY)
IMAGE_LEVEL = (
    hostile.text(0x00080018, "UI", "")
    + hostile.text(0x00080052, "CS", "IMAGE")
    + hostile.text(0x0020000D, "UI", hostile.STUDY)
    + hostile.text(0x0020000E, "UI", hostile.SERIES)
)


def with_objects(listener: Listener) -> RawPeer:
    register()
    peer = RawPeer.associated(listener.port)
    for number in range(OBJECTS):
        uid = f"1.2.3.{number}"
        data_set = hostile.an_object(uid=uid, sop_class=SECONDARY_CAPTURE)
        assert peer.ask(STORE, store_rq(uid, number), data_set).status == 0
    return peer


def final(peer: RawPeer, *, number: int = 1) -> Answer:
    """The last answer of a C-FIND or C-GET; each object that comes meanwhile is accepted."""
    while True:
        answer = peer.answer()
        if answer.number(COMMAND_FIELD) == C_STORE:
            peer.send(stored(answer))
        elif answer.status >> 8 != 0xFF:
            assert answer.responded_to == number
            return answer


def stored(request: Answer) -> bytes:
    elements = {
        COMMAND_FIELD: C_STORE | RESPONSE,
        RESPONDED_TO: request.number(MESSAGE_ID),
        DATA_SET_TYPE: NO_DATA_SET,
        STATUS: 0,
    }
    return message(request.context_id, command_set(dict(elements)))


def test_a_cancel_beside_its_request_ends_it(listener: Listener) -> None:
    with with_objects(listener) as peer:
        peer.send(message(FIND, find_rq(7), IMAGE_LEVEL), message(FIND, cancel_rq(7)))
        assert final(peer, number=7).status in (CANCELLED, 0)  # all answers may have been sent by then
        peer.send(message(GET, get_rq(8), STUDY_LEVEL), message(GET, cancel_rq(8)))
        answer = final(peer, number=8)
        assert answer.status == CANCELLED
        assert answer.number(REMAINING) + answer.number(COMPLETED) == OBJECTS
        assert peer.ask(ECHO, echo_rq()).status == 0
        peer.release()


def test_a_cancel_within_a_get_ends_it_after_the_running_object(listener: Listener) -> None:
    with with_objects(listener) as peer:
        peer.send(message(GET, get_rq(8), STUDY_LEVEL))
        request = peer.answer()
        assert request.number(COMMAND_FIELD) == C_STORE
        peer.send(message(GET, cancel_rq(8)), message(FIND, cancel_rq(8)), stored(request))
        answer = final(peer, number=8)
        assert (answer.status, answer.number(COMPLETED) < OBJECTS) == (CANCELLED, True)
        assert answer.number(REMAINING) + answer.number(COMPLETED) == OBJECTS
        peer.release()


def test_cancels_of_something_else_end_nothing(listener: Listener) -> None:
    with with_objects(listener) as peer:
        stray = message(FIND, cancel_rq(9)) + message(ECHO, cancel_rq(0)) + message(GET, cancel_rq(65_535))
        peer.send(stray, message(FIND, find_rq(7), IMAGE_LEVEL), stray)
        assert final(peer, number=7).status == 0
        peer.send(message(FIND, cancel_rq(7)), message(GET, get_rq(7), STUDY_LEVEL), stray)
        answer = final(peer, number=7)
        assert (answer.status, answer.number(COMPLETED)) == (0, OBJECTS)
        peer.send(message(GET, cancel_rq(7)), message(ECHO, echo_rq(3)))
        assert peer.answer().responded_to == 3
        peer.release()


def test_a_cancel_within_a_data_set_ends_the_association(listener: Listener) -> None:
    with with_objects(listener) as peer:
        peer.send(message(STORE, store_rq("1.2.3.99"), None), p_data(pdv(STORE, 0, b"\x08\0\x16\0UI")))
        peer.send(message(STORE, cancel_rq(1)), p_data(pdv(STORE, LAST, b"\2\0\x31\0")))
        assert peer.until_ended() == "A-ABORT"
    until(lambda: newest_association().outcome == "aborted", "the row says so")


def test_cancels_without_end_do_not_keep_a_get_from_its_end(listener: Listener) -> None:
    with with_objects(listener) as peer:
        peer.send(message(GET, get_rq(8), STUDY_LEVEL))
        for _ in range(500):
            peer.send(message(GET, cancel_rq(9)) * 10)
        answer = final(peer, number=8)
        assert (answer.status, answer.number(COMPLETED)) == (0, OBJECTS)
        assert answer.number(COMMAND_FIELD) == C_GET | RESPONSE
        peer.release()
