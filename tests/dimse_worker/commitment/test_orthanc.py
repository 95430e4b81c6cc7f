"""Storage commitment with Orthanc, asking us and asked by us (PS3.4 J)."""

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import generate_uid

from dimse_worker import commitment_requests, jobs
from portal.access.actors import operator
from portal.exports import exports
from portal.exports.request import PEER_PREFIX
from portal.jobs import runs
from portal.models import Conflict, Job, JobItem
from portal.peers import peers
from tests.fixtures.dimse import (
    OURS,
    SECONDARY_CAPTURE,
    Encoded,
    Listener,
    accepts,
    image,
    register,
    rows,
    store,
    until,
)
from tests.fixtures.free_ports import free_port

pytestmark = pytest.mark.prove
PATIENCE = 120.0


class Orthanc:
    """A running Orthanc with one modality, us."""

    def __init__(self, folder: Path, ours: int) -> None:
        self.folder, self.dicom, self.http = folder, free_port(), free_port()
        folder.mkdir()
        options = {
            "Name": "ORTHANC",
            "DicomAet": "ORTHANC",
            "DicomPort": self.dicom,
            "HttpPort": self.http,
            "AuthenticationEnabled": False,
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "index"),
            "DicomModalities": {"portico": [OURS, "127.0.0.1", ours]},
        }
        (folder / "orthanc.json").write_text(json.dumps(options))

    @contextmanager
    def running(self) -> Iterator[None]:
        with (self.folder / "orthanc.log").open("ab") as log:
            process = subprocess.Popen(["Orthanc", str(self.folder / "orthanc.json")], stdout=log, stderr=log)
        try:
            until(lambda: accepts(self.dicom) and accepts(self.http), "Orthanc runs", PATIENCE)
            yield
        finally:
            process.kill()
            process.wait()

    def ask(self, *instances: str) -> str:
        """Ask us for storage commitment; the Transaction UID."""
        listed = {"DicomInstances": [[SECONDARY_CAPTURE, uid] for uid in instances]}
        return str(self._call("/modalities/portico/storage-commitment", listed)["ID"])

    def outcome(self, transaction: str) -> dict[str, Any]:
        return self._call(f"/storage-commitment/{transaction}")

    def _call(self, path: str, content: Any = None) -> dict[str, Any]:
        body = None if content is None else json.dumps(content).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http}{path}", body, 60) as answer:
            return dict(json.load(answer))


@pytest.fixture
def orthanc(listener: Listener, tmp_path: Path) -> Orthanc:
    found = Orthanc(tmp_path / "orthanc", listener.port)
    register("ORTHANC", host="127.0.0.1", port=found.dicom, services=("echo", "store", "commit"), confirm_sends=True)
    return found


def stored(listener: Listener, number: int) -> list[str]:
    objects = [Encoded.of(image()) for _ in range(number)]
    assert {sent.status for sent in store(listener.port, objects, calling="ORTHANC")} == {0}
    return [one.sop_instance for one in objects]


def finish() -> Job:
    """The worker's part, where the listener has left the job."""
    found = until(
        lambda: Job.select().where(Job.kind == "commitment", Job.state != "running").first(), "a job", PATIENCE
    )
    Job.update(due=found.created).where(Job.id == found.id, Job.state == "waiting").execute()
    runs.perform(found.id, commitment_requests.report)
    return Job.get_by_id(found.id)


def test_orthanc_is_told_that_all_is_stored(listener: Listener, orthanc: Orthanc) -> None:
    kept = stored(listener, 5)
    with orthanc.running():
        transaction = orthanc.ask(*kept)
        assert finish().state == "done"
        until(lambda: orthanc.outcome(transaction)["Status"] != "Pending", "Orthanc has the report", PATIENCE)
        outcome = orthanc.outcome(transaction)
    assert outcome["Status"] == "Success"
    assert {one["SOPInstanceUID"] for one in outcome["Success"]} == set(kept)


def test_orthanc_is_told_what_is_missing_in_conflict_and_out_of_scope(listener: Listener, orthanc: Orthanc) -> None:
    register("OTHER", projects=(("neuro/TRIAL2", "rw"),), store_to="neuro/TRIAL2")
    kept, held = stored(listener, 2)
    store(listener.port, [Encoded.of(image(SOPInstanceUID=held, PatientID="P2"))], calling="ORTHANC")
    assert Conflict.select().count() == 1
    foreign, unknown = Encoded.of(image()), generate_uid()
    store(listener.port, [foreign], calling="OTHER")
    with orthanc.running():
        transaction = orthanc.ask(kept, held, foreign.sop_instance, unknown)
        finish()
        until(lambda: orthanc.outcome(transaction)["Status"] != "Pending", "Orthanc has the report", PATIENCE)
        outcome = orthanc.outcome(transaction)
    assert outcome["Status"] == "Failure"
    assert {one["SOPInstanceUID"] for one in outcome["Success"]} == {kept}
    reasons = {one["SOPInstanceUID"]: one["FailureReason"] for one in outcome["Failures"]}
    assert reasons == {held: 0x0110, foreign.sop_instance: 0x0112, unknown: 0x0112}


def test_orthanc_that_is_gone_for_an_hour_gets_the_report(
    listener: Listener, orthanc: Orthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = stored(listener, 1)
    peers.edit("ORTHANC", actor=operator(), port=free_port())  # as long as it is gone, nobody answers there
    with orthanc.running():
        transaction = orthanc.ask(*kept)
        gone = finish()
        assert gone.state == "waiting", gone.message
        wall_clock = runs.now
        monkeypatch.setattr(runs, "now", lambda: wall_clock() + timedelta(hours=1))
        assert finish().state == "waiting"
        peers.edit("ORTHANC", actor=operator(), port=orthanc.dicom)
        assert finish().state == "done"
        until(lambda: orthanc.outcome(transaction)["Status"] == "Success", "Orthanc has the report", PATIENCE)


def test_orthanc_proves_what_was_sent_to_it(listener: Listener, orthanc: Orthanc) -> None:
    register()
    store(listener.port, [Encoded.of(image()) for _ in range(3)])
    with orthanc.running():
        send = exports.start("neuro/TRIAL1", to=f"{PEER_PREFIX}ORTHANC", actor=operator())
        jobs.run_send(send.id)
        [asking] = Job.select().where(Job.kind == "confirmation")

        def confirmed() -> bool:
            Job.update(due=asking.created).where(Job.id == asking.id, Job.state == "waiting").execute()
            jobs.run_confirmation(asking.id)
            return bool(Job.get_by_id(asking.id).ended)

        until(confirmed, "Orthanc has reported", PATIENCE)
    assert Job.get_by_id(asking.id).state == "done", Job.get_by_id(asking.id).message
    assert {item.state for item in rows(JobItem) if item.job_id == asking.id} == {"kept"}
