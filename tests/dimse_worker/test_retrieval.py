import hashlib
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from io import BytesIO
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import build_role, evt
from pynetdicom.dimse_messages import C_CANCEL_RQ, C_MOVE_RQ
from pynetdicom.dimse_primitives import C_CANCEL, C_MOVE
from pynetdicom.dsutils import encode as encode_data_set
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.presentation import build_context

from portal import models
from portal.access.actors import operator
from portal.peers import peers, refused_callers
from tests.fixtures.dimse import (
    PATIENCE,
    PATIENT_FIND,
    PATIENT_GET,
    PATIENT_MOVE,
    SECONDARY_CAPTURE,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    Destination,
    Encoded,
    Listener,
    Sender,
    Sent,
    associated,
    destination,
    image,
    newest_association,
    register,
    rows,
    store,
    until,
)
from tests.fixtures.free_ports import free_port

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
COMPRESSED = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.5")


def keys(level: str, **values: Any) -> Dataset:
    ds = Dataset()
    ds.QueryRetrieveLevel = level
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


def find(
    port: int, identifier: Dataset, *, model: str = STUDY_FIND, calling: str = "SCANNER", called: str = "PORTICO"
) -> tuple[list[Any], Any]:
    """The matches and the final status."""
    with associated(port, [build_context(model)], calling=calling, called=called) as assoc:
        answers = list(assoc.send_c_find(identifier, model))
    return [ds for _, ds in answers[:-1]], answers[-1][0]


def move(
    port: int, identifier: Dataset, to: str, *, model: str = STUDY_MOVE, calling: str = "SCANNER"
) -> tuple[Any, Any]:
    """The final answer and its identifier."""
    with associated(port, [build_context(model)], calling=calling) as assoc:
        return list(assoc.send_c_move(identifier, to, model))[-1]


def get(
    port: int, identifier: Dataset, *, model: str = STUDY_GET, calling: str = "SCANNER"
) -> tuple[dict[str, str], Any, Any]:
    """The digests that came, the final answer and its identifier."""
    came: dict[str, str] = {}

    def take(event: Any) -> int:
        came[str(event.request.AffectedSOPInstanceUID)] = hashlib.sha256(event.request.DataSet.getvalue()).hexdigest()
        return 0

    contexts = [build_context(model), build_context(SECONDARY_CAPTURE, EXPLICIT)]
    roles = [build_role(SECONDARY_CAPTURE, scp_role=True)]
    with associated(port, contexts, calling=calling, roles=roles, handlers=[(evt.EVT_C_STORE, take)]) as assoc:
        status, identifier = list(assoc.send_c_get(identifier, model))[-1]
    return came, status, identifier


def counts(status: Dataset) -> tuple[int | None, ...]:
    """Remaining, completed, failed, warning."""
    names = ("Remaining", "Completed", "Failed", "Warning")
    return tuple(getattr(status, f"NumberOf{name}Suboperations", None) for name in names)


def study(number: int = 3) -> list[Encoded]:
    """Objects of one study, in one series."""
    study_uid, series_uid = generate_uid(), generate_uid()
    return [
        Encoded.of(image(StudyInstanceUID=study_uid, SeriesInstanceUID=series_uid, InstanceNumber=index + 1))
        for index in range(number)
    ]


def study_uid_of(one: Encoded) -> str:
    instance = models.Instance.get(models.Instance.sop_uid == one.sop_instance)
    return str(instance.series.study.study_uid)


@pytest.fixture
def objects(listener: Listener) -> list[Encoded]:
    """Three objects of one study in neuro/TRIAL1, sent by SCANNER."""
    register()
    sent = study()
    assert [one.status for one in store(listener.port, sent)] == [0, 0, 0]
    return sent


@pytest.fixture
def viewer(listener: Listener) -> Iterator[Destination]:
    with destination("VIEWER") as running:
        register("VIEWER", host="127.0.0.1", port=running.port, services=("echo",), projects=(), store_to=None)
        yield running


@pytest.fixture
def study_uid(objects: list[Encoded]) -> str:
    return study_uid_of(objects[0])


@pytest.mark.parametrize(("model", "extra"), [(STUDY_FIND, {}), (PATIENT_FIND, {"PatientID": "P1"})])
def test_a_study_is_found_at_each_level_in_both_models(
    listener: Listener, study_uid: str, model: str, extra: dict[str, str]
) -> None:
    found, status = find(listener.port, keys("STUDY", StudyInstanceUID="", PatientName="", **extra), model=model)
    assert (status.Status, [ds.StudyInstanceUID for ds in found]) == (0, [study_uid])
    (series,), _ = find(
        listener.port, keys("SERIES", StudyInstanceUID=study_uid, SeriesInstanceUID="", **extra), model=model
    )
    instances, _ = find(
        listener.port,
        keys(
            "IMAGE", StudyInstanceUID=study_uid, SeriesInstanceUID=series.SeriesInstanceUID, SOPInstanceUID="", **extra
        ),
        model=model,
    )
    assert len(instances) == 3
    assert found[0].RetrieveAETitle == "PORTICO"


def test_an_identifier_that_does_not_fit_answers_a900_with_a_comment(listener: Listener, study_uid: str) -> None:
    for identifier in (keys("SERIES", SeriesInstanceUID=""), keys("PATIENT", PatientID=""), keys("EXAM"), keys("")):
        found, status = find(listener.port, identifier)
        assert (found, status.Status) == ([], 0xA900), identifier
        assert status.ErrorComment


def test_a_find_is_cancelled(listener: Listener) -> None:
    register()
    store(listener.port, [Encoded.of(image()) for _ in range(60)])
    with associated(listener.port, [build_context(STUDY_FIND)]) as assoc:
        answers = assoc.send_c_find(keys("STUDY", StudyInstanceUID=""), STUDY_FIND, msg_id=5)
        next(answers)
        assoc.send_c_cancel(5, query_model=STUDY_FIND)
        *_, (last, _) = answers
        assert last.Status in (0xFE00, 0)


def test_a_move_brings_what_was_sent_byte_for_byte(
    listener: Listener, objects: list[Encoded], study_uid: str, viewer: Destination
) -> None:
    peers.edit("SCANNER", moves_to=("VIEWER",), actor=operator())
    with associated(listener.port, [build_context(STUDY_MOVE)]) as assoc:
        answers = list(assoc.send_c_move(keys("STUDY", StudyInstanceUID=study_uid), "VIEWER", STUDY_MOVE, msg_id=77))
    status, identifier = answers[-1]
    assert (status.Status, counts(status), identifier) == (0, (None, 3, 0, 0), None)
    assert viewer.digests == {one.sop_instance: hashlib.sha256(one.raw).hexdigest() for one in objects}
    assert {request.MoveOriginatorMessageID for request in viewer.requests} == {77}
    assert {request.MoveOriginatorApplicationEntityTitle for request in viewer.requests} == {"SCANNER"}
    (job,) = rows(models.Job)
    assert (job.kind, job.runner, job.state, job.total, job.done, job.failed) == ("move", "listener", "done", 3, 3, 0)
    assert job.params["studies"] == [study_uid]
    assert job.association.calling == "SCANNER"


def test_what_a_peer_retrieves_is_named_by_study_and_patient(
    listener: Listener, objects: list[Encoded], study_uid: str, viewer: Destination
) -> None:
    peers.edit("SCANNER", moves_to=("VIEWER",), actor=operator())
    thorax = image(Modality="CT", StudyDescription="Thorax", PatientID="P001")
    assert store(listener.port, [Encoded.of(thorax)])[0].status == 0
    named = keys("IMAGE", SOPInstanceUID=thorax.SOPInstanceUID, SeriesInstanceUID=thorax.SeriesInstanceUID)
    named.StudyInstanceUID = thorax.StudyInstanceUID
    move(listener.port, keys("STUDY", StudyInstanceUID=thorax.StudyInstanceUID), "VIEWER")
    move(listener.port, keys("STUDY", StudyInstanceUID=[thorax.StudyInstanceUID, study_uid]), "VIEWER")
    get(listener.port, named)
    get(listener.port, keys("STUDY", StudyInstanceUID="1.2.3"))
    assert [job.what for job in rows(models.Job)] == [
        "CT Thorax, P001 to VIEWER",
        "OT, P1 and 1 more study to VIEWER",
        "1 instance of CT Thorax, P001 to SCANNER",
        "No matching instances to SCANNER",
    ]


@pytest.mark.parametrize("level", ["PATIENT", "STUDY", "SERIES", "IMAGE"])
def test_a_move_at_each_level_moves_what_it_names(
    listener: Listener, objects: list[Encoded], study_uid: str, viewer: Destination, level: str
) -> None:
    peers.edit("SCANNER", moves_to=("any",), actor=operator())
    series_uid = models.Series.get().series_uid
    names = {"PatientID": "P1", "StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid}
    depth = {"PATIENT": 1, "STUDY": 2, "SERIES": 3, "IMAGE": 3}[level]
    wanted = dict(list(names.items())[:depth])
    if level == "IMAGE":
        wanted["SOPInstanceUID"] = [objects[0].sop_instance, objects[2].sop_instance]
    status, _ = move(listener.port, keys(level, **wanted), "VIEWER", model=PATIENT_MOVE)
    assert status.Status == 0
    assert len(viewer.digests) == (2 if level == "IMAGE" else 3)


def test_a_peer_moves_to_itself_without_being_told_that_it_may(listener: Listener, study_uid: str) -> None:
    with destination("SCANNER") as own:
        peers.edit("SCANNER", host="127.0.0.1", port=own.port, actor=operator())
        status, _ = move(listener.port, keys("STUDY", StudyInstanceUID=study_uid), "SCANNER")
        assert (status.Status, len(own.digests)) == (0, 3)


def test_a_destination_that_is_unknown_not_allowed_or_without_an_address_answers_a801(
    listener: Listener, study_uid: str, viewer: Destination
) -> None:
    for title in ("NOWHERE", "VIEWER", "SCANNER"):
        status, _ = move(listener.port, keys("STUDY", StudyInstanceUID=study_uid), title)
        assert status.Status == 0xA801, title
    assert {row.reason for row in refused_callers.list_all()} == {"destination"}
    assert viewer.digests == {}


def test_an_unreachable_destination_answers_a702_with_everything_failed(
    listener: Listener, objects: list[Encoded], study_uid: str
) -> None:
    register("AWAY", host="127.0.0.1", port=free_port(), services=("echo",), projects=(), store_to=None)
    peers.edit("SCANNER", moves_to=("AWAY",), actor=operator())
    status, identifier = move(listener.port, keys("STUDY", StudyInstanceUID=study_uid), "AWAY")
    assert (status.Status, counts(status)) == (0xA702, (None, 0, 3, 0))
    assert sorted(identifier.FailedSOPInstanceUIDList) == sorted(one.sop_instance for one in objects)
    (job,) = rows(models.Job)
    assert (job.state, job.failed) == ("failed", 3)
    assert {item.key for item in job.items} == {one.sop_instance for one in objects}
    assert all("refuses connections" in item.message for item in job.items)


def test_a_destination_that_refuses_some_answers_b000_with_their_uids(
    listener: Listener, objects: list[Encoded], study_uid: str
) -> None:
    bad, warned = objects[0].sop_instance, objects[1].sop_instance
    answers = {bad: 0xA900, warned: 0xB007}
    with destination("PICKY", answer=lambda event: answers.get(str(event.request.AffectedSOPInstanceUID), 0)) as picky:
        register("PICKY", host="127.0.0.1", port=picky.port, services=("echo",), projects=(), store_to=None)
        peers.edit("SCANNER", moves_to=("PICKY",), actor=operator())
        status, identifier = move(listener.port, keys("STUDY", StudyInstanceUID=study_uid), "PICKY")
    assert (status.Status, counts(status)) == (0xB000, (None, 1, 1, 1))
    assert identifier.FailedSOPInstanceUIDList == bad
    (job,) = rows(models.Job)
    assert (job.state, job.done, job.failed) == ("errors", 2, 1)
    assert {item.key: item.state for item in job.items} == {bad: "failed", warned: "sent"}


def test_more_failures_than_an_explicit_ui_can_hold_are_all_listed(
    listener: Listener, objects: list[Encoded], study_uid: str
) -> None:
    register("AWAY", host="127.0.0.1", port=free_port(), services=("echo",), projects=(), store_to=None)
    peers.edit("SCANNER", moves_to=("AWAY",), actor=operator())
    uids = [f"2.25.{10**58 + number}" for number in range(1100)]
    add_index_rows(uids)
    status, identifier = move(listener.port, keys("STUDY", StudyInstanceUID=study_uid), "AWAY")
    assert (status.Status, counts(status)) == (0xA702, (None, 0, 1103, 0))
    value = identifier[0x00080058].value
    listed = value.rstrip(b"\0").decode().split("\\") if isinstance(value, bytes) else list(value)
    assert sorted(listed) == sorted([*uids, *(one.sop_instance for one in objects)])
    assert models.JobItem.select().count() == 1103


@pytest.mark.parametrize("syntax", ["1.2.3.4", "1" * 70, "1.2.840.10008.1.2.4.90"])
def test_an_object_in_no_transfer_syntax_that_is_known_fails_alone(
    listener: Listener, objects: list[Encoded], study_uid: str, viewer: Destination, syntax: str
) -> None:
    bad = objects[0].sop_instance
    with models.writing():
        models.Instance.update(transfer_syntax=syntax).where(models.Instance.sop_uid == bad).execute()
    peers.edit("SCANNER", moves_to=("VIEWER",), actor=operator())
    came, status, identifier = get(listener.port, keys("STUDY", StudyInstanceUID=study_uid))
    assert (status.Status, counts(status), identifier.FailedSOPInstanceUIDList) == (0xB000, (None, 2, 1, 0), bad)
    assert bad not in came
    status, identifier = move(listener.port, keys("STUDY", StudyInstanceUID=study_uid), "VIEWER")
    assert (status.Status, counts(status), identifier.FailedSOPInstanceUIDList) == (0xB000, (None, 2, 1, 0), bad)
    assert bad not in viewer.digests


def add_index_rows(uids: list[str]) -> None:
    """More instances of the one series, as if each had been stored; their bytes are those of the first."""
    one = models.Instance.select().order_by(models.Instance.id).dicts().get()
    file = models.File.select().where(models.File.id == one["file"]).dicts().get()
    del one["id"], file["id"]
    with models.writing():
        for uid in uids:
            number = models.File.insert({**file, "name": f"{uid}.dcm"}).execute()
            models.Instance.insert({**one, "file": number, "sop_uid": uid}).execute()


def test_nothing_that_matches_is_a_success_with_zero_counts(listener: Listener, viewer: Destination) -> None:
    register(moves_to=("VIEWER",))
    status, _ = move(listener.port, keys("STUDY", StudyInstanceUID="1.2.3"), "VIEWER")
    assert (status.Status, counts(status)) == (0, (None, 0, 0, 0))


def test_a_retrieve_without_its_unique_key_answers_a900(
    listener: Listener, study_uid: str, viewer: Destination
) -> None:
    peers.edit("SCANNER", moves_to=("any",), actor=operator())
    for identifier in (keys("STUDY"), keys("STUDY", StudyInstanceUID="1.2.*"), keys("SERIES", SeriesInstanceUID="1.2")):
        assert move(listener.port, identifier, "VIEWER")[0].Status == 0xA900, identifier
        assert get(listener.port, identifier)[1].Status == 0xA900, identifier
    assert rows(models.Job) == []


def test_a_slow_destination_gives_pending_answers_every_second_and_a_cancel_stops_after_one(
    listener: Listener, objects: list[Encoded], study_uid: str
) -> None:
    go_on, answered = threading.Event(), threading.Event()

    def answer(_event: Any) -> int:
        """The first one soon after the cancel; a second one, if the cancel was late, not in time."""
        if answered.is_set():
            threading.Event().wait(PATIENCE)
        go_on.wait(PATIENCE)
        answered.set()
        return 0

    with slow_destination(answer) as slow, associated(listener.port, [build_context(STUDY_MOVE)]) as assoc:
        answers = assoc.send_c_move(keys("STUDY", StudyInstanceUID=study_uid), "SLOW", STUDY_MOVE, msg_id=9)
        for _ in range(2):
            status, _ = next(answers)
            assert (status.Status, counts(status)) == (0xFF00, (3, 0, 0, 0))
        assoc.send_c_cancel(9, query_model=STUDY_MOVE)
        go_on.set()
        *_, (status, _) = answers
        assert (status.Status, counts(status)) == (0xFE00, (2, 1, 0, 0))
        assert set(slow.digests) == {objects[0].sop_instance}
    until(lambda: [(job.state, job.done) for job in rows(models.Job)] == [("cancelled", 1)], "the job is cancelled")


def test_a_cancel_ends_a_sub_operation_that_is_not_answered(
    listener: Listener, objects: list[Encoded], study_uid: str
) -> None:
    never = threading.Event()
    with slow_destination(lambda _event: int(never.wait(PATIENCE))):
        assert cancelled_after_two_answers(listener, study_uid) == (3, 0, 0, 0)
        never.set()
    until(lambda: newest_outcome("requestor") == "aborted", "the association with the destination has ended")
    assert [(job.state, job.done, job.failed) for job in rows(models.Job)] == [("cancelled", 0, 0)]


def test_a_destination_that_does_not_negotiate_gives_pending_answers_and_obeys_a_cancel(
    listener: Listener, objects: list[Encoded], study_uid: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        register("SLOW", host="127.0.0.1", port=silent.getsockname()[1], services=("echo",), projects=(), store_to=None)
        peers.edit("SCANNER", moves_to=("SLOW",), actor=operator())
        assert cancelled_after_two_answers(listener, study_uid) == (3, 0, 0, 0)
    row = until(lambda: newest_outcome("requestor") and newest_association(), "the association's row")
    assert (row.outcome, row.message) == ("failed", "The requestor has cancelled.")


def test_a_cancel_in_the_same_segment_as_its_request_counts(
    listener: Listener, objects: list[Encoded], study_uid: str, viewer: Destination
) -> None:
    peers.edit("SCANNER", moves_to=("VIEWER",), actor=operator())
    with pipelined(listener.port) as (assoc, send):
        send((C_CANCEL_RQ, cancel(8)), (C_MOVE_RQ, move_request(7, study_uid)), (C_CANCEL_RQ, cancel(7)))
        _, response = assoc.dimse.get_msg(block=True)
        assert (response.Status, response.NumberOfRemainingSuboperations) == (0xFE00, 3)
        assert viewer.digests == {}

        # One that came before its request means none.
        send((C_MOVE_RQ, move_request(8, study_uid)))
        assert [one.NumberOfCompletedSuboperations for one in finals(assoc, 1)] == [3]


def test_a_request_that_comes_during_a_retrieval_is_served_after_it(
    listener: Listener, objects: list[Encoded], study_uid: str, viewer: Destination
) -> None:
    peers.edit("SCANNER", moves_to=("VIEWER",), actor=operator())
    with pipelined(listener.port) as (assoc, send):
        send((C_MOVE_RQ, move_request(7, study_uid)), (C_MOVE_RQ, move_request(8, study_uid)))
        answered = [(one.MessageIDBeingRespondedTo, one.NumberOfCompletedSuboperations) for one in finals(assoc, 2)]
        assert answered == [(7, 3), (8, 3)]


@contextmanager
def pipelined(port: int) -> Iterator[tuple[Any, Callable[..., None]]]:
    """An association for C-MOVE, and what sends several messages over it in one go."""
    with associated(port, [build_context(STUDY_MOVE)]) as opened:
        assoc: Any = opened
        context_id = assoc.accepted_contexts[0].context_id

        def send(*messages: tuple[Any, Any]) -> None:
            encoded = (encoded_message(kind(), primitive, context_id=context_id) for kind, primitive in messages)
            assoc.dul.socket.socket.sendall(b"".join(encoded))

        assoc._reactor_checkpoint.clear()
        yield assoc, send
        assoc._reactor_checkpoint.set()


def finals(assoc: Any, number: int) -> list[Any]:
    """So many final responses."""
    found: list[Any] = []
    while len(found) < number:
        _, response = assoc.dimse.get_msg(block=True)
        assert response is not None
        found += [response] if response.Status != 0xFF00 else []
    return found


def cancel(message_id: int) -> C_CANCEL:
    request = C_CANCEL()
    request.MessageIDBeingRespondedTo = message_id
    return request


def move_request(message_id: int, study_uid: str) -> C_MOVE:
    request = C_MOVE()
    request.MessageID, request.AffectedSOPClassUID, request.Priority = message_id, STUDY_MOVE, 2
    request.MoveDestination = "VIEWER"
    request.Identifier = BytesIO(encode_data_set(keys("STUDY", StudyInstanceUID=study_uid), True, True) or b"")
    return request


def encoded_message(message: Any, primitive: Any, *, context_id: int) -> bytes:
    """A message as its P-DATA-TFs."""
    message.primitive_to_message(primitive)
    encoded = b""
    for fragment in message.encode_msg(context_id, 16384):
        pdu = P_DATA_TF()
        pdu.from_primitive(fragment)
        encoded += pdu.encode()
    return encoded


@contextmanager
def slow_destination(answer: Callable[[Any], int]) -> Iterator[Destination]:
    """SLOW, which SCANNER may move to."""
    with destination("SLOW", answer=answer) as slow:
        register("SLOW", host="127.0.0.1", port=slow.port, services=("echo",), projects=(), store_to=None)
        peers.edit("SCANNER", moves_to=("SLOW",), actor=operator())
        yield slow


def cancelled_after_two_answers(listener: Listener, study_uid: str) -> tuple[int | None, ...]:
    """The counts in the final answer to a C-MOVE to SLOW that is cancelled after two pending ones."""
    with associated(listener.port, [build_context(STUDY_MOVE)]) as assoc:
        answers = assoc.send_c_move(keys("STUDY", StudyInstanceUID=study_uid), "SLOW", STUDY_MOVE, msg_id=9)
        for _ in range(2):
            status, _ = next(answers)
            assert (status.Status, counts(status)) == (0xFF00, (3, 0, 0, 0))
        assoc.send_c_cancel(9, query_model=STUDY_MOVE)
        *_, (status, _) = answers
        assert status.Status == 0xFE00
        return counts(status)


def newest_outcome(role: str) -> str:
    association = models.Association
    row = association.select().where(association.role == role).order_by(association.id.desc()).first()
    return str(row.outcome) if row else ""


def test_what_is_deleted_during_a_retrieval_is_in_the_list_of_what_failed(listener: Listener) -> None:
    register()
    study_uid = generate_uid()
    *sent, gone = (Encoded.of(image(StudyInstanceUID=study_uid, SeriesNumber=number)) for number in (1, 2, 3))
    store(listener.port, [*sent, gone])

    def answer(_event: Any) -> int:
        with models.connection(), models.writing():
            models.Instance.delete().where(models.Instance.sop_uid == gone.sop_instance).execute()
        return 0

    with slow_destination(answer):
        status, identifier = move(listener.port, keys("STUDY", StudyInstanceUID=study_uid), "SLOW")
    assert (status.Status, counts(status)) == (0xB000, (None, 2, 1, 0))
    assert identifier.FailedSOPInstanceUIDList == gone.sop_instance
    assert [(item.key, item.state) for item in rows(models.JobItem)] == [(gone.sop_instance, "failed")]


def test_a_requestor_that_leaves_in_the_middle_ends_the_job(
    listener: Listener, objects: list[Encoded], study_uid: str
) -> None:
    go_on = threading.Event()
    with destination("SLOW", answer=lambda _event: 0 if go_on.wait(20) else 0xA700) as slow:
        register("SLOW", host="127.0.0.1", port=slow.port, services=("echo",), projects=(), store_to=None)
        peers.edit("SCANNER", moves_to=("SLOW",), actor=operator())
        with associated(listener.port, [build_context(STUDY_MOVE)]) as assoc:
            next(assoc.send_c_move(keys("STUDY", StudyInstanceUID=study_uid), "SLOW", STUDY_MOVE))
            assoc.abort()
        until(lambda: [job.state for job in rows(models.Job)] == ["failed"], "the job has failed")
        go_on.set()


def test_a_get_brings_what_was_sent_byte_for_byte(listener: Listener, objects: list[Encoded], study_uid: str) -> None:
    for model, wanted in ((STUDY_GET, {}), (PATIENT_GET, {"PatientID": "P1"})):
        came, status, identifier = get(listener.port, keys("STUDY", StudyInstanceUID=study_uid, **wanted), model=model)
        assert (status.Status, counts(status), identifier) == (0, (None, 3, 0, 0), None)
        assert came == {one.sop_instance: hashlib.sha256(one.raw).hexdigest() for one in objects}
    assert [(job.kind, job.state, job.done) for job in rows(models.Job)] == [("get", "done", 3)] * 2


def test_a_get_without_a_context_for_the_class_fails_and_lists_it(
    listener: Listener, objects: list[Encoded], study_uid: str
) -> None:
    with associated(listener.port, [build_context(STUDY_GET)]) as assoc:
        status, identifier = list(assoc.send_c_get(keys("STUDY", StudyInstanceUID=study_uid), STUDY_GET))[-1]
    assert (status.Status, counts(status)) == (0xA702, (None, 0, 3, 0))
    assert sorted(identifier.FailedSOPInstanceUIDList) == sorted(one.sop_instance for one in objects)


def test_what_the_other_side_cannot_take_is_transcoded_under_the_same_uid(
    listener: Listener, objects: list[Encoded], study_uid: str
) -> None:
    with destination("OLD", syntaxes=(IMPLICIT,)) as old:
        register("OLD", host="127.0.0.1", port=old.port, services=("echo",), projects=(), store_to=None)
        peers.edit("SCANNER", moves_to=("OLD",), actor=operator())
        assert move(listener.port, keys("STUDY", StudyInstanceUID=study_uid), "OLD")[0].Status == 0
    assert old.syntaxes == dict.fromkeys((one.sop_instance for one in objects), IMPLICIT)


@pytest.mark.parametrize("syntax", COMPRESSED)
def test_who_takes_only_a_compressed_syntax_gets_the_same_pixels_in_it(listener: Listener, syntax: str) -> None:
    register(moves_to=("any",))
    pixels = bytes(range(256)) * 16
    one = image(Rows=64, Columns=64, PixelData=pixels)
    assert store(listener.port, [Encoded.of(one)])[0].status == 0
    came: dict[str, bytes] = {}

    def take(event: Any) -> int:
        ds = event.dataset
        ds.file_meta = event.file_meta
        came[str(event.context.transfer_syntax)] = ds.pixel_array.tobytes()
        return 0

    wanted = keys("STUDY", StudyInstanceUID=one.StudyInstanceUID)
    with destination("OLD", syntaxes=(syntax,), answer=take) as old:
        register("OLD", host="127.0.0.1", port=old.port, services=("echo",), projects=(), store_to=None)
        assert move(listener.port, wanted, "OLD")[0].Status == 0
    assert came == {syntax: pixels}

    came.clear()
    contexts = [build_context(STUDY_GET), build_context(SECONDARY_CAPTURE, syntax)]
    roles = [build_role(SECONDARY_CAPTURE, scp_role=True)]
    with associated(listener.port, contexts, roles=roles, handlers=[(evt.EVT_C_STORE, take)]) as assoc:
        assert list(assoc.send_c_get(wanted, STUDY_GET))[-1][0].Status == 0
    assert came == {syntax: pixels}


def test_a_peer_without_a_grant_finds_moves_and_gets_nothing_by_any_key(
    listener: Listener, objects: list[Encoded], study_uid: str, viewer: Destination
) -> None:
    register("BLIND", projects=(("neuro/TRIAL2", "rw"),), store_to=None, moves_to=("any",))
    series_uid = models.Series.get().series_uid
    unique = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid, "SOPInstanceUID": objects[0].sop_instance}
    for identifier, model in (
        (keys("STUDY", StudyInstanceUID=""), STUDY_FIND),
        (keys("STUDY", StudyInstanceUID=study_uid), STUDY_FIND),
        (keys("STUDY", AccessionNumber="A1"), STUDY_FIND),
        (keys("STUDY", PatientID="P1"), STUDY_FIND),
        (keys("STUDY", PatientName="Doe*"), STUDY_FIND),
        (keys("PATIENT", PatientID="P1"), PATIENT_FIND),
        (keys("SERIES", StudyInstanceUID=study_uid, SeriesInstanceUID=series_uid), STUDY_FIND),
        (keys("IMAGE", **unique), STUDY_FIND),
    ):
        found, status = find(listener.port, identifier, model=model, calling="BLIND")
        assert (found, status.Status) == ([], 0), identifier
    for identifier in (keys("STUDY", StudyInstanceUID=study_uid), keys("IMAGE", **unique)):
        status, _ = move(listener.port, identifier, "VIEWER", calling="BLIND")
        assert (status.Status, counts(status)) == (0, (None, 0, 0, 0))
        came, status, _ = get(listener.port, identifier, calling="BLIND")
        assert (came, status.Status) == ({}, 0)
    status, _ = move(listener.port, keys("PATIENT", PatientID="P1"), "VIEWER", model=PATIENT_MOVE, calling="BLIND")
    assert counts(status) == (None, 0, 0, 0)
    assert viewer.digests == {}


def test_a_peer_without_a_grant_stores_nothing_into_the_project(listener: Listener, objects: list[Encoded]) -> None:
    register("BLIND", projects=(("neuro/TRIAL2", "rw"),), store_to=None)
    more = Encoded.of(image(StudyInstanceUID=study_uid_of(objects[0]), PatientID="P1"))
    assert store(listener.port, [more], calling="BLIND")[0].status == 0
    trial = next(project for project in rows(models.Project) if project.label == "TRIAL1")
    assert models.Instance.select().where(models.Instance.project == trial).count() == 3


def test_the_called_title_selects_the_project(listener: Listener, objects: list[Encoded]) -> None:
    register("BOTH", projects=(("neuro/TRIAL1", "ro"), ("neuro/TRIAL2", "rw")), store_to=None)
    other = Encoded.of(image())
    assert store(listener.port, [other], calling="BOTH", called="TRIAL2")[0].status == 0
    everywhere, _ = find(listener.port, keys("STUDY", StudyInstanceUID=""), calling="BOTH")
    there, _ = find(listener.port, keys("STUDY", StudyInstanceUID=""), calling="BOTH", called="TRIAL2")
    assert len(everywhere) == 2
    assert [ds.StudyInstanceUID for ds in there] == [study_uid_of(other)]


@pytest.mark.prove
@pytest.mark.timeout(300)
def test_a_retrieve_and_a_store_that_a_busy_database_keeps_waiting_are_answered_a701_and_a700(
    listener: Listener, objects: list[Encoded]
) -> None:
    wanted = keys("STUDY", StudyInstanceUID=study_uid_of(objects[0]))
    late, sender = Encoded.of(image()), Sender(listener.port)
    contexts = [build_context(model) for model in (STUDY_GET, STUDY_FIND)]

    def send() -> Sent:
        named = {"sop_class": late.sop_class, "sop_instance": late.sop_instance, "syntax": late.syntax}
        return sender.send(storing, late.raw, **named)

    with associated(listener.port, contexts) as assoc, sender.open({(late.sop_class, late.syntax)}) as storing:
        storing.dimse_timeout = assoc.dimse_timeout = 3 * models.base.BUSY_MS / 1000
        storing.network_timeout = assoc.network_timeout = 6 * models.base.BUSY_MS / 1000
        with closing(sqlite3.connect(listener.settings.database, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert [status.Status for status, _ds in assoc.send_c_find(wanted, STUDY_FIND)][-1] == 0
            (answer, _identifier) = list(assoc.send_c_get(wanted, STUDY_GET))[-1]
            assert (answer.Status, "busy" in answer.ErrorComment) == (0xA701, True)
            assert send().status == 0xA700
        assert send().status == 0


@pytest.mark.prove
@pytest.mark.timeout(300)
def test_a_retrieve_that_has_begun_is_answered_with_success_although_the_database_is_busy_by_then(
    listener: Listener, objects: list[Encoded]
) -> None:
    wanted = keys("STUDY", StudyInstanceUID=study_uid_of(objects[0]))
    came: list[str] = []
    contexts = [build_context(STUDY_GET), build_context(SECONDARY_CAPTURE, EXPLICIT)]
    roles = [build_role(SECONDARY_CAPTURE, scp_role=True)]
    with closing(sqlite3.connect(listener.settings.database, isolation_level=None, check_same_thread=False)) as other:

        def take(event: Any) -> int:
            if not came:
                other.execute("BEGIN IMMEDIATE")
            came.append(str(event.request.AffectedSOPInstanceUID))
            return 0

        with associated(listener.port, contexts, roles=roles, handlers=[(evt.EVT_C_STORE, take)]) as assoc:
            assoc.dimse_timeout = 3 * models.base.BUSY_MS / 1000
            answer, _identifier = list(assoc.send_c_get(wanted, STUDY_GET))[-1]
            assert (answer.Status, len(came)) == (0, 3)
            other.execute("ROLLBACK")
            assert list(assoc.send_c_get(wanted, STUDY_GET))[-1][0].Status == 0
