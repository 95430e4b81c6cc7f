"""A path of labels and ids, down to a file."""

import pytest

from portal.access.actors import Actor, operator
from portal.errors import BadValue, Missing
from portal.lookup import resolve
from portal.models import Acquisition, Blob, File, Group, Project, Session, Subject
from portal.tree import groups, projects, rest_ids

PATH = ["lab", "CT", "sub-01", "ses", "T1"]


@pytest.fixture
def project(site: object) -> Project:
    groups.add("lab", actor=operator())
    project = projects.add("lab/CT", actor=operator())
    subject = Subject.create(project=project, label="sub-01")
    acquisition = Acquisition.create(session=Session.create(subject=subject, label="ses"), label="T1")
    blob = Blob.create(digest="d", segment="s", offset=0, size=1)
    for kind, number, name in (("acquisition", acquisition.id, "a.dcm"), ("project", project.id, "T1")):
        File.create(parent_type=kind, parent_id=number, name=name, blob=blob)
    return project


def kinds(*path: str) -> list[str]:
    return [resolve.kind_of(row) for row in resolve.resolve(path, actor=operator())]


@pytest.mark.usefixtures("project")
def test_each_element_goes_one_level_down() -> None:
    every = ["group", "project", "subject", "session", "acquisition", "file"]
    assert kinds() == []
    for length in range(1, 6):
        assert kinds(*PATH[:length]) == every[:length]
    assert kinds(*PATH, "a.dcm") == every
    assert kinds(*PATH, "files", "a.dcm") == every
    assert kinds(*PATH, "files") == every[:5]


@pytest.mark.usefixtures("project")
def test_an_element_may_be_an_id() -> None:
    path = ["<id:lab>", *(f"<id:{rest_ids.encode(kind, 1)}>" for kind in ("project", "subject", "session"))]
    assert kinds(*path) == ["group", "project", "subject", "session"]
    assert kinds(*PATH, f"<id:{rest_ids.encode('file', 1)}>")[-1] == "file"
    assert kinds("lab", "CT", "T1") == ["group", "project", "file"]


@pytest.mark.parametrize(
    "path",
    [
        ["nowhere"],
        ["lab", "nothing"],
        [*PATH, "b.dcm"],
        ["lab", "CT", "files", "T1", "more"],
        [*PATH[:4], "a.dcm"],
        ["lab", "files", "T1"],
        ["lab", f"<id:{rest_ids.encode('subject', 1)}>"],
        ["lab", "CT", f"<id:{rest_ids.encode('file', 1)}>"],
        ["lab", "<id:zz>"],
    ],
)
@pytest.mark.usefixtures("project")
def test_what_is_not_there_is_missing(path: list[str]) -> None:
    with pytest.raises(Missing):
        resolve.resolve(path, actor=operator())


@pytest.mark.usefixtures("project")
def test_a_path_is_bounded() -> None:
    for path in (["a"] * 8, ["x" * 301]):
        with pytest.raises(BadValue):
            resolve.resolve(path, actor=operator())


@pytest.mark.usefixtures("project")
def test_below_the_end_of_a_path_are_containers_and_files() -> None:
    def below(*path: str) -> tuple[list[str], list[str]]:
        found = resolve.resolve(path, actor=operator())
        inside, here = resolve.children(found[-1] if found else None, actor=operator())
        rows = inside.read(0, len(inside.ids)) if inside else []
        return [row.label for row in rows], [row.code if isinstance(row, Group) else row.name for row in here]

    assert below() == ([], ["lab"])
    assert below("lab") == (["CT"], [])
    assert below("lab", "CT") == (["sub-01"], ["T1"])
    assert below(*PATH) == ([], ["a.dcm"])
    assert below(*PATH, "a.dcm") == ([], [])


@pytest.mark.usefixtures("project")
def test_nobody_finds_what_they_may_not_see() -> None:
    stranger = Actor(type="user", id="7", name="eve@site.example")
    for length in range(1, 6):
        with pytest.raises(Missing):
            resolve.resolve(PATH[:length], actor=stranger)
    assert resolve.children(None, actor=stranger) == (None, [])
