import random
from io import BytesIO
from typing import Any

import pytest
from pynetdicom import dimse_messages, dimse_primitives

from dimse_worker.wire import commands
from dimse_worker.wire.commands import BadCommand, Command, Counts

CT = "1.2.840.10008.5.1.4.1.1.2"
STUDY_MOVE = "1.2.840.10008.5.1.4.1.2.2.2"


def encoded_by_pynetdicom(kind: str, message: str, **fields: Any) -> bytes:
    """The command set that pynetdicom sends for these fields."""
    primitive: Any = getattr(dimse_primitives, kind)()
    for name, value in fields.items():
        setattr(primitive, name, value)
    converted: Any = getattr(dimse_messages, message)()
    converted.primitive_to_message(primitive)
    return b"".join(
        value[1:]
        for fragment in converted.encode_msg(1, 16384)
        for _context, value in fragment.presentation_data_value_list
        if value[0] & 1
    )


def test_responses_are_those_of_pynetdicom_byte_for_byte() -> None:
    request = Command(
        field=commands.STORE_RQ, has_data_set=True, message_id=7, sop_class_uid=CT, sop_instance_uid="1.2.3"
    )
    named = {"MessageIDBeingRespondedTo": 7, "AffectedSOPClassUID": CT, "AffectedSOPInstanceUID": "1.2.3"}
    assert commands.response(request, 0) == encoded_by_pynetdicom("C_STORE", "C_STORE_RSP", **named, Status=0)
    expected = encoded_by_pynetdicom("C_STORE", "C_STORE_RSP", **named, Status=0xA900, ErrorComment="No UID")
    assert commands.response(request, 0xA900, comment="No UID") == expected

    echo = Command(field=commands.ECHO_RQ, has_data_set=False, message_id=65535, sop_class_uid="1.2.840.10008.1.1")
    named = {"MessageIDBeingRespondedTo": 65535, "AffectedSOPClassUID": "1.2.840.10008.1.1"}
    assert commands.response(echo, 0) == encoded_by_pynetdicom("C_ECHO", "C_ECHO_RSP", **named, Status=0)


def test_responses_with_a_data_set_and_with_counts_are_those_of_pynetdicom() -> None:
    find = Command(field=commands.FIND_RQ, has_data_set=True, message_id=1, sop_class_uid="1.2.840.10008.5.1.4.1.2.2.1")
    named: dict[str, Any] = {"MessageIDBeingRespondedTo": 1, "AffectedSOPClassUID": find.sop_class_uid}
    expected = encoded_by_pynetdicom("C_FIND", "C_FIND_RSP", **named, Status=0xFF01, Identifier=BytesIO(b"x"))
    assert commands.response(find, 0xFF01, has_data_set=True) == expected

    move = Command(field=commands.MOVE_RQ, has_data_set=True, message_id=9, sop_class_uid=STUDY_MOVE)
    numbers = {
        "NumberOfRemainingSuboperations": 4,
        "NumberOfCompletedSuboperations": 3,
        "NumberOfFailedSuboperations": 2,
        "NumberOfWarningSuboperations": 1,
    }
    named = {"MessageIDBeingRespondedTo": 9, "AffectedSOPClassUID": STUDY_MOVE, "Status": 0xFF00}
    counts = Counts(completed=3, failed=2, warned=1, remaining=4)
    assert commands.response(move, 0xFF00, counts=counts) == encoded_by_pynetdicom(
        "C_MOVE", "C_MOVE_RSP", **named, **numbers
    )


@pytest.mark.parametrize("originator", [{}, {"originator_title": "VIEWER", "originator_id": 12}])
def test_requests_are_those_of_pynetdicom(originator: dict[str, Any]) -> None:
    more: dict[str, Any] = {}
    if originator:
        more = {"MoveOriginatorApplicationEntityTitle": "VIEWER", "MoveOriginatorMessageID": 12}
    named = {"MessageID": 3, "Priority": 0, "AffectedSOPClassUID": CT, "AffectedSOPInstanceUID": "1.2.34"}
    expected = encoded_by_pynetdicom("C_STORE", "C_STORE_RQ", **named, **more, DataSet=BytesIO(b"x"))
    assert commands.store_request(CT, "1.2.34", 3, **originator) == expected
    expected = encoded_by_pynetdicom("C_ECHO", "C_ECHO_RQ", MessageID=5, AffectedSOPClassUID="1.2.840.10008.1.1")
    assert commands.echo_request("1.2.840.10008.1.1", 5) == expected


def test_a_request_is_read_as_it_was_sent() -> None:
    named = {"MessageID": 3, "Priority": 1, "AffectedSOPClassUID": STUDY_MOVE, "MoveDestination": "VIEWER"}
    read = commands.decode(encoded_by_pynetdicom("C_MOVE", "C_MOVE_RQ", **named, Identifier=BytesIO(b"x")))
    assert read == Command(
        field=commands.MOVE_RQ,
        has_data_set=True,
        message_id=3,
        priority=1,
        sop_class_uid=STUDY_MOVE,
        move_destination="VIEWER",
    )
    read = commands.decode(commands.store_request(CT, "1.2.3", 8, originator_title="ABC", originator_id=65535))
    assert (read.originator_title, read.originator_message_id, read.sop_instance_uid) == ("ABC", 65535, "1.2.3")


def test_what_a_peer_leaves_out_is_none_or_empty_and_a_response_names_only_what_was_named() -> None:
    bare = bytes.fromhex("00000001 02000000 0100 00000008 02000000 0101")
    read = commands.decode(bare)
    assert (read.message_id, read.sop_class_uid, read.has_data_set, read.is_response) == (None, "", False, False)
    answered = commands.decode(commands.response(read, 0xC000))
    assert (answered.sop_class_uid, answered.status, answered.field) == ("", 0xC000, commands.STORE_RSP)


HOSTILE = [
    "",  # nothing at all
    "00",
    "0000000104000000 30000000 0000000802000000 0101",  # a Command Field of four bytes
    "0000000102000000 3000",  # no Command Data Set Type
    "0000000802000000 0101",  # no Command Field
    "0000000102000000 3000 00000008ffffffff 0101",  # a length of 4 GiB
    "0000000102000000 3000 0000000803000000 0101",  # longer than what is left
    "0000000102000000 3000 0800000802000000 0101",  # of group 0008
]


@pytest.mark.parametrize("encoded", HOSTILE)
def test_what_is_no_command_set_is_refused(encoded: str) -> None:
    with pytest.raises(BadCommand):
        commands.decode(bytes.fromhex(encoded))


def test_mutated_command_sets_are_read_or_refused_and_nothing_else() -> None:
    seeded = random.Random(7)
    whole = commands.store_request(CT, "1.2.3.4", 3, originator_title="VIEWER", originator_id=2)
    outcomes = {True: 0, False: 0}
    for _ in range(3000):
        mutated = bytearray(whole[: seeded.randrange(len(whole) + 1)] if seeded.random() < 0.3 else whole)
        for _ in range(seeded.randrange(4)):
            if mutated:
                mutated[seeded.randrange(len(mutated))] = seeded.randrange(256)
        try:
            assert isinstance(commands.decode(mutated), Command)
            outcomes[True] += 1
        except BadCommand:
            outcomes[False] += 1
    assert min(outcomes.values()) > 300
