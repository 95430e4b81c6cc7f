"""Exports and imports in a browser, from the form over the dry run to the end: by keyboard, for everybody."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from portal import models
from portal.access.actors import operator
from portal.jobs import jobs, leases
from portal.peers import peers
from portal.storage import storages
from tests.dimse_worker.test_dcmtk import data_sets, storescp
from tests.fixtures.archive import a_project, vendor_file
from tests.fixtures.browser import Person
from tests.fixtures.up import Up

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.timeout(300)]

SMALL = {"width": 390, "height": 800}
PATIENCE = 60_000
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"]}


@pytest.fixture(scope="module")
def mirror(running: Up) -> Path:
    """The folder of a storage to export to and to import from."""
    folder = running.data / "storage" / "mirror"
    with models.connection():
        storages.add("mirror", "fs", mode="both", path=str(folder), actor=operator())
        a_project("returned", actor=operator())
    return folder


@pytest.fixture
def admin(person: Person, mirror: Path) -> Iterator[Page]:
    """What somebody who is signed in has before him; nothing but what the test means to see goes wrong there."""
    person.page.context.add_init_script(Axe().axe_script)
    person.signs_in()
    yield person.page
    assert person.complaints == []


def test_an_export_by_rules_is_tried_mended_confirmed_and_done(admin: Page, person: Person) -> None:
    page = admin
    person.goes("/exports/new?project=neuro/trial-a")
    _read(page)

    page.get_by_label("Include if any match").fill("modality is MRT or CT")
    page.get_by_label("Path template").fill("{project}/{colour}")
    expect(page.locator("#preview")).to_contain_text("There is no field {colour}.")
    page.get_by_label("Path template").fill("scan.dcm")
    expect(page.locator("#preview mark")).to_have_text(["scan.dcm"])
    expect(page.locator("#preview")).to_contain_text("No rule takes it.")

    _press(page, "Add rule")
    expect(page.get_by_label("Applies to").nth(1)).to_be_focused()
    page.get_by_label("Include if any match").nth(1).fill("red is good")
    person.allowed = {422}
    _press(page, "Dry run")
    expect(page.get_by_label("Include if any match").nth(1)).to_be_focused()
    expect(page.locator("#include_2-e")).to_contain_text("does not begin with a field")
    person.allowed = set()
    page.get_by_label("Include if any match").nth(1).fill("modality is MR")
    page.get_by_label("Path template").nth(1).fill("Scan.dcm")
    _press(page, "Dry run")
    expect(page.get_by_text("4 share a path with another one: change the paths.").first).to_be_visible(timeout=PATIENCE)
    _read(page)

    page.get_by_role("link", name="Change…").press("Enter")
    page.get_by_label("Path template").nth(1).fill("{modality}/{file}")
    _press(page, "Dry run")
    expect(page.get_by_text("4 of 4 objects and sidecars would be sent.").first).to_be_visible(timeout=PATIENCE)
    page.get_by_role("link", name="1 object skipped").press("Enter")
    expect(page.get_by_role("heading", name="1 item found")).to_be_visible()
    person.allowed = {422}
    _press(page, "Start export of 2 objects")
    expect(page.get_by_text("confirm that this is authorised")).to_be_visible()
    person.allowed = set()
    page.get_by_label("I confirm that this disclosure is authorised").press("Space")
    _press(page, "Start export of 2 objects")

    done = "2 objects exported and verified, each with its sidecar. 1 skipped by the rules."
    expect(page.get_by_text(done).first).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_role("link", name="Export again…")).to_be_visible()


def test_an_export_is_stopped_tried_anew_mended_verified_and_repeated(admin: Page, mirror: Path) -> None:
    """So slow that somebody can stop it; then another object has one of its paths."""
    page = admin
    in_the_way = mirror / "night" / "MR_small.dcm"
    page.goto(f"{_site(page)}/exports/new?project=neuro/trial-a&to=mirror")
    page.get_by_label("Path template").fill("night/{modality}_small.dcm")
    page.get_by_label("Bandwidth limit (per second)").fill("2 kB")
    _press(page, "Dry run")
    _start(page)
    _press(page, "Cancel export")
    expect(page.locator(".head .st-off")).to_have_text("Cancelled", timeout=PATIENCE)

    in_the_way.parent.mkdir(exist_ok=True)
    in_the_way.write_bytes(b"of somebody else")
    page.get_by_role("link", name="Export again…").press("Enter")
    page.get_by_label("Bandwidth limit (per second)").fill("")
    _press(page, "Dry run")
    expect(page.get_by_role("link", name="1 object with different content there")).to_be_visible(timeout=PATIENCE)
    _start(page)
    expect(page.get_by_text("5 of 6 objects exported and verified. 1 failed.").first).to_be_visible(timeout=PATIENCE)
    in_the_way.unlink()
    _press(page, "Retry 1 failed")
    expect(page.locator(".head .st-ok")).to_have_text("Done", timeout=PATIENCE)

    in_the_way.write_bytes(in_the_way.read_bytes()[:-1] + b"!")
    _press(page, "Verify")
    expect(page.get_by_text("1 changed").first).to_be_visible(timeout=PATIENCE)
    _read(page)
    page.go_back()
    expect(page.get_by_label("Verifications")).to_contain_text("Done with errors")
    _repeat(page)


def _repeat(page: Page) -> None:
    page.get_by_role("link", name="Repeat on a schedule…").press("Enter")
    page.get_by_label("I confirm that this disclosure is authorised").press("Space")
    _press(page, "Create schedule")
    expect(page.locator(".note-ok")).to_contain_text("is created.")
    _press(page, "Pause")
    expect(page.locator(".head .st-off")).to_have_text("Paused")
    _press(page, "Resume")
    expect(page.locator(".head .st-ok")).to_have_text("On")
    _press(page, "Run now")
    expect(page.get_by_text("5 of 6 objects exported and verified. 1 failed.").first).to_be_visible(timeout=PATIENCE)
    page.get_by_role("link", name=re.compile("^Schedule ")).press("Enter")
    expect(page.get_by_role("heading", name="1 run")).to_be_visible()
    _read(page)


def test_a_project_is_sent_to_a_peer(admin: Page, tmp_path: Path) -> None:
    page = admin
    with storescp(tmp_path) as port:
        with models.connection():
            peers.register("Room 3", ae_title="VIEWER", host="127.0.0.1", port=str(port), actor=operator())
        page.goto(f"{_site(page)}/exports/new?project=neuro/trial-a&to=peer/Room 3")
        expect(page.locator("#preview")).to_contain_text("A peer receives objects, not paths")
        asked = [page.get_by_label(name) for name in ("Path template", "If an object exists", "Write a sidecar")]
        for field in asked:
            expect(field).to_be_hidden()
        expect(page.get_by_text("paths, sidecars and existing objects do not apply")).to_be_visible()
        _read(page)
        page.get_by_label("To", exact=True).select_option("mirror")
        for field in asked:
            expect(field).to_be_visible()
        expect(page.get_by_text("paths, sidecars and existing objects do not apply")).to_be_hidden()
        page.get_by_label("To", exact=True).select_option("peer/Room 3")
        _press(page, "Dry run")
        _start(page)
        expect(page.get_by_text("Room 3 took 3 instances.").first).to_be_visible(timeout=PATIENCE)
    _read(page)
    assert len(data_sets(tmp_path)) == 3


def test_an_import_is_tried_started_done_and_told_of(admin: Page, mirror: Path) -> None:
    page = admin
    _fill(mirror / "incoming" / "2026")
    page.goto(f"{_site(page)}/interfaces/storages/1")
    page.get_by_role("link", name="Import from here…").press("Enter")
    expect(page.get_by_label("From")).to_have_value("mirror")
    page.get_by_label("Into project").focus()
    page.keyboard.type("neuro/returned")
    page.keyboard.press("Tab")
    page.keyboard.type("incoming")
    page.get_by_label("Exclude if any match").focus()
    page.keyboard.type("*.tmp")
    _read(page)
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Dry run")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="2 objects to import")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("link", name="1 object refused").press("Enter")
    expect(page.get_by_role("heading", name="1 item found")).to_be_visible()
    _read(page)

    _press(page, "Start import of 2 objects")
    expect(page.locator(".head .st-warn")).to_have_text("Done with errors", timeout=PATIENCE)
    expect(page.locator(".note-warn")).to_contain_text("2 new, 1 failed.")
    _read(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="JSONL").press("Enter")
    told = [json.loads(line) for line in download.value.path().read_text().splitlines()]
    assert sorted(one["state"] for one in told) == ["failed", "stored", "stored", "unmatched"]
    page.get_by_role("link", name="Imports").press("Enter")
    expect(page.get_by_role("heading", name="1 import")).to_be_visible()
    _read(page)


def _fill(folder: Path) -> None:
    """Two objects of DICOM, a text and something that is to stay."""
    folder.mkdir(parents=True)
    for name in ("CT_small.dcm", "MR_small.dcm"):
        (folder / name).write_bytes(vendor_file(name).read_bytes())
    (folder / "notes.txt").write_text("notes")
    (folder / "half.tmp").write_text("half")


def _site(page: Page) -> str:
    return page.evaluate("location.origin")  # type: ignore[no-any-return]


def _start(page: Page) -> None:
    """The export of which the dry run is before us, once that is over."""
    page.get_by_label("I confirm that this disclosure is authorised").press("Space", timeout=PATIENCE)
    _press(page, "Start export of 3 objects")


def _press(page: Page, name: str) -> None:
    """By keyboard, as somebody without a mouse does."""
    page.get_by_role("button", name=name).last.press("Enter")


def _read(page: Page) -> None:
    """The page can be read by everybody, also on a small screen."""
    usual = page.viewport_size
    assert usual is not None
    for size in (usual, SMALL):
        page.set_viewport_size({"width": size["width"], "height": size["height"]})
        assert page.evaluate("document.documentElement.scrollWidth") <= size["width"]
        found = page.evaluate("async rules => (await axe.run(rules)).violations", RULES)
        assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []
    page.set_viewport_size(usual)
    expect(page.locator("h1")).to_have_text(re.compile("."))


def test_a_list_of_jobs_follows_what_runs_and_leaves_focus_and_selection_alone(admin: Page, person: Person) -> None:
    page = admin
    with models.connection(), models.writing():
        job = jobs.create("export", actor=operator(), params={"path": "g/p", "to": "x"}, what="followed", total=10)
        held = {"state": "running", "holder": "nobody", "started": models.now(), **leases.columns(timedelta(hours=1))}
        models.Job.update(**held).where(models.Job.id == job.id).execute()
    person.goes("/jobs/?q=followed")
    link = page.get_by_role("link", name="followed")
    link.focus()
    link.evaluate("link => getSelection().selectAllChildren(link)")
    _set(job.id, done=7)
    expect(page.locator("#list")).to_contain_text("7 of 10", timeout=PATIENCE)
    _set(job.id, done=10, state="done", ended=models.now(), lease=None)
    expect(page.locator("#list")).to_contain_text("10 of 10", timeout=PATIENCE)
    expect(page.locator("#narrow")).to_contain_text("Done 1")
    expect(page.locator("[id^=poll-]")).to_have_count(0)
    expect(link).to_be_focused()
    assert page.evaluate("getSelection().toString()") == "followed"


def _set(job_id: int, **columns: object) -> None:
    with models.connection(), models.writing():
        models.Job.update(**columns).where(models.Job.id == job_id).execute()
