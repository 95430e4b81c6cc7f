"""The files of some containers in one go, as a tar or a zip."""

import collections
import io
import tarfile
import zipfile

import pytest

from portal.access import rights
from portal.access.actors import Actor
from portal.errors import BadValue, Damaged, Missing
from portal.models import Acquisition, Audit, Blob, File, Project, Session, Subject, writing
from portal.settings import Settings
from portal.tree import downloads
from portal.tree.downloads import FileFilter, Node
from tests.fixtures.archive import a_project, an_object, store, upload


@pytest.fixture
def project(site: Settings, admin: Actor) -> Project:
    made = a_project(actor=admin)
    for number in range(3):
        store(an_object(SOPInstanceUID=f"1.2.3.{number}"), made)
    upload(b"notes", Acquisition.get().id, "notes.txt", actor=admin)
    return made


def content(*nodes: Node, form: str = "tar", admin: Actor, **how: object) -> dict[str, bytes]:
    """By path: the bytes of each file."""
    found = downloads.prepare(nodes, scope=rights.scope(admin), **how)  # type: ignore[arg-type]
    packed = io.BytesIO(b"".join(downloads.pack(found, form)))
    if form == "zip":
        with zipfile.ZipFile(packed) as whole:
            return {name: whole.read(name) for name in whole.namelist()}
    with tarfile.open(fileobj=packed) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_each_file_comes_once_below_its_group_and_project(project: Project, admin: Actor, form: str) -> None:
    nodes = [
        *(Node("project", project.id), Node("session", Session.get().id)),
        *(Node("acquisition", Acquisition.get().id), Node("acquisition", Acquisition.get().id)),
    ]
    found = content(*nodes, form=form, admin=admin, prefix="a/../b")
    assert len(found) == 4
    assert {tuple(path.split("/")[:5]) for path in found} == {("a", "_", "b", "neuro", "trial")}
    assert sum(len(one) for one in found.values()) == sum(blob.size for blob in Blob.select())
    assert b"notes" in found.values()


@pytest.mark.parametrize("level", ["subject", "session", "acquisition"])
def test_a_container_brings_what_is_in_it_and_the_same_paths_as_its_project(
    project: Project, admin: Actor, level: str
) -> None:
    store(
        an_object(SOPInstanceUID="1.2.4", SeriesInstanceUID="1.2.4.1", StudyInstanceUID="1.2.4.2", PatientID="P2"),
        project,
    )
    whole = content(Node("project", project.id), admin=admin)
    tables = {"subject": Subject, "session": Session, "acquisition": Acquisition}
    for row in tables[level].select():
        part = content(Node(level, row.id), admin=admin)
        assert part == {path: whole[path] for path in part}
        assert 0 < len(part) < len(whole)


def test_filters_choose_by_type_and_tag(project: Project, admin: Actor) -> None:
    node = Node("project", project.id)
    with writing():
        File.update(type="text", tags=["x"]).where(File.name == "notes.txt").execute()
    for value, number in (
        ({"types": {"plus": ["text"]}}, 1),
        ({"types": {"minus": ["text"], "plus": None}}, 3),
        ({"tags": {"plus": ["x", "y"]}}, 1),
        ({"tags": {"minus": ["x"]}}, 3),
        ({}, 4),
    ):
        assert len(content(node, admin=admin, filters=[FileFilter.parse(value)])) == number
    found = downloads.prepare([node], [FileFilter.parse({"types": {"plus": ["nifti"]}})], scope=rights.scope(admin))
    with pytest.raises(Missing):
        found.measure()


@pytest.mark.parametrize("value", [[], "x", {"types": ["x"]}, {"types": {"plus": "x"}}, {"tags": {"minus": [1]}}])
def test_a_filter_of_a_wrong_type_is_refused(value: object) -> None:
    with pytest.raises(BadValue):
        FileFilter.parse(value)


def test_a_container_out_of_reach_is_left_out_or_refused(project: Project, admin: Actor) -> None:
    stranger = Actor(type="user", id="99", name="nobody")
    node, gone = Node("project", project.id), Node("session", 999)
    with pytest.raises(Missing):
        downloads.prepare([node], scope=rights.scope(stranger))
    assert downloads.prepare([node, gone], scope=rights.scope(admin)).nodes == (node,)
    with pytest.raises(Missing):
        downloads.prepare([node, gone], optional=False, scope=rights.scope(admin))
    for nodes in ([], [node] * 1001):
        with pytest.raises(BadValue):
            downloads.prepare(nodes, scope=rights.scope(admin))


def test_more_than_one_download_takes_is_refused(
    project: Project, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = downloads.prepare([Node("project", project.id)], scope=rights.scope(admin))
    assert found.measure() == (4, sum(blob.size for blob in Blob.select()))
    monkeypatch.setattr(downloads, "MAX_FILES", 3)
    with pytest.raises(BadValue, match="at most 3 files"):
        found.measure()
    with pytest.raises(BadValue, match="at most 3 files"):
        downloads.prepare([Node("project", project.id)], scope=rights.scope(admin))


def test_what_is_held_or_in_the_trash_is_not_downloaded(project: Project, admin: Actor) -> None:
    store(an_object(SOPInstanceUID="1.2.3.0", PatientName="Other"), project)
    assert len(content(Node("project", project.id), admin=admin)) == 4


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_a_damaged_file_ends_the_download_before_its_end(
    project: Project, admin: Actor, form: str, site: Settings
) -> None:
    blob = Blob.select().order_by(Blob.id).first()
    with (site.archive / blob.segment).open("r+b") as segment:
        segment.seek(blob.offset + 200)
        segment.write(b"\xff\xfe\xfd")
    found = downloads.prepare([Node("project", project.id)], scope=rights.scope(admin))
    got = bytearray()
    with pytest.raises(Damaged):
        collections.deque(map(got.extend, downloads.pack(found, form)), 0)
    assert got[-1024:] != bytes(1024)
    assert b"PK\x05\x06" not in got[-100:]


def test_a_download_is_in_the_log_by_container_with_its_session(project: Project, admin: Actor) -> None:
    session, acquisition = Session.get().id, Acquisition.get().id
    nodes = [Node("project", project.id), Node("session", session), Node("acquisition", acquisition)]
    downloads.record(downloads.prepare(nodes, scope=rights.scope(admin)), "tar", actor=admin)
    acts = Audit.select().where(Audit.action == "container:downloaded").order_by(Audit.id)
    assert [(act.target_type, act.detail.get("session")) for act in acts] == [
        ("project", session),
        ("session", session),
        ("acquisition", session),
    ]


def test_files_that_no_filter_takes_count_as_well(
    project: Project, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = FileFilter.parse({"types": {"plus": ["nifti"]}})
    found = downloads.prepare([Node("project", project.id)], [nothing], scope=rights.scope(admin))
    monkeypatch.setattr(downloads, "MAX_FILES", 3)
    with pytest.raises(BadValue, match="at most 3 files"):
        found.measure()


def test_only_the_acquisitions_that_are_asked_for_count(
    project: Project, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(an_object(SOPInstanceUID="1.2.3.9", SeriesInstanceUID="1.2.9"), project)
    other = Acquisition.select().order_by(Acquisition.id.desc()).get()
    assert other.session_id == Session.get().id
    monkeypatch.setattr(downloads, "MAX_FILES", 1)
    found = downloads.prepare([Node("acquisition", other.id)], scope=rights.scope(admin))
    assert found.measure()[0] == 1


@pytest.mark.parametrize(
    "value", [{"types": {"plus": ["x"] * 101}}, {"tags": {"minus": ["x" * 256]}}, {"tags": {"plus": ["x" * 256]}}]
)
def test_a_filter_with_more_than_files_have_is_refused(value: object) -> None:
    with pytest.raises(BadValue):
        FileFilter.parse(value)


def test_a_download_has_some_filters_at_most(project: Project, admin: Actor) -> None:
    node, scope = Node("project", project.id), rights.scope(admin)
    assert downloads.prepare([node], [FileFilter()] * 20, scope=scope).measure()[0] == 4
    with pytest.raises(BadValue, match="at most 20 filters"):
        downloads.prepare([node], [FileFilter()] * 21, scope=scope)


def test_a_filter_is_kept_without_what_it_does_not_say() -> None:
    sent = {"types": {"plus": ["a"], "more": "x"}, "tags": {"minus": ["b"]}, "other": ["x"]}
    kept = FileFilter.parse(sent).to_json()
    assert kept == {"types": {"plus": ["a"], "minus": []}, "tags": {"plus": [], "minus": ["b"]}}
    assert FileFilter.parse(kept) == FileFilter.parse(sent)
