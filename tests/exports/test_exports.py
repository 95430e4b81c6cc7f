import hashlib
import hmac
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from dimse_worker import destinations
from portal import models, runtime
from portal.access import audit_chain
from portal.access.actors import Actor
from portal.errors import BadValue, Missing, NotAllowed
from portal.exports import exports
from portal.jobs import jobs, runs
from portal.models import Acquisition, Audit, Blob, File, Job, JobItem, Project, SegmentProblem, Storage, now
from portal.storage import storages
from portal.storage_drivers.destination import Content, Destination
from portal.tree import groups, projects
from tests.fixtures.archive import an_object, store
from tests.fixtures.work import add_file, add_files, files_below, until


def run(job: Job) -> Job:
    """What the worker does with an export, in this process."""
    runs.perform(job.id, lambda this: exports.run(this, destination=destinations.open_storage(this.job)))
    return exports.get(job.id)


def manifest_of(job: Job, folder: Path) -> dict[str, Any]:
    content = (folder / job.result["manifest"]["key"]).read_bytes()
    assert hashlib.sha256(content).hexdigest() == job.result["manifest"]["sha256"]
    signed, _line, _last = content.rpartition(b'"signature"')
    key = runtime.secrets().derive("manifest")
    manifest: dict[str, Any] = json.loads(content)
    assert manifest["signature"] == hmac.new(key, signed, hashlib.sha256).hexdigest()
    return manifest


def test_an_export_copies_every_file_and_ends_with_a_manifest_that_names_each(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    contents = add_files(acquisition, 5, 1000, admin)
    job = run(exports.start("lab/Trial", to="mirror", actor=admin))
    assert (job.state, job.total, job.done, job.failed, job.bytes) == ("done", 5, 5, 0, 5000)
    assert job.message == "5 objects exported and verified."
    expected = {f"Trial/S-01/Visit 1/T1/{name}": hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    found = files_below(folder)
    manifest_key = job.result["manifest"]["key"]
    assert found.keys() - {manifest_key} == expected.keys()
    assert all(found[key] == digest for key, digest in expected.items())
    manifest = manifest_of(job, folder)
    assert {item["key"]: item["sha256"] for item in manifest["items"]} == expected
    assert manifest["counts"] == {"objects": 5, "verified": 5, "failed": 0, "bytes": 5000, "held_back": 0}
    assert (manifest["project"], manifest["storage"], manifest["failed"]) == ("lab/Trial", "mirror", [])
    assert manifest["items"][0]["origin"] == {"type": "user", "id": "1", "via": "web"}


def test_files_of_each_level_get_a_key_of_their_level(
    project: Project, acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    add_file(project, "protocol.pdf", b"one", admin)
    add_file(acquisition, "scan.bin", b"two", admin)
    job = run(exports.start("lab/Trial", to="mirror", actor=admin))
    keys = {item.key for item in exports.items(job.id)}
    assert keys == {"Trial/protocol.pdf", "Trial/S-01/Visit 1/T1/scan.bin"}


def test_an_export_is_of_the_moment_when_it_was_started(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    add_files(acquisition, 2, 10, admin)
    job = exports.start("lab/Trial", to="mirror", actor=admin)
    add_file(acquisition, "later.bin", b"later", admin)
    job = run(job)
    assert job.total == 2
    assert not any("later" in key for key in files_below(folder))


def test_a_second_export_finds_everything_there_and_writes_a_manifest_of_its_own(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    add_files(acquisition, 3, 100, admin)
    first = run(exports.start("lab/Trial", to="mirror", actor=admin))
    written = {path: os.stat(folder / path).st_ino for path in files_below(folder)}
    second = run(exports.start("lab/Trial", to="mirror", actor=admin))
    assert (first.state, second.state, second.done) == ("done", "done", 3)
    assert first.result["manifest"]["key"] != second.result["manifest"]["key"]
    assert {path: os.stat(folder / path).st_ino for path in written} == written
    assert len(files_below(folder)) == len(written) + 1


def test_other_content_under_a_key_is_never_overwritten_and_named_in_the_end(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    add_files(acquisition, 3, 100, admin)
    place = folder / "Trial/S-01/Visit 1/T1"
    place.mkdir(parents=True)
    (place / "0001.bin").write_bytes(b"somebody else's")
    job = run(exports.start("lab/Trial", to="mirror", actor=admin))
    assert (job.state, job.done, job.failed) == ("errors", 2, 1)
    assert job.message.startswith(
        "2 of 3 objects exported and verified. 1 failed. Trial/S-01/Visit 1/T1/0001.bin: An object with different"
    )
    assert (place / "0001.bin").read_bytes() == b"somebody else's"
    manifest = manifest_of(job, folder)
    assert [entry["key"] for entry in manifest["failed"]] == ["Trial/S-01/Visit 1/T1/0001.bin"]
    assert manifest["counts"]["verified"] == len(manifest["items"]) == 2


def test_what_failed_is_retried_and_the_new_manifest_is_whole(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    add_files(acquisition, 3, 100, admin)
    stranger = folder / "Trial/S-01/Visit 1/T1/0001.bin"
    stranger.parent.mkdir(parents=True)
    stranger.write_bytes(b"somebody else's")
    job = run(exports.start("lab/Trial", to="mirror", actor=admin))
    first = job.result["manifest"]["key"]
    stranger.unlink()
    job = run(jobs.retry(job.id, actor=admin))
    assert (job.state, job.done, job.failed) == ("done", 3, 0)
    assert job.result["manifest"]["key"] != first
    assert manifest_of(job, folder)["counts"]["verified"] == 3


def test_an_export_of_which_nothing_arrived_has_failed(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    add_files(acquisition, 2, 100, admin)
    (folder / "Trial").write_bytes(b"a file where the project's folder should be")
    job = run(exports.start("lab/Trial", to="mirror", actor=admin))
    assert job.state == "failed"
    assert "2 objects failed." in job.message
    assert "there is a file or a link in place of a folder" in job.message


def flip(blob: Blob) -> None:
    """Damage the first byte of a content in the archive."""
    with runtime.archive().path(blob.segment).open("r+b") as segment:
        segment.seek(blob.offset)
        byte = segment.read(1)
        segment.seek(blob.offset)
        segment.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("number", [3, 40], ids=["few", "by writers"])
@pytest.mark.parametrize(
    ("segment", "message"),
    [
        ("", "differ from those that were received"),
        ("gone.seg", "Segment gone.seg cannot be read: No such file or directory."),
        ("../../../etc/passwd", "which is not a segment of the archive"),
    ],
    ids=["a byte", "its segment", "its row"],
)
def test_a_damaged_object_is_named_and_everything_else_arrives(
    segment: str, message: str, number: int, acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    add_files(acquisition, number, 100, admin)
    blob = File.get(File.name == "0001.bin").blob
    if segment:
        Blob.update(segment=segment).where(Blob.id == blob.id).execute()
    else:
        flip(blob)
    job = run(exports.start("lab/Trial", to="mirror", actor=admin))
    assert (job.state, job.done, job.failed) == ("errors", number - 1, 1)
    assert message in job.message
    assert SegmentProblem.select().count() == (0 if segment else 1)
    names = {Path(key).name for key in files_below(folder)}
    assert names == {f"{each:04}.bin" for each in range(number) if each != 1} | {"manifest.json"}


@pytest.mark.parametrize("changed", [False, True])
def test_what_was_damaged_is_exported_from_its_whole_record_once_it_came_again(
    changed: bool, acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    content = os.urandom(2000)
    add_file(acquisition, "scan.bin", content, admin)
    blob = Blob.get()
    flip(blob)
    job = run(exports.start("lab/Trial", to="mirror", actor=admin))
    assert job.state == "failed"
    add_file(acquisition, "scan.bin", content, admin)
    if changed:
        add_file(acquisition, "scan.bin", b"the next version", admin)  # the export is of what was listed
    else:
        Blob.update(id=100).where(Blob.id == blob.id).execute()  # as if it had come later
    jobs.retry(job.id, actor=admin)
    job = run(job)
    assert (job.state, job.done) == ("done", 1), job.message
    assert files_below(folder)["Trial/S-01/Visit 1/T1/scan.bin"] == hashlib.sha256(content).hexdigest()


def test_running_an_export_twice_does_nothing_twice(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    add_files(acquisition, 3, 100, admin)
    job = run(exports.start("lab/Trial", to="mirror", actor=admin))
    before = (files_below(folder), job.ended)
    job = run(job)
    assert (files_below(folder), job.ended) == before


@pytest.mark.parametrize("marked", [0, 4, 10])
def test_what_a_dead_run_had_sent_is_found_proved_and_not_sent_again(
    marked: int, acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    add_files(acquisition, 10, 100, admin)
    job = run(exports.start("lab/Trial", to="mirror", actor=admin))
    (folder / job.result["manifest"]["key"]).unlink()
    sent = {path: os.stat(folder / path).st_ino for path in files_below(folder)}
    some = [item.id for item in exports.items(job.id)][marked:]
    JobItem.update(state="pending").where(JobItem.id.in_(some)).execute()
    result = {name: value for name, value in job.result.items() if name != "manifest"}
    Job.update(state="running", ended=None, holder="dead", lease=0, result=result).execute()
    job = run(job)
    assert (job.state, job.done, job.bytes) == ("done", 10, 1000)
    assert {path: os.stat(folder / path).st_ino for path in sent} == sent
    assert len(files_below(folder)) == 11
    assert len(manifest_of(job, folder)["items"]) == 10


def test_a_manifest_that_a_dead_run_had_written_is_found_and_not_written_again(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    add_files(acquisition, 2, 100, admin)
    job = run(exports.start("lab/Trial", to="mirror", actor=admin))
    before = files_below(folder)
    written = job.result["manifest"]
    begun = {name: written[name] for name in ("name", "ended", "number")}
    result = {**job.result, "manifest": begun}
    Job.update(state="running", ended=None, holder="dead", lease=0, result=result).execute()
    job = run(job)
    assert (job.state, job.result["manifest"]) == ("done", written)
    assert files_below(folder) == before


def test_a_run_that_dies_while_it_plans_plans_anew(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    add_files(acquisition, 3, 10, admin)
    job = exports.start("lab/Trial", to="mirror", actor=admin)
    JobItem.create(job=job, key="Trial/left over", size=1, digest="0")
    job = run(job)
    assert (job.state, job.total) == ("done", 3)


class _Gated:
    """A destination that takes one object a call, and none whose key ends so until it is opened."""

    batch_size = 1

    def __init__(self, destination: Destination, ending: str) -> None:
        self._destination = destination
        self._ending = ending
        self.opened = threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._destination, name)

    def deliver(self, contents: Sequence[Content], **options: Any) -> Any:
        if contents and contents[0].key.endswith(self._ending):
            self.opened.wait(60)
        return self._destination.deliver(contents, **options)


def test_what_has_arrived_is_told_while_another_object_is_under_way(
    acquisition: Acquisition, mirror: Storage, admin: Actor
) -> None:
    add_files(acquisition, 3, 1000, admin)
    add_file(acquisition, "slow.bin", b"slow", admin)
    job = exports.start("lab/Trial", to="mirror", actor=admin)
    gated: Any = _Gated(storages.open(mirror), "slow.bin")

    def export() -> None:
        with models.connection():
            runs.perform(job.id, lambda this: exports.run(this, destination=gated))

    thread = threading.Thread(target=export)
    thread.start()
    try:
        until(lambda: exports.get(job.id).done == 3, seconds=20)
        assert exports.get(job.id).state == "running"
    finally:
        gated.opened.set()
        thread.join()
    assert (exports.get(job.id).state, exports.get(job.id).done) == ("done", 4)


def test_held_objects_stay_here_and_the_export_says_so(
    project: Project, mirror: Storage, folder: Path, admin: Actor
) -> None:
    store(an_object(), project)
    assert store(an_object(PatientName="Somebody^Else"), project).outcome == "conflict"
    job = run(exports.start("lab/Trial", to="mirror", actor=admin))
    assert (job.state, job.total, job.result["held_back"]) == ("done", 1, 1)
    assert job.message.endswith("1 skipped (in conflict or replaced).")
    (item,) = manifest_of(job, folder)["items"]
    assert item["sop_instance_uid"] == an_object().SOPInstanceUID
    assert item["origin"]["type"] == "peer"


def test_siblings_that_would_share_a_key_are_told_apart_by_their_number(
    project: Project, acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    first = add_file(acquisition, "Scan?.dcm", b"1", admin)
    second = add_file(acquisition, "scan*.DCM", b"2", admin)
    job = run(exports.start("lab/Trial", to="mirror", actor=admin))
    names = sorted(path.rpartition("/")[2] for path in files_below(folder) if "Visit" in path)
    assert names == sorted(["Scan_.dcm", f"scan_~{second:08x}.DCM"])
    assert first < second
    assert job.state == "done"


def test_projects_of_one_name_in_two_groups_go_to_two_folders(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    groups.add("other", actor=admin)
    twin = projects.add("other/trial", actor=admin)
    add_file(twin, "a.bin", b"twin", admin)
    add_file(acquisition, "a.bin", b"first", admin)
    run(exports.start("lab/Trial", to="mirror", actor=admin))
    run(exports.start("other/trial", to="mirror", actor=admin))
    folders = {path.partition("/")[0] for path in files_below(folder)}
    assert folders == {"Trial", f"trial~{twin.id:08x}", "manifests"}


def test_a_project_called_manifests_never_meets_the_manifests(mirror: Storage, folder: Path, admin: Actor) -> None:
    groups.add("lab", actor=admin)
    project = projects.add("lab/Manifests", actor=admin)
    add_file(project, "a.bin", b"x", admin)
    job = run(exports.start("lab/Manifests", to="mirror", actor=admin))
    assert [item.key for item in exports.items(job.id)] == [f"Manifests~{project.id:08x}/a.bin"]


def test_a_prefix_stands_before_each_key_and_stays_once_something_was_exported(
    acquisition: Acquisition, folder: Path, admin: Actor
) -> None:
    storages.add("mirror", "fs", path=str(folder), prefix="research/2027", actor=admin)
    add_files(acquisition, 1, 10, admin)
    job = run(exports.start("lab/Trial", to="mirror", actor=admin))
    assert all(path.startswith("research/2027/") for path in files_below(folder))
    assert manifest_of(job, folder)["items"][0]["key"] == "research/2027/Trial/S-01/Visit 1/T1/0000.bin"
    with pytest.raises(NotAllowed, match="so its prefix cannot change"):
        storages.edit("mirror", prefix="other", actor=admin)


def test_an_empty_project_ends_done_and_says_that_it_holds_nothing(
    project: Project, mirror: Storage, folder: Path, admin: Actor
) -> None:
    job = run(exports.start("lab/Trial", to="mirror", actor=admin))
    assert (job.state, job.message) == ("done", "The project holds nothing to export.")
    assert manifest_of(job, folder)["items"] == []


def test_files_in_the_trash_are_not_exported(acquisition: Acquisition, mirror: Storage, admin: Actor) -> None:
    add_files(acquisition, 2, 10, admin)
    File.update(deleted_at=now()).where(File.name == "0000.bin").execute()
    job = run(exports.start("lab/Trial", to="mirror", actor=admin))
    assert [item.key for item in exports.items(job.id)] == ["Trial/S-01/Visit 1/T1/0001.bin"]


def test_a_storage_that_is_gone_for_a_while_makes_the_export_wait_not_fail(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    add_files(acquisition, 5, 10, admin)
    job = exports.start("lab/Trial", to="mirror", actor=admin)
    folder.rmdir()
    folder.parent.rmdir()
    job = run(job)
    assert (job.state, job.done) == ("waiting", 0)
    assert "does not exist. Mount its disk" in job.message
    assert "Retrying until " in job.message
    folder.mkdir(parents=True)
    Job.update(due=now()).execute()
    assert run(job).state == "done"


@pytest.mark.parametrize(
    ("path", "to", "error", "words"),
    [
        ("lab/Nothing", "mirror", Missing, "There is no project 'lab/Nothing'"),
        ("lab", "mirror", BadValue, "names no project"),
        ("lab/Trial", "nowhere", Missing, "There is no storage 'nowhere'"),
        ("lab/Trial", "", Missing, "There is no storage"),
        ("lab/Trial", "inbox", NotAllowed, "inbox is for import only"),
        ("lab/Trial", "theirs", NotAllowed, "theirs is visible only to group:other"),
    ],
)
def test_an_export_that_cannot_be_is_refused_in_a_sentence_and_makes_no_job(
    path: str,
    to: str,
    error: type[Exception],
    words: str,
    project: Project,
    mirror: Storage,
    folder: Path,
    admin: Actor,
) -> None:
    groups.add("other", actor=admin)
    storages.add("inbox", "fs", path=str(folder), mode="import", actor=admin)
    storages.add("theirs", "fs", path=str(folder), visible="group:other", actor=admin)
    with pytest.raises(error, match=words):
        exports.start(path, to=to, actor=admin)
    assert jobs.list_recent() == []


def test_only_an_admin_starts_an_export(project: Project, mirror: Storage) -> None:
    with pytest.raises(NotAllowed):
        exports.start("lab/Trial", to="mirror", actor=Actor(type="user", id="2", name="b@site.example"))


def test_who_started_an_export_is_in_its_view_and_in_the_audit(
    acquisition: Acquisition, mirror: Storage, admin: Actor
) -> None:
    add_files(acquisition, 2, 10, admin)
    job = exports.start("lab/Trial", to="mirror", actor=admin)
    view = exports.view(job)
    assert (view["project"], view["storage"], view["items"], view["bytes"]) == ("lab/Trial", "mirror", 2, 20)
    assert (view["state"], view["started_by"]) == ("waiting", "admin@site.example")
    assert Audit.select().where(Audit.action == "export:started", Audit.target_id == str(job.id)).count() == 1
    assert list(audit_chain.verify()) == []


def test_a_job_of_another_kind_is_no_export(mirror: Storage, admin: Actor) -> None:
    number = storages.request_test("mirror", actor=admin)
    with pytest.raises(Missing, match="another kind of job"):
        exports.get(number)
