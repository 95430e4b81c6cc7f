"""flywheel-sdk, unmodified, with the key of a device and with that of a user: paths and finders."""

import flywheel
import pytest
from flywheel.rest import ApiException

from tests.fixtures.clients import Tree, refused

pytestmark = pytest.mark.xdist_group("clients")

KINDS = ("project", "subject", "session", "acquisition")


def test_a_path_leads_to_each_container(sdk: flywheel.Client, tree: Tree) -> None:
    for depth, kind in enumerate(("group", *KINDS), start=1):
        found = sdk.lookup("/".join(tree.path[:depth]))
        assert (found.container_type, found.id) == (kind, "lab" if kind == "group" else getattr(tree, kind).id)


def test_a_path_leads_to_a_file(sdk: flywheel.Client, tree: Tree) -> None:
    tree.acquisition.upload_file(flywheel.FileSpec("a.txt", b"hello"))
    for path in ([*tree.path, "a.txt"], [*tree.path, "files", "a.txt"]):
        found = sdk.lookup(path)
        assert (found.container_type, found.name, found.read()) == ("file", "a.txt", b"hello")


def test_a_path_by_ids(sdk: flywheel.Client, tree: Tree) -> None:
    found = sdk.lookup(["lab", f"<id:{tree.project.id}>", f"<id:{tree.subject.id}>"])
    assert found.id == tree.subject.id


def test_a_path_that_leads_nowhere(sdk: flywheel.Client, tree: Tree) -> None:
    with pytest.raises(ApiException) as caught:
        sdk.lookup([*tree.path, "nothing"])
    refused(caught, 404)


def test_the_root_has_the_groups(sdk: flywheel.Client, tree: Tree) -> None:
    found = sdk.resolve([])
    assert found.path == []
    assert ("group", "lab") in [(child.container_type, child.id) for child in found.children]


def test_what_is_below_a_path(sdk: flywheel.Client, tree: Tree) -> None:
    tree.session.upload_file(flywheel.FileSpec("notes.txt", b"hello"))
    found = sdk.resolve(tree.path[:4])
    assert [node.container_type for node in found.path] == ["group", "project", "subject", "session"]
    children = [(child.container_type, child.get("label") or child.get("name")) for child in found.children]
    assert sorted(children) == [("acquisition", "T1"), ("file", "notes.txt")]


def test_the_first_and_the_only_one(sdk: flywheel.Client, tree: Tree) -> None:
    assert sdk.projects.find_first(f"label={tree.project.label}").id == tree.project.id
    assert sdk.projects.find_one(f'label="{tree.project.label}"').id == tree.project.id
    assert sdk.projects.find_first("label=nowhere") is None
    with pytest.raises(ValueError, match="No results"):
        sdk.projects.find_one("label=nowhere")


@pytest.fixture
def five(tree: Tree) -> Tree:
    """Besides sub-01, five subjects from a to e."""
    for letter in "abcde":
        tree.project.add_subject(label=f"subject-{letter}")
    return tree


@pytest.mark.parametrize(
    ("expression", "labels"),
    [
        ("label=subject-b", "b"),
        ("label!=sub-01", "abcde"),
        ("label=~subject-[ab]", "ab"),
        ("label>subject-b", "cde"),
        ("label<subject-b,label!=sub-01", "a"),
        ("label>=subject-d", "de"),
        ("label=subject-a,label=subject-b", ""),
        ("label=nothing", ""),
        ("label=~^subject,created>2020-01-01", "abcde"),
    ],
)
def test_a_filter(five: Tree, expression: str, labels: str) -> None:
    found = five.project.subjects.find(*expression.split(","))
    assert [subject.label for subject in found] == [f"subject-{letter}" for letter in labels]


def test_a_filter_by_parents(sdk: flywheel.Client, tree: Tree) -> None:
    for expression in (f"parents.project={tree.project.id}", f"project={tree.project.id}"):
        assert [session.id for session in sdk.sessions.find(expression)] == [tree.session.id]
    assert [row.id for row in sdk.acquisitions.find(f"session={tree.session.id}")] == [tree.acquisition.id]


def test_a_filter_by_what_is_in_info_and_by_tag(sdk: flywheel.Client, tree: Tree) -> None:
    other = tree.subject.add_session(label="ses-02")
    other.update_info(arm="placebo")
    other.add_tag("checked")
    within = f"project={tree.project.id}"
    assert [row.id for row in sdk.sessions.find(within, "info.arm=placebo")] == [other.id]
    assert [row.id for row in sdk.sessions.find(within, "tags=checked")] == [other.id]


def test_what_no_filter_can_be(sdk: flywheel.Client) -> None:
    with pytest.raises(ApiException) as caught:
        sdk.projects.find("label")
    refused(caught, 422)


def test_all_of_many_a_few_at_a_time(five: Tree) -> None:
    rows = list(five.project.subjects.iter_find("label!=sub-01", limit=2))
    assert [subject.label for subject in rows] == [f"subject-{letter}" for letter in "abcde"]
    assert len(list(five.project.subjects.iter(limit=4))) == 6


def test_an_order_and_a_limit(five: Tree) -> None:
    rows = five.project.subjects.find(sort="label:desc", limit=2)
    assert [subject.label for subject in rows] == ["subject-e", "subject-d"]


def test_sessions_and_acquisitions_of_a_project(sdk: flywheel.Client, tree: Tree) -> None:
    assert [row.id for row in tree.project.sessions()] == [tree.session.id]
    assert [row.id for row in tree.subject.sessions()] == [tree.session.id]
    assert [row.id for row in tree.session.acquisitions()] == [tree.acquisition.id]
    assert [row.id for row in sdk.get_project_acquisitions(tree.project.id)] == [tree.acquisition.id]
    assert tree.project.id in [row.id for row in sdk.get_group_projects("lab")]


@pytest.mark.parametrize("finder", ["jobs", "collections"])
def test_finders_of_what_other_sites_have(sdk: flywheel.Client, finder: str) -> None:
    assert getattr(sdk, finder).find(limit=5) is not None
