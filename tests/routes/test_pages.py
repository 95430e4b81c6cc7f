"""Every page: whole, in part for htmx, empty, full, searched, paged, with hostile values and with none."""

import re
from importlib import metadata

import pytest
from flask import Flask

from portal import runtime
from portal.access.actors import Actor
from portal.devices import devices
from portal.jobs import jobs
from portal.models import Peer, now, writing
from portal.peers import peers
from portal.storage import storages
from tests.fixtures.web import HTMX, Visitor, text_of

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


def test_every_page_says_which_release_it_is_of_and_leads_to_the_help(stranger: Visitor) -> None:
    pages = [stranger.get("/sign-in")]
    stranger.sign_in()
    for page in (*pages, stranger.get("/"), stranger.get("/no-such-page")):
        assert f"Portico {metadata.version('portico')}" in text_of(page.text)
        assert 'href="/help/"' in page.text


def test_the_help_is_the_guide_and_its_links_stay_within_it(stranger: Visitor) -> None:
    first = stranger.get("/help/").text
    pages = set(re.findall(r'href="(/help/guide/[a-z-]+)"', first))
    assert len(pages) >= 14
    for path in pages | set(re.findall(r'href="(/help/[^"#]+)"', stranger.get("/help/guide/storages").text)):
        page = stranger.get(path)
        assert page.status_code == 200, path
        assert ".md" not in page.text.partition("<main")[2].partition("</main>")[0].replace("CHANGELOG.md", ""), path
        for picture in re.findall(r'src="(/help/pictures/[^"]+)"', page.text):
            assert stranger.get(picture).mimetype == "image/png"
    for name in ("../decisions/0001", "..%2f..%2fREADME", "nothing"):
        assert stranger.get(f"/help/guide/{name}").status_code == 404


def test_a_peer_that_fails_stands_in_the_strip(visitor: Visitor, dimse: None, admin: Actor) -> None:
    added = peers.register("Archive", ae_title="ARCHIVE", actor=admin)
    Peer.update(state="failed", since=now()).where(Peer.id == added.id).execute()
    page = visitor.get("/").text
    assert "Calls to peer Archive failed" in text_of(page)
    assert f'href="/interfaces/peers/{added.id}"' in page


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
    assert "Page not found" in answer.text
    assert "Go to Home" in answer.text


def test_a_method_that_an_address_does_not_take_is_said_in_words(visitor: Visitor) -> None:
    answer = visitor.post("/data/")

    assert answer.status_code == 405
    assert "Allow" in answer.headers
    assert "Method not allowed" in answer.text


def test_a_form_that_is_too_large_is_refused(visitor: Visitor) -> None:
    answer = visitor.post("/users/new", {"email": "x" * 1_100_000})

    assert answer.status_code == 413
    assert "Request too large" in answer.text


def test_a_mistake_of_ours_is_said_without_its_inside(
    visitor: Visitor, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> str:
        raise RuntimeError("secret inside")

    monkeypatch.setitem(app.view_functions, "users.index", broken)

    answer = visitor.get("/users/")

    assert answer.status_code == 500
    assert "Internal error" in answer.text
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


def test_what_waits_for_an_admin_stands_on_each_page(visitor: Visitor, admin: Actor, app: Flask) -> None:
    assert "Alerts" not in visitor.get("/jobs/").text

    storage = storages.add("mirror", "fs", path=str(runtime.current().storage_roots[0] / "mirror"), actor=admin)
    storages.record_test(storage.id, state="failed", message="It is full.")

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
