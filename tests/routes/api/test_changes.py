"""PUT and DELETE of containers, and their info, tags and notes."""

from typing import Any

import pytest

from portal.access.actors import operator
from portal.devices import api_keys
from portal.models import Audit, Trash
from tests.fixtures.api import Api, assert_refused

KINDS = ("project", "subject", "session", "acquisition")


@pytest.fixture
def ids(api: Api) -> dict[str, str]:
    acquisition = api.acquisition()
    above: dict[str, str] = api.get(f"/api/acquisitions/{acquisition}").json()["parents"]
    return {**above, "acquisition": acquisition}


def acts() -> list[tuple[str, Any]]:
    return [(row.action, row.detail.get("changed")) for row in Audit.select().order_by(Audit.id)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_container_is_changed_as_a_whole(api: Api, ids: dict[str, str], kind: str) -> None:
    path = f"/api/{kind}s/{ids[kind]}"
    sent = {"label": "new", "info": {"a": 1}, "tags": ["t"], "age": 7, "files": [], "_id": "x"}
    assert api.put(path, json=sent).json() == {"modified": 1, "jobs_spawned": 0}
    told = api.get(path).json()
    assert (told["label"], told["info"], told["tags"]) == ("new", {"a": 1, "age": 7}, ["t"])
    assert told["modified"] > told["created"]
    changed = ["info", "tags"] if kind == "project" else ["info", "label", "tags"]
    assert acts()[-1] == (f"{kind}:changed", changed)
    before = len(acts())
    api.put(f"/api/containers/{ids[kind]}", json=sent)
    assert (api.get(path).json(), len(acts())) == (told, before)


def test_time_and_uid_of_sessions_and_acquisitions(api: Api, ids: dict[str, str]) -> None:
    for kind in ("session", "acquisition"):
        path = f"/api/{kind}s/{ids[kind]}"
        api.put(path, json={"uid": "1.2.3", "timestamp": "2026-01-01T00:00:00Z"})
        told = api.get(path).json()
        assert (told["uid"], told["timestamp"]) == ("1.2.3", "2026-01-01T00:00:00+00:00")
        assert_refused(api.put(path, json={"uid": "x y"}), 422)
    other = api.made("/api/sessions", subject=ids["subject"], label="other")
    refused = api.put(f"/api/sessions/{other}", json={"uid": "1.2.3", "label": "lost"})
    assert_refused(refused, 409, "another session")
    assert refused.json()["_id"] == ids["session"]
    assert api.get(f"/api/sessions/{other}").json()["label"] == "other"


def test_a_session_moves_to_another_subject_of_its_project_and_nothing_else_moves(
    api: Api, ids: dict[str, str]
) -> None:
    other = api.made("/api/subjects", project=ids["project"], label="sub-02")
    path = f"/api/sessions/{ids['session']}"
    assert api.put(path, json={"subject": {"_id": other}}).status_code == 200
    assert api.get(path).json()["subject"]["label"] == "sub-02"
    assert api.put(path, json={"subject": other}).status_code == 200
    elsewhere = api.made("/api/projects", group="imaging", label="elsewhere")
    foreign = api.made("/api/subjects", project=elsewhere, label="sub-03")
    assert_refused(api.put(path, json={"subject": foreign}), 422, "another project")
    assert_refused(api.put(f"/api/subjects/{other}", json={"project": elsewhere}), 422, "cannot be moved")
    second = api.made("/api/sessions", subject=other, label="x")
    assert_refused(api.put(f"/api/acquisitions/{ids['acquisition']}", json={"session": second}), 422, "cannot be moved")
    assert api.put(f"/api/acquisitions/{ids['acquisition']}", json={"session": ids["session"]}).status_code == 200


@pytest.mark.parametrize("kind", KINDS)
def test_a_parent_that_is_no_id_is_refused_also_where_it_is_not_used(api: Api, ids: dict[str, str], kind: str) -> None:
    path = f"/api/{kind}s/{ids[kind]}"
    answer = api.put(path, json={"subject": "AAA", "label": "other"})
    assert_refused(answer, 422, "an id of 24 hexadecimal digits")
    assert api.get(path).json()["label"] != "other"


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_label_is_refused(api: Api, ids: dict[str, str], kind: str) -> None:
    assert_refused(api.put(f"/api/{kind}s/{ids[kind]}", json={"label": "", "tags": ["new"]}), 422)


def test_a_label_that_is_taken_is_refused_with_the_id_of_its_owner(api: Api, ids: dict[str, str]) -> None:
    other = api.made("/api/subjects", project=ids["project"], label="sub-02")
    refused = api.put(f"/api/subjects/{other}", json={"label": "sub-01"})
    assert_refused(refused, 409)
    assert refused.json()["_id"] == ids["subject"]
    api.made("/api/projects", group="imaging", label="taken")
    assert_refused(api.put(f"/api/projects/{ids['project']}", json={"label": "taken", "info": {"a": 1}}), 409)
    assert api.get(f"/api/projects/{ids['project']}").json()["info"] == {}


@pytest.mark.parametrize("kind", [*KINDS, "container"])
def test_info_is_set_replaced_and_deleted(api: Api, ids: dict[str, str], kind: str) -> None:
    path = f"/api/{kind}s/{ids.get(kind, ids['session'])}/info"
    assert api.post(path, json={"set": {"a": 1, "b": {"c": [2]}}}).json()["modified"] == 1
    assert api("PATCH", path, json={"set": {"d": None}, "delete": ["a", "nothing"]}).status_code == 200
    assert api.get(path).json() == {"b": {"c": [2]}, "d": None}
    assert api("PATCH", path, json={"replace": {"x": 1}, "set": {"y": 2}}).status_code == 200
    assert api.put(path, json={"z": 3}).json() == {"z": 3}
    assert api.post(path, json={"free": "field"}).status_code == 200
    assert api.get(path).json() == {"z": 3, "free": "field"}
    assert_refused(api.post(path, json={"set": ["a"]}), 422, "set must be an object")
    assert_refused(api.post(path, json={"set": {"big": "x" * 300_000}}), 422, "256,000 bytes")


@pytest.mark.parametrize("place", ["projects", "sessions", "containers", "groups"])
def test_tags_are_added_renamed_and_removed(api: Api, ids: dict[str, str], place: str) -> None:
    row = {"projects": ids["project"], "sessions": ids["session"], "containers": ids["subject"], "groups": "imaging"}
    one = f"/api/{place}/{row[place]}"
    assert api.post(f"{one}/tags", json={"value": "a"}).status_code == 200
    assert api("PATCH", f"{one}/tags", json=["b", "c", "a"]).status_code == 200
    assert api.get(one).json()["tags"] == ["a", "b", "c"]
    assert api.get(f"{one}/tags/b").json() == "b"
    assert api.put(f"{one}/tags/b", json={"value": "B"}).status_code == 200
    assert api.delete(f"{one}/tags/a").json() == {"deleted": 1}
    assert api.delete(f"{one}/tags", json=["c", "nothing"]).status_code == 200
    assert api.get(one).json()["tags"] == ["B"]
    for method, body in (("GET", None), ("PUT", {"value": "x"}), ("DELETE", None)):
        assert_refused(api(method, f"{one}/tags/nothing", json=body), 404, "'nothing'")
    assert_refused(api.post(f"{one}/tags", json={"value": "\n"}), 422, "visible")
    assert_refused(api("PATCH", f"{one}/tags", json={"value": "x"}), 422, "array")


def test_notes_are_added_changed_and_deleted(api: Api, ids: dict[str, str], device: Any) -> None:
    one = f"/api/sessions/{ids['session']}"
    note = api.post(f"{one}/notes", json={"text": "moved"}).json()
    assert (note["text"], note["user"]) == ("moved", device.label)
    assert api.get(f"{one}/notes/{note['_id']}").json() == note
    assert api.put(f"{one}/notes/{note['_id']}", json={"text": "still"}).status_code == 200
    [shown] = api.get(one).json()["notes"]
    assert (shown["_id"], shown["text"], shown["created"]) == (note["_id"], "still", note["created"])
    assert api.delete(f"{one}/notes/{note['_id']}").json() == {"deleted": 1}
    assert api.get(one).json()["notes"] == []
    assert_refused(api.delete(f"{one}/notes/{note['_id']}"), 404)
    assert_refused(api.post(f"{one}/notes", json={"text": " "}), 422)
    assert "moved" not in str([row.detail for row in Audit.select()])


def test_a_deleted_container_is_in_the_trash_with_all_that_is_in_it(api: Api, ids: dict[str, str]) -> None:
    api.upload(ids["acquisition"], "a.txt", b"x")
    assert api.delete(f"/api/sessions/{ids['session']}?delete_reason=test").json() == {"deleted": 1}
    for kind in ("session", "acquisition"):
        assert_refused(api.get(f"/api/{kind}s/{ids[kind]}"), 404)
    assert [(row.kind, row.files) for row in Trash.select()] == [("session", 1)]
    assert api.get(f"/api/subjects/{ids['subject']}").status_code == 200


def test_a_project_or_a_group_is_deleted_only_if_it_is_empty(api: Api, ids: dict[str, str]) -> None:
    assert_refused(api.delete(f"/api/projects/{ids['project']}"), 409, "not empty")
    assert_refused(api.delete("/api/groups/imaging"), 409, "has projects")
    empty = api.made("/api/projects", group="imaging", label="empty")
    assert api.delete(f"/api/projects/{empty}").json() == {"deleted": 1}
    assert_refused(api.get(f"/api/projects/{empty}"), 404)
    api.made("/api/groups", _id="gone")
    assert api.put("/api/groups/gone", json={"label": "Gone", "tags": ["x"]}).status_code == 200
    assert api.get("/api/groups/gone").json()["label"] == "Gone"
    assert api.delete("/api/groups/gone").status_code == 200
    assert_refused(api.get("/api/groups/gone"), 404)
    assert [action for action, _ in acts()][-1] == "group:deleted"


def test_a_group_out_of_reach_is_missing_even_if_nothing_is_to_be_changed(
    api: Api, ids: dict[str, str], device: Any
) -> None:
    api.made("/api/groups", _id="other")
    narrowed = Api(api.url, api_keys.issue(device, name="other", only="other", actor=operator()).secret)
    assert ids
    for body in ({}, {"something": "else"}):
        assert_refused(narrowed.put("/api/groups/imaging", json=body), 404)
        assert narrowed.put("/api/groups/other", json=body).status_code == 200
