"""Every page: whole, in part for htmx, empty, full, searched, paged, with hostile values and with none."""

import pytest
from archive_fixtures import a_project, an_object, store
from flask import Flask
from web_fixtures import HTMX, Visitor, app, dimse, reader, stranger, text_of, visitor

from portal import (
    associations,
    callers,
    containers,
    devices,
    files,
    jobs,
    keys,
    peers,
    rights,
    runtime,
    site,
)
from portal.models import Conflict, writing
from portal.provenance import Actor
from portal.storage import storages

__all__ = ["app", "dimse", "reader", "stranger", "visitor"]

LISTS = (
    "/data/",
    "/exports/",
    "/jobs/",
    "/activity/",
    "/activity/refused",
    "/activity/audit",
    "/data/conflicts/",
    "/interfaces/devices/",
    "/interfaces/peers/",
    "/interfaces/storages/",
    "/users/",
)
HOSTILE = "<img src=x onerror=alert(1)>{{7*7}}'\"&"


@pytest.mark.parametrize("path", LISTS)
def test_a_list_without_anything_says_what_it_is_for(visitor: Visitor, dimse: None, path: str) -> None:
    answer = visitor.get(path)

    assert answer.status_code == 200
    if path not in ("/users/", "/activity/audit"):
        assert 'class="empty"' in answer.text


@pytest.mark.parametrize("path", LISTS)
def test_a_list_is_searched_filtered_and_paged_by_its_address(visitor: Visitor, dimse: None, path: str) -> None:
    for query in (
        "q=%25_x",
        "only=nothing",
        "page=2",
        "page=0",
        "page=-1",
        "page=x",
        f"page={'9' * 30}",
        "q=" + "x" * 900,
    ):
        answer = visitor.get(f"{path}?{query}")
        assert answer.status_code == 200, query


@pytest.mark.parametrize("path", LISTS)
def test_htmx_gets_only_the_list_and_a_restored_page_is_whole(visitor: Visitor, dimse: None, path: str) -> None:
    part = visitor.get(path, headers=HTMX)
    whole = visitor.get(path, headers={**HTMX, "HX-History-Restore-Request": "true"})

    assert part.text.lstrip().startswith("<div") or part.text.lstrip().startswith("<section")
    assert "<!doctype html>" not in part.text
    assert "<!doctype html>" in whole.text
    assert "HX-Request" in part.headers["Vary"]


def test_a_long_list_comes_in_pages_of_fifty(visitor: Visitor, admin: Actor) -> None:
    for number in range(60):
        devices.add(f"device-{number:03}", actor=admin)

    first, second = visitor.get("/interfaces/devices/"), visitor.get("/interfaces/devices/?page=2")

    assert "60 devices" in text_of(first.text)
    assert "1 to 50 of 60." in text_of(first.text)
    assert "device-049" in first.text
    assert "device-050" not in first.text
    assert "51 to 60 of 60." in text_of(second.text)
    assert "1 to 1 of 1." in text_of(visitor.get("/interfaces/devices/?q=DEVICE-007").text)


@pytest.fixture
def hostile(app: Flask, dimse: None, admin: Actor) -> dict[str, str]:
    """A site where every text that comes from outside is an attack on the page; paths of what there is."""
    label = HOSTILE.replace("/", "-")[:60]
    device = devices.add(label, actor=admin)
    issued = keys.issue(device, name=label, actor=admin)
    caller = keys.authenticate(issued.secret, address="192.0.2.1", program=HOSTILE)
    devices.seen({"errors": [HOSTILE], "version": HOSTILE}, actor=caller)
    peer = peers.register(label, ae_title="<b>'\"&", host="192.0.2.1", port=104, actor=admin)
    callers.refused(calling="<b>x", called="<i>y", address="192.0.2.1", reason="unknown", sentence=HOSTILE)
    opened = associations.open(
        peer_id=peer.id, role="acceptor", calling="<b>", called="<i>", address="192.0.2.1", contexts=[]
    )
    done = associations.Progress(association_id=opened, counts={HOSTILE: {"done": 1, "failed": 1}}, size=1)
    associations.close(done, outcome="failed", sentence=HOSTILE)
    peers.note(peer.id, ok=False, sentence=HOSTILE)
    storage = storages.add(label, "fs", path=str(runtime.current().storage_roots[0] / "x"), actor=admin)
    storages.note(storage.id, state="failed", sentence=HOSTILE)
    project = a_project(label, actor=admin)
    ds = an_object(PatientID=HOSTILE, StudyDescription=HOSTILE, SeriesDescription=HOSTILE, PatientName=HOSTILE)
    file_id = store(ds, project).file_id
    store(an_object(PatientID="other"), project)
    with writing():
        Conflict.update(sentence=HOSTILE).execute()
        job = jobs.create("export", actor=admin, params={"path": label, "to": label}, what=HOSTILE)
    jobs.finish(job, "failed", HOSTILE, steps=[{"name": HOSTILE, "state": "bad", "sentence": HOSTILE, "ms": 1}])
    site.put({"site.name": HOSTILE}, actor=admin)
    file = files.get(file_id, rights.scope(admin))
    acquisition = containers.get("acquisition", file.parent_id, rights.scope(admin))
    return {
        "device": f"/interfaces/devices/{device.id}",
        "revoke": f"/interfaces/devices/{device.id}/keys/{issued.key_id}/revoke",
        "rename": f"/interfaces/devices/{device.id}/rename",
        "peer": f"/interfaces/peers/{peer.id}",
        "peer form": f"/interfaces/peers/{peer.id}/edit",
        "peer removal": f"/interfaces/peers/{peer.id}/remove",
        "storage": f"/interfaces/storages/{storage.id}",
        "storage removal": f"/interfaces/storages/{storage.id}/remove",
        "job": f"/jobs/{job.id}",
        "conflict": f"/data/conflicts/{Conflict.get().id}",
        "file": f"/data/file/{file.id}",
        "header": f"/data/file/{file.id}/header",
        "acquisition": f"/data/acquisition/{acquisition.id}",
        "session": f"/data/session/{containers.parent_of(acquisition).id}",
        "project": f"/data/project/{project.id}",
        "export form": "/exports/new",
        "home": "/",
        "settings": "/settings/",
    }


def test_no_text_from_outside_becomes_part_of_a_page(visitor: Visitor, hostile: dict[str, str]) -> None:
    for path in (*LISTS, *hostile.values()):
        answer = visitor.get(path)
        assert answer.status_code == 200, path
        assert "<img src=x" not in answer.text, path
        assert "<b>'" not in answer.text, path
        assert "<b>x" not in answer.text, path
        assert "}}49" not in answer.text, path
        assert ">49" not in answer.text, path


def test_a_search_for_an_attack_is_shown_as_text(visitor: Visitor, admin: Actor) -> None:
    devices.add("one", actor=admin)

    answer = visitor.get("/interfaces/devices/", query_string={"q": '"><script>alert(1)</script>'})

    assert "<script>alert" not in answer.text
    assert "None found." in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/nowhere",
        "/data/project/99",
        "/data/subject/99",
        "/data/galaxy/1",
        "/data/file/99",
        "/data/file/99/header",
        "/data/file/99/download",
        "/data/conflicts/99",
        "/jobs/99",
        "/interfaces/devices/99",
        "/interfaces/devices/0",
        "/interfaces/devices/-1",
        "/interfaces/devices/9999999999999999999999",
        "/interfaces/peers/99",
        "/interfaces/storages/99",
        "/users/99/new-password",
    ],
)
def test_what_is_not_there_is_said_in_words(visitor: Visitor, dimse: None, path: str) -> None:
    answer = visitor.get(path)

    assert answer.status_code == 404
    assert "There is no such page" in answer.text
    assert "To the first page" in answer.text


def test_a_method_that_an_address_does_not_take_is_said_in_words(visitor: Visitor) -> None:
    answer = visitor.post("/data/")

    assert answer.status_code == 405
    assert "Allow" in answer.headers
    assert "That is not done here" in answer.text


def test_a_form_that_is_too_large_is_refused(visitor: Visitor) -> None:
    answer = visitor.post("/users/new", {"email": "x" * 1_100_000})

    assert answer.status_code == 413
    assert "That is too large" in answer.text


def test_a_mistake_of_ours_is_said_without_its_inside(visitor: Visitor, app: Flask) -> None:
    def broken() -> str:
        raise RuntimeError("secret inside")

    app.view_functions["users.index"] = broken

    answer = visitor.get("/users/")

    assert answer.status_code == 500
    assert "Portico made a mistake" in answer.text
    assert "secret inside" not in answer.text


def test_every_answer_has_the_strict_headers(visitor: Visitor, stranger: Visitor) -> None:
    for answer in (visitor.get("/"), stranger.get("/sign-in"), visitor.get("/nowhere"), visitor.get("/api/version")):
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["Cache-Control"] == "no-store"


def test_static_files_are_served_and_may_be_kept(stranger: Visitor) -> None:
    for name in ("style.css", "portico.js", "vendor/htmx/htmx.min.js", "vendor/tabler/tabler.min.css"):
        answer = stranger.get(f"/static/{name}")
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] != "no-store"
    assert stranger.get("/static/../app.py").status_code == 404


def test_the_first_page_leads_through_the_first_steps(visitor: Visitor, admin: Actor) -> None:
    assert "0 of 4 done" in visitor.get("/").text

    site.put({"dimse.enabled": True}, actor=admin)
    callers.refused(calling="CT2", called="PORTICO", address="10.0.4.12", reason="unknown", sentence="Not registered.")

    page = text_of(visitor.get("/").text)
    assert "1 of 4 done" in page
    assert "Somebody is knocking" in page
    assert "Register CT2" in page


def test_what_waits_for_an_admin_stands_on_each_page(visitor: Visitor, admin: Actor, app: Flask) -> None:
    assert "Waits for you" not in visitor.get("/jobs/").text

    storage = storages.add("mirror", "fs", path=str(runtime.current().storage_roots[0] / "mirror"), actor=admin)
    storages.note(storage.id, state="failed", sentence="It is full.")

    assert "External storage mirror failed" in visitor.get("/jobs/").text


def test_a_job_polls_itself_until_it_is_over(visitor: Visitor, admin: Actor) -> None:
    with writing():
        job = jobs.create("export", actor=admin, params={"path": "g/p", "to": "x"}, what="g/p to x", total=3)
    running = visitor.get(f"/jobs/{job.id}/progress", headers=HTMX).text
    assert f'hx-get="/jobs/{job.id}/progress"' in running
    assert "Cancel export" in running

    visitor.post(f"/jobs/{job.id}/cancel")

    over = visitor.get(f"/jobs/{job.id}/progress", headers=HTMX).text
    assert "hx-get" not in over
    assert "Cancelled" in over
    assert "Run again" in over
    assert visitor.post(f"/jobs/{job.id}/cancel").status_code == 422
