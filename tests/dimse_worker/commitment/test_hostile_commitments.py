"""Requests for storage commitment that no peer should send: an answer, and nothing kept of them (PS3.7 10.1.4.1.10)."""

import io
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from portal.commitments import information
from portal.commitments.information import Reference
from portal.errors import BadValue
from portal.models import Job
from tests.fixtures.dimse import Listener, listening, register
from tests.fixtures.hostile import objects as hostile
from tests.fixtures.hostile.raw_peer import (
    COMMAND_FIELD,
    DATA_SET_TYPE,
    HAS_DATA_SET,
    MESSAGE_ID,
    NO_DATA_SET,
    RawPeer,
    associate_rq,
    command_set,
    context,
    even,
)

COMMIT = 41
REQUESTED_SOP_CLASS, REQUESTED_SOP_INSTANCE, ACTION_TYPE = 0x0003, 0x1001, 0x1008
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
TRANSACTION = hostile.text(0x00081195, "UI", "1.2.3.4")
ITEM = hostile.item(
    hostile.text(0x00081150, "UI", "1.2.840.10008.5.1.4.1.1.7") + hostile.text(0x00081155, "UI", "1.2.3.5")
)
WHOLE = TRANSACTION + hostile.sequence(0x00081199, ITEM)


@pytest.fixture
def listener(wire: str, dimse_site: Any) -> Iterator[Listener]:
    register(services=("echo", "store", "commit"))
    with listening(dimse_site) as running:
        yield running


def action(**changes: Any) -> bytes:
    elements = {
        REQUESTED_SOP_CLASS: even(information.SOP_CLASS),
        COMMAND_FIELD: 0x0130,
        MESSAGE_ID: 1,
        DATA_SET_TYPE: HAS_DATA_SET,
        REQUESTED_SOP_INSTANCE: even(information.SOP_INSTANCE),
        ACTION_TYPE: 1,
    }
    for name, value in changes.items():
        elements[globals()[name]] = value
    return command_set({tag: value for tag, value in elements.items() if value is not None})


REFUSED: dict[str, tuple[dict[str, Any], bytes | None, int]] = {
    "no data set": ({"DATA_SET_TYPE": NO_DATA_SET}, None, 0x0115),
    "an unknown action type": ({"ACTION_TYPE": 7}, WHOLE, 0x0123),
    "no action type": ({"ACTION_TYPE": None}, WHOLE, 0x0123),
    "no class": ({"REQUESTED_SOP_CLASS": None}, WHOLE, 0x0118),
    "an unknown class": ({"REQUESTED_SOP_CLASS": even("1.2.3")}, WHOLE, 0x0118),
    "no instance": ({"REQUESTED_SOP_INSTANCE": None}, WHOLE, 0x0112),
    "no transaction": ({}, hostile.sequence(0x00081199, ITEM), 0x0115),
    "no sequence": ({}, TRANSACTION, 0x0115),
    "an empty sequence": ({}, TRANSACTION + hostile.sequence(0x00081199, b""), 0x0115),
    "an item without UIDs": ({}, TRANSACTION + hostile.sequence(0x00081199, hostile.item(b"")), 0x0115),
    "a UID that is a path": (
        {},
        TRANSACTION
        + hostile.sequence(
            0x00081199,
            hostile.item(hostile.text(0x00081150, "UI", "1.2") + hostile.text(0x00081155, "UI", "../x")),
        ),
        0x0115,
    ),
    "a data set that is cut": ({}, WHOLE[:-9], 0x0115),
    "sequences within sequences": ({}, TRANSACTION + hostile.nested(10_000), 0x0115),
}


@pytest.mark.parametrize("name", REFUSED)
def test_ps3_7_10_1_4_1_10_a_request_that_breaks_the_rules_has_its_status_and_leaves_nothing(
    listener: Listener, name: str
) -> None:
    changes, data_set, status = REFUSED[name]
    with RawPeer.associated(listener.port, associate_rq([context(COMMIT, information.SOP_CLASS, EXPLICIT)])) as peer:
        assert peer.ask(COMMIT, action(**changes), data_set).status == status
        assert peer.ask(COMMIT, action(), WHOLE).status == 0  # the association goes on
    assert Job.select().where(Job.kind == "commitment").count() == 1


def test_a_request_is_read_in_both_transfer_syntaxes_and_an_order_of_its_own_makes_no_other_one() -> None:
    asked = [Reference("1.2.840.10008.5.1.4.1.1.7", f"1.2.3.{number}") for number in range(2500)]
    with (
        closing(information.encode("1.2.9", IMPLICIT, referenced=asked)) as implicit,
        closing(information.encode("1.2.9", EXPLICIT, referenced=reversed(asked))) as explicit,
    ):
        assert information.summarize(implicit, IMPLICIT) == information.summarize(explicit, EXPLICIT)
        assert list(information.references(implicit, IMPLICIT)) == asked


def test_a_request_for_more_instances_than_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(information, "MAX_INSTANCES", 3)
    asked = [Reference("1.2.840.10008.5.1.4.1.1.7", f"1.2.3.{number}") for number in range(4)]
    with (
        closing(information.encode("1.2.9", EXPLICIT, referenced=asked)) as file,
        pytest.raises(BadValue, match="more than 3 instances"),
    ):
        information.summarize(file, EXPLICIT)


def test_every_cut_of_a_request_is_refused() -> None:
    for end in range(len(WHOLE)):
        with pytest.raises(BadValue):
            information.summarize(io.BytesIO(WHOLE[:end]), EXPLICIT)
