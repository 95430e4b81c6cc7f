"""Extended negotiation over real associations, in both protocol paths; the clause of the standard is in each name."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydicom import Dataset
from pynetdicom.pdu_primitives import SOPClassExtendedNegotiation
from pynetdicom.presentation import build_context

from portal.access.actors import operator
from portal.peers import peers
from tests.fixtures.dimse import (
    PATIENT_FIND,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    VERIFICATION,
    Encoded,
    Listener,
    associated,
    destination,
    image,
    register,
    store,
)


def offer(sop_class: str, information: bytes) -> SOPClassExtendedNegotiation:
    item = SOPClassExtendedNegotiation()
    item.sop_class_uid, item.service_class_application_information = sop_class, information
    return item


@contextmanager
def negotiating(port: int, *offers: tuple[str, bytes], models: tuple[str, ...] = (STUDY_FIND,)) -> Iterator[Any]:
    items = [offer(*each) for each in offers]
    with associated(port, [build_context(model) for model in models], roles=items) as assoc:
        assert assoc.is_established
        yield assoc


def answered(assoc: Any) -> dict[str, bytes]:
    return {str(uid): said for uid, said in assoc.acceptor.sop_class_extended.items()}


def find(port: int, information: bytes, level: str = "STUDY", **keys: Any) -> tuple[int, list[str]]:
    """The final status of a C-FIND after this offer, and the Patient IDs."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for keyword, value in {"PatientID": "", **keys}.items():
        setattr(identifier, keyword, value)
    offers = [(STUDY_FIND, information)] if information else []
    with negotiating(port, *offers) as assoc:
        answers = list(assoc.send_c_find(identifier, STUDY_FIND))
    return answers[-1][0].Status, sorted(str(ds.PatientID) for _, ds in answers[:-1])


@pytest.mark.parametrize(
    ("offered", "expected"),
    [
        (b"\1\1\1\1\1\1\1", b"\1\1\1\0\0\1\1"),
        (b"\1\1\1\1\1\1\1\1\1", b"\1\1\1\0\0\1\1"),
        (b"\1", b"\1"),
        (b"\0\1\0", b"\0\1\0"),
        (b"\2\0\1", b"\0\0\1"),
    ],
    ids=["all", "more than the standard has", "the first alone", "some", "a value that is none"],
)
def test_ps3_4_c_5_1_1_the_answer_has_what_is_done_and_no_more_bytes_than_were_offered(
    listener: Listener, offered: bytes, expected: bytes
) -> None:
    register()
    with negotiating(listener.port, (STUDY_FIND, offered)) as assoc:
        assert answered(assoc) == {STUDY_FIND: expected}


def test_ps3_7_d_3_3_5_nothing_is_answered_to_what_was_not_offered_or_not_accepted(listener: Listener) -> None:
    register(services=("echo", "find"))
    with negotiating(listener.port) as assoc:
        assert answered(assoc) == {}
    offers = ((STUDY_MOVE, b"\1"), (PATIENT_FIND, b"\1"), (VERIFICATION, b"\1"))
    with negotiating(listener.port, *offers, models=(STUDY_FIND, STUDY_MOVE, VERIFICATION)) as assoc:
        assert answered(assoc) == {}


@pytest.mark.parametrize("model", [STUDY_MOVE, STUDY_GET], ids=["C.5.2.1 C-MOVE", "C.5.3.1 C-GET"])
def test_ps3_4_c_5_relational_retrieval_has_a_byte_of_its_own(listener: Listener, model: str) -> None:
    register()
    with negotiating(listener.port, (model, b"\1\1"), models=(model,)) as assoc:
        assert answered(assoc) == {model: b"\1"}


def test_ps3_4_c_4_1_2_2_2_relational_queries_are_answered_where_negotiated_and_else_a900(listener: Listener) -> None:
    register()
    store(listener.port, [Encoded.of(image(PatientID="P1")), Encoded.of(image(PatientID="P2", Modality="CT"))])
    assert find(listener.port, b"", "SERIES", Modality="CT")[0] == 0xA900
    assert find(listener.port, b"\0\1", "SERIES", Modality="CT")[0] == 0xA900
    assert find(listener.port, b"\1", "SERIES", Modality="CT") == (0, ["P2"])
    assert find(listener.port, b"\1", "STUDY", Modality="CT") == (0, ["P2"])


def test_ps3_4_c_2_2_2_each_negotiated_byte_changes_its_kind_of_matching_alone(listener: Listener) -> None:
    register()
    first = image(PatientID="P1", PatientName="Muller^Jo", StudyDate="20260101", StudyTime="2300", AccessionNumber="")
    store(listener.port, [Encoded.of(first), Encoded.of(image(PatientID="P2", StudyDate="20260102", StudyTime="1000"))])
    moments = {"StudyDate": "20260101-20260102", "StudyTime": "2200-1200"}
    assert find(listener.port, b"\0\1", **moments) == (0, ["P1", "P2"])
    assert find(listener.port, b"\1\0\1\0\0\1\1", **moments) == (0, [])
    assert find(listener.port, b"\0\0\1", PatientName="Jo Muller") == (0, ["P1"])
    assert find(listener.port, b"\1\1\0\0\0\1\1", PatientName="Jo Muller") == (0, [])
    assert find(listener.port, bytes((0, 0, 0, 0, 0, 1)), AccessionNumber='""') == (0, ["P1"])
    assert find(listener.port, b"\1\1\1\0\0\0\1", AccessionNumber='""') == (0, [])
    assert find(listener.port, bytes((0, 0, 0, 0, 0, 0, 1)), ModalitiesInStudy=["OT", "CT"]) == (0, [])
    assert find(listener.port, b"\1\1\1\0\0\1", ModalitiesInStudy=["OT", "CT"]) == (0, ["P1", "P2"])


def test_ps3_4_c_4_2_2_2_a_relational_move_needs_the_key_of_its_level_alone(listener: Listener) -> None:
    register()
    one = Encoded.of(image())
    store(listener.port, [one])
    identifier = Dataset()
    identifier.QueryRetrieveLevel, identifier.SOPInstanceUID = "IMAGE", one.sop_instance
    with destination("VIEWER") as viewer:
        register("VIEWER", host="127.0.0.1", port=viewer.port, services=("echo",), projects=(), store_to=None)
        peers.edit("SCANNER", moves_to=("VIEWER",), actor=operator())
        for offers, expected in (((), (0xA900, 0)), (((STUDY_MOVE, b"\1"),), (0, 1))):
            with negotiating(listener.port, *offers, models=(STUDY_MOVE,)) as assoc:
                status = list(assoc.send_c_move(identifier, "VIEWER", STUDY_MOVE))[-1][0]
            assert (status.Status, len(viewer.requests)) == expected
