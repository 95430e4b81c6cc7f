"""Zips that arrive: they stay one file, and each of their members that is a DICOM object is an instance."""

import os
import signal
import zipfile
from pathlib import Path
from subprocess import run
from typing import Any

import pytest

from portal import runtime, settings
from portal import site_settings as options
from portal.access import rights
from portal.access.actors import Actor
from portal.errors import BadValue, Conflicting
from portal.ingest import comparison, conflicts, zip_index
from portal.ingest import incoming as ingest
from portal.ingest.placement import Placement
from portal.ingest.register import Stored
from portal.maintenance import recovery, reindex
from portal.models import (
    Blob,
    Conflict,
    DicomZip,
    File,
    Instance,
    Project,
    Series,
    Study,
    ZipMember,
    batched_writes,
    connection,
    database,
    writing,
)
from portal.trash import trash
from portal.tree import containers
from tests.fixtures.archive import a_project, dump, store, upload
from tests.fixtures.hostile.zips import a_series, a_zip, member_of_series, part_10

pytestmark = pytest.mark.usefixtures("site")


@pytest.fixture
def project(site: settings.Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


@pytest.fixture
def acquisition(project: Project, admin: Actor) -> int:
    return an_acquisition(project, "acq", admin)


def an_acquisition(project: Project, label: str, admin: Actor) -> int:
    subject = containers.add_subject(project.id, f"sub-{label}", actor=admin)
    session = containers.add_session(subject.id, "ses-1", actor=admin)
    return containers.add_acquisition(session.id, label, actor=admin).id


def states() -> dict[str, str]:
    return {row.member: row.state for row in Instance.select().order_by(Instance.id)}


def content_of(file_id: int) -> bytes:
    blob = File.get_by_id(file_id).blob
    with runtime.archive().open(blob.segment, blob.offset, blob.size) as content:
        return content.read()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_each_object_of_a_zip_is_an_instance_and_the_zip_one_file(method: int, acquisition: int, admin: Actor) -> None:
    content = a_zip({**a_series(3), "readme.txt": b"no DICOM" * 100, "empty/": b""}, method=method)
    stored = upload(content, acquisition, "dicom.zip", actor=admin)
    assert (stored.outcome, stored.message) == ("stored", "")
    file = File.get()
    assert (file.name, file.type, file.mimetype) == ("dicom.zip", "dicom", "application/zip")
    assert content_of(file.id) == content
    assert states() == dict.fromkeys(("0.dcm", "1.dcm", "2.dcm"), "current")
    assert (Study.get().n_instances, Series.get().n_instances, Series.get().acquisition_id) == (3, 3, acquisition)
    assert DicomZip.get().is_settled


def test_the_same_zip_again_adds_nothing(acquisition: int, admin: Actor) -> None:
    content = a_zip(a_series(2))
    upload(content, acquisition, "dicom.zip", actor=admin)
    before = dump()
    assert upload(content, acquisition, "dicom.zip", actor=admin).outcome == "same"
    assert dump() == before
    assert Blob.select().count() == 1


def test_a_zip_without_an_object_is_a_plain_file(acquisition: int, admin: Actor) -> None:
    nested = a_zip({"inner.zip": a_zip(a_series(1)), "notes.txt": b"x" * 500})
    assert upload(nested, acquisition, "notes.zip", actor=admin).outcome == "stored"
    assert (File.get().type, Instance.select().count(), DicomZip.select().count()) == ("archive", 0, 0)


def test_a_hostile_zip_is_refused_before_anything_is_kept(acquisition: int, admin: Actor) -> None:
    for content in (a_zip({"../0.dcm": a_series(1)["0.dcm"]}), a_zip(a_series(1))[:-5]):
        with pytest.raises(BadValue):
            upload(content, acquisition, "dicom.zip", actor=admin)
    assert (File.select().count(), Blob.select().count()) == (0, 0)


def test_an_object_whose_bytes_are_not_those_of_its_check_sum_refuses_the_zip(acquisition: int, admin: Actor) -> None:
    content = a_zip(a_series(1))
    damaged = bytearray(content)
    damaged[content.index(b"DICM") + 5000] ^= 1
    with pytest.raises(BadValue, match="check sum"):
        upload(bytes(damaged), acquisition, "dicom.zip", actor=admin)


def test_an_object_that_is_larger_than_the_directory_says_refuses_the_zip(acquisition: int, admin: Actor) -> None:
    one = a_series(1)["0.dcm"]
    content = a_zip({"0.dcm": one}, method=zipfile.ZIP_DEFLATED)
    size = len(one).to_bytes(4, "little")
    with pytest.raises(BadValue, match="larger than"):
        upload(content.replace(size, (len(one) - 200).to_bytes(4, "little")), acquisition, "dicom.zip", actor=admin)


def test_encrypted_members_are_kept_and_not_indexed(tmp_path: Path, acquisition: int, admin: Actor) -> None:
    for name, content in a_series(2).items():
        (tmp_path / name).write_bytes(content)
    run(["zip", "-q", "-P", "secret", "out.zip", "0.dcm"], cwd=tmp_path, check=True)
    run(["zip", "-q", "out.zip", "1.dcm"], cwd=tmp_path, check=True)
    stored = upload((tmp_path / "out.zip").read_bytes(), acquisition, "dicom.zip", actor=admin)
    assert states() == {"1.dcm": "current"}
    assert stored.message.startswith("1 member is encrypted")


def test_an_object_that_is_here_already_is_an_alternate_in_the_zip(
    project: Project, acquisition: int, admin: Actor
) -> None:
    series = a_series(2)
    store(member_of_series(0), project)
    upload(a_zip(series), acquisition, "dicom.zip", actor=admin)
    assert states() == {"": "current", "0.dcm": "alternate", "1.dcm": "current"}
    assert Study.get().n_instances == 2
    assert Conflict.select().count() == 0


def test_a_c_store_of_a_member_adds_nothing(project: Project, acquisition: int, admin: Actor) -> None:
    upload(a_zip(a_series(2), method=zipfile.ZIP_DEFLATED), acquisition, "dicom.zip", actor=admin)
    before = dump()
    assert store(member_of_series(1), project).outcome == "same"
    assert dump() == before


def test_a_zip_with_other_content_under_a_known_uid_is_refused_whole(
    project: Project, acquisition: int, admin: Actor
) -> None:
    store(member_of_series(1), project)
    content = a_zip({**a_series(1), "1.dcm": a_series(2, Rows=64, Columns=128)["1.dcm"]})
    with pytest.raises(Conflicting, match="1 of the 2 objects in the zip: Different content"):
        receive(content, acquisition, admin, may_hold=False)
    assert (File.select().count(), Conflict.select().count()) == (1, 0)


def test_a_zip_that_contradicts_itself_is_refused_whole(acquisition: int, admin: Actor) -> None:
    one, other = a_series(1)["0.dcm"], a_series(1, PatientName="Another^One")["0.dcm"]
    with pytest.raises(Conflicting, match="Different content"):
        receive(a_zip({"a.dcm": one, "b.dcm": other}), acquisition, admin, may_hold=False)
    series = {"a.dcm": one, "b.dcm": a_series(2, PatientID="other")["1.dcm"]}
    with pytest.raises(Conflicting, match="two Patient IDs"):
        receive(a_zip(series), acquisition, admin, may_hold=False)
    assert File.select().count() == 0


def test_held_objects_of_a_zip_are_decided_one_by_one(project: Project, acquisition: int, admin: Actor) -> None:
    for number in range(2):
        store(member_of_series(number), project)
    stored = receive(a_zip(a_series(3, Rows=64, Columns=128)), acquisition, admin, may_hold=True)
    assert stored.message == "2 of its 3 objects are held until a site admin decides."
    first, second = Conflict.select().order_by(Conflict.id)
    assert (first.member, second.member) == ("0.dcm", "1.dcm")
    assert conflicts.view(first)["arrived"]["member"] == "0.dcm"
    here, held, same_uid, members, _ = comparison.compared_objects(first)
    assert here is not None
    assert comparison.compare(here, held, members=members).different
    assert (same_uid, members) == (True, ("", "0.dcm"))

    with pytest.raises(BadValue, match="stays one file"):
        conflicts.resolve(first.id, "separate", actor=admin)
    conflicts.resolve(first.id, "replace", actor=admin)
    conflicts.resolve(second.id, "keep", actor=admin)
    shown = Instance.select().where(Instance.state == "current").order_by(Instance.sop_uid)
    assert [(row.sop_uid, row.member) for row in shown] == [
        ("1.2.3.1", "0.dcm"),
        ("1.2.3.2", ""),
        ("1.2.3.3", "2.dcm"),
    ]
    conflicts.resolve(first.id, "keep", actor=admin)
    assert {row.member for row in Instance.select().where(Instance.state == "current")} == {"", "2.dcm"}
    assert Study.get().n_instances == 3


def test_a_site_that_replaces_shows_the_objects_of_the_zip(project: Project, acquisition: int, admin: Actor) -> None:
    options.change({"archive.duplicates": "replace"}, actor=admin)
    store(member_of_series(0), project)
    upload(a_zip(a_series(1, Rows=64, Columns=128)), acquisition, "dicom.zip", actor=admin)
    assert states() == {"": "superseded", "0.dcm": "current"}


def test_the_same_object_encoded_differently_is_an_alternate(project: Project, acquisition: int, admin: Actor) -> None:
    store(member_of_series(0), project)
    padded = part_10(member_of_series(0, DataSetTrailingPadding=bytes(64)))
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        upload(a_zip({"0.dcm": padded}, method=method), acquisition, f"{method}.zip", actor=admin)
    assert [row.state for row in Instance.select().order_by(Instance.id)] == ["current", "alternate", "alternate"]
    assert Conflict.select().count() == 0


def test_a_newer_version_of_a_zip_replaces_its_instances(acquisition: int, admin: Actor) -> None:
    upload(a_zip(a_series(3)), acquisition, "dicom.zip", actor=admin)
    changed = a_zip(a_series(2, Rows=64, Columns=128), method=zipfile.ZIP_DEFLATED)
    assert receive(changed, acquisition, admin, may_hold=False).outcome == "version"
    assert states() == dict.fromkeys(("0.dcm", "1.dcm"), "current")
    assert {row.blob_id for row in ZipMember.select()} == {File.get().blob_id}
    assert (Study.get().n_instances, Conflict.select().count()) == (2, 0)

    assert receive(b"text" * 100, acquisition, admin, may_hold=False).outcome == "version"
    assert (states(), File.get().type, DicomZip.select().count()) == ({}, "archive", 0)
    assert receive(changed, acquisition, admin, may_hold=False).outcome == "version"
    assert states() == dict.fromkeys(("0.dcm", "1.dcm"), "current")


def test_a_kill_between_two_batches_leaves_the_rest_to_recovery(
    acquisition: int, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MIN_BATCH_SIZE", "MAX_BATCH_SIZE"):
        monkeypatch.setattr(batched_writes, name, 2)
    monkeypatch.setattr(zip_index, "FIRST_BATCH_SIZE", 2)
    add, batches = zip_index._add, []

    def add_until_killed(*args: Any) -> Any:
        batches.append(1)
        if len(batches) == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return add(*args)

    database.close()
    child = os.fork()
    if not child:
        zip_index._add = add_until_killed
        with connection():
            upload(a_zip(a_series(9)), acquisition, "dicom.zip", actor=admin)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    database.connect()
    assert (len(states()), DicomZip.get().is_settled) == (2, False)
    recovery.sweep()
    assert len(states()) == 2  # somebody may be at work
    recovery.recover()
    assert (len(states()), Study.get().n_instances, DicomZip.get().is_settled) == (9, 9, True)


def test_a_record_of_a_zip_without_rows_is_indexed_whole(project: Project, acquisition: int, admin: Actor) -> None:
    upload(a_zip(a_series(3)), acquisition, "dicom.zip", actor=admin)
    with writing():
        for table in (Instance, Series, Study, DicomZip, File, Blob):
            table.delete().execute()
    runtime.archive().close()
    assert recovery.recover() == 1
    assert states() == dict.fromkeys(("0.dcm", "1.dcm", "2.dcm"), "current")


def test_a_rebuilt_index_has_the_same_rows(project: Project, acquisition: int, admin: Actor) -> None:
    store(member_of_series(1), project)
    upload(a_zip(a_series(3), method=zipfile.ZIP_DEFLATED), acquisition, "dicom.zip", actor=admin)
    before = dump()
    with writing():
        for table in (Instance, Series, Study):
            table.delete().execute()
    assert reindex.run().indexed == 4
    assert dump() == before
    assert reindex.run().indexed == 0


def test_a_rebuild_indexes_the_zips_of_a_release_that_did_not_read_them(acquisition: int, admin: Actor) -> None:
    upload(a_zip(a_series(2)), acquisition, "dicom.zip", actor=admin)
    upload(a_zip({"notes.txt": b"x" * 200}), acquisition, "notes.zip", actor=admin)
    with writing():
        for table in (Instance, Series, Study, DicomZip):
            table.delete().execute()
        File.update(type=None, mimetype=None).execute()
    assert reindex.run().indexed == 2
    assert states() == dict.fromkeys(("0.dcm", "1.dcm"), "current")
    assert [row.type for row in File.select().order_by(File.id)] == ["dicom", None]


def test_a_purge_leaves_no_name_of_a_patient_whose_zip_was_beside_the_acquisitions(
    project: Project, acquisition: int, admin: Actor
) -> None:
    place = Placement(container_type="project", container_id=project.id, name="dicom.zip", also_here=True)
    with ingest.open(scope=rights.scope(admin), origin=admin.origin, placement=place) as incoming:
        incoming.write(a_zip(a_series(2)))
        stored = incoming.commit()
    assert Study.get().n_instances == 2
    trash.purge(trash.move_to_trash("file", stored.file_id, actor=admin).id, actor=admin)
    assert (Series.select().count(), Study.select().count()) == (0, 0)


def test_trash_restore_and_purge_take_all_members(
    project: Project, acquisition: int, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MIN_BATCH_SIZE", "MAX_BATCH_SIZE", "FIRST_BATCH_SIZE"):
        monkeypatch.setattr(batched_writes, name, 2)
    monkeypatch.setattr(zip_index, "FIRST_BATCH_SIZE", 2)
    stored = upload(a_zip(a_series(5)), acquisition, "dicom.zip", actor=admin)
    before = states()
    entry = trash.move_to_trash("file", stored.file_id, actor=admin)
    assert (states(), Study.get().n_instances) == ({}, 0)
    assert trash.restore(entry.id, actor=admin).back == 1
    assert (states(), Study.get().n_instances) == (before, 5)

    entry = trash.move_to_trash("file", stored.file_id, actor=admin)
    trash.purge(entry.id, actor=admin)
    left = [table.select().count() for table in (File, Blob, Instance, ZipMember, DicomZip, Series, Study)]
    assert left == [0] * 7


def test_an_object_that_came_meanwhile_stays_shown_when_a_zip_is_restored(
    project: Project, acquisition: int, admin: Actor
) -> None:
    stored = upload(a_zip(a_series(2)), acquisition, "dicom.zip", actor=admin)
    entry = trash.move_to_trash("file", stored.file_id, actor=admin)
    store(member_of_series(0, Rows=64, Columns=128), project)
    outcome = trash.restore(entry.id, actor=admin)
    assert (outcome.back, outcome.held) == (1, 1)
    assert states() == {"": "current", "0.dcm": "held", "1.dcm": "current"}
    assert Conflict.get().member == "0.dcm"


def test_the_trash_of_a_zip_shows_the_same_objects_of_another_place(
    project: Project, acquisition: int, admin: Actor
) -> None:
    stored = upload(a_zip(a_series(2)), acquisition, "dicom.zip", actor=admin)
    other = an_acquisition(project, "copy", admin)
    upload(a_zip(a_series(2)), other, "copy.zip", actor=admin)
    assert Study.get().n_instances == 2
    trash.move_to_trash("file", stored.file_id, actor=admin)
    assert states() == dict.fromkeys(("0.dcm", "1.dcm"), "current")
    assert Study.get().n_instances == 2


def test_a_damaged_member_gives_way_to_the_object_that_arrives_again(
    project: Project, acquisition: int, admin: Actor
) -> None:
    upload(a_zip(a_series(2)), acquisition, "dicom.zip", actor=admin)
    blob = Blob.get()
    with runtime.archive().path(blob.segment).open("r+b") as segment:
        segment.seek(blob.offset + 3000)
        segment.write(b"damage")
    assert store(member_of_series(0), project).outcome == "stored"
    assert states() == {"1.dcm": "current", "": "current"}
    assert File.select().count() == 2


def test_the_name_of_a_damaged_member_is_not_logged(
    acquisition: int, admin: Actor, caplog: pytest.LogCaptureFixture
) -> None:
    stored = upload(a_zip({"Doe^John.dcm": a_series(1)["0.dcm"]}), acquisition, "dicom.zip", actor=admin)
    blob = Blob.get()
    with runtime.archive().path(blob.segment).open("r+b") as segment:
        segment.seek(blob.offset + 3000)
        segment.write(b"damage")
    with writing():
        Instance.delete().execute()
        zip_index.unsettle([stored.file_id])
    assert zip_index.settle(stored.file_id).total() == 0
    assert "not all members of the zip can be indexed (BadValue)" in caplog.text
    assert "Doe" not in caplog.text


def receive(content: bytes, acquisition: int, admin: Actor, *, may_hold: bool) -> Stored:
    place = Placement(container_type="acquisition", container_id=acquisition, name="dicom.zip", also_here=True)
    scope = rights.scope(admin)
    with ingest.open(scope=scope, origin=admin.origin, placement=place, may_hold=may_hold) as incoming:
        incoming.write(content)
        return incoming.commit()
