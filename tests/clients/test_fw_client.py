"""fw-client, unmodified, with the key of a device and with that of a user."""

import asyncio
import io
import json
from typing import Any

import pytest
from fw_client import Conflict, FWClient, NotFound
from fw_client.errors import ClientError

from tests.fixtures.archive import vendor_file
from tests.fixtures.clients import Caller, Tree
from tests.fixtures.stores import Answer, Front

pytestmark = pytest.mark.xdist_group("clients")


def test_who_calls(fw: FWClient, caller: Caller) -> None:
    status = fw.get("/api/auth/status")
    assert status.is_device is caller.is_device
    assert status.origin.type == caller.kind
    assert status.user_is_admin is True


def test_the_status_with_what_is_known_of_the_caller(caller: Caller) -> None:
    with FWClient(api_key=f"{caller.url}:{caller.key}") as client:
        info = client.auth_status["info"]
    assert info["label"] == "importer-east" if caller.is_device else info["email"] == "admin@site.example"


def test_the_release(fw: FWClient) -> None:
    assert fw.core_version == "23.0.0"
    assert fw.check_version("22.1")
    assert not fw.check_version("24.0")


def test_the_features(fw: FWClient) -> None:
    assert fw.core_config["site"]["api_url"].endswith("/api")
    assert not fw.check_feature("signed_url")
    assert fw.check_feature("project_export")
    assert fw.check_feature("dimse")


@pytest.mark.parametrize("path", ["/api/config", "/api/version"])
def test_what_programs_ask_before_they_have_a_key(caller: Caller, path: str) -> None:
    with FWClient(base_url=caller.url, defer_auth=True) as client:
        assert "secret" not in json.dumps(client.get(path)).lower()
        with pytest.raises(ClientError, match="API key"):
            client.get("/api/projects")


def test_lists_in_pages(fw: FWClient, tree: Tree) -> None:
    page = fw.get("/api/projects", params={"limit": 1})
    assert (page["count"], len(page["results"])) == (1, 1)
    assert page["total"] >= 1


def test_an_empty_filter_is_none(fw: FWClient, tree: Tree) -> None:
    params = {"filter": None, "limit": 100, "sort": "created:desc"}
    assert tree.project.id in [row["_id"] for row in fw.get("/api/projects", params=params)["results"]]


def test_a_filter(fw: FWClient, tree: Tree) -> None:
    found = fw.get("/api/projects", params={"filter": f"label={tree.project.label}"})
    assert [row["_id"] for row in found["results"]] == [tree.project.id]


def test_all_pages_by_the_last_id(fw: FWClient, tree: Tree) -> None:
    for number in range(5):
        fw.post("/api/subjects", json={"project": tree.project.id, "label": f"s{number}"})
    labels, after = [], {}
    while rows := fw.get(f"/api/projects/{tree.project.id}/subjects", params={"limit": 2, **after})["results"]:
        labels += [row["label"] for row in rows]
        after = {"after_id": rows[-1]["_id"]}
    assert labels == ["sub-01", *(f"s{number}" for number in range(5))]


def test_what_is_created_is_read_changed_and_deleted(fw: FWClient, tree: Tree) -> None:
    made = fw.post("/api/acquisitions", json={"session": tree.session.id, "label": "T2", "timezone": "Europe/Rome"})
    path = f"/api/acquisitions/{made['_id']}"
    assert fw.get(path)["label"] == "T2"
    fw.put(path, json={"label": "T2 axial"})
    assert fw.get(path)["label"] == "T2 axial"
    fw.delete(path)
    with pytest.raises(NotFound):
        fw.get(path)


def test_a_conflict_names_what_exists(fw: FWClient, tree: Tree) -> None:
    with pytest.raises(Conflict, match=tree.project.label) as caught:
        fw.post("/api/projects", json={"group": "lab", "label": tree.project.label})
    assert caught.value.response.json()["_id"] == tree.project.id


@pytest.mark.parametrize("path", ["/api/projects/000200000000000000009999", "/api/nothing", "/xfer/exports"])
def test_what_there_is_not(fw: FWClient, path: str) -> None:
    with pytest.raises(NotFound) as caught:
        fw.get(path)
    assert caught.value.response.json()["message"]


@pytest.mark.parametrize("path", ["/api/gears", "/api/analyses/000200000000000000009999", "/api/packfiles"])
def test_what_is_no_part_of_portico_says_so(fw: FWClient, path: str) -> None:
    with pytest.raises(NotFound, match="not part of Portico"):
        fw.get(path)


def test_what_cannot_be_is_refused_in_words(fw: FWClient, tree: Tree) -> None:
    with pytest.raises(ClientError, match="label") as caught:
        fw.post("/api/subjects", json={"project": tree.project.id})
    assert caught.value.status_code == 422


def test_a_busy_site_is_asked_again(caller: Caller) -> None:
    front = Front(caller.url)
    front.rule = lambda request: Answer(503, b'{"message": "Busy."}') if request.number < 3 else None
    try:
        with FWClient(api_key=f"{front.url}:{caller.key}", retry_backoff=0.01) as client:
            assert client.get("/api/auth/status").is_device is caller.is_device
    finally:
        front.close()
    assert len(front.seen) == 3


def test_an_upload_into_an_acquisition_and_its_download(fw: FWClient, tree: Tree) -> None:
    content = vendor_file("CT_small.dcm").read_bytes()
    path = f"/api/acquisitions/{tree.acquisition.id}/files"
    [told] = fw.post(path, files={"file": ("ct.dcm", content)})
    assert (told["name"], told["size"], told["type"]) == ("ct.dcm", len(content), "dicom")
    assert isinstance(told["_id"], str)
    with fw.stream("GET", f"{path}/ct.dcm") as answer:
        assert b"".join(answer.iter_bytes()) == content


def test_a_part_of_a_download_and_one_that_has_not_changed(fw: FWClient, tree: Tree) -> None:
    path = f"/api/acquisitions/{tree.acquisition.id}/files"
    fw.post(path, files={"file": ("a.txt", b"0123456789")})
    part = fw.get(f"{path}/a.txt", headers={"range": "bytes=2-4"}, raw=True)
    assert (part.status_code, part.content, part.headers["content-range"]) == (206, b"234", "bytes 2-4/10")
    same = fw.get(f"{path}/a.txt", headers={"if-none-match": part.headers["etag"]}, raw=True)
    assert (same.status_code, same.content) == (304, b"")


def placed(label: str) -> dict[str, Any]:
    """What an importer says with the files of a visit."""
    return {
        "group": {"_id": "lab"},
        "project": {"label": label},
        "session": {
            "uid": f"1.2.826.{label.rpartition('-')[2]}",
            "label": "visit",
            "timestamp": "2026-03-01T09:30:00+01:00",
            "timezone": "Europe/Zurich",
            "subject": {"code": "sub-01", "firstname": "A", "lastname": "B", "sex": "female"},
        },
        "acquisition": {
            "uid": f"1.2.826.{label.rpartition('-')[2]}.1",
            "label": "T1",
            "timestamp": "2026-03-01T09:31:00+01:00",
            "files": [{"name": "a.txt", "tags": ["first"], "info": {"from": "scanner"}}],
        },
    }


def test_a_reaper_places_files_by_what_it_says(fw: FWClient, tree: Tree) -> None:
    metadata = json.dumps(placed(tree.project.label))
    files = [("metadata", (None, metadata)), ("file", ("a.txt", b"hello"))]
    [told] = fw.post("/api/upload/reaper", files=files)
    assert told["_id"] == {"file_id": told["_id"]["file_id"], "version": 1}
    again = fw.post("/api/lookup", json={"path": ["lab", tree.project.label, "sub-01", "visit", "T1"]})
    [kept] = again["files"]
    assert (kept["name"], kept["tags"], kept["info"]) == ("a.txt", ["first"], {"from": "scanner"})
    assert again["timestamp"].startswith("2026-03-01T08:31:00")


def test_a_hierarchy_is_upserted(fw: FWClient, tree: Tree) -> None:
    path = f"/api/projects/{tree.project.id}/upsert-hierarchy"
    body = {"subject": {"label": "s"}, "session": {"label": "v", "timestamp": "2026-03-01T09:30:00Z"}}
    results = []
    for acquisition in ({"label": "a"}, {"label": "a"}, {"label": "a", "info": {"k": 1}}):
        told = fw.post(path, json={**body, "acquisition": acquisition})
        results.append([told[kind]["upsert_result"] for kind in ("subject", "session", "acquisition")])
    assert results == [["created"] * 3, ["ignored"] * 3, ["ignored", "ignored", "updated"]]


def test_an_upload_of_a_device_falls_back_to_a_form(fw: FWClient, caller: Caller, tree: Tree) -> None:
    if caller.is_device:
        assert fw.upload_device_file(tree.project.id, io.BytesIO(b"hello"))
    else:
        with pytest.raises(AssertionError, match="device authentication"):
            fw.upload_device_file(tree.project.id, io.BytesIO(b"hello"))


def test_a_device_reports_itself(fw: FWClient, caller: Caller) -> None:
    report = {"version": "1.4.2", "interval": 300, "errors": [], "info": {"host": "importer"}}
    if caller.is_device:
        fw.put("/api/devices/self", json=report)
        fw.put("/api/devices/self", json={})
        told = fw.get("/api/devices/self")
        assert {name: told[name] for name in report} == report
    else:
        with pytest.raises(ClientError) as caught:
            fw.put("/api/devices/self", json=report)
        assert caught.value.status_code == 403


def test_devices_are_a_plain_list(fw: FWClient) -> None:
    assert "importer-east" in [device["label"] for device in fw.get("/api/devices")]
    assert {"status", "last_seen"} <= set(next(iter(fw.get("/api/devices/status").values())))


@pytest.mark.parametrize("noun", ["jobs", "collections"])
def test_lists_of_what_other_sites_have(fw: FWClient, noun: str) -> None:
    page = fw.get(f"/api/{noun}", params={"filter": None, "limit": 10})
    assert page["count"] == len(page["results"])


def test_which_uids_are_in_which_projects(fw: FWClient, tree: Tree) -> None:
    uid = f"1.2.840.{tree.project.label.rpartition('-')[2]}"
    fw.post("/api/sessions", json={"subject": tree.subject.id, "label": "v", "uid": uid})
    found = fw.post("/api/uids/projects", json={"sessions": [uid, "9.9"], "project_ids": [tree.project.id]})
    assert found[tree.project.id]["sessions"] == [uid]


def test_calls_that_wait_for_nothing(caller: Caller) -> None:
    async def ask() -> Any:
        client = FWClient(api_key=f"{caller.url}:{caller.key}")
        try:
            return await asyncio.gather(client.aget("/api/version"), client.aget("/api/auth/status"))
        finally:
            await client.aaclose()
            client.close()

    version, status = asyncio.run(ask())
    assert (version["flywheel_release"], status["is_device"]) == ("23.0.0", caller.is_device)
