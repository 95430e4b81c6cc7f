"""What was changed, cut off or lost in the archive is named with the files that it affects."""

import os
from pathlib import Path

import pytest

from portal import runtime, segment_checks
from portal.access.actors import Actor
from portal.maintenance import recovery
from portal.models import Blob, File, Project
from tests.fixtures.archive import an_object, store
from tests.verification.sites import Edit, Verify


@pytest.fixture
def objects(project: Project) -> list[File]:
    """Five objects in two closed segments, of one and of four."""
    for number in range(5):
        store(an_object(SOPInstanceUID=f"1.2.3.{number}"), project)
        if number == 0:
            runtime.archive().close()
    runtime.archive().close()
    recovery.recover()
    return list(File.select(File, Blob).join(Blob).order_by(File.id))


def path_of(file: File) -> Path:
    return runtime.archive().path(file.blob.segment)


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def test_a_whole_archive_is_whole(objects: list[File], verify: Verify) -> None:
    verified = verify()
    assert verified.found == []
    assert verified.job.result["verification"]["checked"]["segments"] == 2
    assert verified.job.result["verification"]["checked"]["records"] == 5
    assert verified.job.bytes == sum(file.blob.size for file in objects)


@pytest.mark.parametrize("where", ["first byte", "last byte", "length", "footer"])
def test_a_flipped_byte_is_named_with_its_file(objects: list[File], verify: Verify, where: str) -> None:
    file = objects[2]
    offset, size = file.blob.offset, file.blob.size
    at = {"first byte": offset, "last byte": offset + size - 1, "length": offset - 8, "footer": offset + size + 40}
    flip(path_of(file), at[where])
    verified = verify()
    [(area, subject, message)] = verified.found
    assert (area, subject) == ("archive", f"archive/{file.blob.segment}, byte {offset - 16:,}")
    assert message.endswith(f"Restore the segment from a backup, then verify again. Affected: file {file.id:,}.")
    assert [problem.segment for problem in segment_checks.known_problems()] == [file.blob.segment]

    flip(path_of(file), at[where])
    assert verify().found == []
    assert segment_checks.known_problems() == []


def test_a_segment_that_was_cut_off_is_named(objects: list[File], verify: Verify) -> None:
    os.truncate(path_of(objects[4]), objects[4].blob.offset + 100)
    found = verify().found
    assert {area for area, _subject, _message in found} == {"archive"}
    assert f"Affected: file {objects[4].id}." in found[-1][2]


def test_a_segment_that_is_missing_is_named(objects: list[File], verify: Verify) -> None:
    path_of(objects[0]).unlink()
    [(_area, subject, message)] = verify().found
    assert (subject, "is missing: 1 file is affected" in message) == (f"archive/{objects[0].blob.segment}", True)


def test_a_segment_that_cannot_be_read_is_named_and_stops_nothing(objects: list[File], verify: Verify) -> None:
    path = path_of(objects[0])
    path.unlink()
    path.mkdir()
    flip(path_of(objects[4]), objects[4].blob.offset + 20)
    found = verify().found
    assert any("cannot be read any further: Is a directory." in message for _area, _subject, message in found)
    assert any(f"Affected: file {objects[0].id}." in message for _area, _subject, message in found)
    assert any(f"Affected: file {objects[4].id}." in message for _area, _subject, message in found)


def test_the_first_bytes_of_a_segment_are_checked(objects: list[File], verify: Verify) -> None:
    flip(path_of(objects[0]), 0)
    assert "first bytes" in verify().found[0][2]


@pytest.mark.parametrize("column", ["digest", "dataset_digest", "size", "offset"])
def test_a_changed_row_of_a_record_is_named(objects: list[File], verify: Verify, database: Edit, column: str) -> None:
    blob = objects[2].blob
    value = "'" + "0" * 64 + "'" if "digest" in column else f"{column} - 1"
    database(f"UPDATE blob SET {column} = {value} WHERE id = {blob.id}")
    found = [message for area, _subject, message in verify().found if area == "archive"]
    assert any(f"Affected: file {objects[2].id}." in message for message in found)


def test_an_object_that_no_row_names_is_named(objects: list[File], verify: Verify, database: Edit) -> None:
    file = objects[2]
    database(
        f"DELETE FROM instance WHERE file_id = {file.id}",
        f"DELETE FROM file WHERE id = {file.id}",
        f"DELETE FROM blob WHERE id = {file.blob_id}",
    )
    found = dict.fromkeys((area, message) for area, _subject, message in verify().found)
    assert ("archive", "No row names this object. Run portal reindex to recover it.") in found


def test_damage_of_what_no_file_needs_any_more_is_no_finding(
    objects: list[File], verify: Verify, project: Project
) -> None:
    flip(path_of(objects[2]), objects[2].blob.offset + 500)
    assert len(verify().found) == 1
    store(an_object(SOPInstanceUID="1.2.3.2"), project)  # arrives again, and repairs the file
    assert verify().found == []


def test_an_object_that_is_being_received_is_no_finding(objects: list[File], verify: Verify) -> None:
    stream = runtime.archive().stream()
    stream.write(b"half of an object" * 100)
    try:
        assert verify().found == []
    finally:
        stream.abort()


def test_the_segment_that_is_being_written_to_is_checked(
    objects: list[File], verify: Verify, project: Project, admin: Actor
) -> None:
    stored = store(an_object(SOPInstanceUID="1.2.3.9"), project)
    store(an_object(SOPInstanceUID="1.2.3.10"), project)
    assert verify().found == []
    file = File.get_by_id(stored.file_id)
    with path_of(file).open("r+b") as segment:
        segment.seek(file.blob.offset + 300)
        segment.write(b"changed")
    assert f"Affected: file {file.id}." in verify().found[0][2]
