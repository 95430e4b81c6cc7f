"""The tab External Storage, and exports: what their forms change, and what they refuse."""

import pytest
from archive_fixtures import a_project, store_vendor_file
from web_fixtures import Visitor, app, refusal, stranger, visitor

from portal import exports, runtime
from portal.models import Job
from portal.provenance import Actor
from portal.storage import storages

__all__ = ["app", "stranger", "visitor"]


@pytest.fixture
def root(app: object) -> str:
    """The folder under which this site allows storages."""
    return str(runtime.current().storage_roots[0])


def test_a_storage_is_saved_and_tested_by_one_press(visitor: Visitor, root: str) -> None:
    form = {"label": "mirror", "path": f"{root}/mirror", "prefix": "nightly", "mode": "export", "visible": "site"}

    answer = visitor.post("/interfaces/storages/new", form)

    job = Job.get(Job.kind == "storage_test")
    assert answer.headers["Location"] == f"/interfaces/storages/{storages.get('mirror').id}?job={job.id}"
    page = visitor.get(answer.headers["Location"]).text
    assert "waits for the worker" in page
    assert 'hx-trigger="load delay' in page


def test_a_storage_is_saved_without_a_test_if_one_wants(visitor: Visitor, root: str) -> None:
    form = {"label": "mirror", "path": f"{root}/mirror", "prefix": "", "mode": "export", "visible": "site"}

    answer = visitor.post("/interfaces/storages/new", {**form, "save_only": "1"}, follow_redirects=True)

    assert "mirror is saved." in answer.text
    assert not Job.select().exists()


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("label", "", "The label has at least one visible character."),
        ("label", "taken", "There is a storage taken already."),
        ("path", "/etc", "/etc"),
        ("path", "", ""),
        ("path", "relative/folder", ""),
        ("path", "ROOT/../../etc", ""),
        ("prefix", "../up", ""),
        ("prefix", "a//b", ""),
        ("mode", "steal", "'steal' is no mode."),
        ("visible", "everybody", "Visible is one of"),
        ("visible", "group:none", "There is no group 'none'"),
        ("visible", "project:a/b", "There is no project 'a/b'"),
    ],
)
def test_a_bad_storage_is_refused_beside_its_field(
    visitor: Visitor, admin: Actor, root: str, field: str, value: str, sentence: str
) -> None:
    storages.add("taken", "fs", path=f"{root}/taken", actor=admin)
    form = {"label": "mirror", "path": f"{root}/mirror", "prefix": "", "mode": "export", "visible": "site"}

    answer = visitor.post("/interfaces/storages/new", {**form, field: value.replace("ROOT", root)})

    refusal(answer, sentence)
    assert f'id="{field}-e"' in answer.text
    assert len(storages.every()) == 1
    assert not Job.select().exists()


def test_a_storage_is_edited(visitor: Visitor, admin: Actor, root: str) -> None:
    storage = storages.add("mirror", "fs", path=f"{root}/mirror", actor=admin)
    form = {
        "label": "vault",
        "path": f"{root}/vault",
        "prefix": "p",
        "mode": "both",
        "visible": "site",
        "save_only": "1",
    }

    visitor.post(f"/interfaces/storages/{storage.id}", form)
    refusal(visitor.post(f"/interfaces/storages/{storage.id}", {**form, "mode": "x"}), "is no mode")

    view = storages.view(storages.by_id(storage.id))
    assert (view["label"], view["prefix"], view["mode"]) == ("vault", "p", "both")


def test_a_bucket_that_the_command_line_added_has_a_page_without_its_secret(visitor: Visitor, admin: Actor) -> None:
    fields = {"bucket": "research", "endpoint": "https://s3.site.example:9000", "access_key": "K"}
    storage = storages.add("bucket", "s3", secret={"secret_key": "a-planted-secret"}, actor=admin, **fields)
    assert "research at s3.site.example:9000" in visitor.get("/interfaces/storages/").text
    page = visitor.get(f"/interfaces/storages/{storage.id}")
    assert page.status_code == 200
    assert "planted" not in page.text


def test_a_storage_is_removed_by_typing_its_label(visitor: Visitor, admin: Actor, root: str) -> None:
    storage = storages.add("mirror", "fs", path=f"{root}/mirror", actor=admin)
    path = f"/interfaces/storages/{storage.id}/remove"

    assert "Type <b>mirror</b> to confirm" in visitor.get(path).text
    refusal(visitor.post(path, {"sure": "miror"}), "Type mirror to confirm. Nothing was removed.")
    refusal(visitor.post(path), "Type mirror to confirm. Nothing was removed.")
    assert len(storages.every()) == 1

    assert "mirror is removed." in visitor.post(path, {"sure": "mirror"}, follow_redirects=True).text
    assert storages.every() == []


def test_a_storage_in_use_is_not_removed(visitor: Visitor, admin: Actor, root: str) -> None:
    storage = storages.add("mirror", "fs", path=f"{root}/mirror", actor=admin)
    storages.request_test("mirror", actor=admin)

    answer = visitor.post(f"/interfaces/storages/{storage.id}/remove", {"sure": "mirror"})

    refusal(answer, "Cancel it or wait for its end")


def test_an_export_needs_a_storage_and_says_so(visitor: Visitor) -> None:
    assert "Add storage" in visitor.get("/exports/").text
    assert "nowhere to export to" in visitor.get("/exports/new").text


def test_an_export_is_started_and_has_a_page(visitor: Visitor, admin: Actor, root: str) -> None:
    store_vendor_file("CT_small.dcm", a_project("trial", actor=admin))
    storages.add("mirror", "fs", path=f"{root}/mirror", actor=admin)

    answer = visitor.post("/exports/new", {"project": "neuro/trial", "to": "mirror"}, follow_redirects=True)

    assert "neuro/trial to mirror" in answer.text
    assert len(exports.every()) == 1
    assert "neuro/trial" in visitor.get("/exports/").text
    assert visitor.get("/exports/?only=active").status_code == 200


@pytest.mark.parametrize(
    ("project", "to"), [("neuro/none", "mirror"), ("neuro", "mirror"), ("neuro/trial", "none"), ("", "")]
)
def test_a_bad_export_is_refused_and_none_begins(
    visitor: Visitor, admin: Actor, root: str, project: str, to: str
) -> None:
    a_project("trial", actor=admin)
    storages.add("mirror", "fs", path=f"{root}/mirror", actor=admin)

    answer = visitor.post("/exports/new", {"project": project, "to": to})

    assert answer.status_code == 422
    assert 'class="err"' in answer.text
    assert exports.every() == []
