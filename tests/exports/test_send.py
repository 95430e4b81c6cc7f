"""Exports to a DICOM peer: each instance with what the peer answered, whatever the peer does in between."""

import threading
from pathlib import Path
from typing import Any

import pytest
from pynetdicom import AE, AllStoragePresentationContexts, evt

from dimse_worker import destinations
from portal import models, site_settings
from portal.access.actors import operator
from portal.dicom import sop_classes
from portal.errors import BadValue, Missing, NotAllowed
from portal.exports import dry_run, exports, key_template, schedules, send, send_plan
from portal.exports.request import Options
from portal.jobs import jobs, runs
from portal.models import Association, Instance, Job, Project
from portal.peers import peers
from portal.settings import Settings
from portal.tree import projects
from tests.dimse_worker.test_dcmtk import data_sets, storescp
from tests.fixtures.archive import CT_IMAGE_STORAGE, an_object, begin, encode, store_vendor_file
from tests.fixtures.archive import store as take_in
from tests.fixtures.dimse import PATIENCE, SECONDARY_CAPTURE, destination, image, newest_association, register
from tests.fixtures.free_ports import free_port
from tests.fixtures.work import add_file, work_process

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"


@pytest.fixture
def project(dimse_site: Settings) -> Project:
    return projects.get_by_path("neuro/TRIAL1")


def viewer_at(port: int) -> Any:
    return register("VIEWER", host="127.0.0.1", port=port, store_to=None)


def start(study: str = "", **options: Any) -> Job:
    return exports.start("neuro/TRIAL1", to="peer/VIEWER", actor=operator(), options=Options(study=study, **options))


def run(job: Job) -> Job:
    """What the worker does with it, in this process, at once also where it waits for its next attempt."""
    jobs.try_now(job.id, actor=operator())
    runs.perform(job.id, lambda this: send.run(this, destination=destinations.peer_for(this.job)))
    return exports.get(job.id)


def states(job: Job) -> list[tuple[str, str]]:
    return [(item.state, item.message) for item in exports.items(job.id)]


def some_images(project: Project, number: int) -> list[str]:
    """Small images of one series; their SOP Instance UIDs."""
    uids = [f"1.2.9.{place + 1}" for place in range(number)]
    for place, uid in enumerate(uids):
        same = {"StudyInstanceUID": "1.2.9", "SeriesInstanceUID": "1.2.9.0", "InstanceNumber": place + 1}
        take_in(image(SOPInstanceUID=uid, **same), project)
    return uids


def test_each_instance_arrives_at_dcmtk_as_it_is_stored_and_other_files_stay(project: Project, tmp_path: Path) -> None:
    for name in ("CT_small.dcm", "MR_small.dcm", "JPEG-LL.dcm"):
        store_vendor_file(name, project)
    add_file(project, "protocol.pdf", b"%PDF", operator())
    taken = tmp_path / "taken"
    taken.mkdir()
    with storescp(taken) as port:
        viewer_at(port)
        job = run(start())
    assert (job.state, job.message) == (
        "done",
        "VIEWER took 3 instances. 1 skipped (not taken by peers, or by the rules).",
    )
    assert data_sets(taken) == {row.sop_uid: row.dataset_digest for row in Instance.select()}
    assert (job.total, job.done, job.failed, exports.view(job)["arrived"], job.result["unmatched"]) == (3, 3, 0, 3, 1)
    assert sorted({state for state, _message in states(job)}) == ["stored", "unmatched"]
    assert ("unmatched", "Not a single DICOM object; only those can be sent to a peer.") in states(job)
    row = newest_association()
    assert (row.role, row.outcome, row.counts["store"]["done"]) == ("requestor", "released", 3)


def test_what_a_peer_takes_in_no_other_way_is_transcoded_and_what_it_takes_in_none_is_named(project: Project) -> None:
    store_vendor_file("JPEG-LL.dcm", project)
    store_vendor_file("CT_small.dcm", project)
    kept = str(Instance.get(Instance.transfer_syntax == JPEG_LOSSLESS).sop_class)
    with destination(classes=(kept,), syntaxes=(IMPLICIT,)) as viewer:
        viewer_at(viewer.port)
        job = run(start())
    assert list(viewer.syntaxes.values()) == [IMPLICIT]
    assert job.state == "errors"
    assert (
        "failed",
        "VIEWER accepts CT Image Storage in none of: Explicit VR Little Endian, Implicit VR Little Endian, "
        "JPEG 2000 Image Compression (Lossless Only), JPEG-LS Lossless Image Compression, RLE Lossless.",
    ) in states(job)
    assert job.message.startswith("VIEWER took 1 of 2 instances. 1 failed. TRIAL1/")


def test_a_peer_that_takes_no_class_at_all_is_asked_once_and_every_instance_says_why(project: Project) -> None:
    some_images(project, 4)
    with destination(classes=(CT_IMAGE_STORAGE,)) as viewer:
        viewer_at(viewer.port)
        job = run(start())
    assert (job.state, job.failed) == ("failed", 4)
    assert job.message.startswith("VIEWER took none of 4 instances. ")
    assert {message.partition(" in none of")[0] for _state, message in states(job)} == {
        "VIEWER accepts Secondary Capture Image Storage"
    }
    assert Association.select().where(Association.role == "requestor").count() == 1


def test_warnings_and_refusals_stand_on_their_instances(project: Project) -> None:
    uids = some_images(project, 5)
    answers = dict(zip(uids, (0x0000, 0xB000, 0xA900, 0xC123, 0x0124), strict=True))
    with destination(answer=lambda event: answers[event.request.AffectedSOPInstanceUID]) as viewer:
        viewer_at(viewer.port)
        job = run(start())
    assert states(job) == [
        ("stored", ""),
        ("warned", "Accepted with warning B000 (it changed elements of the data set)."),
        ("failed", "Refused with status A900 (the data set does not fit its SOP Class)."),
        ("failed", "Refused with status C123 (it cannot understand the data set)."),
        ("failed", "Refused with status 0124 (it does not authorize us)."),
    ]
    assert (job.state, job.done, job.failed, job.result["warned"]) == ("errors", 2, 3, 1)
    assert "VIEWER took 2 of 5 instances, 1 of them with a warning. 3 failed." in job.message


def test_what_may_pass_is_tried_again_and_only_what_is_left(project: Project) -> None:
    uids = some_images(project, 6)
    full = True
    with destination(
        answer=lambda event: 0xA700 if full and event.request.AffectedSOPInstanceUID != uids[0] else 0
    ) as viewer:
        viewer_at(viewer.port)
        job = run(start())
        assert (job.state, job.done) == ("waiting", 1)
        assert job.message.startswith("Refused with status A700 (out of resources). Attempt 1 of 8; the next one in")
        assert len(viewer.requests) == 4, "three in a row are taken for the whole peer"
        full = False
        job = run(job)
    assert (job.state, job.done, job.failed) == ("done", 6, 0)
    assert sorted(str(request.AffectedSOPInstanceUID) for request in viewer.requests[4:]) == uids[1:]


def test_an_association_that_is_dropped_in_the_middle_is_opened_anew_and_the_rest_goes_on(project: Project) -> None:
    uids = some_images(project, 9)
    dropped = []

    def answer(event: Any) -> int:
        if len(viewer.requests) % 4 == 0 and len(dropped) < 2:
            dropped.append(event.request.AffectedSOPInstanceUID)
            event.assoc.abort()
        return 0

    with destination(answer=answer) as viewer:
        viewer_at(viewer.port)
        job = run(start())
    assert (job.state, job.done, job.failed, len(dropped)) == ("done", 9, 0, 2)
    assert set(viewer.digests) == set(uids)
    assert len(viewer.requests) == 11


def test_objects_at_which_a_peer_always_aborts_do_not_keep_the_others_from_their_turn(project: Project) -> None:
    uids = some_images(project, 6)
    with destination(
        answer=lambda event: event.assoc.abort() if event.request.AffectedSOPInstanceUID in uids[:3] else 0
    ) as viewer:
        viewer_at(viewer.port)
        job = run(start())
        assert (job.state, job.done) == ("waiting", 0)
        job = run(job)
        assert (job.state, job.done) == ("waiting", 3)
    assert job.message.startswith("The association ended before the peer answered the C-STORE.")


def test_an_object_at_which_a_peer_dies_spends_an_attempt_though_the_peer_is_away_then(project: Project) -> None:
    some_images(project, 2)

    def die(event: Any) -> int:
        server.shutdown()
        server.socket.close()
        event.assoc.abort()
        return 0

    ae, port = AE(ae_title="VIEWER"), free_port()
    ae.add_supported_context(SECONDARY_CAPTURE)
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, die)])
    viewer_at(port)
    job = run(start())
    assert (job.state, job.attempts, job.done) == ("waiting", 1, 0)
    assert "refuses connections" in job.message


def test_a_peer_that_is_away_is_waited_for_and_one_that_turns_us_away_is_not(project: Project) -> None:
    some_images(project, 2)
    viewer_at(free_port())
    job = run(run(start()))
    assert (job.state, job.attempts, jobs.view(job)["attempts"]) == ("waiting", 0, 2)
    assert "refuses connections" in job.message
    assert "Retrying until " in job.message
    ae = AE(ae_title="VIEWER")
    ae.require_calling_aet = ["SOMEBODY"]
    ae.add_supported_context(SECONDARY_CAPTURE)
    port = peers.get("VIEWER").port
    server = ae.start_server(("127.0.0.1", port), block=False)
    try:
        job = run(job)
    finally:
        server.shutdown()
    assert job.state == "failed"
    assert job.message.startswith("VIEWER rejected the association (1/1/3): it does not know our AE title PORTICO.")
    with destination() as viewer:
        peers.edit("VIEWER", port=viewer.port, actor=operator())
        job = run(jobs.retry(job.id, actor=operator()))
    assert (job.state, job.done) == ("done", 2)


def test_more_classes_than_fit_one_association_take_several(project: Project) -> None:
    known = (str(context.abstract_syntax) for context in AllStoragePresentationContexts)
    classes = [sop_class for sop_class in known if sop_classes.is_storage(sop_class)][:70]
    for place, sop_class in enumerate(classes):
        take_in(image(SOPClassUID=sop_class, SOPInstanceUID=f"1.2.10.{place + 1}"), project)
    with destination(classes=tuple(classes)) as viewer:
        viewer_at(viewer.port)
        job = run(start())
    assert (job.state, job.done) == ("done", 70)
    assert Association.select().where(Association.role == "requestor").count() == 2


def test_only_one_study_and_one_form_of_each_object_is_sent(project: Project) -> None:
    some_images(project, 2)
    ds = an_object()
    take_in(ds, project)
    with begin(project, sop_class=ds.SOPClassUID, uid=ds.SOPInstanceUID, syntax=IMPLICIT) as incoming:
        incoming.write(encode(ds, syntax=IMPLICIT))
        incoming.commit()
    with destination(classes=(SECONDARY_CAPTURE, CT_IMAGE_STORAGE)) as viewer:
        viewer_at(viewer.port)
        job = run(start(study=str(ds.StudyInstanceUID)))
        assert list(viewer.digests) == [str(ds.SOPInstanceUID)]
    left = [message for state, message in states(job) if state == "unmatched"]
    assert left == [send_plan.OTHER_FORM]
    assert (job.total, job.what) == (1, f"neuro/TRIAL1, study {ds.StudyInstanceUID} to VIEWER")
    with pytest.raises(Missing, match=r"There is no study \'9\.9\' in this project"):
        start(study="9.9")


def test_a_byte_that_changed_in_the_archive_is_not_sent(project: Project, dimse_site: Settings) -> None:
    some_images(project, 2)
    blob = models.File.get().blob
    with (dimse_site.archive / blob.segment).open("r+b") as segment:
        segment.seek(blob.offset + blob.size - 1)
        segment.write(b"\xff")
    with destination() as viewer:
        viewer_at(viewer.port)
        job = run(start())
    assert [state for state, _message in states(job)] == ["failed", "stored"]
    assert "differ from those received." in states(job)[0][1]
    assert len(viewer.requests) == 1


def test_a_dry_run_to_a_peer_counts_patients_and_starts_the_send(project: Project) -> None:
    some_images(project, 3)
    add_file(project, "protocol.pdf", b"%PDF", operator())
    with destination() as viewer:
        viewer_at(viewer.port)
        tried = exports.dry_run("neuro/TRIAL1", to="peer/VIEWER", actor=operator())
        runs.perform(tried.id, lambda this: dry_run.run(this, destination=None))
        tried = jobs.get(tried.id)
        assert (tried.state, tried.message) == ("done", "3 of 3 objects would be sent.")
        assert (tried.result["patients"], exports.view(tried)["found"]) == (1, {"pending": 3, "unmatched": 1})
        assert tried.result["classes"] == {SECONDARY_CAPTURE: 3}
        job = exports.start_after_dry_run(tried.id, confirmed=True, actor=operator())
        assert (job.kind, run(job).done, len(viewer.requests)) == ("send", 3, 3)


def test_what_a_peer_knows_nothing_of_is_not_looked_at(project: Project) -> None:
    """The form keeps what was typed for a storage while a peer is chosen, and hides it."""
    some_images(project, 2)
    viewer_at(free_port())
    rules = [{"level": "all", "include": ["file ends .dcm"], "exclude": [], "path": "{colour}"}]
    params = start(rules=rules, existing="none", sidecars=True).params
    assert (params["existing"], params["sidecars"]) == ("never", False)
    assert params["rules"] == [{**rules[0], "path": key_template.DEFAULT_TEMPLATE}]


def test_nothing_is_sent_while_dimse_is_off_or_the_peer_is_disabled_or_gone(project: Project) -> None:
    some_images(project, 1)
    viewer_at(free_port())
    job = start()
    peers.disable("VIEWER", actor=operator())
    with pytest.raises(NotAllowed, match="VIEWER is disabled"):
        start()
    assert run(job).message.startswith("VIEWER is disabled.")
    peers.enable("VIEWER", actor=operator())
    site_settings.change({"dimse.enabled": False}, actor=operator())
    with pytest.raises(NotAllowed, match="The DIMSE service is off"):
        start()
    assert not peers.sendable_labels()
    with pytest.raises(BadValue, match="An export to a peer is not repeated"):
        schedules.add(job.id, "0 2 * * *", confirmed=True, actor=operator())
    peers.remove("VIEWER", actor=operator())
    assert run(jobs.retry(job.id, actor=operator())).message == "The peer has been removed."


def test_a_killed_worker_goes_on_and_counts_no_instance_twice(
    project: Project, dimse_site: Settings, queue: Any, tmp_path: Path
) -> None:
    uids = some_images(project, 40)
    held, go = threading.Event(), threading.Event()

    def answer(_event: Any) -> int:
        if len(viewer.requests) == 20:
            held.set()
            go.wait(PATIENCE)
        return 0

    worker = work_process(dimse_site, tmp_path / "work.log")
    with destination(answer=answer) as viewer:
        viewer_at(viewer.port)
        job = start()
        worker.start()
        try:
            assert held.wait(PATIENCE)
        finally:
            worker.kill()
            go.set()
        assert jobs.get(job.id).state == "running"
        assert jobs.get(job.id).done < 20
        Job.update(lease=0).execute()
        job = run(job)
    assert (job.total, job.done, job.failed) == (40, 40, 0)
    assert set(viewer.digests) == set(uids)
    assert len(viewer.requests) < 80


def test_a_send_that_is_cancelled_stops_in_the_middle_and_says_how_far_it_was(project: Project) -> None:
    some_images(project, 6)

    def answer(_event: Any) -> int:
        if len(viewer.requests) == 2:
            jobs.cancel(job.id, actor=operator())
        return 0

    def watched(this: runs.Run) -> runs.RunEnd:
        this.check = lambda: _stop_if_cancelled(this)  # type: ignore[method-assign]
        return send.run(this, destination=destinations.peer_for(this.job))

    with destination(answer=answer) as viewer:
        viewer_at(viewer.port)
        job = start()
        runs.perform(job.id, watched)
    job = jobs.get(job.id)
    assert job.state == "cancelled"
    assert job.message.startswith(f"Cancelled after {job.done} of 6")
    assert job.done < 6


def _stop_if_cancelled(this: runs.Run) -> None:
    if jobs.get(this.job.id).state == "cancelling":
        raise runs.Cancelled
