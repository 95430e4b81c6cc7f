"""Storage commitment with us as SCP and as SCU (PS3.4 J), over both protocol paths."""

import os
import queue as queues
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context

from dimse_worker import commitment_requests
from portal import models, runtime
from portal.commitments import confirmations
from portal.jobs import runs
from portal.models import Commitment, Job, JobItem
from portal.query import retrieve
from tests.fixtures.dimse import (
    SECONDARY_CAPTURE,
    Encoded,
    Listener,
    associated,
    image,
    register,
    rows,
    store,
    until,
)
from tests.fixtures.free_ports import free_port
from tests.fixtures.process_tree import children

COMMITMENT, ITS_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
SERVICES = ("echo", "store", "commit")
PATIENCE = 60.0


@dataclass
class Requestor:
    """A peer that asks for storage commitment, and keeps what is reported to it."""

    port: int = field(default_factory=free_port)
    reports: "queues.Queue[tuple[int, Dataset]]" = field(default_factory=queues.Queue)
    answer: int = 0

    def take(self, event: Any) -> tuple[int, None]:
        self.reports.put((event.request.EventTypeID, event.event_information))
        return self.answer, None

    def next_report(self) -> "Outcome":
        event_type, information = self.reports.get(timeout=PATIENCE)
        return Outcome(
            event_type,
            str(information.TransactionUID),
            [str(one.ReferencedSOPInstanceUID) for one in information.get("ReferencedSOPSequence", [])],
            {
                str(one.ReferencedSOPInstanceUID): int(one.FailureReason)
                for one in information.get("FailedSOPSequence", [])
            },
        )

    @contextmanager
    def associated(self, port: int) -> Iterator[Any]:
        handlers = [(evt.EVT_N_EVENT_REPORT, self.take)]
        with associated(port, [build_context(COMMITMENT)], handlers=handlers) as assoc:
            assert assoc.is_established
            yield assoc

    @contextmanager
    def listening(self) -> Iterator[None]:
        """It takes reports over associations that we request."""
        ae = AE(ae_title="SCANNER")
        ae.add_supported_context(COMMITMENT, scu_role=True, scp_role=True)
        handlers = [(evt.EVT_N_EVENT_REPORT, self.take)]
        server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        try:
            yield
        finally:
            server.shutdown()


@dataclass
class Outcome:
    event_type: int
    transaction_uid: str
    kept: list[str]
    failed: dict[str, int]


def ask(
    assoc: Any,
    *instances: tuple[str, str],
    transaction: str | None = None,
    action: int = 1,
    sop_class: str = COMMITMENT,
    sop_instance: str = ITS_INSTANCE,
) -> tuple[int, str]:
    """The status of an N-ACTION, and its Transaction UID."""
    information, transaction = Dataset(), transaction or generate_uid()
    information.TransactionUID = transaction
    information.ReferencedSOPSequence = []
    for named_class, named in instances:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = named_class, named
        information.ReferencedSOPSequence.append(item)
    status, _ = assoc.send_n_action(information, action, sop_class, sop_instance, meta_uid=COMMITMENT)
    return status.Status if "Status" in status else -1, transaction


def stored(port: int, number: int, **how: Any) -> list[tuple[str, str]]:
    """Some objects that the scanner has stored here: SOP Class and SOP Instance UID of each."""
    objects = [Encoded.of(image()) for _ in range(number)]
    assert {sent.status for sent in store(port, objects, **how)} == {0}
    return [(one.sop_class, one.sop_instance) for one in objects]


def job() -> Job:
    found: Job = Job.select().where(Job.kind == "commitment").order_by(Job.id.desc()).first()
    return found


def ended() -> Job:
    until(lambda: job() and job().ended, "the job has ended", PATIENCE)
    return job()


def test_j_3_3_what_is_kept_is_reported_over_the_same_association(listener: Listener) -> None:
    register(services=SERVICES)
    kept, scanner = stored(listener.port, 3), Requestor()
    with scanner.associated(listener.port) as assoc:
        status, transaction = ask(assoc, *kept)
        assert status == 0
        assert scanner.next_report() == Outcome(1, transaction, [uid for _, uid in kept], {})
        assert ended().state == "done"
    assert {item.state for item in rows(JobItem)} == {"kept"}
    assert rows(Commitment)[0].answered is not None
    actions = [entry.action for entry in models.Audit.select()]
    assert actions.count("commitment:requested") == actions.count("commitment:reported") == 1


def test_j_3_3_each_instance_is_in_one_of_the_two_lists_with_its_reason(listener: Listener) -> None:
    register(services=SERVICES)
    register("OTHER", projects=(("neuro/TRIAL2", "rw"),), store_to="neuro/TRIAL2")
    [(_, kept), (_, misnamed), (_, damaged)] = stored(listener.port, 3)
    [(_, of_another)] = stored(listener.port, 1, calling="OTHER")
    damage(damaged)
    scanner, unknown, unsupported = Requestor(), generate_uid(), generate_uid()
    with scanner.associated(listener.port) as assoc:
        status, transaction = ask(
            assoc,
            (SECONDARY_CAPTURE, kept),
            (SECONDARY_CAPTURE, unknown),
            (CT, misnamed),
            ("1.2.840.10008.5.1.4.1.2.2.1", unsupported),
            (SECONDARY_CAPTURE, of_another),
            (SECONDARY_CAPTURE, damaged),
        )
        assert status == 0
        reasons = {unknown: 0x0112, misnamed: 0x0119, unsupported: 0x0122, of_another: 0x0112, damaged: 0x0110}
        assert scanner.next_report() == Outcome(2, transaction, [kept], reasons)
    assert (ended().state, job().done, job().failed) == ("done", 1, 5)


def test_an_object_in_conflict_is_not_committed(listener: Listener) -> None:
    register(services=SERVICES)
    [(_, uid)] = stored(listener.port, 1)
    other = Encoded.of(image(SOPInstanceUID=uid, PatientID="P2"))
    store(listener.port, [other])
    assert models.Conflict.select().count() == 1
    scanner = Requestor()
    with scanner.associated(listener.port) as assoc:
        ask(assoc, (SECONDARY_CAPTURE, uid))
        assert scanner.next_report().failed == {uid: 0x0110}


def test_a_peer_that_may_only_store_is_told_of_its_own_objects_alone(listener: Listener) -> None:
    register(services=SERVICES, projects=())
    register("OTHER")
    [own], [foreign] = stored(listener.port, 1), stored(listener.port, 1, calling="OTHER")
    scanner = Requestor()
    with scanner.associated(listener.port) as assoc:
        ask(assoc, own, foreign)
        outcome = scanner.next_report()
    assert (outcome.kept, outcome.failed) == ([own[1]], {foreign[1]: 0x0112})


def test_j_3_3_1_a_requestor_that_has_gone_gets_the_report_at_its_address(listener: Listener) -> None:
    scanner = Requestor()
    register(services=SERVICES, host="127.0.0.1", port=scanner.port)
    kept = stored(listener.port, 2)
    with scanner.associated(listener.port) as assoc:
        _, transaction = ask(assoc, *kept)
    until(lambda: job().state in ("waiting", "done"), "the listener has left the job", PATIENCE)
    if job().state == "waiting":
        with scanner.listening():
            runs.perform(job().id, commitment_requests.report)
    assert scanner.next_report() == Outcome(1, transaction, [uid for _, uid in kept], {})
    assert ended().state == "done"
    assert scanner.reports.empty()


def test_a_report_that_nobody_takes_is_tried_for_a_day(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    scanner = Requestor()
    register(services=SERVICES, host="127.0.0.1", port=scanner.port)
    waiting = leave_for_the_worker(listener, scanner)
    runs.perform(waiting.id, commitment_requests.report)
    assert job().state == "waiting"
    assert job().message.startswith(f"127.0.0.1:{scanner.port} refuses connections.")
    began = models.now()
    monkeypatch.setattr(runs, "now", lambda: began + confirmations.PATIENCE * 2)
    Job.update(due=began).execute()
    runs.perform(waiting.id, commitment_requests.report)
    assert (job().state, "Given up after 24 hours" in job().message) == ("failed", True)


def test_a_kill_between_request_and_report_leaves_one_report(listener: Listener) -> None:
    scanner = Requestor()
    register(services=SERVICES, host="127.0.0.1", port=scanner.port)
    waiting = leave_for_the_worker(listener, scanner)
    # As a killed listener leaves it: running, with a lease that has expired.
    Job.update(state="running", lease=0, holder="gone").where(Job.id == waiting.id).execute()
    with scanner.listening():
        runs.perform(waiting.id, commitment_requests.report)
        runs.perform(waiting.id, commitment_requests.report)
    assert scanner.next_report().event_type == 1
    assert scanner.reports.empty()
    assert job().state == "done"


def test_a_listener_that_is_killed_right_after_its_response_leaves_one_report(listener: Listener) -> None:
    scanner = Requestor()
    register(services=SERVICES, host="127.0.0.1", port=scanner.port)
    kept = stored(listener.port, 2)
    with scanner.associated(listener.port) as assoc:
        assert ask(assoc, *kept)[0] == 0
        for child in children(listener.process.pid):
            os.kill(child, signal.SIGKILL)
        until(lambda: not assoc.is_established, "the association is over", PATIENCE)
    reported = scanner.reports.qsize()  # on a slow machine the report came before the kill
    Job.update(lease=0, due=models.now()).where(Job.ended.is_null()).execute()
    with scanner.listening():
        runs.perform(job().id, commitment_requests.report)
    assert job().state == "done"
    assert scanner.reports.qsize() == 1 or reported
    assert scanner.next_report().kept == [uid for _, uid in kept]


def test_a_request_that_a_kill_has_cut_is_not_reported(listener: Listener) -> None:
    register(services=SERVICES)
    waiting = leave_for_the_worker(listener, Requestor())
    Job.update(result={}).where(Job.id == waiting.id).execute()
    runs.perform(waiting.id, commitment_requests.report)
    assert (job().state, rows(Commitment)[0].answered) == ("failed", None)


def test_the_same_request_again_is_answered_once_while_it_waits(listener: Listener) -> None:
    scanner = Requestor()
    register(services=SERVICES, host="127.0.0.1", port=scanner.port)
    waiting = leave_for_the_worker(listener, scanner)
    asked = [(item.member, item.key) for item in rows(JobItem)]
    with scanner.associated(listener.port) as assoc:
        status, _ = ask(assoc, *reversed(asked), transaction=rows(Commitment)[0].transaction_uid)
    assert (status, Job.select().where(Job.kind == "commitment").count()) == (0, 1)
    with scanner.listening():
        runs.perform(waiting.id, commitment_requests.report)
    assert scanner.next_report().event_type == 1
    assert scanner.reports.empty()


def test_a_transaction_uid_for_other_instances_is_answered_0131(listener: Listener) -> None:
    register(services=SERVICES)
    first, second = stored(listener.port, 2)
    scanner = Requestor()
    with scanner.associated(listener.port) as assoc:
        _, transaction = ask(assoc, first)
        assert scanner.next_report().kept == [first[1]]
        ended()
        ask(assoc, second, transaction=transaction)
        assert scanner.next_report() == Outcome(2, transaction, [], {second[1]: 0x0131})


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"action": 2}, 0x0123),
        ({"sop_class": "1.2.840.10008.1.1"}, 0x0118),
        ({"sop_instance": "1.2.3"}, 0x0112),
    ],
)
def test_ps3_7_10_1_4_an_action_that_is_none_of_the_class(
    listener: Listener, change: dict[str, Any], status: int
) -> None:
    register(services=SERVICES)
    with Requestor().associated(listener.port) as assoc:
        assert ask(assoc, (CT, "1.2.3"), **change)[0] == status
        assert ask(assoc, (CT, "1.2.3"))[0] == 0
    assert Job.select().count() == 1


def test_ps3_7_10_1_4_a_request_without_instances_is_an_invalid_argument(listener: Listener) -> None:
    register(services=SERVICES)
    with Requestor().associated(listener.port) as assoc:
        assert ask(assoc)[0] == 0x0115
        assert ask(assoc, (CT, "../x"))[0] == 0x0115
    assert Job.select().count() == 0


def test_a_peer_without_the_service_may_not_ask(listener: Listener) -> None:
    register(services=("store",))
    with associated(listener.port, [build_context(COMMITMENT)]) as assoc:
        assert not assoc.is_established or not assoc.accepted_contexts


def leave_for_the_worker(listener: Listener, scanner: Requestor) -> Job:
    """A request whose requestor leaves before the report."""
    kept = stored(listener.port, 2)
    scanner.answer = 0x0110  # it does not take the report over this association, should it come before the release
    with scanner.associated(listener.port) as assoc:
        assert ask(assoc, *kept)[0] == 0
    until(lambda: job().state == "waiting", "the job waits for the worker", PATIENCE)
    while not scanner.reports.empty():
        scanner.reports.get()
    scanner.answer = 0
    Job.update(due=models.now(), result={"planned": True}).execute()
    return job()


def damage(sop_instance_uid: str) -> None:
    """One byte of the stored object changes on the disk."""
    [(_, outgoing)] = retrieve.of_uids([sop_instance_uid])
    path = runtime.current().archive / outgoing.place.segment
    with path.open("r+b") as file:
        file.seek(outgoing.place.offset + outgoing.place.size - 2)
        byte = file.read(1)
        file.seek(-1, 1)
        file.write(bytes([byte[0] ^ 1]))
