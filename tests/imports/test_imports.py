"""What lies in a store comes in once, placed as chosen; what does not fit is refused with its reason."""

import contextlib
import hashlib
import http.client
import io
import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dimse_worker import destinations
from portal import runtime
from portal.access import origins
from portal.access.actors import Actor
from portal.dicom import header
from portal.errors import BadValue, Missing, NotAllowed
from portal.exports import exports
from portal.exports.request import Options
from portal.imports import duplicates, imports, plan
from portal.imports.request import ImportRequest
from portal.jobs import jobs, runs
from portal.maintenance import recovery
from portal.models import (
    Acquisition,
    Audit,
    Blob,
    File,
    FileVersion,
    Group,
    Instance,
    Job,
    JobItem,
    Project,
    Series,
    Session,
    Storage,
    Study,
    Subject,
)
from portal.settings import Settings
from portal.storage import storages
from portal.tree import containers, groups, projects
from portal.tree.folders import MANIFESTS_FOLDER
from tests.fixtures.archive import an_object, encode, store, store_vendor_file, upload, vendor_file
from tests.fixtures.cli import Portal
from tests.fixtures.stores import Place
from tests.fixtures.work import Process, add_file, add_files, until, work_process

WORK = {"import": imports.run, "import_dry_run": imports.run_dry_run, "export": exports.run}
CT = "CT_small.dcm"


def run(job: Job) -> Job:
    """What the worker does, in this process."""
    runs.perform(job.id, lambda this: WORK[this.job.kind](this, destination=destinations.open_storage(this.job)))
    return jobs.get(job.id)


def ended(job: Job) -> dict[str, str]:
    """State of each item by its key."""
    return {item.key: item.state for item in exports.items(job.id)}


def reasons(job: Job) -> dict[str, str]:
    return {item.key: item.message for item in exports.items(job.id, state="failed")}


@pytest.fixture
def inbox(folder: Path, admin: Actor) -> Storage:
    """A storage to import from."""
    folder.mkdir(parents=True)
    return storages.add("inbox", "fs", path=str(folder), mode="both", actor=admin)


def put(folder: Path, files: dict[str, bytes]) -> None:
    for key, content in files.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        (folder / key).write_bytes(content)


def wanted(**more: Any) -> ImportRequest:
    return ImportRequest(of="inbox", to="lab/Trial", **more)


def test_by_headers_the_manifest_and_the_sidecars_of_an_export_are_neither_refused_nor_left(
    project: Project, acquisition: Acquisition, inbox: Storage, admin: Actor
) -> None:
    store_vendor_file(CT, project)
    run(exports.start("lab/Trial", to="inbox", actor=admin, options=Options(sidecars=True)))
    projects.add("lab/Copy", actor=admin)

    job = run(imports.start(ImportRequest(of="inbox", to="lab/Copy", prefix="", by="headers"), actor=admin))

    assert (job.state, job.total, job.done, job.failed) == ("done", 1, 1, 0), reasons(job)
    assert sorted(ended(job).values()) == ["manifest", "sidecar", "stored"]


def test_by_headers_dicom_comes_in_as_by_c_store_and_nothing_else(
    project: Project, inbox: Storage, folder: Path, admin: Actor
) -> None:
    ct = vendor_file(CT).read_bytes()
    put(folder, {"a/1": ct, "a/again": ct, "a/empty": b"", "a/cut.dcm": ct[:600], "a/notes.txt": b"notes", "b/1": b"x"})
    job = run(imports.start(wanted(prefix="a"), actor=admin))
    states = ended(job)
    assert sorted((states.pop("a/1"), states.pop("a/again"))) == ["same", "stored"]
    assert states == {"a/empty": "failed", "a/cut.dcm": "failed", "a/notes.txt": "failed"}
    assert all("Not a DICOM object" in reason for reason in reasons(job).values())
    assert (job.state, job.total, job.done, job.failed) == ("errors", 5, 2, 3)
    assert job.message.startswith("5 objects: 1 new, 1 already here, 3 failed. a/")
    file = File.get()
    assert file.blob.digest == hashlib.sha256(ct).hexdigest()
    assert (file.origin_type, file.origin_id, file.origin_via) == ("user", "1", f"import {job.id} from inbox")
    assert (Study.get().project_id, Session.get().subject.project_id) == (project.id, project.id)
    assert [row.action for row in Audit.select().where(Audit.action.startswith("import:"))] == [
        "import:started",
        "import:ended",
    ]


def test_by_path_every_file_comes_into_the_containers_that_its_folders_name(
    acquisition: Acquisition, inbox: Storage, folder: Path, admin: Actor
) -> None:
    add_file(acquisition, "scan.bin", b"scan", admin)
    put(
        folder,
        {
            "x/S-01/Visit 1/T1/scan.bin": b"scan",
            "x/S-01/Visit 1/T1/ct.dcm": vendor_file(CT).read_bytes(),
            "x/S-01/Visit 2/T2/scan.bin": b"other",
            "x/S-02/notes.txt": b"",
            "x/protocol.pdf": b"protocol",
            "x/S-01/Visit 1/T1/deeper/scan.bin": b"deeper",
            "x/S-02/skip.tmp": b"skip",
        },
    )
    job = run(imports.start(wanted(prefix="x/", by="path", exclude=["*.tmp"]), actor=admin))
    assert {key.removeprefix("x/"): state for key, state in ended(job).items()} == {
        "S-01/Visit 1/T1/scan.bin": "same",
        "S-01/Visit 1/T1/ct.dcm": "stored",
        "S-01/Visit 2/T2/scan.bin": "stored",
        "S-02/notes.txt": "stored",
        "protocol.pdf": "stored",
        "S-01/Visit 1/T1/deeper/scan.bin": "failed",
        "S-02/skip.tmp": "unmatched",
    }
    assert job.message.endswith("Its path is deeper than {subject}/{session}/{acquisition}/{file}.")
    assert [row.label for row in Subject.select().order_by(Subject.id)] == ["S-01", "S-02"]
    assert [row.label for row in Session.select().order_by(Session.id)] == ["Visit 1", "Visit 2"]
    notes = File.get(File.name == "notes.txt")
    assert (notes.parent_type, notes.parent_id) == ("subject", Subject.get(Subject.label == "S-02").id)
    dicom = Instance.get().file
    assert (dicom.parent_type, dicom.parent_id, dicom.name) == ("acquisition", acquisition.id, "ct.dcm")


def test_a_dry_run_says_what_would_become_of_each_object_and_takes_none(
    project: Project, inbox: Storage, folder: Path, admin: Actor
) -> None:
    store(an_object(), project)
    add_file(project, "protocol.pdf", b"first", admin)
    other = an_object(SOPInstanceUID="1.2.3.4")
    here = Blob.get(Blob.dataset_digest.is_null(False))
    with runtime.archive().open(here.segment, here.offset, here.size) as content:
        same = content.read()
    meta = same[: here.dataset_offset]
    put(folder, {"same": same, "other": vendor_file("MR_small.dcm").read_bytes(), "protocol.pdf": b"second"})
    put(folder, {"conflict": meta + encode(an_object(PatientName="Somebody^Else")), "new": meta + encode(other)})
    before = (File.select().count(), Subject.select().count())
    job = run(imports.dry_run(wanted(by="path"), actor=admin))
    assert ended(job) == {
        "same": "same",
        "other": "new",
        "protocol.pdf": "version",
        "conflict": "conflict",
        "new": "new",
    }
    assert (File.select().count(), Subject.select().count()) == before
    started = run(imports.start_from_dry_run(job.id, actor=admin))
    assert {key: "new" if state == "stored" else state for key, state in ended(started).items()} == ended(job)
    with pytest.raises(BadValue, match="is not a finished dry run"):
        imports.start_from_dry_run(started.id, actor=admin)


def test_a_dry_run_finds_what_the_objects_of_one_import_are_to_each_other_as_the_import_does(
    project: Project, inbox: Storage, folder: Path, admin: Actor
) -> None:
    ct = vendor_file(CT).read_bytes()
    put(folder, {"one": ct, "again": ct, "content": part_10(an_object(CT, ImageComments="other"))})
    put(folder, {"short": part_10(of("7", "7")), "long": part_10(of("7", "7", DataSetTrailingPadding=bytes(64)))})
    put(folder, {"explicit": part_10(of("2", "2")), "implicit": part_10(of("2", "2"), ImplicitVRLittleEndian)})
    put(folder, {"her": part_10(of("3", "3")), "him": part_10(of("4", "3", PatientID="another"))})
    series = {"SeriesInstanceUID": "1.2.9"}
    put(folder, {"here": part_10(of("5", "5", **series)), "there": part_10(of("6", "6", **series))})

    tried = run(imports.dry_run(wanted(), actor=admin))

    assert Counter(ended(tried).values()) == {"new": 5, "conflict": 3, "alternate": 1, "same": 2}
    said = " ".join(item.message for item in exports.items(tried.id))
    assert "has the same SOP Instance UID but different content." in said
    assert "another PatientID." in said
    assert "another study." in said
    assert tried.result["uncompared"] is False
    done = run(imports.start_from_dry_run(tried.id, actor=admin))
    assert Counter(ended(done).values()) == {"stored": 5, "conflict": 3, "alternate": 1, "same": 2}


def test_a_dry_run_remembers_so_many_objects_and_says_so() -> None:
    twins = duplicates.DuplicateTracker(most=2)
    first, second = (
        header.read_file(io.BytesIO(content), len(content))[0]
        for content in (part_10(of(number, "1")) for number in "12")
    )
    assert [twins.before(first, 1), twins.before(first, 2), twins.is_full] == [None, 1, False]
    assert [twins.before(second, 3), twins.before(second, 4), twins.is_full] == [None, None, True]


def of(number: str, study: str, **changes: Any) -> Dataset:
    """An object of a number, in a study of its own."""
    uids = {
        "SOPInstanceUID": f"1.2.1.{number}",
        "StudyInstanceUID": f"1.2.2.{study}",
        "SeriesInstanceUID": f"1.2.3.{study}",
    }
    return an_object(CT, **{**uids, **changes})


def part_10(ds: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """An object as a file."""
    ds.file_meta.TransferSyntaxUID = UID(syntax)
    written = io.BytesIO()
    ds.save_as(written, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    return written.getvalue()


def test_names_that_lead_elsewhere_or_cannot_be_names_are_refused_one_by_one(
    project: Project, inbox: Storage, folder: Path, admin: Actor
) -> None:
    put(folder, {"good/1.txt": b"1"})
    job = imports.start(wanted(by="path"), actor=admin)
    run_listing(
        job, ["../up.txt", "/abs.txt", "a//b.txt", "x" * 1000, f"S-{'l' * 70}/n.txt", "S\n1/n.txt", "S/\x07.txt"]
    )
    job = run(jobs.get(job.id))
    assert (job.done, job.failed, job.state) == (1, 7, "errors")
    assert set(ended(job).values()) == {"stored", "failed"}
    assert File.select().count() == 1
    assert not (folder.parent / "up.txt").exists()


def run_listing(job: Job, names: list[str]) -> None:
    """As if a store had listed these names too; a file system has no such ones."""
    runs.perform(job.id, _list_only)
    JobItem.add([(job.id, None, name, 1, "", "pending", "", False, 0) for name in names])
    Job.update(state="waiting", ended=None, total=1 + len(names)).where(Job.id == job.id).execute()


def _list_only(this: runs.Run) -> runs.RunEnd:
    plan.create_items(this, destinations.open_storage(this.job))
    return runs.RunEnd(message="")


def test_bytes_that_are_no_text_in_a_name_are_told_and_nothing_is_lost_for_them(
    project: Project, inbox: Storage, folder: Path, admin: Actor
) -> None:
    put(folder, {"good.txt": b"1"})
    (folder / os.fsdecode(b"bad-\xff.txt")).write_bytes(b"2")
    job = run(imports.start(wanted(by="path"), actor=admin))
    assert ended(job) == {"good.txt": "stored", "bad-?.txt": "failed"}


def test_an_object_that_vanishes_or_changes_after_it_was_listed_is_named(
    project: Project, inbox: Storage, folder: Path, admin: Actor
) -> None:
    put(folder, {"gone.txt": b"1", "grown.txt": b"1", "stays.txt": b"1"})
    job = imports.start(wanted(by="path"), actor=admin)
    run_listing(job, [])
    (folder / "gone.txt").unlink()
    (folder / "grown.txt").write_bytes(b"more")
    Job.update(total=3).where(Job.id == job.id).execute()
    job = run(jobs.get(job.id))
    assert ended(job) == {"gone.txt": "failed", "grown.txt": "failed", "stays.txt": "stored"}
    assert "no longer exists" in reasons(job)["gone.txt"]
    assert "has changed since" in reasons(job)["grown.txt"]
    put(folder, {"gone.txt": b"1"})
    job = run(jobs.retry(job.id, actor=admin))
    assert (job.done, job.failed, File.select().count()) == (2, 1, 2)


@pytest.mark.parametrize(
    ("more", "error", "says"),
    [
        ({"of": "nothing"}, Missing, "no storage"),
        ({"to": "lab/None"}, Missing, "no project"),
        ({"of": "out"}, NotAllowed, "for export only"),
        ({"prefix": "../x"}, BadValue, "prefix"),
        ({"by": "luck"}, BadValue, "not one of"),
        ({"by": "path", "path": "{session}/{file}"}, BadValue, "in this order"),
        ({"by": "path", "path": "{subject}"}, BadValue, "must end with"),
        ({"path": "{subject}/{file}"}, BadValue, "placement by path only"),
        ({"include": ["x" * 300]}, BadValue, "patterns"),
    ],
)
def test_what_cannot_be_imported_is_refused_before_a_job_begins(
    more: dict[str, Any],
    error: type[Exception],
    says: str,
    project: Project,
    inbox: Storage,
    admin: Actor,
    folder: Path,
) -> None:
    storages.add("out", "fs", path=str(folder / "out"), mode="export", actor=admin)
    with pytest.raises(error, match=says):
        imports.start(ImportRequest(**{"of": "inbox", "to": "lab/Trial", **more}), actor=admin)
    assert Job.select().count() == 0


def test_by_manifest_without_one_fails_with_the_way_out(project: Project, inbox: Storage, admin: Actor) -> None:
    job = run(imports.start(wanted(by="manifest"), actor=admin))
    assert (job.state, job.message) == (
        "failed",
        "There is no manifest of Portico in the storage. Import by headers or by path instead.",
    )


# The round trip

OWNED = ("origin_type", "origin_id", "origin_via", "created", "modified")


def tree() -> dict[str, Any]:
    """What a site holds, without the numbers of its rows."""
    subjects = [*OWNED, "label", "patient_id", "issuer"]
    below = [*OWNED, "label", "uid", "timestamp"]
    return {
        "subjects": sorted(_rows(Subject.select(), subjects), key=str),
        "sessions": sorted(_rows(Session.select(), below), key=str),
        "acquisitions": sorted(_rows(Acquisition.select(), below), key=str),
        "files": sorted(
            (
                (
                    *_path(file),
                    file.blob.digest,
                    *(getattr(file, name) for name in ("name", "version", "type", "mimetype", *OWNED)),
                )
                for file in File.select()
            ),
            key=str,
        ),
        "versions": sorted(
            (row.file.name, row.version, row.blob.digest, *(getattr(row, name) for name in (*OWNED[:3], "created")))
            for row in FileVersion.select()
        ),
        "studies": sorted(
            _rows(Study.select(), ["study_uid", "patient_name", "patient_id", "n_instances", "modalities"])
        ),
        "series": sorted(_rows(Series.select(), ["series_uid", "modality", "n_instances"])),
        "instances": sorted(_rows(Instance.select(), ["sop_uid", "transfer_syntax", "dataset_digest", "state"])),
    }


def _rows(query: Any, names: list[str]) -> list[tuple[Any, ...]]:
    return [tuple(getattr(row, name) for name in names) for row in query]


def _path(file: File) -> tuple[str, ...]:
    row: Any = containers.TABLES[file.parent_type].get_by_id(file.parent_id)
    labels = []
    while not isinstance(row, Project):
        labels.insert(0, row.label)
        row = containers.parent_of(row)
    return tuple(labels)


def fill(project: Project, acquisition: Acquisition, admin: Actor) -> None:
    """Files of several levels, by several ways, with names that a store does not take as they are."""
    device = Actor(type="device", id="7", name="Connector", via="ptk_1", is_admin=True)
    store(an_object(PatientID="P-1", IssuerOfPatientID="HOSP", StudyDescription="Kopf/Hals: ä"), project)
    store(an_object("MR_small.dcm", PatientID=""), project)
    add_file(project, "protocol?.pdf", b"protocol", admin)
    add_file(acquisition, "scan.bin", os.urandom(1000), device)
    add_file(acquisition, "SCAN.bin", b"", device)
    add_file(acquisition, "scan.bin.json", b"{}", device)
    for number in (1, 2):
        other = containers.add_acquisition(acquisition.session_id, f"copy {number}", actor=admin)
        upload(vendor_file("rtplan.dcm").read_bytes(), other.id, "plan.dcm", actor=device)
    for content, actor in ((b"draft", device), (b"changed", admin), (b"draft", admin)):
        add_file(acquisition, "notes.txt", content, actor)


@pytest.mark.parametrize("place", ["fs", "moto"], indirect=True)
def test_an_export_with_sidecars_comes_back_into_an_empty_site_with_nothing_lost(
    place: Place,
    project: Project,
    acquisition: Acquisition,
    site: Settings,
    admin: Actor,
    make_site: Callable[[Path], Settings],
    tmp_path: Path,
) -> None:
    fill(project, acquisition, admin)

    def add_storage() -> None:
        storages.add(
            "inbox", place.provider, prefix="out", mode="both", secret=place.secret, actor=admin, **place.config
        )

    add_storage()
    job = run(exports.start("lab/Trial", to="inbox", actor=admin, options=Options(sidecars=True)))
    assert (job.state, job.total) == ("done", 22)
    before, mark = tree(), json.dumps(job.result["manifest"])
    (tmp_path / "empty").mkdir()
    make_site(tmp_path / "empty")
    groups.add("lab", actor=admin)
    projects.add("lab/Trial", actor=admin)
    add_storage()
    tried = run(imports.dry_run(wanted(by="manifest"), actor=admin))
    assert set(ended(tried).values()) == {"new", "sidecar", "manifest"}
    job = run(imports.start(wanted(by="manifest"), actor=admin))
    assert (job.state, job.total, job.done, job.failed) == ("done", 11, 11, 0), reasons(job)
    assert without_site(tree()) == without_site(before), mark
    device = File.get(File.name == "scan.bin")
    assert origins.name(device) == origins.NamedOrigin(type="device", id="7", site="Portico")
    assert not job.result["manifests"][0]["signed"]
    again = run(imports.start(wanted(by="manifest"), actor=admin))
    assert set(ended(again).values()) == {"same", "sidecar", "manifest"}
    assert without_site(tree()) == without_site(before)


def without_site(found: Any) -> Any:
    """The numbers of users and devices as they were at the other site, wherever they stand."""
    if isinstance(found, dict):
        return {name: without_site(value) for name, value in found.items()}
    if isinstance(found, list):
        return sorted((without_site(value) for value in found), key=str)
    if isinstance(found, tuple):
        return tuple(without_site(value) for value in found)
    return found.partition("@")[0] if isinstance(found, str) and origins.is_foreign(found) else found


def test_on_the_same_site_numbers_of_users_are_those_of_here(
    project: Project, acquisition: Acquisition, inbox: Storage, admin: Actor
) -> None:
    add_files(acquisition, 2, 10, admin)
    run(exports.start("lab/Trial", to="inbox", actor=admin, options=Options(sidecars=True)))
    projects.add("lab/Copy", actor=admin)
    job = run(imports.start(ImportRequest(of="inbox", to="lab/Copy", prefix="Trial/S-01", by="manifest"), actor=admin))
    assert (job.state, job.done) == ("done", 2)
    copies = File.select().where(File.id > 2)
    assert {(file.origin_type, file.origin_id, file.origin_via) for file in copies} == {("user", "1", "web")}


def test_a_manifest_alone_gives_back_the_origin_and_the_path_gives_the_containers(
    acquisition: Acquisition, inbox: Storage, folder: Path, admin: Actor
) -> None:
    contents = add_files(acquisition, 2, 10, admin)
    received = {file.name: file.created for file in File.select()}
    run(exports.start("lab/Trial", to="inbox", actor=admin))
    put(folder, {"Trial/stranger.bin": b"?"})
    projects.add("lab/Copy", actor=admin)
    job = run(imports.start(ImportRequest(of="inbox", to="lab/Copy", by="manifest"), actor=admin))
    assert (job.state, job.done, ended(job)["Trial/stranger.bin"]) == ("done", 2, "unmatched")
    for file in File.select().where(File.id > 2):
        assert (file.name in contents, file.created) == (True, received[file.name])
        assert _path(file) == ("S-01", "Visit 1", "T1")


@pytest.mark.parametrize("which", ["object", "sidecar", "missing"])
def test_what_is_not_as_the_manifest_names_it_is_not_taken_in(
    which: str, acquisition: Acquisition, inbox: Storage, folder: Path, admin: Actor
) -> None:
    add_files(acquisition, 2, 100, admin)
    run(exports.start("lab/Trial", to="inbox", actor=admin, options=Options(sidecars=True)))
    home = folder / "Trial/S-01/Visit 1/T1"
    there = {str(path.relative_to(folder)): path.read_bytes() for path in home.iterdir()}
    if which == "missing":
        (home / "0000.bin").unlink()
    elif which == "object":
        (home / "0000.bin").write_bytes(os.urandom(100))
    else:
        document = (home / "0000.bin.json").read_bytes()
        (home / "0000.bin.json").write_bytes(document.replace(b"S-01", b"S-02"))
    projects.add("lab/Copy", actor=admin)
    job = run(imports.start(ImportRequest(of="inbox", to="lab/Copy", by="manifest"), actor=admin))
    assert (job.state, job.done, job.failed) == ("errors", 1, 1)
    assert list(reasons(job)) == ["Trial/S-01/Visit 1/T1/0000.bin"]
    assert (File.select().count(), Subject.select().count()) == (3, 2)
    put(folder, there)
    job = run(jobs.retry(job.id, actor=admin))
    assert (job.state, job.done, job.failed) == ("done", 2, 0)
    assert {(file.origin_id, file.origin_via) for file in File.select()} == {("1", "web")}


def lying(folder: Path, entries: list[str]) -> None:
    """A manifest of somebody else, an entry a line as it is given."""
    head = b'{"format": "portico-manifest-1",\n"site": "Elsewhere",\n"prefix": "",\n"items": [\n'
    tail = b'\n],\n"failed": [\n],\n"signature": "00"}\n'
    put(folder, {f"{MANIFESTS_FOLDER}/1/manifest.json": head + ",\n".join(entries).encode() + tail})


ENTRY = '{"key": "a.bin", "size": 1, "sha256": "00"}'


@pytest.mark.parametrize(
    "lie",
    [
        ENTRY.replace("1,", f"{10**30},"),
        ENTRY.replace("1,", "-1,"),
        ENTRY.replace("1,", "true,"),
        ENTRY.replace("a.bin", r"\ud800"),
        ENTRY.replace("00", r"\ud800"),
        ENTRY.replace("}", r', "sidecar_of": "\ud800"}'),
    ],
)
def test_a_manifest_that_says_what_cannot_be_is_named(
    lie: str, project: Project, inbox: Storage, folder: Path, admin: Actor
) -> None:
    put(folder, {"a.bin": b"a"})
    lying(folder, [ENTRY, lie])
    job = run(imports.start(wanted(by="manifest"), actor=admin))
    assert job.state == "failed"
    assert job.message.startswith(f"{MANIFESTS_FOLDER}/1/manifest.json: It is no manifest of Portico")


BY_EVE = {"origin": {"type": "user", "id": "1", "via": "web", "name": "Eve"}} | dict.fromkeys(
    ("received", "modified"), "2026-01-01T00:00:00+00:00"
)


@pytest.mark.parametrize(
    "lie",
    [
        {},
        {"received": "0001-01-01T00:00:00+23:00"},
        {"modified": "9999-12-31T23:59:59-23:00"},
        {"mimetype": "text/html\r\nSet-Cookie: a=b"},
        {"level": ["subject"]},
    ],
)
def test_a_sidecar_that_says_what_cannot_be_keeps_its_own_object_out_and_no_other(
    lie: dict[str, Any], project: Project, inbox: Storage, folder: Path, admin: Actor
) -> None:
    of_file = {"name": "a.bin", "sha256": digest(b"a"), "type": None, "mimetype": None, "level": "project", **BY_EVE}
    told = {"format": "portico-sidecar-1", "site": {"id": "0", "name": "Elsewhere"}, "file": of_file | lie}
    document = json.dumps(told).encode()
    put(folder, {"a.bin": b"a", "a.bin.json": document, "S/b.bin": b"b"})
    entries = [
        {"key": "a.bin", "size": 1, "sha256": digest(b"a")},
        {"key": "a.bin.json", "size": len(document), "sha256": digest(document), "sidecar_of": "a.bin"},
        {"key": "S/b.bin", "size": 1, "sha256": digest(b"b")},
    ]
    lying(folder, [json.dumps(entry) for entry in entries])
    job = run(imports.start(wanted(by="manifest"), actor=admin))
    assert ended(job)["S/b.bin"] == "stored"
    assert ended(job)["a.bin"] == ("failed" if lie else "stored")
    assert [file.origin_id for file in File.select().where(File.name == "a.bin")] == [] if lie else ["1@Elsewhere|Eve"]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


# Kills

NUMBER = 300


def test_an_import_whose_worker_is_killed_goes_on_and_takes_nothing_twice(
    project: Project, inbox: Storage, folder: Path, site: Settings, queue: object, tmp_path: Path, admin: Actor
) -> None:
    put(folder, {f"S/V/A/{number:04}.bin": os.urandom(2000) for number in range(NUMBER)})
    worker = work_process(site, tmp_path / "work.log")
    worker.start()
    try:
        job = imports.start(wanted(by="path"), actor=admin)
        until(lambda: jobs.get(job.id).done >= 20, process=worker)
        assert jobs.get(job.id).state == "running"
        worker.kill()
    finally:
        worker.stop()
    Job.update(lease=0).where(Job.id == job.id).execute()  # nobody waits for it to run out
    job = run(job)
    recovery.recover()
    assert (job.state, job.done, job.failed) == ("done", NUMBER, 0)
    assert set(ended(job).values()) <= {"stored", "same"}
    there = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*.bin")}
    assert {file.name: file.blob.digest for file in File.select()} == there
    assert (File.select().count(), Acquisition.select().count(), Group.select().count()) == (NUMBER, 1, 1)


def test_the_command_line_tries_imports_and_shows(
    project: Project, inbox: Storage, folder: Path, site: Settings, worker: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    put(folder, {"in/1.dcm": vendor_file(CT).read_bytes()})
    portal = Portal(site.data, capsys)
    start = ("import", "start", "inbox", "--prefix", "in", "--to", "lab/Trial", "--wait")
    assert portal.ok(*start, "--dry-run")["found"] == {"new": 1}
    view = portal.ok(*start)
    assert (view["state"], view["found"], view["project"]) == ("done", {"stored": 1}, "lab/Trial")
    assert [row["id"] for row in portal.ok("import", "list")] == [view["id"]]
    assert portal.ok("import", "show", str(view["id"]))["items"] == 1
    put(folder, {"in/2.txt": b"no"})
    refused = portal(*start)
    assert (refused.code, "1 failed" in refused.err) == (1, True)


HOSTILE = ("../up.txt", "a/../../up.txt", "/abs.txt", "a//b.txt", "x" * 1000, "S/\x07.txt", "S/tab\t.txt", ".")


@pytest.mark.parametrize("place", ["moto"], indirect=True)
def test_a_bucket_with_hostile_names_brings_in_only_what_has_a_name(
    place: Place, project: Project, site: Settings, admin: Actor
) -> None:
    for name in (*HOSTILE, "good.txt"):
        put_raw(place, f"hostile/{name}")
    storages.add(
        "inbox", place.provider, prefix="hostile", mode="import", secret=place.secret, actor=admin, **place.config
    )
    before = {path.relative_to(site.data) for path in site.data.rglob("*") if "run" not in path.parts}
    job = run(imports.start(wanted(by="path"), actor=admin))
    assert ended(job).pop("good.txt") == "stored"
    assert (job.state, job.done, job.failed) == ("errors", 1, len(HOSTILE)), ended(job)
    assert [file.name for file in File.select()] == ["good.txt"]
    after = {path.relative_to(site.data) for path in site.data.rglob("*") if "run" not in path.parts}
    assert {str(path.parent) for path in after - before} <= {"archive"}


def put_raw(place: Place, key: str) -> None:
    """Put an object under a name that no client of ours would send."""
    address = place.config["endpoint"].removeprefix("http://")
    with contextlib.closing(http.client.HTTPConnection(address, timeout=20)) as connection:
        connection.request("PUT", f"/{place.config['bucket']}/{quote(key, safe='/')}", b"x")
        assert connection.getresponse().status == 200, key
