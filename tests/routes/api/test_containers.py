"""/api/groups, /projects, /subjects, /sessions, /acquisitions."""

from typing import Any

import pytest
import requests

from portal import site_settings
from portal.access.actors import operator
from portal.devices import api_keys
from portal.models import Acquisition, Audit, Device, Group, Project, Session, Subject
from portal.tree import groups, projects
from portal.users import grants, users
from tests.fixtures.api import Api, assert_refused
from tests.fixtures.web import statements

PAGES = {"x-accept-feature": "multipart_signed_url, pagination, safe-redirect"}


def rows() -> int:
    return sum(table.select().count() for table in (Group, Project, Subject, Session, Acquisition))


def test_a_tree_is_built_and_read_from_group_to_acquisition(api: Api, device: Device) -> None:
    acquisition = api.acquisition()
    told = api.get(f"/api/acquisitions/{acquisition}").json()
    assert told["label"] == "T1"
    number = f"0007{device.id:020x}"
    assert told["origin"] == {"type": "device", "id": number, "via": api.key[:10], "name": device.label}
    parents = told["parents"]
    assert parents["group"] == "imaging"
    assert [row["_id"] for row in api.get(f"/api/sessions/{parents['session']}/acquisitions").json()] == [acquisition]
    assert [row["_id"] for row in api.get(f"/api/subjects/{parents['subject']}/sessions").json()] == [
        parents["session"]
    ]
    assert [row["_id"] for row in api.get(f"/api/projects/{parents['project']}/subjects").json()] == [
        parents["subject"]
    ]
    assert [row["_id"] for row in api.get("/api/groups/imaging/projects").json()] == [parents["project"]]
    assert api.get("/api/groups/imaging").json()["label"] == "imaging"
    assert told["session"] == parents["session"]
    for noun, kind in (("projects", "project"), ("subjects", "subject"), ("sessions", "session")):
        assert [row["_id"] for row in api.get(f"/api/{noun}").json()] == [parents[kind]]


def test_a_session_keeps_its_uid_and_its_moment(api: Api) -> None:
    site_settings.change({"site.time_zone": "Europe/Zurich"}, actor=operator())
    subject = api.get(f"/api/acquisitions/{api.acquisition()}").json()["parents"]["subject"]
    made = api.made("/api/sessions", subject=subject, label="v", uid="1.2.3", timestamp="2026-03-01T09:30:00")
    told = api.get(f"/api/sessions/{made}").json()
    assert (told["uid"], told["timestamp"]) == ("1.2.3", "2026-03-01T08:30:00+00:00")
    again = api.post("/api/sessions", json={"subject": subject, "label": "w", "uid": "1.2.3"})
    assert_refused(again, 409, "with this UID")


def test_a_session_may_name_its_project_if_it_is_the_subjects(api: Api) -> None:
    parents = api.get(f"/api/acquisitions/{api.acquisition()}").json()["parents"]
    other = api.made("/api/projects", group="imaging", label="other")
    api.made("/api/sessions", project=parents["project"], subject=parents["subject"], label="fine")
    wrong = api.post("/api/sessions", json={"project": other, "subject": parents["subject"], "label": "x"})
    assert_refused(wrong, 422, "another project")


def test_a_project_has_an_ae_title_of_its_own(api: Api) -> None:
    api.made("/api/groups", _id="imaging")
    made = api.made("/api/projects", group="imaging", label="CT", ae_title="CT_TRIAL")
    assert api.get(f"/api/projects/{made}").json()["ae_title"] == "CT_TRIAL"
    for title, status in (("CT_TRIAL", 409), ("PORTICO", 409), ("A" * 17, 422), ("Ä", 422), ("a\\b", 422)):
        assert_refused(api.post("/api/projects", json={"group": "imaging", "label": "x", "ae_title": title}), status)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/api/groups", {"_id": "A"}, 422),
        ("/api/groups", {"_id": "../x"}, 422),
        ("/api/groups", {"_id": "imaging"}, 409),
        ("/api/groups", {"_id": "unknown"}, 409),
        ("/api/groups", {"_id": "g2", "label": "x" * 65}, 422),
        ("/api/groups", {"label": "x"}, 422),
        ("/api/projects", {"group": "nowhere", "label": "x"}, 404),
        ("/api/projects", {"group": "imaging", "label": "a/b"}, 422),
        ("/api/projects", {"group": "imaging/x", "label": "y"}, 422),
        ("/api/projects", {"group": "imaging", "label": "CT trial"}, 409),
        ("/api/projects", {"group": "unknown", "label": "x"}, 403),
        ("/api/projects", {"label": "x"}, 422),
        ("/api/subjects", {"project": "PROJECT", "label": "sub-01"}, 409),
        ("/api/subjects", {"project": "PROJECT", "label": ""}, 422),
        ("/api/subjects", {"project": "PROJECT", "label": "\x1b[31m"}, 422),
        ("/api/subjects", {"project": "ffffffffffffffffffffffff", "label": "x"}, 404),
        ("/api/subjects", {"project": "00020000ffffffffffffffff", "label": "x"}, 404),
        ("/api/subjects", {"project": "000200000000000000000099", "label": "x"}, 404),
        ("/api/subjects", {"project": "SUBJECT", "label": "x"}, 404),
        ("/api/sessions", {"subject": "SUBJECT", "label": "x", "uid": "../evil"}, 422),
        ("/api/sessions", {"subject": "SUBJECT", "label": "x", "uid": "1" * 65}, 422),
        ("/api/sessions", {"subject": "SUBJECT", "label": "x", "timestamp": "yesterday"}, 422),
        ("/api/sessions", {"subject": "SUBJECT", "label": "x", "timestamp": "9999-12-31T23:59:59-12:00"}, 422),
        ("/api/sessions", {"subject": {"_id": "x"}, "label": "x"}, 422),
        ("/api/sessions", {"subject": {"label": "sub-02"}, "label": "x"}, 422),
        ("/api/sessions", {"subject": 5, "label": "x"}, 422),
        ("/api/sessions", {"subject": "SUBJECT", "label": "x", "info": {"x": "y" * 300_000}}, 422),
        ("/api/sessions", {"subject": "SUBJECT", "label": "x", "tags": [""]}, 422),
        ("/api/acquisitions", {"session": "SUBJECT", "label": "x"}, 404),
        ("/api/acquisitions", {"label": "x"}, 422),
    ],
)
def test_what_cannot_be_added_is_refused_and_nothing_is_changed(
    api: Api, path: str, body: dict[str, Any], status: int
) -> None:
    parents = api.get(f"/api/acquisitions/{api.acquisition()}").json()["parents"]
    known = {"PROJECT": parents["project"], "SUBJECT": parents["subject"]}
    before, acts = rows(), Audit.select().count()
    sent = {name: known.get(value, value) if isinstance(value, str) else value for name, value in body.items()}
    assert_refused(api.post(path, json=sent), status)
    assert (rows(), Audit.select().count()) == (before, acts)


def test_what_there_is_not_is_missing(api: Api) -> None:
    acquisition = api.acquisition()
    for path in (
        "/api/groups/nowhere",
        "/api/groups/nowhere/projects",
        f"/api/sessions/{acquisition}",
        f"/api/sessions/{acquisition}/acquisitions",
        "/api/acquisitions/000500000000000000000099",
        "/api/acquisitions/' OR 1=1 --",
        f"/api/acquisitions/{acquisition}/sessions",
    ):
        assert_refused(api.get(path), 404)


def test_a_list_is_plain_or_in_pages_as_the_client_announces(api: Api) -> None:
    api.made("/api/groups", _id="imaging")
    project = api.made("/api/projects", group="imaging", label="CT")
    ids = [api.made("/api/subjects", project=project, label=label) for label in ("c", "a", "b")]
    path = f"/api/projects/{project}/subjects"
    assert [row["_id"] for row in api.get(path).json()] == ids
    page = api.get(path, params={"limit": 2, "sort": "label:desc"}, headers=PAGES).json()
    assert (page["count"], page["total"]) == (2, 3)
    assert [row["label"] for row in page["results"]] == ["c", "b"]
    second = api.get(path, params={"limit": 2, "page": 2, "sort": "label"}, headers=PAGES).json()
    assert [row["label"] for row in second["results"]] == ["c"]
    rest = api.get(path, params={"after_id": ids[0]}).json()
    assert [row["_id"] for row in rest] == ids[1:]
    assert [row["label"] for row in api.get(path, params={"skip": 2}).json()] == ["b"]
    assert api.get(path, params={"page": 10**9, "limit": 1000}).json() == []


def test_in_pages_a_list_has_a_hundred_entries_unless_told_otherwise(api: Api) -> None:
    groups.add("imaging", actor=operator())
    project = projects.add("imaging/CT", actor=operator())
    Subject.insert_many([{"project": project, "label": f"s{number:04}"} for number in range(130)]).execute()
    page = api.get("/api/subjects", headers=PAGES).json()
    assert (page["count"], page["total"]) == (100, 130)
    assert len(api.get("/api/subjects").json()) == 130
    seen: list[str] = []
    while part := api.get("/api/subjects", params={"limit": 50} | ({"after_id": seen[-1]} if seen else {})).json():
        seen += [row["_id"] for row in part]
    assert len(set(seen)) == 130


def test_a_list_that_is_too_long_is_refused_rather_than_cut(api: Api) -> None:
    groups.add("imaging", actor=operator())
    project = projects.add("imaging/CT", actor=operator())
    with_labels = [{"project": project, "label": f"s{number}"} for number in range(10_001)]
    for start in range(0, len(with_labels), 2000):
        Subject.insert_many(with_labels[start : start + 2000]).execute()
    assert_refused(api.get("/api/subjects"), 422, "10001 entries")
    assert len(api.get("/api/subjects?limit=1000").json()) == 1000


def test_a_file_says_who_sent_it_by_type_id_key_and_name(api: Api, device: Device) -> None:
    acquisition = api.acquisition()
    api.upload(acquisition, "raw.dat", b"one")
    origin = {"type": "device", "id": f"0007{device.id:020x}", "via": api.key[:10], "name": device.label}
    assert api.get(f"/api/acquisitions/{acquisition}/files/raw.dat/info").json()["origin"] == origin
    assert api.get(f"/api/acquisitions/{acquisition}/files").json()[0]["origin"] == origin


def test_a_list_of_groups_asks_for_the_grants_once(api: Api) -> None:
    for number in range(20):
        groups.add(f"group-{number}", actor=operator())
    person, _ = users.add("a@site.example", "correct horse battery", actor=operator())
    grants.add(person.id, "group-3", "admin", actor=operator())
    api.key = api_keys.issue(person, name="k", actor=users.actor(users.get(person.id), "127.0.0.1")).secret
    with statements() as sent:
        [group] = api.get("/api/groups?filter=label=group-3").json()
        few = len(sent)
    assert group["permissions"][0]["access"] == "admin"
    grants.add(person.id, "*", "admin", actor=operator())
    with statements() as sent:
        assert len(api.get("/api/groups").json()) >= 20
    assert len(sent) <= few + 5


def test_a_container_that_a_user_asks_for_is_a_view_once_an_hour_and_none_for_a_device(api: Api, url: str) -> None:
    acquisition = api.acquisition()
    above = api.get(f"/api/acquisitions/{acquisition}").json()["parents"]
    user, _ = users.add("ada@site.example", "correct horse battery", True, actor=operator())
    key = api_keys.issue(user, name="k", actor=users.actor(user, "10.0.0.7"))
    ada = Api(url, key.secret)
    for _ in range(2):
        ada.get(f"/api/acquisitions/{acquisition}")
        ada.get(f"/api/containers/{above['session']}")
        ada.post("/api/lookup", json={"path": ["imaging", "CT trial", "sub-01"]})
        for seen in (ada, api):
            seen.get("/api/sessions")
            seen.get(f"/api/projects/{above['project']}")
            seen.post("/api/resolve", json={"path": ["imaging", "CT trial", "sub-01"]})
            seen.get("/api/acquisitions/000500000000000000000099")
        api.get(f"/api/sessions/{above['session']}")
        requests.head(
            f"{url}/api/subjects/{above['subject']}", headers={"Authorization": f"Bearer {key.secret}"}, timeout=9
        )
    views = Audit.select().where(Audit.action.in_(["session:viewed", "subject:viewed"])).order_by(Audit.id)
    shown = [(row.action, row.actor_id, row.via) for row in views]
    assert shown == [(action, str(user.id), key.key_id) for action in ("session:viewed", "subject:viewed")]
