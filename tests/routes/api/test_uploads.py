"""Uploads as the field's programs send them: with metadata, several files, and by hierarchy."""

import io
import json
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import EnvironBuilder

from portal.access import upload_counts
from portal.access.actors import operator
from portal.devices import api_keys
from portal.models import Acquisition, Audit, File, Instance, Project
from portal.routes.api import multipart
from portal.users import grants, users
from tests.fixtures.api import Api, assert_refused
from tests.fixtures.archive import vendor_file

SENT: dict[str, Any] = {
    "group": {"_id": "imaging"},
    "project": {"label": "CT trial"},
    "session": {"uid": "1.2.3.1", "label": "ses-9", "subject": {"label": "sub-9", "code": "sub-9", "sex": "male"}},
    "acquisition": {"uid": "1.2.3.2", "label": "T1", "files": [{"name": "dicom.zip", "type": "dicom"}]},
}


@pytest.fixture
def acquisition(api: Api) -> str:
    return api.acquisition()


def with_metadata(said: object, *files: tuple[str, bytes]) -> list[tuple[str, Any]]:
    """The parts as `requests` takes them: the metadata first, without a file name."""
    parts: list[tuple[str, Any]] = [("metadata", (None, json.dumps(said)))]
    return parts + [(f"file{number}", file) for number, file in enumerate(files, 1)]


def test_what_the_metadata_says_is_kept_with_the_file(api: Api, acquisition: str) -> None:
    said = {
        "type": "nifti",
        "modality": "MR",
        "tags": ["x"],
        "info": {"a": {"b": 1}},
        "zip_member_count": 3,
        "classification": {"Intent": ["Structural"]},
        "deid_log_id": "ignored",
        "size": 5,
    }
    path = f"/api/acquisitions/{acquisition}/files"
    [told] = api.post(path, files=with_metadata(said, ("a.nii", b"hello"))).json()
    kept = {name: told[name] for name in said if name not in ("deid_log_id", "size")}
    assert kept == {name: value for name, value in said.items() if name in kept}
    assert told["_id"] == told["file_id"]
    [listed] = api.get(path).json()
    assert listed == {name: told[name] for name in listed}


@pytest.mark.parametrize("said", [{}, None, []])
def test_empty_metadata_says_nothing(api: Api, acquisition: str, said: object) -> None:
    told = api.post(f"/api/acquisitions/{acquisition}/files", files=with_metadata(said, ("a.txt", b"a")))
    assert told.json()[0]["info"] == {}


def test_several_files_and_metadata_at_any_place(api: Api, acquisition: str) -> None:
    [first, *rest] = with_metadata(
        [{"name": "b.txt", "tags": ["b"]}], ("a.txt", b"a"), ("b.txt", b"b"), ("c.txt", b"c")
    )
    told = api.post(f"/api/acquisitions/{acquisition}/files", files=[*rest, first]).json()
    assert [(one["name"], one["tags"]) for one in told] == [("a.txt", []), ("b.txt", ["b"]), ("c.txt", [])]
    for name in "abc":
        assert api.get(f"/api/acquisitions/{acquisition}/files/{name}.txt").content == name.encode()


@pytest.mark.parametrize("way", ["reaper", "label", "uid"])
def test_files_go_where_their_metadata_says_and_once_if_sent_twice(api: Api, acquisition: str, way: str) -> None:
    for _ in range(2):
        answer = api.post(f"/api/upload/{way}", files=with_metadata(SENT, ("dicom.zip", b"PK no zip")))
        assert answer.status_code == 200, answer.text
    [told] = answer.json()
    assert told["_id"] == {"file_id": told["file_id"], "version": 1}
    assert (told["type"], told["outcome"]) == ("dicom", "same")
    [made] = [row for row in Acquisition.select() if row.uid]
    assert told["parent_ref"] == {"type": "acquisition", "id": f"0005{made.id:020x}"}
    assert made.session.subject.label == "sub-9"


@pytest.mark.parametrize(
    ("path", "said", "status"),
    [
        ("reaper", None, 422),
        ("reaper", {}, 422),
        ("reaper", {"group": 7}, 422),
        ("label", SENT | {"group": {"_id": "nogroup"}}, 404),
        ("uid", SENT | {"acquisition": {"uid": "x y"}}, 422),
        ("elsewhere", SENT, 404),
    ],
)
def test_a_hierarchy_that_cannot_be_is_refused_and_nothing_is_kept(
    api: Api, acquisition: str, path: str, said: object, status: int
) -> None:
    assert_refused(api.post(f"/api/upload/{path}", files=with_metadata(said, ("a.txt", b"a"))), status)
    assert File.select().count() == 0
    assert Acquisition.select().count() == 1


@pytest.mark.parametrize("way", ["label", "uid"])
def test_what_is_hidden_is_answered_as_what_there_is_not(api: Api, acquisition: str, way: str) -> None:
    api.acquisition("other", "Secret")
    api.made("/api/projects", group="imaging", label="Hidden")
    user, _ = users.add("ann@site.example", "correct horse battery", actor=operator())
    grants.add(user.id, "imaging/CT trial", "rw", actor=operator())
    key = api_keys.issue(user, name="k", actor=users.actor(user, "10.0.0.7")).secret
    ann = Api(api.url, key)

    def answer(group: str, project: str) -> tuple[int, str]:
        said = SENT | {"group": {"_id": group}, "project": {"label": project}}
        told = ann.post(f"/api/upload/{way}", files=with_metadata(said, ("a.txt", b"a")))
        return told.status_code, told.json()["message"].replace(f"{group}/{project}", "PATH")

    groups = {answer("other", "Secret"), answer("other", "Nothing"), answer("nothing", "Nothing")}
    assert groups == {(404, "There is no project PATH, or you do not have access to it.")}
    assert len({answer("imaging", "Hidden"), answer("imaging", "Nothing")}) == 1
    assert answer("imaging", "Nothing")[0] == 403
    assert Project.select().count() == 3


def test_a_hierarchy_without_a_file_makes_nothing(api: Api, acquisition: str) -> None:
    assert_refused(api.post("/api/upload/label", files=with_metadata(SENT)), 422, "no file")
    assert Acquisition.select().count() == 1


def test_the_field_s_fallback_for_signed_urls(api: Api, acquisition: str) -> None:
    project = api.get(f"/api/acquisitions/{acquisition}").json()["parents"]["project"]
    query = f"project_id={project}&origin_type=device&origin_id=x"
    assert_refused(api.post(f"/api/storage/files?{query}&signed_url=true"), 409, "signed")
    answer = api.post(f"/api/storage/files?{query}", files={"file": ("upload", b"hello")})
    assert File.get().parent_type == "project"
    assert api.get(f"/api/files/{answer.json()['storage_file_id']}").json()["parents"]["project"] == project


def test_what_clients_send_without_need_changes_nothing(api: Api, acquisition: str) -> None:
    query = "?preserve_metadata=true&level=acquisition&id=x&job=y"
    path = f"/api/containers/{acquisition}/files"
    for tags in (["a"], ["b"]):
        told = api.post(f"{path}{query}", files=with_metadata({"tags": tags}, ("a.txt", b"a")))
        assert told.json()[0]["tags"] == ["a"]
    assert Audit.select().where(Audit.action == "file:changed").count() == 0


def test_an_object_uploaded_by_its_uids_is_indexed(api: Api, acquisition: str) -> None:
    ct = vendor_file("CT_small.dcm").read_bytes()
    sent = SENT | {"acquisition": {"uid": "1.2.3.2", "label": "T1"}}
    [told] = api.post("/api/upload/reaper", files=with_metadata(sent, ("ct.dcm", ct))).json()
    assert (told["modality"], told["mimetype"]) == ("CT", "application/dicom")
    assert Instance.get().state == "current"


PIECES = [b"\r\n", b"--", b"bnd", b"\r", b"\n", b"x", b"\r\n--bnd", b"\r\n--bndx", b"\r\n--bn", b"-"]


@pytest.mark.parametrize("step", [1, 3, 7, 4096])
def test_content_of_any_kind_is_read_whole_in_steps_of_any_size(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    monkeypatch.setattr(multipart, "CHUNK_BYTES", step)
    head = b'--bnd\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\n'
    contents = [b"".join(pair) for first in PIECES for second in PIECES for pair in [(first, b"y", second, b"z")]]
    for content in contents:
        body = head + content + b"\r\n" + head.replace(b'"a"', b'"b"') + b"second\r\n--bnd--\r\n"
        builder = EnvironBuilder(
            method="POST", input_stream=io.BytesIO(body), content_type="multipart/form-data; boundary=bnd"
        )
        builder.content_length = len(body)
        got: list[bytes] = []
        with Flask("test").request_context(builder.get_environ()):
            for event in multipart.events(1 << 20):
                if isinstance(event, memoryview):
                    got[-1] += event
                else:
                    got.append(b"")
        assert got == [content, b"second"]


def test_what_was_uploaded_into_a_session_is_one_entry_of_the_audit_log(api: Api, acquisition: str) -> None:
    for name in ("a.txt", "b.txt", "c.txt"):
        api.upload(acquisition, name, name.encode())
    api.upload(acquisition, "a.txt", b"a.txt")  # the same again adds nothing
    upload_counts.flush(everything=True)
    [entry] = Audit.select().where(Audit.action == "session:uploaded")
    assert (entry.actor_type, entry.detail["files"], entry.detail["bytes"]) == ("device", 3, 15)
    assert entry.via == api.key[:10]
