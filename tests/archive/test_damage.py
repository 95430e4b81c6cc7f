import os

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom.presentation import build_context

from portal import runtime, segment_checks
from portal.access import audit_entries, rights
from portal.access.actors import operator
from portal.errors import Damaged
from portal.maintenance import reindex
from portal.models import Blob, File, JobItem
from portal.peers import peers
from portal.processes import health
from portal.tree import files
from tests.fixtures.dimse import STUDY_MOVE, Encoded, Listener, associated, destination, image, register, store


@pytest.fixture
def damaged(listener: Listener) -> tuple[Listener, str, list[Encoded]]:
    """A study of three objects; one byte in the pixels of the second has changed in its segment."""
    register("VIEWER", services=("echo", "store", "find", "move"))
    study, series = generate_uid(), generate_uid()
    sent = [
        Encoded.of(image(StudyInstanceUID=study, SeriesInstanceUID=series, InstanceNumber=number))
        for number in range(3)
    ]
    store(listener.port, sent, calling="VIEWER")
    victim = File.get(File.name == f"{sent[1].sop_instance}.dcm").blob
    with runtime.archive().path(victim.segment).open("r+b") as segment:
        segment.seek(victim.offset + victim.size - 2)
        byte = segment.read(1)
        segment.seek(-1, os.SEEK_CUR)
        segment.write(bytes([byte[0] ^ 0x10]))
    return listener, study, sent


def assert_damage_is_told() -> None:
    (problem,) = segment_checks.known_problems()
    assert (problem.segment, problem.kind) == (Blob.get().segment, "damaged")
    assert health.report()["segments"]["problem"] == problem.message


def test_a_changed_byte_is_never_sent_and_everything_else_is(
    damaged: tuple[Listener, str, list[Encoded]],
) -> None:
    listener, study, sent = damaged
    with destination("ARCHIVE") as archive:
        register("ARCHIVE", host="127.0.0.1", port=archive.port)
        peers.edit("VIEWER", moves_to=["ARCHIVE"], actor=operator())
        request = Dataset()
        request.QueryRetrieveLevel, request.StudyInstanceUID = "STUDY", study
        with associated(listener.port, [build_context(STUDY_MOVE)], calling="VIEWER") as assoc:
            *_, (final, failed) = assoc.send_c_move(request, "ARCHIVE", STUDY_MOVE)
        assert set(archive.digests) == {sent[0].sop_instance, sent[2].sop_instance}
    assert_damage_is_told()
    assert (final.Status, final.NumberOfCompletedSuboperations, final.NumberOfFailedSuboperations) == (0xB000, 2, 1)
    assert failed.FailedSOPInstanceUIDList == sent[1].sop_instance
    assert "differ from those received" in JobItem.get().message


@pytest.mark.parametrize("gone", [False, True])
def test_what_is_damaged_is_whole_again_when_the_same_object_comes_again(
    gone: bool, damaged: tuple[Listener, str, list[Encoded]]
) -> None:
    listener, _, sent = damaged
    before = File.get(File.name == f"{sent[1].sop_instance}.dcm")
    if gone:
        runtime.archive().path(before.blob.segment).unlink()
        assert store(listener.port, sent[1:2], calling="VIEWER")[0].status != 0  # into the file that is gone
    assert [one.status for one in store(listener.port, [*sent, sent[1]], calling="VIEWER")] == [0] * 4
    assert File.select().count() == len(sent)
    after = files.get(before.id, rights.scope(operator()))
    assert b"".join(files.open_content(after)[0]).endswith(sent[1].raw)
    assert (after.blob.digest, after.created, after.version) == (before.blob.digest, before.created, before.version)
    assert Blob.select().count() == len(sent) + (len(sent) if gone else 1)
    assert [act.verb for act in audit_entries.for_target("file", before.id)] == ["Repaired"]


def test_a_changed_byte_is_never_downloaded(damaged: tuple[Listener, str, list[Encoded]]) -> None:
    _, _, sent = damaged
    scope = rights.scope(operator())
    for one, whole in zip(sent, (True, False, True), strict=True):
        file = files.get(File.get(File.name == f"{one.sop_instance}.dcm").id, scope)
        if whole:
            assert b"".join(files.open_content(file)[0]).endswith(one.raw)
        else:
            with pytest.raises(Damaged, match="differ from those received"):
                files.open_content(file)
    assert_damage_is_told()


def test_reindex_names_a_changed_byte_while_the_listener_runs(damaged: tuple[Listener, str, list[Encoded]]) -> None:
    _, _, sent = damaged
    assert [place["name"] for place in reindex.run().damaged] == [f"{sent[1].sop_instance}.dcm"]
