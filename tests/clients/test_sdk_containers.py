"""flywheel-sdk, unmodified, with the key of a device and with that of a user: containers and their metadata."""

from datetime import UTC, datetime

import flywheel
import pytest
from flywheel.rest import ApiException

from tests.fixtures.clients import Caller, Tree, refused

pytestmark = pytest.mark.xdist_group("clients")

KINDS = ("project", "subject", "session", "acquisition")
MOMENT = datetime(2026, 3, 1, 9, 30, tzinfo=UTC)


def test_a_group_is_created_and_found(sdk: flywheel.Client, label: str) -> None:
    assert sdk.add_group({"_id": label, "label": "A group"}) == label
    assert sdk.get_group(label).label == "A group"
    assert [group.id for group in sdk.groups.find(f"_id={label}")] == [label]
    sdk.delete_group(label)
    with pytest.raises(ApiException):
        sdk.get_group(label)


def test_a_branch_from_project_to_acquisition(sdk: flywheel.Client, tree: Tree) -> None:
    assert tree.project.group == "lab"
    assert tree.subject.project == tree.project.id
    assert tree.session.subject.id == tree.subject.id
    assert tree.acquisition.session == tree.session.id
    parents = sdk.get_acquisition(tree.acquisition.id).parents
    assert (parents.group, parents.project, parents.subject, parents.session) == (
        "lab",
        tree.project.id,
        tree.subject.id,
        tree.session.id,
    )


def test_the_subject_of_a_session_is_an_object(sdk: flywheel.Client, tree: Tree) -> None:
    for session in (sdk.get_session(tree.session.id), *sdk.get_project_sessions(tree.project.id)):
        assert (session.subject.label, session.subject.code) == ("sub-01", "sub-01")


def test_a_session_may_bring_its_subject(sdk: flywheel.Client, tree: Tree) -> None:
    made = tree.project.add_session(label="ses-02", subject={"code": "sub-02", "sex": "female"})
    assert made.subject.label == "sub-02"
    assert [subject.label for subject in tree.project.subjects()] == ["sub-01", "sub-02"]


def test_what_importers_say_of_a_session_is_kept(sdk: flywheel.Client, tree: Tree) -> None:
    session = tree.subject.add_session(
        label="ses-02",
        timestamp=MOMENT,
        timezone="Europe/Zurich",
        age=31557600,
        weight=71.5,
        operator="AB",
        info={"arm": "placebo"},
    )
    found = sdk.get_session(session.id)
    assert found.timestamp == MOMENT
    assert found.info["arm"] == "placebo"
    assert (found.age, found.weight, found.operator, found.timezone) == (31557600, 71.5, "AB", "Europe/Zurich")


def test_what_importers_say_of_a_subject_is_kept(sdk: flywheel.Client, tree: Tree) -> None:
    made = tree.project.add_subject(label="s", code="s", sex="female", firstname="A", lastname="B")
    found = sdk.get_subject(made.id)
    assert (found.sex, found.firstname, found.lastname) == ("female", "A", "B")


@pytest.mark.parametrize("kind", KINDS)
def test_any_container_by_its_id(sdk: flywheel.Client, tree: Tree, kind: str) -> None:
    found = sdk.get(getattr(tree, kind).id)
    assert (found.container_type, found.id) == (kind, getattr(tree, kind).id)
    assert found.label == getattr(tree, kind).label


@pytest.mark.parametrize("kind", KINDS)
def test_a_label_is_changed(sdk: flywheel.Client, tree: Tree, kind: str, label: str) -> None:
    container = getattr(tree, kind)
    container.update(label=f"{label}-new")
    assert container.reload().label == f"{label}-new"


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_container_is_deleted(sdk: flywheel.Client, tree: Tree, kind: str) -> None:
    identity = getattr(tree, kind).id
    getattr(sdk, f"delete_{kind}")(identity)
    with pytest.raises(ApiException) as caught:
        getattr(sdk, f"get_{kind}")(identity)
    refused(caught, 404)


def test_a_project_is_deleted_once_it_is_empty(sdk: flywheel.Client, tree: Tree, label: str) -> None:
    with pytest.raises(ApiException) as caught:
        sdk.delete_project(tree.project.id)
    assert "not empty" in refused(caught, 409)
    empty = sdk.add_project({"group": "lab", "label": f"{label}-empty"})
    sdk.delete_project(empty)
    with pytest.raises(ApiException) as caught:
        sdk.get_project(empty)
    refused(caught, 404)


def test_where_containers_come_from(sdk: flywheel.Client, caller: Caller, tree: Tree) -> None:
    origin = sdk.get_auth_status().origin
    told = sdk.api_client.call_api(
        f"/acquisitions/{tree.acquisition.id}",
        "GET",
        auth_settings=["ApiKey"],
        response_type="object",
        _return_http_data_only=True,
    )
    assert (told["origin"]["type"], told["origin"]["id"]) == (origin.type, origin.id)
    assert told["origin"]["via"] == caller.key[:10]


def test_a_session_uid_that_exists_is_a_conflict(sdk: flywheel.Client, tree: Tree, label: str) -> None:
    uid = f"1.2.3.{label.rpartition('-')[2]}"
    tree.subject.add_session(label="a", uid=uid)
    with pytest.raises(ApiException) as caught:
        tree.subject.add_session(label="b", uid=uid)
    refused(caught, 409)


def test_what_there_is_not(sdk: flywheel.Client, tree: Tree) -> None:
    with pytest.raises(ApiException) as caught:
        sdk.get_session("000400000000000000009999")
    assert refused(caught, 404)


@pytest.mark.parametrize("call", ["get_all_gears", "get_all_modalities", "get_all_batches"])
def test_what_is_no_part_of_portico(sdk: flywheel.Client, call: str) -> None:
    with pytest.raises(ApiException) as caught:
        getattr(sdk, call)()
    assert "not part of Portico" in refused(caught, 404)


@pytest.mark.parametrize("kind", KINDS)
def test_info_is_set_replaced_and_deleted(tree: Tree, kind: str) -> None:
    container = getattr(tree, kind)
    container.update_info(a=1, b={"c": [1, 2]})
    container.update_info({"a": 2})
    assert container.reload().info == {"a": 2, "b": {"c": [1, 2]}}
    container.delete_info("a")
    assert container.reload().info == {"b": {"c": [1, 2]}}
    container.replace_info({"d": None})
    assert container.reload().info == {"d": None}


@pytest.mark.parametrize("kind", KINDS)
def test_tags_are_added_renamed_and_deleted(tree: Tree, kind: str) -> None:
    container = getattr(tree, kind)
    container.add_tag("first")
    container.add_tag("second one")
    container.rename_tag("first", "1st")
    assert sorted(container.reload().tags) == ["1st", "second one"]
    container.delete_tag("second one")
    assert container.reload().tags == ["1st"]


@pytest.mark.parametrize("kind", KINDS)
def test_notes_are_added_and_deleted(tree: Tree, kind: str) -> None:
    container = getattr(tree, kind)
    container.add_note("Moved during the scan")
    [note] = container.reload().notes
    assert (note.text, bool(note.id), bool(note.created)) == ("Moved during the scan", True, True)
    container.delete_note(note.id)
    assert container.reload().notes == []
