"""A whole branch at once, UIDs that exist, AE titles and peers, users, jobs, and what is not part of Portico."""

from typing import Any

import pytest
import requests

from portal.access.actors import operator
from portal.devices import api_keys
from portal.jobs import jobs
from portal.models import Peer, Session, Subject, writing
from portal.users import grants, users
from tests.fixtures.api import Api, assert_refused


@pytest.fixture
def project(api: Api) -> str:
    api.made("/api/groups", _id="imaging")
    return api.made("/api/projects", group="imaging", label="CT")


def upsert(api: Api, project: str, **body: Any) -> dict[str, str]:
    answer = api.post(f"/api/projects/{project}/upsert-hierarchy", json=body)
    assert answer.status_code == 200, answer.text
    return {kind: one["upsert_result"] for kind, one in answer.json().items()}


def test_a_branch_is_created_then_left_then_updated(api: Api, project: str) -> None:
    branch: dict[str, Any] = {
        "subject": {"label": "s1", "sex": "male"},
        "session": {"label": "v1", "uid": "1.2", "timestamp": "2026-01-01", "age": 5},
        "acquisition": {"label": "a1", "uid": "1.2.1", "info": {"x": 1}},
    }
    assert set(upsert(api, project, **branch).values()) == {"created"}
    assert set(upsert(api, project, **branch).values()) == {"ignored"}
    branch["session"] |= {"label": "v1 again", "age": 6}
    branch["acquisition"]["info"] = {"y": 2}
    assert upsert(api, project, **branch) == {"subject": "ignored", "session": "updated", "acquisition": "updated"}
    session = api.get("/api/sessions").json()[0]
    assert (session["label"], session["age"], session["subject"]["sex"]) == ("v1 again", 6, "male")
    assert api.get("/api/acquisitions").json()[0]["info"] == {"x": 1, "y": 2}
    assert upsert(api, project, subject={"_id": session["subject"]["_id"], "label": "renamed"}) == {
        "subject": "updated"
    }
    assert upsert(api, project, subject={"label": "renamed"}, session={"label": "v1 again", "uid": "9.9"}) == {
        "subject": "ignored",
        "session": "created",
    }


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"subject": {}}, 422),
        ({"subject": {"label": "s"}, "acquisition": {"label": "a"}}, 422),
        ({"subject": {"label": "s"}, "session": {"label": "a/b"}}, 422),
        ({"subject": {"label": "s"}, "session": {"label": "v", "uid": "x"}}, 422),
        ({"subject": {"_id": "000300000000000000000099"}}, 404),
        ({"subject": {"_id": "x"}}, 422),
    ],
)
def test_a_branch_that_cannot_be_leaves_nothing(api: Api, project: str, body: dict[str, Any], status: int) -> None:
    assert_refused(api.post(f"/api/projects/{project}/upsert-hierarchy", json=body), status)
    assert (Subject.select().count(), Session.select().count()) == (0, 0)


def test_uids_that_exist_are_named(api: Api, project: str) -> None:
    upsert(api, project, subject={"label": "s"}, session={"uid": "1.2"}, acquisition={"uid": "1.2.1"})
    asked = {"sessions": ["1.2", "3.4"], "acquisitions": ["1.2.1", "1.2.2"]}
    found = {"sessions": ["1.2"], "acquisitions": ["1.2.1"]}
    assert api.post("/api/uids", json=asked).json() == found
    assert api.post("/api/uids/projects", json=asked | {"project_ids": [project]}).json() == {project: found}
    other = api.made("/api/projects", group="imaging", label="other")
    assert api.post("/api/uids/projects", json=asked | {"project_ids": [other]}).json() == {}
    assert_refused(api.post("/api/uids", json={"sessions": ["1"] * 10_001}), 422, "at most 10000 long")


def test_a_project_gets_an_ae_title_and_loses_it(api: Api, project: str) -> None:
    made = api.post("/api/dimse/projects", json={"aet": "CT_TRIAL", "project_id": project}).json()
    assert (made["aet"], made["project_id"], made["port"]) == ("CT_TRIAL", project, 11112)
    assert api.get("/api/dimse/projects").json() == [made]
    assert api.get("/api/dimse/projects/CT_TRIAL").json() == made
    again = api.post("/api/dimse/projects", json={"aet": "OTHER", "project_id": project})
    assert_refused(again, 409, "CT_TRIAL already")
    assert api.delete("/api/dimse/projects/CT_TRIAL").json() == {"deleted": 1}
    assert_refused(api.get("/api/dimse/projects/CT_TRIAL"), 404)
    assert api.get(f"/api/projects/{project}").json()["ae_title"] is None


def test_a_peer_is_added_and_removed(api: Api) -> None:
    made = api.post("/api/dimse/services", json={"aet": "PACS", "host": "192.0.2.7", "port": 104}).json()
    assert (made["aet"], made["host"], made["port"]) == ("PACS", "192.0.2.7", 104)
    assert api.get("/api/dimse/services").json() == [made] == [api.get("/api/dimse/services/PACS").json()]
    assert_refused(api.post("/api/dimse/services", json={"aet": "X", "host": "h", "port": 0}), 422, "at least 1")
    assert api.delete("/api/dimse/services/PACS").status_code == 200
    assert Peer.select().count() == 0
    assert_refused(api.delete("/api/dimse/services/PACS"), 404)


def test_a_user_sees_who_they_are_and_what_they_may(url: str, api: Api, project: str) -> None:
    person, _ = users.add("ann@site.example", "correct horse battery", actor=operator())
    grants.add(person.id, "imaging/CT", "rw", actor=operator())
    own = api_keys.issue(person, name="k", actor=users.actor(person, "127.0.0.1")).secret
    ann = Api(url, own)
    me = ann.get("/api/users/self").json()
    assert (me["email"], me["root"], ann.get("/api/users").json()) == ("ann@site.example", False, [me])
    [permission] = ann.get(f"/api/projects/{project}").json()["permissions"]
    assert (permission["_id"], permission["access"]) == (me["_id"], "rw")
    actions = ann.get(f"/api/roles/{permission['role_ids'][0]}").json()["actions"]
    assert {"containers_create_hierarchy", "files_create_upload"} <= set(actions)
    assert [role["_id"] for role in ann.get("/api/roles").json()] == ["ro", "rw", "admin"]
    assert_refused(ann.get("/api/users/admin@site.example"), 404)
    assert_refused(ann.get("/api/roles/x"), 404)
    assert api.get(f"/api/users/{me['_id']}").json() == me == api.get("/api/users/ann@site.example").json()
    assert_refused(api.get("/api/users/self"), 400, "key of a device")
    assert ann.get("/api/jobs").json() == []


def test_there_are_jobs_and_no_collections(api: Api) -> None:
    assert_refused(api.get("/api/jobs?filter=label=x"), 422, "by their state")
    with writing():
        job = jobs.create("export", actor=operator(), params={}, what="imaging/CT to Disk", total=3)
    [told] = api.get("/api/jobs").json()
    assert (told["_id"], told["label"], told["state"]) == (f"0009{job.id:020x}", "imaging/CT to Disk", "waiting")
    assert api.get("/api/jobs?filter=state=waiting").json() == [told]
    assert api.get("/api/jobs?filter=state=done").json() == []
    assert api.get("/api/collections", headers={"x-accept-feature": "pagination"}).json()["results"] == []


@pytest.mark.parametrize("path", ["/api/gears", "/api/analyses/x", "/api/packfile", "/xfer", "/xfer/imports", "/xferx"])
def test_what_is_not_part_of_portico_says_so(api: Api, path: str) -> None:
    if path == "/xferx":
        assert "text/html" in api.get(path).headers["Content-Type"]
    else:
        assert_refused(api.get(path), 404, "not part of Portico")
        assert_refused(requests.get(f"{api.url}{path}", timeout=9), 401)


def test_uids_are_looked_for_in_a_bounded_number_of_projects(api: Api) -> None:
    body = {"sessions": ["1.2"], "project_ids": [f"{1:04x}{7:020x}"] * 10_001}
    assert_refused(api.post("/api/uids", json=body), 422, "project_ids")
