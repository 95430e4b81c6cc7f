"""The manifest of each export is compared with what its row says of it; its objects are not read."""

from pathlib import Path

import pytest

from portal.access.actors import Actor
from portal.exports import exports
from portal.jobs import jobs, runs
from portal.models import Job, Project, Storage
from portal.storage import storages
from tests.fixtures.work import add_file
from tests.verification.sites import Edit, Verify


@pytest.fixture
def export(project: Project, mirror: Storage, admin: Actor) -> Job:
    add_file(project, "notes.txt", b"some text", admin)
    job = exports.start("neuro/trial", to="mirror", actor=admin)
    destination = storages.open(storages.by_id(mirror.id))
    runs.perform(job.id, lambda run: exports.run(run, destination=destination))
    ended = jobs.get(job.id)
    assert ended.state == "done", ended.message
    return ended


def manifest(export: Job, folder: Path) -> Path:
    return folder / str(export.result["manifest"]["key"])


def test_a_whole_manifest_is_no_finding(export: Job, verify: Verify) -> None:
    verified = verify()
    assert verified.found == []
    assert "and 1 manifest." in verified.job.message


def test_a_changed_manifest_is_named(export: Job, folder: Path, verify: Verify) -> None:
    path = manifest(export, folder)
    path.chmod(0o600)
    path.write_bytes(path.read_bytes().replace(b"notes.txt", b"notez.txt"))
    [(area, subject, message)] = verify().found
    assert (area, subject) == ("manifests", f"export {export.id}")
    assert message.startswith(f"Its manifest {export.result['manifest']['key']} was changed.")


def test_a_missing_manifest_is_named(export: Job, folder: Path, verify: Verify) -> None:
    manifest(export, folder).unlink()
    assert "is missing in the storage" in verify().found[0][2]


def test_a_changed_digest_in_the_row_of_the_export_is_named(export: Job, verify: Verify, database: Edit) -> None:
    digest = export.result["manifest"]["sha256"]
    database(f"UPDATE job SET result = replace(result, '{digest}', '{'0' * 64}') WHERE id = {export.id}")
    assert verify().subjects == [("manifests", f"export {export.id}")]


def test_a_storage_that_was_removed_or_is_away_is_said_and_is_no_finding(
    export: Job, folder: Path, mirror: Storage, verify: Verify, admin: Actor
) -> None:
    folder.rename(folder.with_name("unplugged"))
    verified = verify()
    assert verified.found == []
    assert "Not checked: manifests in storage mirror, which cannot be read now (1)." in verified.job.message
    storages.remove("mirror", actor=admin)
    verified = verify()
    assert verified.found == []
    assert "Not checked: manifests in a storage that was removed (1)." in verified.job.message
