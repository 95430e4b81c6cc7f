"""The bytes of files: parts, conditions, tickets; several files in one; what is said of a file, changed."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
import requests

from portal.access.actors import operator
from portal.devices import api_keys, devices
from portal.models import Audit, Blob, Device, File, Trash
from portal.settings import Settings
from portal.tree import checked_parts
from tests.fixtures.api import Api, assert_refused
from tests.fixtures.archive import vendor_file

CONTENT = bytes(range(256)) * 8192
"""2 MiB."""


@pytest.fixture
def acquisition(api: Api) -> str:
    return api.acquisition()


@pytest.fixture
def path(api: Api, acquisition: str) -> str:
    """The address of a file."""
    api.upload(acquisition, "a.bin", CONTENT)
    return f"/api/acquisitions/{acquisition}/files/a.bin"


@pytest.mark.parametrize(
    ("wanted", "begin", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=2097000-", 2_097_000, None),
        ("bytes=-5", -5, None),
        ("bytes=5-99999999999", 5, None),
        ("bytes=-99999999999", 0, None),
    ],
)
def test_a_part_is_given_as_asked_for(api: Api, path: str, wanted: str, begin: int, end: int | None) -> None:
    got = api.get(path, headers={"Range": wanted})
    part = CONTENT[begin:end]
    assert got.content == part
    if len(part) == len(CONTENT):
        assert got.status_code == 200
        return
    assert got.status_code == 206
    first = begin % len(CONTENT)
    assert got.headers["Content-Range"] == f"bytes {first}-{first + len(part) - 1}/{len(CONTENT)}"
    assert got.headers["Content-Length"] == str(len(part))


@pytest.mark.parametrize("wanted", ["bytes=0-1,5-6", "items=0-1", "bytes=x-y", "bytes=9-1", "bytes="])
def test_what_is_no_single_part_is_answered_with_the_whole(api: Api, path: str, wanted: str) -> None:
    got = api.get(path, headers={"Range": wanted})
    assert (got.status_code, len(got.content)) == (200, len(CONTENT))


@pytest.mark.parametrize("wanted", ["bytes=2097152-", "bytes=99999999999-"])
def test_a_part_behind_the_end_is_refused_with_the_size(api: Api, path: str, wanted: str) -> None:
    got = api.get(path, headers={"Range": wanted})
    assert_refused(got, 416, "2,097,152")
    assert got.headers["Content-Range"] == "bytes */2097152"


def test_what_a_client_has_is_not_sent_again(api: Api, path: str) -> None:
    whole = api.get(path)
    etag, modified = whole.headers["ETag"], whole.headers["Last-Modified"]
    before = Audit.select().where(Audit.action == "file:downloaded").count()
    for headers in ({"If-None-Match": etag}, {"If-None-Match": "*"}, {"If-Modified-Since": modified}):
        got = api.get(path, headers=headers)
        assert (got.status_code, got.content) == (304, b"")
        assert got.headers["ETag"] == etag
    assert Audit.select().where(Audit.action == "file:downloaded").count() == before
    for headers in ({"If-None-Match": '"x"'}, {"If-Modified-Since": "Thu, 01 Jan 2015 00:00:00 GMT"}):
        assert api.get(path, headers=headers).status_code == 200


def test_a_part_of_something_else_is_not_given(api: Api, path: str) -> None:
    etag = api.get(path).headers["ETag"]
    for condition, status in ((etag, 206), ('"x"', 200), ("Thu, 01 Jan 2015 00:00:00 GMT", 200)):
        got = api.get(path, headers={"Range": "bytes=0-9", "If-Range": condition})
        assert got.status_code == status


def test_head_says_what_get_would(api: Api, path: str) -> None:
    got = api("HEAD", path)
    assert (got.status_code, got.headers["Content-Length"], got.content) == (200, str(len(CONTENT)), b"")
    assert got.headers["Accept-Ranges"] == "bytes"
    assert Audit.select().where(Audit.action == "file:downloaded").count() == 0


def test_no_part_of_a_damaged_file_is_given(api: Api, path: str, site_settings: Settings) -> None:
    blob = Blob.get()
    segment: Path = site_settings.archive / blob.segment
    with segment.open("r+b") as file:
        file.seek(blob.offset + 1_500_000)
        file.write(b"\xff\xfe\xfd\xfc")
    checked_parts._checked.clear()
    assert_refused(api.get(path, headers={"Range": "bytes=0-9"}), 503, "differ from those received")


def test_a_hash_that_is_another_is_refused(api: Api, path: str) -> None:
    digest = api.get(path).headers["ETag"].strip('"')
    assert api.get(f"{path}?hash={digest}").status_code == 200
    assert_refused(api.get(f"{path}?hash=x"), 409, "another hash")


def test_a_ticket_brings_one_version_of_one_file_without_a_key(api: Api, acquisition: str, path: str) -> None:
    told = api.get(f"{path}?ticket=&version=1").json()
    assert (told["filename"], told["file_cnt"], told["size"]) == ("a.bin", 1, len(CONTENT))
    api.upload(acquisition, "a.bin", b"second")
    api.upload(acquisition, "b.bin", b"other")
    anybody = Api(api.url)
    url = f"{path}?ticket={told['ticket']}"
    for _ in range(2):
        assert anybody.get(url).content == CONTENT
    assert anybody.get(url, headers={"Range": "bytes=1-3"}).content == CONTENT[1:4]
    assert api.get(url).content == CONTENT
    assert_refused(anybody.get(url.replace("a.bin", "b.bin")), 422, "another file")
    assert_refused(anybody.get(f"{path}?ticket=x"), 401, "ticket")
    assert_refused(anybody.get(f"{path}?ticket="), 401)
    assert_refused(anybody.get(f"/api/acquisitions/{acquisition}/files?ticket={told['ticket']}"), 401)
    assert_refused(anybody.delete(url), 401)
    assert_refused(anybody.get(f"/api/download?ticket={told['ticket']}"), 404, "ticket")
    act = Audit.select().where(Audit.action == "file:downloaded").order_by(Audit.id.desc()).first()
    assert (act.actor_type, act.via) == ("device", api.key[:10])


def test_a_ticket_is_nothing_for_another_device_and_ends_with_its_key(api: Api, path: str, device: Device) -> None:
    secret = api.get(f"{path}?ticket=").json()["ticket"]
    other = devices.add("other", "importer", actor=operator())
    stranger = Api(api.url, api_keys.issue(other, name="test", actor=operator()).secret)
    assert_refused(stranger.get(f"{path}?ticket={secret}"), 404, "ticket")
    api_keys.revoke(device, api.key[:10], actor=operator())
    assert_refused(Api(api.url).get(f"{path}?ticket={secret}"), 401, "ticket")


def zipped(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as whole:
        for name, content in members.items():
            whole.writestr(zipfile.ZipInfo(f"d/{name}.txt", (2026, 5, 4, 3, 2, 0)), content, zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def test_the_members_of_a_zip_are_listed_and_given_one_by_one(api: Api, acquisition: str) -> None:
    [told] = api.upload(acquisition, "x.zip", zipped(a=b"one" * 100_000, b=b"two", é=b"")).json()
    assert told["zip_member_count"] == 3
    path = f"/api/acquisitions/{acquisition}/files/x.zip"
    shown = api.get(f"{path}?info=true").json()
    assert [(one["path"], one["size"]) for one in shown["members"]] == [
        ("d/a.txt", 300_000),
        ("d/b.txt", 3),
        ("d/é.txt", 0),
    ]
    assert shown["members"][0]["timestamp"].startswith("2026-05-04T03:02:00")
    assert api.get(f"/api/files/{told['file_id']}/zip_info").json() == shown
    got = api.get(f"{path}?member=d/a.txt")
    assert (got.content, got.headers["Content-Type"]) == (b"one" * 100_000, "text/plain; charset=utf-8")
    assert api.get(path, params={"member": "d/é.txt"}).content == b""
    assert_refused(api.get(f"{path}?member=d"), 404, "no member")
    secret = api.get(f"{path}?member=d/b.txt&ticket=").json()["ticket"]
    assert Api(api.url).get(f"{path}?ticket={secret}").content == b"two"
    api.upload(acquisition, "no.zip", b"plain")
    assert_refused(api.get(path.replace("x.zip", "no.zip?info=true")), 422, "no zip")
    assert_refused(api.get(path.replace("x.zip", "no.zip?member=a")), 422, "no zip")


def test_no_member_of_a_damaged_zip_is_given(api: Api, acquisition: str, site_settings: Settings) -> None:
    api.upload(acquisition, "x.zip", zipped(a=b"one" * 100_000, b=b"two"))
    blob = Blob.get()
    with (site_settings.archive / blob.segment).open("r+b") as file:
        file.seek(blob.offset + 60)
        file.write(b"\xff\xfe\xfd\xfc")
    assert_refused(api.get(f"/api/acquisitions/{acquisition}/files/x.zip?member=d/b.txt"), 503, "differ from those")


def ask(api: Api, *nodes: tuple[str, str], **more: object) -> requests.Response:
    return api.post("/api/download", json={"nodes": [{"level": level, "_id": one} for level, one in nodes], **more})


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_containers_are_downloaded_in_one(api: Api, acquisition: str, path: str, form: str) -> None:
    project = api.get(f"/api/acquisitions/{acquisition}").json()["parents"]["project"]
    told = ask(api, ("project", project), ("acquisition", acquisition), optional=True, filters=[{"types": {}}]).json()
    assert (told["file_cnt"], told["size"]) == (1, len(CONTENT))
    got = api.get(f"/api/download?ticket={told['ticket']}&format={form}")
    assert f'filename="download.{form}"' in got.headers["Content-Disposition"]
    if form == "tar":
        with tarfile.open(fileobj=io.BytesIO(got.content)) as packed:
            [member] = packed.getmembers()
            assert packed.extractfile(member).read() == CONTENT  # type: ignore[union-attr]
            name = member.name
    else:
        with zipfile.ZipFile(io.BytesIO(got.content)) as whole:
            [name] = whole.namelist()
            assert whole.read(name) == CONTENT
    assert name == "imaging/CT trial/sub-01/ses-01/T1/a.bin"
    acts = Audit.select().where(Audit.action == "container:downloaded").order_by(Audit.id)
    assert [act.target_type for act in acts] == ["project", "acquisition"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({}, 422),
        ({"nodes": []}, 422),
        ({"nodes": [{}]}, 422),
        ({"nodes": [{"level": "group", "_id": "imaging"}]}, 422),
        ({"nodes": [{"level": "session", "_id": "x"}]}, 404),
        ({"nodes": [{"level": "session", "_id": f"{4:04x}{99:020x}"}]}, 404),
        ({"nodes": [{"level": "session", "_id": 7}]}, 422),
        ({"nodes": "x"}, 422),
        ({"nodes": [{"level": "session", "_id": f"{4:04x}{1:020x}"}], "filters": [7]}, 422),
        ({"nodes": [{"level": "session", "_id": f"{4:04x}{1:020x}"}], "filters": [{}] * 21}, 422),
        ({"nodes": [{"level": "session", "_id": f"{4:04x}{1:020x}"}] * 1001}, 422),
        ({"nodes": [{"level": "session", "_id": f"{4:04x}{1:020x}"}], "filters": [{"types": {"plus": ["none"]}}]}, 404),
    ],
)
def test_a_download_that_cannot_be_gets_no_ticket(api: Api, path: str, body: object, status: int) -> None:
    assert_refused(api.post("/api/download", json=body), status)


def test_what_is_said_of_a_file_is_set_added_replaced_and_deleted(api: Api, acquisition: str, path: str) -> None:
    def told() -> dict[str, object]:
        return dict(api.get(f"{path}/info").json())

    changed = {"modified": 1, "jobs_spawned": 0}
    assert api.put(path, json={"type": "nifti", "modality": "MR"}).json() == changed
    api("PATCH", f"{path}/classification", json={"add": {"Intent": ["Structural"], "Custom": ["x"]}})
    api(
        "PATCH",
        f"{path}/classification",
        json={"add": {"Intent": ["Structural", "Other"]}, "delete": {"Custom": ["x"]}},
    )
    assert told()["classification"] == {"Intent": ["Structural", "Other"]}
    api.post(f"{path}/classification", json={"replace": {"Custom": ["y"]}, "modality": "CT"})
    assert (told()["classification"], told()["modality"]) == ({"Custom": ["y"]}, "CT")
    api.put(path, json={"modality": "PT"})
    assert told()["classification"] == {"Custom": ["y"]}

    api("PATCH", f"{path}/info", json={"set": {"a": 1, "b": {"c": None}}})
    api.post(f"{path}/info", json={"delete": ["a"], "set": {"d": []}})
    assert told()["info"] == {"b": {"c": None}, "d": []}
    file = f"/api/files/{told()['file_id']}"
    api("PATCH", f"{file}/info", json={"plain": True})
    assert api.get(f"{file}/info").json() == {"b": {"c": None}, "d": [], "plain": True}
    assert api.put(f"{file}/info", json={"only": 1}).json() == {"only": 1}

    assert api.put(f"{file}/tags", json=["x", "y", "x"]).json() == changed
    assert api("PATCH", f"{file}/tags", json=["z"]).json() == ["x", "y", "z"]
    assert api.delete(f"{file}/tags", json=["y"]).json() == ["x", "z"]
    assert api.get(f"{file}/tags").json() == ["x", "z"]
    assert api.delete(f"{file}/tags").json() == []
    assert api.put(f"{file}/classification", json={"add": {"Intent": ["A"]}}).json() == changed
    acts = Audit.select().where(Audit.action == "file:changed")
    assert {name for act in acts for name in act.detail["changed"]} == {
        "type",
        "modality",
        "classification",
        "info",
        "tags",
    }
    assert "nifti" not in str([act.detail for act in acts])


@pytest.mark.parametrize(
    ("method", "below", "body"),
    [
        ("PUT", "", {}),
        ("PUT", "", {"type": 7}),
        ("PUT", "", {"classification": {"a": "b"}}),
        ("PATCH", "/info", {"set": []}),
        ("PATCH", "/info", {"delete": {"a": 1}}),
        ("PATCH", "/classification", {"add": {"a": [1]}}),
        ("PATCH", "/classification", []),
    ],
)
def test_a_change_of_a_wrong_type_is_refused(api: Api, path: str, method: str, below: str, body: object) -> None:
    before = api.get(f"{path}/info").json()
    assert_refused(api(method, f"{path}{below}", json=body), 422)
    assert api.get(f"{path}/info").json() == before


@pytest.mark.parametrize("body", [{}, "x", [1], [None], ["x" * 300]])
def test_tags_of_a_wrong_type_are_refused(api: Api, path: str, body: object) -> None:
    file = api.get(f"{path}/info").json()["file_id"]
    assert_refused(api.put(f"/api/files/{file}/tags", json=body), 422)


def test_versions_tell_who_sent_each(api: Api, acquisition: str, path: str, device: Device) -> None:
    second = Api(api.url, api_keys.issue(device, name="second", actor=operator()).secret)
    second.upload(acquisition, "a.bin", b"second")
    shown = api.get(f"{path}/info").json()
    told = api.get(f"/api/files/{shown['file_id']}/versions").json()
    assert [(one["version"], one["origin"]["via"], one["size"]) for one in told] == [
        (2, second.key[:10], 6),
        (1, api.key[:10], len(CONTENT)),
    ]
    older = api.get(f"/api/files/{shown['file_id']}?version=1").json()
    assert (older["version"], older["size"], older["origin"]["via"]) == (1, len(CONTENT), api.key[:10])
    assert shown["parents"]["acquisition"] == acquisition
    assert set(shown["parents"]) == {"group", "project", "subject", "session", "acquisition"}
    assert_refused(api.get(f"/api/files/{shown['file_id']}?version=9"), 404)


def test_a_file_goes_to_the_trash(api: Api, acquisition: str, path: str) -> None:
    api.upload(acquisition, "b.bin", b"b")
    assert api.delete(f"{path}?delete_reason=wrong&force=true").json() == {"deleted": 1}
    assert_refused(api.get(path), 404)
    [left] = api.get(f"/api/acquisitions/{acquisition}/files").json()
    assert api.delete(f"/api/files/{left['file_id']}").json() == {"deleted": 1}
    assert Trash.select().count() == 2
    assert File.select().count() == 2


def test_a_reader_changes_and_deletes_nothing(api: Api, path: str, device: Device) -> None:
    reader = Api(api.url, api_keys.issue(device, name="reader", read_only=True, actor=operator()).secret)
    assert reader.get(path).status_code == 200
    assert_refused(reader.put(path, json={"type": "x"}), 403)
    assert_refused(reader.delete(path), 403)
    assert_refused(reader("PATCH", f"{path}/info", json={"set": {"a": 1}}), 403)


def test_all_files_are_listed(api: Api, acquisition: str, path: str) -> None:
    api.upload(acquisition, "ct.dcm", vendor_file("CT_small.dcm").read_bytes())
    assert [one["name"] for one in api.get("/api/files").json()["results"]] == ["a.bin", "ct.dcm"]
    assert [one["modality"] for one in api.get("/api/files?sort=name:desc").json()["results"]] == ["CT", None]
