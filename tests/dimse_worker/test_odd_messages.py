"""Messages and PDUs that no peer should send over an association: an answer or an abort, never silence or harm."""

import struct
from collections.abc import Iterator

import pytest

from portal import models
from portal.settings import Settings
from tests.fixtures.dimse import SECONDARY_CAPTURE, STUDY_FIND, VERIFICATION, Listener, listening, register, rows, until
from tests.fixtures.hostile import objects as hostile
from tests.fixtures.hostile.raw_peer import (
    AFFECTED_SOP_CLASS,
    AFFECTED_SOP_INSTANCE,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    C_ECHO,
    C_FIND,
    C_STORE,
    COMMAND,
    COMMAND_FIELD,
    DATA_SET_TYPE,
    ECHO,
    FIND,
    GET,
    HAS_DATA_SET,
    LAST,
    MESSAGE_ID,
    NO_DATA_SET,
    P_DATA,
    RELEASE_RP,
    RESPONDED_TO,
    RESPONSE,
    STATUS,
    STORE,
    Answer,
    Ended,
    RawPeer,
    a_request,
    associate_rq,
    cancel_rq,
    command_set,
    echo_rq,
    find_rq,
    get_rq,
    message,
    p_data,
    pdu,
    pdv,
    store_rq,
)

UID = "1.2.826.0.1.3680043.9.7.8"
DATA_SET = hostile.an_object(uid=UID, sop_class=SECONDARY_CAPTURE)
EVERY_STUDY = hostile.text(0x00080052, "CS", "STUDY") + hostile.text(0x0020000D, "UI", "")
WHOLE = COMMAND | LAST


@pytest.fixture
def listener(wire: str, dimse_site: Settings) -> Iterator[Listener]:
    register()
    with listening(dimse_site) as running:
        yield running


ABORTED = {
    "a data set before any command": p_data(pdv(STORE, LAST, DATA_SET)),
    "a fragment of a data set before any command": p_data(pdv(STORE, 0, DATA_SET)),
    "a second command before the data set": message(STORE, store_rq(UID)) + message(STORE, store_rq(UID)),
    "a second command within the data set": message(STORE, store_rq(UID))
    + p_data(pdv(STORE, 0, DATA_SET[:100]))
    + message(ECHO, echo_rq()),
    "a data set over another context": message(STORE, store_rq(UID)) + p_data(pdv(FIND, LAST, DATA_SET)),
    "a command over two contexts": p_data(pdv(ECHO, COMMAND, echo_rq()[:20]), pdv(FIND, WHOLE, echo_rq()[20:])),
    "a command and a data set by turns over two contexts": p_data(pdv(STORE, COMMAND, store_rq(UID)[:40]))
    + p_data(pdv(FIND, COMMAND, find_rq()[:40]), pdv(STORE, WHOLE, store_rq(UID)[40:]))
    + p_data(pdv(FIND, WHOLE, find_rq()[40:]), pdv(FIND, LAST, EVERY_STUDY)),
    "a value shorter than its header": p_data(pdv(ECHO, WHOLE, length=0)),
    "a value of one byte": p_data(pdv(ECHO, WHOLE, length=1)),
    "a value that ends behind its PDU": p_data(pdv(ECHO, WHOLE, echo_rq(), length=900)),
    "a value of 4 GB": p_data(pdv(ECHO, WHOLE, echo_rq(), length=2**32 - 1)),
    "half the header of a value": pdu(P_DATA, b"\0\0\0"),
    "a context that was not proposed": message(11, echo_rq()),
    "a context with an even id": message(2, echo_rq()),
    "context 0": message(0, echo_rq()),
    "an empty command": p_data(pdv(ECHO, WHOLE)),
    "a command of noise": p_data(pdv(ECHO, WHOLE, b"\xff" * 90)),
    "a command without a command field": message(ECHO, command_set({MESSAGE_ID: 1, DATA_SET_TYPE: NO_DATA_SET})),
    "an element longer than its command": message(ECHO, echo_rq() + struct.pack("<HHI", 0, 0x1000, 2**32 - 2)),
    "a command that is cut": message(ECHO, echo_rq()[:-1]),
    "a PDU of type 0": pdu(0, bytes(4)),
    "a PDU of type FF": pdu(0xFF, bytes(4)),
    "a PDU of 4 GB": pdu(P_DATA, length=2**32 - 1),
    "a second request for an association": associate_rq(),
    "an acceptance of an association": pdu(ASSOCIATE_AC, associate_rq()[6:]),
    "a rejection": pdu(ASSOCIATE_RJ, b"\0\1\1\1"),
    "an answer to a release that nobody asked for": pdu(RELEASE_RP, bytes(4)),
}

STOCK_GOES_ON = {
    "a fragment of a data set before any command",
    "a second command before the data set",
    "a second command within the data set",
    "a data set over another context",
    "a command over two contexts",
    "an element longer than its command",
}
"""pynetdicom puts together whatever fragments come, and waits for more."""


def test_what_breaks_the_protocol_is_answered_with_an_abort(listener: Listener, wire: str) -> None:
    sent = {name: content for name, content in ABORTED.items() if wire != "stock" or name not in STOCK_GOES_ON}
    ends = {}
    for name, content in sent.items():
        with RawPeer.associated(listener.port) as peer:
            peer.send(content)
            ends[name] = peer.until_ended()
    assert ends == dict.fromkeys(sent, "A-ABORT")
    until(lambda: not models.Association.select().where(models.Association.ended.is_null()).exists(), "each is closed")
    assert {row.outcome for row in rows(models.Association)} == {"aborted"}
    assert rows(models.Instance) == []
    goes_on(listener, wire)


def goes_on(listener: Listener, wire: str) -> None:
    """The next ones are served, and nothing has failed inside."""
    with RawPeer.associated(listener.port) as peer:
        assert peer.ask(ECHO, echo_rq()).status == 0
        assert peer.ask(STORE, store_rq(UID), DATA_SET).status == 0
        peer.release()
    # In the other mode requests reach handlers of another service, which fail.
    assert wire == "stock" or "Traceback" not in listener.log.read_text()


def one_byte_each(command: bytes) -> bytes:
    parts = [pdv(ECHO, COMMAND, command[at : at + 1]) for at in range(len(command) - 1)]
    return b"".join(map(p_data, (*parts, pdv(ECHO, WHOLE, command[-1:]))))


UNUSUAL = {
    "one byte a PDU": one_byte_each(echo_rq()),
    "empty fragments": p_data(pdv(ECHO, COMMAND), pdv(ECHO, COMMAND, echo_rq()), pdv(ECHO, WHOLE)),
    "reserved bits of the control header": p_data(pdv(ECHO, 0xFF, echo_rq())),
    "reserved byte of a PDU": b"\4\xff" + p_data(pdv(ECHO, WHOLE, echo_rq()))[2:],
    "message id 0": message(ECHO, echo_rq(0)),
    "message id 65535": message(ECHO, echo_rq(65_535)),
    "elements that no echo has": message(
        ECHO, a_request(C_ECHO, VERIFICATION, has_data_set=False, more={0x5010: b"x" * 900})
    ),
    "a retired element": message(ECHO, a_request(C_ECHO, VERIFICATION, has_data_set=False, more={1: bytes(4)})),
    "a cancel of nothing": message(FIND, cancel_rq(9)) + message(ECHO, echo_rq()),
    "a cancel over a context without such service": message(ECHO, cancel_rq(1)) + message(ECHO, echo_rq()),
    "a command and a data set in one PDU": p_data(pdv(STORE, WHOLE, store_rq(UID)), pdv(STORE, LAST, DATA_SET)),
    "empty fragments of a data set": p_data(pdv(STORE, WHOLE, store_rq(UID)))
    + p_data(pdv(STORE, 0)) * 3
    + p_data(pdv(STORE, 0, DATA_SET), pdv(STORE, LAST)),
}


def test_what_is_unusual_and_allowed_is_answered(listener: Listener, wire: str) -> None:
    answers = {}
    with RawPeer.associated(listener.port) as peer:
        for name, content in UNUSUAL.items():
            peer.send(content)
            answers[name] = peer.answer().status
        peer.release()
    assert answers == dict.fromkeys(UNUSUAL, 0)
    goes_on(listener, wire)


def test_requests_with_the_same_message_id_are_each_answered(listener: Listener) -> None:
    with RawPeer.associated(listener.port) as peer:
        peer.send(*[message(ECHO, echo_rq(7))] * 5)
        assert [peer.answer().responded_to for _ in range(5)] == [7] * 5
        for number in range(3):
            uid = f"{UID}.{number}"
            data_set = hostile.an_object(uid=uid, sop_class=SECONDARY_CAPTURE)
            answer = peer.ask(STORE, store_rq(uid, 7), data_set)
            assert (answer.responded_to, answer.status) == (7, 0)
        peer.release()
    assert len(rows(models.Instance)) == 3


def no_element(missing: int, *, field: int = C_STORE) -> bytes:
    elements: dict[int, int | bytes] = {
        AFFECTED_SOP_CLASS: SECONDARY_CAPTURE.encode() + b"\0",
        COMMAND_FIELD: field,
        MESSAGE_ID: 1,
        DATA_SET_TYPE: HAS_DATA_SET,
        AFFECTED_SOP_INSTANCE: UID.encode(),
    }
    del elements[missing]
    return command_set(elements)


def of_field(number: int) -> bytes:
    more: dict[int, int | bytes] = {RESPONDED_TO: 1, STATUS: 0} if number & RESPONSE else {}
    return message(ECHO, a_request(number, VERIFICATION, has_data_set=False, more=more))


NO_REQUEST = {
    **{f"command field {number:04X}": of_field(number) for number in (0, 0x02, 0x20, 0x140, 0x150, 0x7FFE)},
    **{f"response {number:04X}": of_field(number | RESPONSE) for number in (C_ECHO, C_STORE, C_FIND, 0x7FFE)},
    "a C-STORE without a SOP Class": message(STORE, no_element(AFFECTED_SOP_CLASS), DATA_SET),
    "a C-STORE without a SOP Instance": message(STORE, no_element(AFFECTED_SOP_INSTANCE), DATA_SET),
    "a C-STORE without a message id": message(STORE, no_element(MESSAGE_ID), DATA_SET),
    "a C-STORE that announces no data set": message(
        STORE, a_request(C_STORE, SECONDARY_CAPTURE, has_data_set=False, more={AFFECTED_SOP_INSTANCE: UID.encode()})
    ),
    "a C-STORE of nothing": message(STORE, store_rq(UID), b""),
    "a C-STORE over a context of queries": message(FIND, store_rq(UID), DATA_SET),
    "a C-STORE of another class": message(STORE, store_rq(UID, sop_class="1.2.840.10008.5.1.4.1.1.2"), DATA_SET),
    "a C-FIND over a context of storage": message(STORE, find_rq(), EVERY_STUDY),
    "a C-FIND without an identifier": message(FIND, a_request(C_FIND, STUDY_FIND, has_data_set=False)),
    "a C-FIND with noise": message(FIND, find_rq(), b"\xff" * 100),
    "a C-FIND with nothing": message(FIND, find_rq(), b""),
    "a C-GET with noise": message(GET, get_rq(), b"\xff" * 99),
}


STOCK_SERVES = {*(f"command field {number}" for number in ("0020", "0140")), "response 0030", "response 0020"}
"""pynetdicom looks at the context's SOP Class alone: it answers such a request as the class's own."""


def test_what_is_no_request_of_ours_is_neither_done_nor_left_without_an_answer(listener: Listener, wire: str) -> None:
    """A refusal, or an abort; a response that nobody waits for may be ignored. The echo behind it ends the wait."""
    outcomes = {}
    for name, content in NO_REQUEST.items():
        if wire == "stock" and name in STOCK_SERVES:
            continue
        with RawPeer.associated(listener.port) as peer:
            peer.send(content)
            try:
                answer: Answer | None = peer.answer() if not name.startswith("response") else None
                outcomes[name] = f"{answer.status:04X}" if answer else "ignored"
                assert peer.ask(ECHO, echo_rq(99)).responded_to == 99
                peer.release()
            except (Ended, ConnectionError):
                outcomes[name] = outcomes.get(name, "ended")
    assert set(outcomes.values()) <= {"ended", "ignored", "0211", "0122", "A900", "C000"}, outcomes
    assert rows(models.Instance) == []
    goes_on(listener, wire)
