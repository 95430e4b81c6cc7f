"""/api/lookup, /resolve, /containers/{id} and filters, as programs call them."""

import pytest

from tests.fixtures.api import Api, assert_refused

PATH = ["imaging", "CT trial", "sub-01", "ses-01", "T1"]


@pytest.fixture
def acquisition(api: Api) -> str:
    made = api.acquisition()
    api.upload(made, "a.txt", b"x")
    return made


def test_a_path_leads_to_a_node_of_its_kind(api: Api, acquisition: str) -> None:
    kinds = ["group", "project", "subject", "session", "acquisition", "file"]
    for length, kind in enumerate(kinds, 1):
        node = api.post("/api/lookup", json={"path": [*PATH, "a.txt"][:length]}).json()
        assert node["container_type"] == kind
        assert node["_id"] == ("imaging" if kind == "group" else node["_id"])
        if kind == "session":
            assert node["subject"]["label"] == "sub-01"
    assert api.post("/api/lookup", json={"path": [*PATH, "a.txt"]}).json()["parent_ref"]["id"] == acquisition
    assert_refused(api.post("/api/lookup", json={"path": ["imaging", "nothing"]}), 404, "'nothing'")
    assert_refused(api.post("/api/lookup", json={"path": []}), 422, "empty")
    assert_refused(api.post("/api/lookup", json={"path": [5]}), 422, "path.0 must be a string")


def test_resolve_has_the_way_and_what_is_below(api: Api, acquisition: str) -> None:
    root = api.post("/api/resolve", json={"path": []}).json()
    assert (root["path"], [node["_id"] for node in root["children"]]) == ([], ["imaging"])
    found = api.post("/api/resolve", json={"path": PATH}).json()
    assert [node["label"] for node in found["path"]] == PATH
    assert [(node["name"], node["container_type"]) for node in found["children"]] == [("a.txt", "file")]
    project = api.post("/api/resolve", json={"path": PATH[:2]}).json()
    assert [node["container_type"] for node in project["children"]] == ["subject"]
    assert found["path"][-1]["files"][0]["name"] == "a.txt"


def test_an_id_of_any_kind_is_found(api: Api, acquisition: str) -> None:
    parents = api.get(f"/api/acquisitions/{acquisition}").json()["parents"]
    for kind, container_id in (*parents.items(), ("acquisition", acquisition)):
        assert api.get(f"/api/containers/{container_id}").json()["container_type"] == kind
    for odd in ("nowhere", "0" * 24, "000700000000000000000001"):
        assert_refused(api.get(f"/api/containers/{odd}"), 404)


def test_every_list_is_filtered(api: Api, acquisition: str) -> None:
    parents = api.get(f"/api/acquisitions/{acquisition}").json()["parents"]
    for path, condition in (
        ("/api/groups", "_id=imaging"),
        ("/api/groups/imaging/projects", "label=CT trial"),
        ("/api/projects", 'parents.group=imaging,label="CT trial"'),
        (f"/api/projects/{parents['project']}/subjects", "code=sub-01"),
        ("/api/sessions", f"subject={parents['subject']},created>2020-01-01"),
        (f"/api/projects/{parents['project']}/acquisitions", "label=~^T,files.name=a.txt"),
        (f"/api/acquisitions/{acquisition}/files", "name=~txt$,size<2"),
    ):
        assert len(api.get(path, params={"filter": condition}).json()) == 1, path
        page = api.get(path, params={"filter": "label!=x" if "files" not in path else "name!=x", "limit": 1})
        assert len(page.json()) == 1
        assert api.get(path, params={"filter": "_id=000200000000000000000099"}).json() == []
        assert_refused(api.get(path, params={"filter": "password=x"}), 422, "cannot be filtered")


def test_groups_are_read_page_by_page(api: Api) -> None:
    for code in ("aa", "bb", "cc"):
        api.made("/api/groups", _id=code)
    assert [row["_id"] for row in api.get("/api/groups?limit=1&after_id=aa").json()] == ["bb"]
    assert_refused(api.get("/api/groups?after_id=nowhere"), 404)
    for noun in ("jobs", "collections"):
        assert_refused(api.get(f"/api/{noun}?after_id=AAA"), 422, "an id of 24 hexadecimal digits")
