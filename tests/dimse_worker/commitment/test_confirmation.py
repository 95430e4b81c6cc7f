"""Storage commitment with us as SCU: what peers say of the objects that we have sent to them (PS3.4 J)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, evt
from pynetdicom.presentation import build_context, build_role

from dimse_worker import commitment_requests, jobs
from portal.access.actors import operator
from portal.commitments import confirmations
from portal.exports import exports
from portal.exports.request import PEER_PREFIX
from portal.jobs import jobs as job_rows
from portal.models import Commitment, Job, JobItem
from tests.fixtures.dimse import (
    SECONDARY_CAPTURE,
    Encoded,
    Listener,
    associated,
    image,
    listening,
    register,
    rows,
    store,
)
from tests.fixtures.free_ports import free_port

COMMITMENT, ITS_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"


@pytest.fixture
def listener(wire: str, dimse_site: Any) -> Iterator[Listener]:
    with listening(dimse_site) as running:
        yield running


@dataclass
class Archive:
    """A peer that stores, and takes requests for storage commitment."""

    port: int = field(default_factory=free_port)
    asked: list[Dataset] = field(default_factory=list)
    status: int = 0

    def take(self, event: Any) -> tuple[int, None]:
        self.asked.append(event.action_information)
        return self.status, None

    @contextmanager
    def running(self, *, commits: bool = True) -> Iterator[None]:
        ae = AE(ae_title="ARCHIVE")
        ae.add_supported_context(SECONDARY_CAPTURE, "1.2.840.10008.1.2.1")
        if commits:
            ae.add_supported_context(COMMITMENT)
        handlers = [(evt.EVT_C_STORE, lambda _event: 0), (evt.EVT_N_ACTION, self.take)]
        server = ae.start_server(("127.0.0.1", self.port), block=False, evt_handlers=handlers)
        try:
            yield
        finally:
            server.shutdown()


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch) -> Archive:
    monkeypatch.setattr(commitment_requests, "REPORT_SECONDS", 0.1)
    found = Archive()
    register("ARCHIVE", host="127.0.0.1", port=found.port, services=("echo",), confirm_sends=True)
    return found


def sent(listener: Listener, number: int = 2) -> Job:
    """The job that asks about what was just sent to the archive, after its first run."""
    register()
    store(listener.port, [Encoded.of(image()) for _ in range(number)])
    send = exports.start("neuro/TRIAL1", to=f"{PEER_PREFIX}ARCHIVE", actor=operator())
    jobs.run_send(send.id)
    assert Job.get_by_id(send.id).state == "done", Job.get_by_id(send.id).message
    [asking] = Job.select().where(Job.kind == "confirmation")
    assert asking.parent_id == send.id
    jobs.run_confirmation(asking.id)
    return Job.get_by_id(asking.id)


def report(listener: Listener, archive: Archive, failed: dict[str, int], *, transaction: str = "") -> int:
    """The status with which we answer a report of the archive over an association that it requests, as SCP."""
    information, asked = Dataset(), archive.asked[0]
    information.TransactionUID = transaction or asked.TransactionUID
    lists: dict[bool, list[Dataset]] = {True: [], False: []}
    for one in asked.ReferencedSOPSequence:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = (
            one.ReferencedSOPClassUID,
            one.ReferencedSOPInstanceUID,
        )
        reason = failed.get(one.ReferencedSOPInstanceUID)
        if reason is not None:
            item.FailureReason = reason
        lists[reason is not None].append(item)
    information.ReferencedSOPSequence = lists[False]
    if lists[True]:
        information.FailedSOPSequence = lists[True]
    roles = [build_role(COMMITMENT, scp_role=True)]
    with associated(listener.port, [build_context(COMMITMENT)], calling="ARCHIVE", roles=roles) as assoc:
        assert assoc.is_established
        event_type = 2 if failed else 1
        answer, _ = assoc.send_n_event_report(information, event_type, COMMITMENT, ITS_INSTANCE)
        return int(answer.Status)


def outcome(asking: Job) -> tuple[str, list[str]]:
    Job.update(due=asking.created).where(Job.id == asking.id, Job.state == "waiting").execute()
    jobs.run_confirmation(asking.id)
    return Job.get_by_id(asking.id).state, [item.state for item in rows(JobItem) if item.job_id == asking.id]


def test_j_3_3_1_a_report_over_an_association_of_the_peer_proves_what_is_stored(
    listener: Listener, archive: Archive
) -> None:
    with archive.running():
        asking = sent(listener)
    assert asking.state == "waiting"
    assert report(listener, archive, {}) == 0
    assert outcome(asking) == ("done", ["kept", "kept"])
    assert Job.get_by_id(asking.id).message == "ARCHIVE has confirmed that it keeps 2 instances."


def test_j_3_3_1_what_the_peer_does_not_keep_is_named_with_its_reason(listener: Listener, archive: Archive) -> None:
    with archive.running():
        asking = sent(listener)
    lost = str(archive.asked[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
    assert report(listener, archive, {lost: 0x0112}) == 0
    assert outcome(asking) == ("errors", ["failed", "kept"])
    [item] = [item for item in rows(JobItem) if item.state == "failed"]
    assert (item.key, item.message) == (lost, "Failure Reason 0112: it has no such instance.")


def test_a_retry_asks_again_about_what_is_not_kept_in_a_new_transaction(listener: Listener, archive: Archive) -> None:
    with archive.running():
        asking = sent(listener)
        lost = str(archive.asked[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        report(listener, archive, {lost: 0x0213})
        assert outcome(asking) == ("errors", ["failed", "kept"])
        job_rows.retry(asking.id, actor=operator())
        jobs.run_confirmation(asking.id)
    first, again = archive.asked
    assert first.TransactionUID != again.TransactionUID
    assert [str(one.ReferencedSOPInstanceUID) for one in again.ReferencedSOPSequence] == [lost]
    archive.asked.remove(first)
    assert report(listener, archive, {}) == 0
    assert outcome(asking) == ("done", ["kept", "kept"])


def test_j_3_3_1_a_report_that_comes_again_is_acknowledged_and_changes_nothing(
    listener: Listener, archive: Archive
) -> None:
    with archive.running():
        asking = sent(listener)
    assert report(listener, archive, {}) == 0
    lost = str(archive.asked[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
    assert report(listener, archive, {lost: 0x0112}) == 0
    assert outcome(asking) == ("done", ["kept", "kept"])


def test_ps3_7_10_1_1_a_report_of_a_transaction_that_is_not_ours_is_refused(
    listener: Listener, archive: Archive
) -> None:
    with archive.running():
        asking = sent(listener)
    assert report(listener, archive, {}, transaction=generate_uid()) == 0x0115
    assert rows(Commitment)[0].answered is None
    assert Job.get_by_id(asking.id).state == "waiting"


def test_without_an_answer_nothing_is_confirmed_after_a_day(
    listener: Listener, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    with archive.running():
        asking = sent(listener)
    assert "has accepted the request, but has not reported yet" in asking.message
    later = confirmations.now() + confirmations.PATIENCE
    monkeypatch.setattr(confirmations, "now", lambda: later)
    assert outcome(asking) == ("errors", ["unconfirmed", "unconfirmed"])
    assert report(listener, archive, {}) == 0  # late, but true
    assert outcome(asking) == ("done", ["kept", "kept"])


def test_a_peer_without_storage_commitment_confirms_nothing(listener: Listener, archive: Archive) -> None:
    with archive.running(commits=False):
        asking = sent(listener, 1)
    assert (asking.state, asking.failed) == ("errors", 1)
    assert "ARCHIVE offers no storage commitment." in asking.message


def test_a_peer_that_refuses_the_request_is_named_with_its_status(listener: Listener, archive: Archive) -> None:
    archive.status = 0x0110
    with archive.running():
        asking = sent(listener, 1)
    assert "refused the request for storage commitment with status 0110 (processing failure)." in asking.message


def test_a_peer_that_is_not_to_be_asked_is_not_asked(listener: Listener) -> None:
    archive = Archive()
    register("ARCHIVE", host="127.0.0.1", port=archive.port, services=("echo",))
    register()
    store(listener.port, [Encoded.of(image())])
    with archive.running():
        send = exports.start("neuro/TRIAL1", to=f"{PEER_PREFIX}ARCHIVE", actor=operator())
        jobs.run_send(send.id)
    assert not Job.select().where(Job.kind == "confirmation").exists()
