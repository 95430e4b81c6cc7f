"""What programs say of containers: fields that the tree has not, info, tags, notes; and the answers."""

from typing import Any

import pytest

from portal.models import Subject
from tests.fixtures.api import Api, assert_refused


@pytest.fixture
def project(api: Api) -> str:
    api.made("/api/groups", _id="imaging")
    return api.made("/api/projects", group="imaging", label="CT")


def test_fields_that_the_tree_does_not_have_are_kept_and_answered(api: Api, project: str) -> None:
    person = {"code": "S1", "sex": "female", "firstname": "Ada", "lastname": "L", "master_code": "x"}
    subject = api.made("/api/subjects", project=project, label="sub-01", **person)
    told = api.get(f"/api/subjects/{subject}").json()
    assert {name: told[name] for name in ("code", "sex", "firstname", "lastname")} == {
        "code": "S1",
        "sex": "female",
        "firstname": "Ada",
        "lastname": "L",
    }
    assert told["info"] == person
    visit = {"age": 86400, "weight": 70.5, "operator": "JB", "timezone": "Europe/Zurich"}
    session = api.made("/api/sessions", project=project, subject={"_id": subject}, label="v1", info={"a": 1}, **visit)
    shown = api.get(f"/api/sessions/{session}").json()
    assert {name: shown[name] for name in visit} == visit
    assert shown["info"] == visit | {"a": 1}
    assert (shown["subject"]["_id"], shown["subject"]["label"], shown["subject"]["code"]) == (subject, "sub-01", "S1")
    assert shown["parents"] == {"group": "imaging", "project": project, "subject": subject}


def test_what_is_not_the_clients_to_set_is_ignored(api: Api, project: str) -> None:
    sent = {"_id": "x", "created": "y", "files": [], "permissions": [], "revision": 3, "parents": {}, "sex": None}
    subject = api.made("/api/subjects", project={"_id": project}, code="S2", **sent)
    told = api.get(f"/api/subjects/{subject}").json()
    assert (told["label"], told["code"], told["info"], told["sex"]) == ("S2", "S2", {"code": "S2"}, None)


def test_a_session_may_bring_its_subject(api: Api, project: str) -> None:
    for label in ("v1", "v2"):
        about = {"label": "sub-09", "sex": "male"}
        session = api.made("/api/sessions", project=project, subject=about, label=label)
        assert api.get(f"/api/sessions/{session}").json()["subject"]["sex"] == "male"
    assert Subject.select().count() == 1
    assert_refused(api.post("/api/sessions", json={"project": project, "subject": {}, "label": "x"}), 422, "lacks its")


def test_every_container_has_its_files_alone_and_in_a_list(api: Api) -> None:
    acquisition = api.acquisition()
    api.upload(acquisition, "a.txt", b"x")
    parents = api.get(f"/api/acquisitions/{acquisition}").json()["parents"]
    api.post(f"/api/projects/{parents['project']}/files", files={"file": ("p.txt", b"y")})
    assert [file["name"] for file in api.get(f"/api/projects/{parents['project']}").json()["files"]] == ["p.txt"]
    for path in (f"/api/sessions/{parents['session']}/acquisitions", "/api/acquisitions"):
        [row] = api.get(path).json()
        [file] = row["files"]
        assert (file["name"], file["size"], file["parent_ref"]["id"]) == ("a.txt", 1, acquisition)
    assert api.get(f"/api/subjects/{parents['subject']}").json()["files"] == []


def test_a_long_list_has_the_files_of_each(api: Api, project: str) -> None:
    labels = [f"s{number:03}" for number in range(60)]
    ids = [api.made("/api/subjects", project=project, label=label) for label in labels]
    for subject in (ids[0], ids[55]):
        api.post(f"/api/subjects/{subject}/files", files={"file": ("n.txt", b"x")})
    rows = api.get(f"/api/projects/{project}/subjects").json()
    assert [row["label"] for row in rows] == labels
    assert [row["_id"] for row in rows if row["files"]] == [ids[0], ids[55]]
    page = api.get(f"/api/projects/{project}/subjects", headers={"x-accept-feature": "pagination"}).json()
    assert (page["count"], page["total"], len(page["results"])) == (60, 60, 60)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/groups", {"_id": "imaging"}),
        ("/api/projects", {"group": "imaging", "label": "CT"}),
        ("/api/subjects", {"project": "PROJECT", "label": "sub-01"}),
        ("/api/sessions", {"subject": "SUBJECT", "label": "v", "uid": "1.2"}),
    ],
)
def test_a_refusal_of_what_exists_names_its_id(api: Api, project: str, path: str, body: dict[str, Any]) -> None:
    subject = api.made("/api/subjects", project=project, label="sub-01")
    known = {"PROJECT": project, "SUBJECT": subject}
    sent = {name: known.get(value, value) for name, value in body.items()}
    existing = {"/api/groups": "imaging", "/api/projects": project, "/api/subjects": subject}.get(path)
    if existing is None:
        existing = api.made(path, **sent)
    answer = api.post(path, json=sent)
    assert_refused(answer, 409)
    assert answer.json()["_id"] == existing
