import json
from pathlib import Path

import pytest

from dimse_worker import destinations
from portal.access.actors import Actor
from portal.errors import BadValue, Missing
from portal.exports import exports, verify
from portal.jobs import jobs, runs
from portal.models import Acquisition, Job, JobItem, Storage
from portal.settings import Settings
from tests.fixtures.cli import Portal
from tests.fixtures.work import Process, add_file, add_files

HOME = "Trial/S-01/Visit 1/T1"


def run(job: Job) -> Job:
    """What the worker does, in this process."""
    work = verify.run if job.kind == "verification" else exports.run
    runs.perform(job.id, lambda this: work(this, destination=destinations.open_storage(this.job)))
    return jobs.get(job.id)


def states(job: Job) -> dict[str, str]:
    """The items that are not as they were sent."""
    return {item.key: item.state for item in exports.items(job.id) if item.state != "ok"}


@pytest.fixture
def export(acquisition: Acquisition, mirror: Storage, admin: Actor) -> Job:
    """An export of five objects that arrived whole."""
    add_files(acquisition, 5, 1000, admin)
    return run(exports.start("lab/Trial", to="mirror", actor=admin))


def test_an_export_that_nobody_touched_is_as_it_was_sent(export: Job, admin: Actor) -> None:
    job = run(verify.start(export.id, actor=admin))
    assert (job.state, job.done, job.failed, job.total, job.bytes) == ("done", 6, 0, 6, job.result["bytes"])
    assert job.message == "5 objects are as sent, and so is the manifest; nothing was added."
    assert [row.id for row in verify.for_export(export.id)] == [job.id]
    assert verify.view(job)["ok"] == 6


def test_one_changed_byte_one_missing_and_one_added_object_are_found(export: Job, folder: Path, admin: Actor) -> None:
    changed = folder / HOME / "0001.bin"
    content = bytearray(changed.read_bytes())
    content[500] ^= 1
    changed.write_bytes(content)
    (folder / HOME / "0003.bin").unlink()
    (folder / HOME / "more").mkdir()
    (folder / HOME / "more" / "0001.bin").write_bytes(b"somebody's")
    job = run(verify.start(export.id, actor=admin))
    assert states(job) == {
        f"{HOME}/0001.bin": "changed",
        f"{HOME}/0003.bin": "missing",
        f"{HOME}/more/0001.bin": "added",
    }
    assert (job.state, job.done, job.failed, job.total) == ("errors", 4, 3, 6)
    assert job.message.startswith(
        "Of 5 objects and the manifest: 1 changed, 1 missing, 1 added by somebody else. Trial/S-01/"
    )


def test_what_is_mended_is_well_when_the_same_verification_runs_again(export: Job, folder: Path, admin: Actor) -> None:
    there = folder / HOME / "0001.bin"
    content = there.read_bytes()
    there.write_bytes(b"short")
    (folder / HOME / "stranger").write_bytes(b"")
    job = run(verify.start(export.id, actor=admin))
    assert job.failed == 2
    there.write_bytes(content)
    (folder / HOME / "stranger").unlink()
    job = run(jobs.retry(job.id, actor=admin))
    assert (job.state, job.done, job.failed) == ("done", 6, 0)


@pytest.mark.parametrize("how", ["changed", "missing", "cut"])
def test_a_manifest_that_is_not_the_one_that_was_written_is_named(
    how: str, export: Job, folder: Path, admin: Actor
) -> None:
    there = folder / export.result["manifest"]["key"]
    content = there.read_bytes()
    if how == "missing":
        there.unlink()
    else:
        there.write_bytes(content.replace(b"lab/Trial", b"lab/Trail") if how == "changed" else content[:-100])
    job = run(verify.start(export.id, actor=admin))
    assert states(job) == {export.result["manifest"]["name"]: "missing" if how == "missing" else "changed"}
    assert (job.state, job.done) == ("errors", 5)


def test_a_manifest_whose_row_was_forged_with_it_lacks_the_signature(export: Job, folder: Path, admin: Actor) -> None:
    from hashlib import sha256

    there = folder / export.result["manifest"]["key"]
    forged = there.read_bytes().replace(b"lab/Trial", b"lab/Trail")
    there.write_bytes(forged)
    export.result["manifest"]["sha256"] = sha256(forged).hexdigest()
    export.save()
    job = run(verify.start(export.id, actor=admin))
    assert states(job) == {export.result["manifest"]["name"]: "changed"}
    assert job.message.endswith(verify.UNSIGNED)


def test_what_other_exports_have_sent_into_the_same_folder_was_not_added_by_somebody(
    export: Job, acquisition: Acquisition, admin: Actor
) -> None:
    add_file(acquisition, "later.bin", b"later", admin)
    run(exports.start("lab/Trial", to="mirror", actor=admin))
    job = run(verify.start(export.id, actor=admin))
    assert (job.state, states(job)) == ("done", {})


def test_an_export_without_a_manifest_cannot_be_verified(
    acquisition: Acquisition, mirror: Storage, admin: Actor
) -> None:
    add_files(acquisition, 1, 10, admin)
    job = exports.start("lab/Trial", to="mirror", actor=admin)
    with pytest.raises(BadValue, match="has no manifest"):
        verify.start(job.id, actor=admin)
    with pytest.raises(Missing):
        verify.start(77, actor=admin)


def test_what_a_dead_run_has_compared_is_not_read_again(export: Job, folder: Path, admin: Actor) -> None:
    job = run(verify.start(export.id, actor=admin))
    (folder / HOME / "0001.bin").unlink()
    (folder / HOME / "0002.bin").unlink()
    JobItem.update(state="pending").where(JobItem.job == job, JobItem.key == f"{HOME}/0002.bin").execute()
    Job.update(state="waiting", ended=None).where(Job.id == job.id).execute()
    job = run(job)
    assert states(job) == {f"{HOME}/0002.bin": "missing"}


def test_the_command_line_verifies_and_ends_with_1_where_something_differs(
    export: Job, folder: Path, site: Settings, worker: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    portal = Portal(site.data, capsys)
    view = portal.ok("export", "verify", str(export.id), "--wait")
    assert (view["state"], view["ok"], view["changed"]) == ("done", 6, 0)
    (folder / HOME / "0000.bin").unlink()
    ended = portal("export", "verify", str(export.id), "--wait", "--json")
    assert (ended.code, json.loads(ended.out)["missing"]) == (1, 1)
    assert "1 missing" in ended.err
