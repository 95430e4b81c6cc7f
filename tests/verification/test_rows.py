"""Rows of files and of the DICOM index that are missing, or say what is not so, are named."""

import pytest

from portal.access.actors import Actor
from portal.models import File, Instance, Project
from portal.settings import Settings
from tests.fixtures.archive import an_object, store, upload, vendor_file, with_another_pixel
from tests.fixtures.hostile.zips import a_zip, part_10
from tests.fixtures.work import add_file
from tests.verification.sites import Edit, Verify, verify_here


@pytest.fixture
def objects(project: Project) -> list[int]:
    """Files of three objects in two series of one study."""
    series = ("1.2.3.8", "1.2.3.8", "1.2.3.9")
    return [
        store(an_object(SOPInstanceUID=f"1.2.3.{number}", SeriesInstanceUID=uid), project).file_id
        for number, uid in enumerate(series)
    ]


def test_a_removed_row_of_bytes_is_named(objects: list[int], verify: Verify, database: Edit) -> None:
    database(f"DELETE FROM blob WHERE id = (SELECT blob_id FROM file WHERE id = {objects[1]})")
    found = [(subject, message) for area, subject, message in verify().found if area == "files"]
    assert found[0][0] == f"file {objects[1]}"
    assert found[0][1].startswith("The row of the bytes of version 1 is missing. Restore the database")


def test_a_removed_row_of_the_bytes_of_an_older_version_is_named(
    project: Project, verify: Verify, database: Edit, admin: Actor
) -> None:
    number = add_file(project, "notes.txt", b"first", admin)
    add_file(project, "notes.txt", b"second", admin)
    assert verify().found == []
    database("DELETE FROM blob WHERE id = (SELECT blob_id FROM file_version)")
    assert ("files", f"file {number}, version 1") in verify().subjects


def test_a_file_in_the_trash_whose_bytes_have_no_row_is_named(
    objects: list[int], verify: Verify, database: Edit
) -> None:
    database(
        f"UPDATE file SET deleted_at = created WHERE id = {objects[1]}",
        f"DELETE FROM blob WHERE id = (SELECT blob_id FROM file WHERE id = {objects[1]})",
    )
    assert ("files", f"file {objects[1]}") in verify().subjects


def test_a_file_without_its_container_is_named(objects: list[int], verify: Verify, database: Edit) -> None:
    database(f"UPDATE file SET parent_id = 999 WHERE id = {objects[0]}")
    assert ("files", f"file {objects[0]}") in verify().subjects


@pytest.mark.parametrize(
    ("change", "subject", "message"),
    [
        (
            "UPDATE instance SET dataset_digest = 'aa' WHERE id = 2",
            "instance 2",
            "Its digest is not that of its bytes.",
        ),
        ("UPDATE instance SET series_id = 99 WHERE id = 2", "instance 2", "Its series or study is missing."),
        ("UPDATE instance SET file_id = 99 WHERE id = 2", "instance 2", "Its file is missing."),
        ("UPDATE instance SET project_id = 99 WHERE id = 2", "instance 2", "Its study belongs to another project."),
        ("UPDATE file SET deleted_at = created WHERE id = 2", "instance 2", "Its file is in the trash"),
        ("DELETE FROM instance WHERE id = 2", "file 2", "It is a DICOM file, but not in the index"),
        ("UPDATE series SET n_instances = 5 WHERE id = 1", "series 1", "Its row says 5 instances, and 2 are there."),
        ("UPDATE series SET study_id = 99 WHERE id = 1", "series 1", "Its study is missing."),
        ("UPDATE study SET n_series = 7 WHERE id = 1", "study 1", "Its row says 7 series and 3 instances, and 2 and 3"),
        ("UPDATE instance SET sop_uid = '1.2.77' WHERE id = 2", "instance 2", "another SOPInstanceUID than the object"),
        ("UPDATE series SET series_uid = '1.2.77' WHERE id = 2", "instance 3", "another SeriesInstanceUID than"),
    ],
)
def test_a_changed_row_of_the_index_is_named(
    objects: list[int], verify: Verify, database: Edit, change: str, subject: str, message: str
) -> None:
    database(change)
    found = [text for area, about, text in verify().found if (area, about) == ("index", subject)]
    assert any(message in text for text in found), verify().found


def test_all_headers_are_compared_if_that_is_asked_for(
    objects: list[int], admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("portal.verification.index.SAMPLE", 1)
    assert verify_here(admin).job.result["verification"]["checked"]["headers"] == 1
    assert verify_here(admin, all_headers=True).job.result["verification"]["checked"]["headers"] == 3


def test_conflicts_alternates_and_objects_in_two_places_are_no_findings(
    objects: list[int], project: Project, site: Settings, verify: Verify, admin: Actor
) -> None:
    content = vendor_file("CT_small.dcm").read_bytes()
    here, there = File.get_by_id(objects[0]).parent_id, File.get_by_id(objects[2]).parent_id
    upload(content, here, "a.dcm", actor=admin)
    upload(content, there, "b.dcm", actor=admin)
    upload(with_another_pixel(content), here, "c.dcm", actor=admin)
    assert {row.state for row in Instance.select()} >= {"current", "alternate", "held"}
    assert verify().found == []


def test_members_of_a_zip_are_compared_with_their_rows(
    objects: list[int], verify: Verify, database: Edit, admin: Actor
) -> None:
    content = a_zip({f"{number}.dcm": part_10(an_object(SOPInstanceUID=f"1.2.9.{number}")) for number in range(3)})
    upload(content, File.get_by_id(objects[0]).parent_id, "series.zip", actor=admin)
    assert Instance.select().where(Instance.member != "").count() == 3
    assert verify().found == []
    last = Instance.select().count()
    database(
        f"UPDATE instance SET dataset_digest = 'aa' WHERE id = {last}",
        f"DELETE FROM zip_member WHERE instance_id = {last - 1}",
    )
    found = verify().found
    assert [(subject, message.partition(". ")[0]) for _area, subject, message in found] == [
        (f"instance {last - 1}", "Its place in the zip is missing"),
        (f"instance {last}", "The index says another digest than the object"),
    ]


def test_a_zip_that_lacks_members_in_the_index_is_named(
    objects: list[int], verify: Verify, database: Edit, admin: Actor
) -> None:
    content = a_zip({f"{number}.dcm": part_10(an_object(SOPInstanceUID=f"1.2.9.{number}")) for number in range(3)})
    stored = upload(content, File.get_by_id(objects[0]).parent_id, "series.zip", actor=admin)
    database("DELETE FROM zip_member", "DELETE FROM instance WHERE member != ''")
    found = [message for _area, subject, message in verify().found if subject == f"file {stored.file_id}"]
    assert found == ["It is a zip of 3 DICOM objects, and 0 are in the index. Run portal reindex."]
