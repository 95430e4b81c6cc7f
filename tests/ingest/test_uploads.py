"""The files of one upload, what is said of them, and where they go."""

from collections.abc import Iterable
from typing import Any

import pytest

from portal import runtime
from portal.access import rights
from portal.access.actors import Actor
from portal.errors import BadValue, Conflicting, Missing, NotAllowed
from portal.ingest import received as received_bytes
from portal.ingest import sent_hierarchy, uploads
from portal.ingest.placement import Placement
from portal.ingest.register import Stored
from portal.ingest.sent_hierarchy import Way
from portal.models import Acquisition, Audit, File, FileVersion, Instance, Project, Session, Subject, writing
from portal.settings import Settings
from portal.trash import trash
from portal.tree import containers
from portal.tree.file_metadata import FileMetadata
from tests.fixtures.archive import a_project, vendor_file, with_another_pixel

UID = "1.2.826.0.1.3680043.8.498.1"
SENT = {
    "group": {"_id": "imaging"},
    "project": {"label": "CT trial"},
    "session": {"uid": f"{UID}.1", "label": "ses-1", "subject": {"label": "sub-1", "code": "x", "sex": "male"}},
    "acquisition": {"uid": f"{UID}.2", "label": "T1", "timezone": "Europe/Zurich", "files": [{"name": "a.txt"}]},
}


@pytest.fixture
def project(site: Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


def said(**fields: Any) -> FileMetadata:
    return FileMetadata.parse(fields)


def sent(place: Project, /, **changed: Any) -> dict[str, Any]:
    named = {"group": {"_id": place.group.code}, "project": {"label": place.label}}
    return SENT | named | changed


def upload(
    project: Project, contents: dict[str, bytes], about: Iterable[FileMetadata] = (), *, actor: Actor, **how: Any
) -> list[Stored]:
    placement = Placement(container_type="project", container_id=project.id)
    with uploads.Upload(placement, scope=rights.scope(actor), actor=actor) as received:
        for name, content in contents.items():
            received.begin(name)
            received.write(content)
        return received.commit(list(about), **how)


def reap(value: dict[str, Any], way: Way = "reaper", *, actor: Actor, name: str = "a.txt") -> File:
    """What a request to /upload/… does."""
    parsed = sent_hierarchy.parse(value)
    with uploads.Upload(Placement(), scope=rights.scope(actor), actor=actor) as received:
        received.begin(name)
        received.write(b"hello")
        numbers = sent_hierarchy.find_or_add(parsed, way, actor=actor)
        places = sent_hierarchy.placements(parsed, numbers, received.names)
        [stored] = received.commit(parsed.files, places=places)
    return File.get_by_id(stored.file_id)


def test_each_file_of_a_request_gets_what_is_said_of_it(project: Project, admin: Actor) -> None:
    about = [
        said(name="b.txt", type="text", tags=["x"], size=7, unknown={}),
        said(name="a.txt", info={"deep": {"a": [1, None]}}, classification={"Intent": ["Structural"]}, modality="MR"),
    ]
    upload(project, {"a.txt": b"a", "b.txt": b"b"}, about, actor=admin)
    first, second = File.select().order_by(File.id)
    assert (first.info, first.classification, first.modality) == (
        {"deep": {"a": [1, None]}},
        {"Intent": ["Structural"]},
        "MR",
    )
    assert (second.type, second.tags, second.info, second.classification) == ("text", ["x"], {}, {})


def test_what_a_dicom_object_is_its_bytes_say(project: Project, admin: Actor) -> None:
    about = [said(type="nifti", mimetype="text/html", tags=["kept"])]
    upload(project, {"ct.dcm": vendor_file("CT_small.dcm").read_bytes()}, about, actor=admin)
    file = File.get()
    assert (file.type, file.mimetype, file.modality, file.tags) == ("dicom", "application/dicom", "CT", ["kept"])
    upload(project, {"x.zip": b"PK"}, [said(type="dicom", mimetype="application/dicom")], actor=admin)
    other = File.get(File.name == "x.zip")
    assert (other.type, other.mimetype) == ("dicom", "application/zip")
    assert upload(project, {"x.zip": b"PK2"}, actor=admin)[0].outcome == "version"


def test_a_new_version_keeps_what_was_said_unless_it_says_other_and_tells_who_sent_it(
    project: Project, admin: Actor
) -> None:
    device = Actor(type="device", id="7", via="ptc_key", is_admin=True)
    upload(project, {"a.txt": b"one"}, [said(tags=["x"], type="text")], actor=device)
    [second] = upload(project, {"a.txt": b"two"}, [said(tags=["y"])], actor=admin)
    file = File.get()
    assert (second.outcome, file.version, file.type, file.tags) == ("version", 2, "text", ["y"])
    assert (file.origin_type, FileVersion.get().origin_type, FileVersion.get().origin_via) == (
        admin.type,
        "device",
        "ptc_key",
    )
    with writing():
        File.update(zip_member_count=7).execute()
    upload(project, {"a.txt": b"three"}, [said(tags=["z"])], actor=admin, preserve=True)
    assert File.get().zip_member_count is None
    upload(project, {"new.txt": b"three"}, [said(tags=["z"])], actor=admin, preserve=True)
    assert [row.tags for row in File.select().order_by(File.id)] == [["y"], ["z"]]


def test_saying_something_else_of_the_same_content_is_an_act_of_its_own(project: Project, admin: Actor) -> None:
    for tags in (["x"], ["x"], ["y"]):
        upload(project, {"Doe^Jane.txt": b"one"}, [said(tags=tags)], actor=admin)
    [act] = Audit.select().where(Audit.action == "file:changed")
    assert act.detail == {"changed": ["tags"]}
    assert File.get().tags == ["y"]


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ([{"name": "other.txt", "type": "x"}], "no file of it"),
        ([{"type": "x"}], "without the name"),
        ([{"name": "../x", "type": "x"}], "path"),
    ],
)
def test_metadata_of_no_file_of_the_request_is_refused_and_nothing_is_kept(
    project: Project, admin: Actor, about: list[dict[str, Any]], words: str
) -> None:
    with pytest.raises(BadValue, match=words):
        upload(project, {"a.txt": b"a", "b.txt": b"b"}, [said(**one) for one in about], actor=admin)
    assert File.select().count() == 0


@pytest.mark.parametrize(
    "value",
    [
        *([], "x", None, 7, {"info": []}, {"info": "x"}, {"tags": {}}, {"tags": [1]}, {"tags": ["x"] * 501}),
        *({"type": 1}, {"type": "x" * 300}, {"modality": ["MR"]}, {"classification": []}, {"type": "a\0b"}),
        *({"classification": {"Intent": "x"}}, {"classification": {"Intent": [None]}}, {"info": {"x": "\ud800"}}),
        *({"info": {"x": "y" * 1_000_001}}, {"info": {"x": 2**70}}, {"info": {"x": float("nan")}}),
        *({"zip_member_count": -1}, {"zip_member_count": True}, {"zip_member_count": "3"}),
    ],
)
def test_metadata_of_a_wrong_type_is_refused_in_words(value: Any) -> None:
    with pytest.raises(BadValue, match=r"must|more than|contains"):
        FileMetadata.parse(value)


def test_info_that_is_nested_too_deeply_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(30):
        deep = {"x": deep}
    with pytest.raises(BadValue, match="nested"):
        said(info=deep)


def test_two_files_of_one_name_are_refused(project: Project, admin: Actor) -> None:
    with uploads.Upload(
        Placement(container_type="project", container_id=project.id), scope=rights.scope(admin), actor=admin
    ) as received:
        received.begin("a.txt")
        with pytest.raises(BadValue, match="two files"):
            received.begin("a.txt")
    assert File.select().count() == 0


def test_many_large_files_of_one_request_do_not_wait_in_memory(
    project: Project, admin: Actor, monkeypatch: pytest.MonkeyPatch, site: Settings
) -> None:
    monkeypatch.setattr(received_bytes, "MAX_BYTES_IN_MEMORY", 1000)
    placement = Placement(container_type="project", container_id=project.id)
    with uploads.Upload(placement, scope=rights.scope(admin), actor=admin) as received:
        for number in range(5):
            received.begin(f"{number}.bin")
            received.write(b"x" * 400)
            assert sum(one.bytes_in_memory for one in received._files.values()) <= 1000
        received.commit()
    for file in File.select():
        with runtime.archive().open(file.blob.segment, file.blob.offset, file.blob.size) as content:
            assert content.read() == b"x" * 400
    segments = set(site.archive.glob("*.seg"))
    with uploads.Upload(placement, scope=rights.scope(admin), actor=admin) as received:
        received.begin("left.bin")
        received.write(b"x" * 4000)
    assert set(site.archive.glob("*.seg")) == segments


def test_a_conflict_in_the_middle_keeps_the_files_before_it(project: Project, admin: Actor) -> None:
    ct = vendor_file("CT_small.dcm").read_bytes()
    upload(project, {"ct.dcm": ct}, actor=admin)
    contents = {"a.txt": b"a", "other.dcm": with_another_pixel(ct), "b.txt": b"b"}
    for _ in range(2):
        with pytest.raises(Conflicting):
            upload(project, contents, actor=admin)
    assert {file.name for file in File.select()} == {"ct.dcm", "a.txt"}


def test_a_reader_may_upload_nowhere(project: Project, admin: Actor) -> None:
    reading = Actor(type="device", id="1", is_admin=True, read_only=True)
    with pytest.raises(NotAllowed):
        upload(project, {"a.txt": b"a"}, actor=reading)
    with pytest.raises(NotAllowed):
        sent_hierarchy.find_or_add(sent_hierarchy.parse(sent(project)), "label", actor=reading)
    assert Subject.select().count() == 0


@pytest.mark.parametrize("way", ["reaper", "label", "uid"])
def test_what_is_sent_twice_makes_one_of_each(project: Project, admin: Actor, way: Way) -> None:
    for _ in range(2):
        file = reap(sent(project), way, actor=admin)
    assert (Subject.select().count(), Session.select().count(), Acquisition.select().count()) == (1, 1, 1)
    acquisition = Acquisition.get()
    assert (file.parent_type, file.parent_id) == ("acquisition", acquisition.id)
    assert (acquisition.label, acquisition.uid, acquisition.session.uid) == ("T1", f"{UID}.2", f"{UID}.1")
    assert acquisition.session.subject.label == "sub-1"
    assert File.select().count() == 1


def test_what_is_said_of_new_containers_is_kept(project: Project, admin: Actor) -> None:
    value = sent(project)
    value["session"] = value["session"] | {"age": 86400, "info": {"a": 1}, "tags": ["t"], "files": [], "_id": "x"}
    reap(value, actor=admin)
    acquisition = Acquisition.get()
    assert acquisition.info == {"timezone": "Europe/Zurich"}
    assert (acquisition.session.info, acquisition.session.tags) == ({"a": 1, "age": 86400}, ["t"])
    assert acquisition.session.subject.info == {"code": "x", "sex": "male"}


def test_a_reaper_finds_its_session_wherever_somebody_moved_it(project: Project, admin: Actor) -> None:
    reap(sent(project), actor=admin)
    moved = sent(project, group={"_id": "gone"}, project={"label": "gone"})
    next_one = moved | {"acquisition": {"uid": f"{UID}.3", "label": "T2"}}
    assert reap(next_one, actor=admin).parent_id == Acquisition.get(Acquisition.uid == f"{UID}.3").id
    assert {row.session_id for row in Acquisition.select()} == {Session.get().id}
    assert reap(moved, actor=admin).parent_id == Acquisition.get(Acquisition.uid == f"{UID}.2").id


def test_a_uid_in_two_projects_decides_for_the_named_one_only(project: Project, admin: Actor) -> None:
    second = a_project("Second", actor=admin)
    for each in (project, second):
        reap(sent(each), "label", actor=admin)
    assert containers.project_of(Acquisition.get_by_id(reap(sent(second), actor=admin).parent_id)) == second
    lost = sent(project, group={"_id": "gone"})
    home = containers.project_of(Acquisition.get_by_id(reap(lost, actor=admin).parent_id))
    assert home.label == "Unsorted"


def test_a_reapers_data_of_an_unknown_project_goes_to_unsorted_and_nowhere_for_others(
    project: Project, admin: Actor
) -> None:
    unknown = sent(project, project={"label": "No such"})
    file = reap(unknown, actor=admin)
    assert containers.project_of(Acquisition.get_by_id(file.parent_id)).label == "Unsorted"
    with pytest.raises(Missing):
        reap(sent(project, group={"_id": "nogroup"}), "label", actor=admin)
    reap(unknown, "label", actor=admin)
    assert Project.select().where(Project.label == "No such").exists()


def test_labels_decide_for_the_way_of_labels(project: Project, admin: Actor) -> None:
    reap(sent(project), "label", actor=admin)
    other = sent(project, acquisition={"label": "T1", "uid": f"{UID}.9", "files": [{"name": "b.txt"}]})
    reap(other, "label", actor=admin, name="b.txt")
    assert Acquisition.select().count() == 1
    reap(sent(project, session=SENT["session"] | {"label": "ses-2"}), "label", actor=admin)  # type: ignore[operator]
    assert [row.uid for row in Session.select().order_by(Session.id)] == [f"{UID}.1", None]


def test_a_file_goes_to_the_container_that_lists_it(project: Project, admin: Actor) -> None:
    listed = sent(project, session=SENT["session"] | {"files": [{"name": "s.txt", "tags": ["x"]}]})  # type: ignore[operator]
    file = reap(listed, actor=admin, name="s.txt")
    assert (file.parent_type, file.tags) == ("session", ["x"])
    assert reap(sent(project), actor=admin, name="unlisted.txt").parent_type == "acquisition"


def test_a_session_from_the_trash_comes_back_for_what_is_new_in_it(project: Project, admin: Actor) -> None:
    reap(sent(project), actor=admin)
    trash.move_to_trash("session", Session.get().id, actor=admin)
    file = reap(sent(project), actor=admin)
    assert Session.select().where(Session.trash.is_null()).count() == 1
    assert Acquisition.get_by_id(file.parent_id).trash is None


@pytest.mark.parametrize(
    "value",
    [
        *(
            [],
            "x",
            {"group": []},
            {"group": {"_id": 7}},
            {"session": {"uid": "not a uid"}},
            {"session": {"label": [1]}},
        ),
        *(
            {"acquisition": {"files": {"x": 1}}},
            {"acquisition": {"files": [{}]}},
            {"acquisition": {"files": [{"name": "a/b"}]}},
        ),
        *({"session": {"label": "x", "info": []}}, {"session": {"label": "x", "tags": "t"}}),
        {"session": {"label": "x", "info": {"big": "x" * 300_000}}},
        *({"session": {"timestamp": "yesterday"}}, {"project": {"label": "a/b"}}, {"session": {"subject": "x"}}),
        {"acquisition": {"files": [{"name": "x"}] * 1001}},
    ],
)
def test_a_hierarchy_of_wrong_types_is_refused(value: Any) -> None:
    with pytest.raises(BadValue):
        sent_hierarchy.parse(value)


def test_what_names_no_container_is_refused(project: Project, admin: Actor) -> None:
    with pytest.raises(BadValue, match="names no"):
        reap({"group": {"_id": "neuro"}}, actor=admin)
    with pytest.raises(BadValue, match="neither by a label"):
        reap(sent(project, acquisition={"timestamp": "2026-01-01"}), "label", actor=admin)
    assert (Subject.select().count(), File.select().count()) == (0, 0)


def test_an_upload_by_uid_of_an_instance_is_found_by_peers(project: Project, admin: Actor) -> None:
    parsed = sent_hierarchy.parse(sent(project))
    with uploads.Upload(Placement(), scope=rights.scope(admin), actor=admin) as received:
        received.begin("ct.dcm")
        received.write(vendor_file("CT_small.dcm").read_bytes())
        numbers = sent_hierarchy.find_or_add(parsed, "uid", actor=admin)
        received.commit(places=sent_hierarchy.placements(parsed, numbers, received.names))
    assert Instance.get().state == "current"


def test_a_reapers_data_reaches_a_site_without_a_project(site: Settings, admin: Actor) -> None:
    value = SENT | {"group": {"_id": "none"}}
    assert containers.project_of(Acquisition.get_by_id(reap(value, actor=admin).parent_id)).label == "Unsorted"
