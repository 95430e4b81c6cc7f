"""The final status of a C-MOVE and a C-GET, its counts and its list, by the clauses of the standard."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import build_role, evt
from pynetdicom.presentation import build_context

from portal import models
from portal.models import Job
from tests.dimse_worker.test_retrieval import add_index_rows, counts, find, get, keys, move, study, study_uid_of
from tests.fixtures.dimse import (
    PATIENT_MOVE,
    SECONDARY_CAPTURE,
    STUDY_GET,
    STUDY_MOVE,
    Encoded,
    Listener,
    associated,
    destination,
    register,
    rows,
    store,
    until,
)
from tests.fixtures.free_ports import free_port

OBJECTS = 3
SUCCESS, SOME, CANNOT_COUNT, ALL, UNKNOWN, IDENTIFIER, CANCELLED = 0, 0xB000, 0xA701, 0xA702, 0xA801, 0xA900, 0xFE00
Answer = Callable[[str, int], int]
"""The status of a C-STORE: of which object, and of which in their order."""


@pytest.fixture
def objects(listener: Listener) -> list[Encoded]:
    """Three objects of one study, sent by SCANNER, which may move to any peer."""
    register(moves_to=("any",))
    sent = study(OBJECTS)
    assert {one.status for one in store(listener.port, sent)} == {SUCCESS}
    return sent


@contextmanager
def viewer(answer: Answer) -> Iterator[None]:
    """VIEWER answers each object as it is told."""
    number = iter(range(1000))

    def respond(event: Any) -> int:
        return answer(str(event.request.AffectedSOPInstanceUID), next(number))

    with destination("VIEWER", answer=respond) as running:
        register("VIEWER", host="127.0.0.1", port=running.port, services=("echo",), projects=(), store_to=None)
        yield


def listed(identifier: Dataset | None) -> list[str]:
    """The Failed SOP Instance UID List of a final answer."""
    found = identifier.FailedSOPInstanceUIDList if identifier else []
    return [found] if isinstance(found, str) else list(found)


def is_refusal(code: int) -> bool:
    return code >> 12 in (0xA, 0xC) or code == 0x0124


STORED: dict[str, tuple[list[int], int, tuple[int, int, int]]] = {
    "C.4.2.1.5 0000 all are stored": ([0, 0, 0], SUCCESS, (3, 0, 0)),
    "C.4.2.1.5 B000 one is refused": ([0, 0xA700, 0], SOME, (2, 1, 0)),
    "C.4.2.1.5 B000 one is stored with a warning": ([0xB000, 0, 0], SOME, (2, 0, 1)),
    "C.4.2.1.5 B000 all are stored with a warning": ([0xB007, 0xB006, 0xB000], SOME, (0, 0, 3)),
    "C.4.2.1.5 B000 one of each": ([0, 0xC001, 0x0107], SOME, (1, 1, 1)),
    "C.4.2.1.5 B000 a warning and refusals": ([0xB000, 0xA900, 0x0124], SOME, (0, 2, 1)),
    "C.4.2.1.5 A702 all are refused": ([0xA700, 0xA900, 0x0124], ALL, (0, 3, 0)),
}
"""What is answered to each C-STORE → the final status, and the numbers of completed, failed and warned ones."""


def test_ps3_4_c_4_2_1_5_the_status_of_a_move_is_that_of_its_sub_operations(
    listener: Listener, objects: list[Encoded]
) -> None:
    uids = [one.sop_instance for one in objects]
    answers: dict[str, int] = {}
    wanted = keys("STUDY", StudyInstanceUID=study_uid_of(objects[0]))
    with viewer(lambda uid, _number: answers[uid]):
        for rule, (codes, status, numbers) in STORED.items():
            answers.update(zip(uids, codes, strict=True))
            final, identifier = move(listener.port, wanted, "VIEWER")
            assert (final.Status, counts(final)) == (status, (None, *numbers)), rule
            assert listed(identifier) == [uid for uid in uids if is_refusal(answers[uid])], rule
            job = rows(Job)[-1]
            assert (job.done, job.failed) == (numbers[0] + numbers[2], numbers[1]), rule
            assert job.result["status"] == f"{status:04X}", rule


def test_ps3_4_c_4_3_1_4_the_status_of_a_get_is_that_of_its_sub_operations(
    listener: Listener, objects: list[Encoded]
) -> None:
    uids = [one.sop_instance for one in objects]
    answers: dict[str, int] = {}
    contexts = [build_context(STUDY_GET), build_context(SECONDARY_CAPTURE, "1.2.840.10008.1.2.1")]
    roles = [build_role(SECONDARY_CAPTURE, scp_role=True)]
    handlers = [(evt.EVT_C_STORE, lambda event: answers[str(event.request.AffectedSOPInstanceUID)])]
    wanted = keys("STUDY", StudyInstanceUID=study_uid_of(objects[0]))
    with associated(listener.port, contexts, roles=roles, handlers=handlers) as assoc:
        for rule, (codes, status, numbers) in STORED.items():
            answers.update(zip(uids, codes, strict=True))
            final, identifier = list(assoc.send_c_get(wanted, STUDY_GET))[-1]
            assert (final.Status, counts(final)) == (status, (None, *numbers)), rule
            assert listed(identifier) == [uid for uid in uids if is_refusal(answers[uid])], rule


def test_ps3_4_c_4_3_2_what_the_requestor_of_a_get_does_not_take_fails_and_is_listed(
    listener: Listener, objects: list[Encoded]
) -> None:
    wanted = keys("STUDY", StudyInstanceUID=study_uid_of(objects[0]))
    another = "1.2.840.10008.5.1.4.1.1.2"
    offers: dict[str, tuple[list[str], list[str]]] = {
        "no context": ([], []),
        "a context without the role of the SCP": ([SECONDARY_CAPTURE], []),
        "a context of another class": ([another], [another]),
    }
    for offer, (classes, roles) in offers.items():
        contexts = [build_context(STUDY_GET), *(build_context(one, "1.2.840.10008.1.2.1") for one in classes)]
        as_scp = [build_role(one, scp_role=True) for one in roles]
        with associated(listener.port, contexts, roles=as_scp) as assoc:
            final, identifier = list(assoc.send_c_get(wanted, STUDY_GET))[-1]
        assert (final.Status, counts(final)) == (ALL, (None, 0, OBJECTS, 0)), offer
        assert listed(identifier) == [one.sop_instance for one in objects], offer


BAD_IDENTIFIERS = {
    "C.4.2.2.1 no unique key": keys("STUDY"),
    "C.4.2.2.1 an empty unique key": keys("STUDY", StudyInstanceUID=""),
    "C.4.2.2.1 a wild card": keys("STUDY", StudyInstanceUID="1.2.*"),
    "C.4.2.2.1 no key of the level above": keys("SERIES", SeriesInstanceUID="1.2.3"),
    "C.4.2.2.1 several values above": keys("SERIES", StudyInstanceUID=["1.2", "1.3"], SeriesInstanceUID="1.2.3"),
    "C.4.2.1.4 an unknown level": keys("EXAM", StudyInstanceUID="1.2.3"),
    "C.6.2 no PATIENT level in Study Root": keys("PATIENT", PatientID="P1"),
}


def test_ps3_4_c_4_2_1_5_an_identifier_that_does_not_fit_is_answered_a900(
    listener: Listener, objects: list[Encoded]
) -> None:
    sent: list[str] = []
    with viewer(lambda uid, _number: sent.append(uid) or SUCCESS):
        for rule, identifier in BAD_IDENTIFIERS.items():
            final, _ = move(listener.port, identifier, "VIEWER")
            came, of_get, _ = get(listener.port, identifier)
            assert (final.Status, of_get.Status, came) == (IDENTIFIER, IDENTIFIER, {}), rule
            assert final.ErrorComment, rule
    assert (sent, rows(Job)) == ([], [])


def test_ps3_4_c_4_2_1_5_an_unknown_destination_is_answered_a801_and_one_that_is_away_a702(
    listener: Listener, objects: list[Encoded]
) -> None:
    wanted = keys("STUDY", StudyInstanceUID=study_uid_of(objects[0]))
    assert move(listener.port, wanted, "NOWHERE")[0].Status == UNKNOWN
    register("AWAY", host="127.0.0.1", port=free_port(), services=("echo",), projects=(), store_to=None)
    final, identifier = move(listener.port, wanted, "AWAY")
    assert (final.Status, counts(final), len(listed(identifier))) == (ALL, (None, 0, OBJECTS, 0), OBJECTS)


def test_ps3_4_c_4_2_1_5_what_cannot_be_counted_is_answered_a701(listener: Listener, objects: list[Encoded]) -> None:
    wanted = keys("STUDY", StudyInstanceUID=study_uid_of(objects[0]))
    models.database.execute_sql("ALTER TABLE instance RENAME TO away")
    try:
        with viewer(lambda _uid, _number: SUCCESS):
            final, _ = move(listener.port, wanted, "VIEWER")
    finally:
        models.database.execute_sql("ALTER TABLE away RENAME TO instance")
    assert (final.Status, counts(final)) == (CANNOT_COUNT, (None, None, None, None))


def test_ps3_4_c_4_2_1_5_no_match_is_answered_0000_with_counts_of_zero(
    listener: Listener, objects: list[Encoded]
) -> None:
    for model, wanted in (
        (STUDY_MOVE, keys("STUDY", StudyInstanceUID=generate_uid())),
        (PATIENT_MOVE, keys("PATIENT", PatientID="NOBODY")),
    ):
        with destination("SCANNER") as own:
            models.Peer.update(host="127.0.0.1", port=own.port).execute()
            final, identifier = move(listener.port, wanted, "SCANNER", model=model)
        assert (final.Status, counts(final), identifier) == (SUCCESS, (None, 0, 0, 0), None)


def test_ps3_4_c_4_2_1_6_a_cancelled_move_counts_what_remains_and_lists_what_failed(
    listener: Listener, objects: list[Encoded]
) -> None:
    ended = threading.Event()

    def answer(_uid: str, number: int) -> int:
        if number == 1:
            ended.wait(60)
        return 0xA700 if number == 0 else SUCCESS

    wanted = keys("STUDY", StudyInstanceUID=study_uid_of(objects[0]))
    with viewer(answer), associated(listener.port, [build_context(STUDY_MOVE)]) as assoc:
        answers = assoc.send_c_move(wanted, "VIEWER", STUDY_MOVE, msg_id=9)
        while counts(pending := next(answers)[0]) != (2, 0, 1, 0):
            assert pending.Status == 0xFF00
        assoc.send_c_cancel(9, query_model=STUDY_MOVE)
        # The second object is held until the end: the cancel cannot come after the last one.
        *_, (final, identifier) = answers
        ended.set()
    assert (final.Status, counts(final)) == (CANCELLED, (2, 0, 1, 0))
    assert listed(identifier) == [objects[0].sop_instance]
    until(lambda: [job.state for job in rows(Job)] == ["cancelled"], "the row of the move")


@pytest.mark.prove
@pytest.mark.timeout(900)
def test_ps3_7_e_1_counts_stay_at_65535_where_there_are_more_and_the_row_is_exact(
    listener: Listener, objects: list[Encoded]
) -> None:
    add_index_rows([f"2.25.{10**20 + number}" for number in range(65_536)])
    register("AWAY", host="127.0.0.1", port=free_port(), services=("echo",), projects=(), store_to=None)
    with associated(listener.port, [build_context(STUDY_MOVE)]) as assoc:
        assoc.dimse_timeout = 600
        wanted = keys("STUDY", StudyInstanceUID=study_uid_of(objects[0]))
        final, identifier = list(assoc.send_c_move(wanted, "AWAY", STUDY_MOVE))[-1]
    assert (final.Status, counts(final)) == (ALL, (None, 0, 65_535, 0))
    value = identifier[0x00080058].value
    assert len(value.split(b"\\") if isinstance(value, bytes) else list(value)) == 65_536 + OBJECTS
    assert [job.failed for job in rows(Job)] == [65_536 + OBJECTS]


def test_ps3_4_c_6_2_1_2_the_number_of_instances_of_a_query_is_that_of_the_sub_operations(
    listener: Listener, objects: list[Encoded]
) -> None:
    assert {one.status for one in store(listener.port, objects[:2])} == {SUCCESS}  # again
    study_uid = study_uid_of(objects[0])
    asked = keys("STUDY", StudyInstanceUID=study_uid, NumberOfStudyRelatedInstances=None)
    (found,), _ = find(listener.port, asked)
    with viewer(lambda _uid, _number: SUCCESS):
        final, _ = move(listener.port, keys("STUDY", StudyInstanceUID=study_uid), "VIEWER")
    assert (found.NumberOfStudyRelatedInstances, counts(final)) == (OBJECTS, (None, OBJECTS, 0, 0))
