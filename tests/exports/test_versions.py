"""Older versions of a file: they leave with an export, and come back with their numbers."""

import json
from pathlib import Path
from typing import Any

import pytest

from portal import runtime
from portal.access import rights
from portal.access.actors import Actor, RecordedMetadata
from portal.errors import Damaged
from portal.exports import exports, plan
from portal.exports import manifest as export_manifest
from portal.exports.manifest_reader import ManifestReader
from portal.exports.request import Options
from portal.imports import imports, request
from portal.ingest import incoming as ingest
from portal.ingest.placement import Placement
from portal.models import Acquisition, Blob, File, FileVersion, Project, Storage
from portal.storage import storages
from portal.tree import files, projects, zips
from portal.tree.project_part import ProjectPart
from tests.fixtures.work import add_file
from tests.imports.test_imports import reasons, run

CONTENTS = (b"one", b"two", b"one")


@pytest.fixture
def inbox(folder: Path, admin: Actor) -> Storage:
    folder.mkdir(parents=True)
    return storages.add("inbox", "fs", path=str(folder), mode="both", actor=admin)


@pytest.fixture
def notes(acquisition: Acquisition, admin: Actor) -> int:
    """The number of a file with three versions."""
    numbers = {add_file(acquisition, "notes.txt", content, admin) for content in CONTENTS}
    return numbers.pop()


def sent(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "manifests" not in path.parts
    }


def items(folder: Path) -> dict[str, dict[str, Any]]:
    """What the manifest says of each object."""
    (manifest,) = folder.glob("manifests/*/manifest.json")
    return {item["key"]: item for item in json.loads(manifest.read_text())["items"]}


def numbered(name: str = "notes.txt") -> dict[int, bytes]:
    """The content of each version of the newest file of a name."""
    file = File.select().where(File.name == name).order_by(File.id.desc()).first()
    numbers = [file.version, *(row.version for row in FileVersion.select().where(FileVersion.file == file))]
    return {number: b"".join(files.open_blob(files.blob_of_version(file, number))[0]) for number in sorted(numbers)}


def test_all_versions_leave_and_the_newest_has_the_name(
    notes: int, acquisition: Acquisition, inbox: Storage, folder: Path, project: Project, admin: Actor
) -> None:
    add_file(acquisition, "notes.v1.txt", b"another file", admin)
    assert plan.count_objects(ProjectPart(project=project.id)) == (4, sum(map(len, (*CONTENTS, b"another file"))))

    job = run(exports.start("lab/Trial", to="inbox", actor=admin))

    assert (job.state, job.total, job.done) == ("done", 4, 4)
    below = "Trial/S-01/Visit 1/T1"
    told_apart = f"{below}/notes.v1~{notes:08x}.txt"
    assert sent(folder) == {
        f"{below}/notes.txt": b"one",
        f"{below}/notes.v1.txt": b"another file",
        told_apart: b"one",
        f"{below}/notes.v2.txt": b"two",
    }
    told = {key: (item["version"], item.get("name")) for key, item in items(folder).items()}
    assert told == {
        f"{below}/notes.txt": (3, None),
        f"{below}/notes.v1.txt": (1, None),
        told_apart: (1, "notes.txt"),
        f"{below}/notes.v2.txt": (2, "notes.txt"),
    }
    again = run(exports.start("lab/Trial", to="inbox", actor=admin))
    assert (again.state, again.done) == ("done", 4)


def test_a_file_that_is_gone_when_the_manifest_is_written_leaves_it_readable(
    notes: int, inbox: Storage, admin: Actor
) -> None:
    job = run(exports.start("lab/Trial", to="inbox", actor=admin))
    File.delete().where(File.id == notes).execute()
    with export_manifest.build({}, job.id, "").file as file:
        file.seek(0)
        told = list(ManifestReader([file.read()]).entries())
    assert [(entry["version"], entry.get("name")) for entry in told] == [(3, None), (1, None), (2, None)]


def test_no_template_gives_two_versions_one_path(notes: int, inbox: Storage, folder: Path, admin: Actor) -> None:
    rules = ({"level": "all", "path": "all/{acquisition}.txt"},)
    job = run(exports.start("lab/Trial", to="inbox", actor=admin, options=Options(rules=rules)))
    assert (job.state, job.done) == ("done", 3), reasons(job)
    assert sent(folder) == {"all/T1.txt": b"one", "all/T1.v1.txt": b"one", "all/T1.v2.txt": b"two"}


@pytest.mark.parametrize("sidecars", [True, False])
def test_versions_come_back_with_their_numbers_and_a_second_import_adds_none(
    notes: int, inbox: Storage, admin: Actor, sidecars: bool
) -> None:
    run(exports.start("lab/Trial", to="inbox", actor=admin, options=Options(sidecars=sidecars)))

    projects.add("lab/Copy", actor=admin)
    wanted = request.ImportRequest(of="inbox", to="lab/Copy", by="manifest")
    for outcomes in ({"stored", "version"}, {"same"}):
        job = run(imports.start(wanted, actor=admin))
        assert (job.state, job.done) == ("done", 3), reasons(job)
        states = {item.state for item in exports.items(job.id)} - {"sidecar", "manifest"}
        assert states == outcomes
        assert (File.select().count(), FileVersion.select().count()) == (2, 4)
        assert numbered() == {1: b"one", 2: b"two", 3: b"one"}


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1), (3, 1, 2)])
def test_versions_may_come_back_in_any_order(acquisition: Acquisition, admin: Actor, order: tuple[int, ...]) -> None:
    outcomes = [bring(acquisition, CONTENTS[number - 1], number, admin).outcome for number in order]
    assert outcomes == ["stored", "version", "version"]
    assert numbered() == dict(enumerate(CONTENTS, 1))
    assert bring(acquisition, b"two", 2, admin).outcome == "same"


def test_a_version_whose_number_is_taken_by_other_content_is_the_next_one_and_only_once(
    acquisition: Acquisition, admin: Actor
) -> None:
    add_file(acquisition, "notes.txt", b"of here", admin)
    assert bring(acquisition, b"one", 1, admin).outcome == "version"
    assert bring(acquisition, b"one", 1, admin).outcome == "same"
    assert numbered() == {1: b"of here", 2: b"one"}


def test_an_older_version_that_comes_again_mends_itself_and_never_the_newest(
    notes: int, acquisition: Acquisition, admin: Actor
) -> None:
    older = FileVersion.get(FileVersion.version == 2).blob
    for blob in (older, File.get_by_id(notes).blob):
        with runtime.archive().path(blob.segment).open("r+b") as segment:
            segment.seek(blob.offset)
            segment.write(b"X")
    assert bring(acquisition, b"two", 2, admin).outcome == "same"
    file = File.get_by_id(notes)
    assert b"".join(files.open_blob(files.blob_of_version(file, 2))[0]) == b"two"
    with pytest.raises(Damaged):
        list(files.open_content(file)[0])
    assert Blob.select().count() == 4


def test_a_session_as_a_zip_has_the_newest_alone(notes: int, acquisition: Acquisition, admin: Actor) -> None:
    packed = zips.prepare(acquisition.session_id, rights.scope(admin))
    assert [path for path, _moment, _blob in packed.members] == ["Visit 1/T1/notes.txt"]


def bring(acquisition: Acquisition, content: bytes, number: int, actor: Actor) -> Any:
    """Take a version in as an import does."""
    placement = Placement(container_type="acquisition", container_id=acquisition.id, name="notes.txt")
    with ingest.open(
        scope=rights.scope(actor), origin=actor.origin, placement=placement, recorded=RecordedMetadata(version=number)
    ) as incoming:
        incoming.write(content)
        return incoming.commit()
