"""The first run: what a new site leads through, live, and how it is left and found again."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from playwright.sync_api import Browser, Page, expect
from pynetdicom import AE

from portal import runtime, site_settings
from portal.access.actors import Actor
from portal.dashboard import first_steps
from portal.devices import api_keys, devices
from portal.models import ApiKey, Association, Peer, Storage, now
from portal.peers import peers, refused_callers
from portal.storage import storages
from tests.fixtures.archive import a_project, an_object, store
from tests.fixtures.browser import EMAIL, PASSWORD, Person, person_at
from tests.fixtures.guide import NEW, takes, walks
from tests.fixtures.up import Up
from tests.fixtures.web import MOST_STATEMENTS, Visitor, statements, text_of

VERIFICATION = "1.2.840.10008.1.1"


def states() -> dict[str, str]:
    return {step.name: step.state for step in first_steps.overview(site_settings.get_all()).steps}


def knock(title: str = "VIEWER3") -> None:
    refused_callers.record(
        calling=title, called="PORTICO", address="10.0.4.17", reason="unknown", message="Not registered."
    )


def an_association(counts: dict[str, dict[str, int]]) -> None:
    """One that the first peer has had with us."""
    Association.create(peer=1, role="acceptor", calling="CT1", called="PORTICO", address="10.0.4.17", counts=counts)


def test_an_empty_site_says_what_to_do_and_who_signs_in_sees_it_first(visitor: Visitor) -> None:
    page = visitor.get("/").text

    assert "Set up Portico" in page
    assert "0 of 4 done" in page
    assert set(states().values()) == {"todo"}
    assert 'hx-get="/first-steps/now?' in page


def test_a_step_waits_until_it_has_worked(visitor: Visitor, admin: Actor, dimse: None) -> None:
    assert states()["dimse"] == "failed"

    knock()
    assert states()["peer"] == "waiting"
    assert "Connection attempt from VIEWER3 at 10.0.4.17" in text_of(visitor.get("/").text)
    peers.register("CT1", ae_title="CT1", actor=admin)
    assert "CT1 is registered. It has neither called nor answered yet." in text_of(visitor.get("/").text)
    Peer.update(last_answered=now()).execute()
    assert "CT1 answered our C-ECHO. It has not called yet." in text_of(visitor.get("/").text)
    Peer.update(last_seen=now(), services=["echo", "store"]).execute()
    assert "CT1 has called. Now send a study from it." in text_of(visitor.get("/").text)
    an_association({"echo": {"done": 1, "failed": 0}})
    assert states()["peer"] == "waiting"
    an_association({"store": {"done": 3, "failed": 0}})
    assert "CT1 sent objects just now" in text_of(visitor.get("/").text)

    device = devices.add("importer", actor=admin)
    assert "importer has no key yet." in text_of(visitor.get("/").text)
    api_keys.issue(device, name="first", actor=admin)
    assert "The key first of importer has not been used yet." in text_of(visitor.get("/").text)
    ApiKey.update(last_used=now()).execute()
    assert "The key first of importer was used just now" in text_of(visitor.get("/").text)

    storages.add("mirror", "fs", path=str(runtime.current().storage_roots[0] / "m"), actor=admin)
    assert "mirror has not been tested yet." in text_of(visitor.get("/").text)
    storages.record_test(1, state="failed", message="The folder is not there.")
    assert "mirror: The folder is not there." in text_of(visitor.get("/").text)
    Storage.update(state="ok", since=now()).execute()
    assert "mirror: the test wrote an object and read it back, since just now" in text_of(visitor.get("/").text)
    assert list(states().values()) == ["failed", "done", "done", "done"]


def test_a_site_that_holds_something_shows_how_it_stands_above_the_steps_that_are_left(
    visitor: Visitor, admin: Actor
) -> None:
    store(an_object(), a_project("one", actor=admin))

    page = text_of(visitor.get("/").text)

    assert "Set up Portico" not in page
    assert page.index("Archive") < page.index("0 of 4 done")


def test_a_step_is_left_taken_up_again_and_all_are_hidden_and_found_again(visitor: Visitor) -> None:
    for name in site_settings.FIRST_STEPS:
        assert "First steps" in visitor.get("/").text
        visitor.post(f"/first-steps/{name}/leave")
    assert "First steps" not in visitor.get("/").text

    there = visitor.get("/first-steps/").text
    assert there.count("Skipped.") == 4
    assert "hx-get" not in there
    visitor.post("/first-steps/key/take-up")
    assert "First steps" in visitor.get("/").text
    visitor.post("/first-steps/hide")
    assert "First steps" not in visitor.get("/").text
    assert "/first-steps/" in visitor.get("/settings/").text
    assert "Show on Home" in visitor.get("/first-steps/").text
    visitor.post("/first-steps/show")
    assert "First steps" in visitor.get("/").text


def test_a_step_that_is_none_is_refused(visitor: Visitor) -> None:
    assert visitor.post("/first-steps/nothing/leave").status_code == 422
    assert site_settings.get("first_steps.left") == []


def test_the_steps_answer_only_when_something_else_is_to_be_shown(visitor: Visitor, admin: Actor) -> None:
    page = visitor.get("/").text
    asks = re.search(r'hx-get="(/first-steps/now[^"]*)"', page)
    assert asks is not None
    path = asks[1].replace("&amp;", "&")

    assert visitor.get(path).status_code == 204
    devices.add("importer", actor=admin)
    fresh = visitor.get(path)

    assert fresh.status_code == 200
    assert "importer has no key yet." in text_of(fresh.text)
    assert "<html" not in fresh.text


def test_the_steps_are_for_site_admins(reader: Visitor, stranger: Visitor) -> None:
    for path in ("/first-steps/", "/first-steps/now"):
        assert reader.get(path).status_code == 403
        assert stranger.get(path).status_code == 303
    assert reader.post("/first-steps/hide").status_code == 403


def test_the_first_page_asks_the_database_at_most_fifteen_times(
    visitor: Visitor, admin: Actor, dimse: None, app: Flask
) -> None:
    knock()
    peers.register("CT1", ae_title="CT1", actor=admin)
    api_keys.issue(devices.add("importer", actor=admin), name="first", actor=admin)
    storages.add("mirror", "fs", path=str(runtime.current().storage_roots[0] / "m"), actor=admin)
    for path in ("/", "/first-steps/"):
        with statements() as sent:
            assert visitor.get(path).status_code == 200
        assert len(sent) <= MOST_STATEMENTS, "\n".join(sent)


@pytest.fixture
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A site of which only the first admin is there, run by `portal up`."""
    account = {"PORTAL_ADMIN_EMAIL": EMAIL, "PORTAL_ADMIN_PASSWORD": PASSWORD}
    up = Up(tmp_path_factory.mktemp("empty") / "data", environ=account)
    up.start()
    try:
        up.ready()
        yield up
    finally:
        up.end()


def calls(up: Up, title: str) -> bool:
    """An echo of a viewer; whether it was taken."""
    ae = AE(title)
    ae.add_requested_context(VERIFICATION)
    assoc = ae.associate("127.0.0.1", up.dimse_port, ae_title="PORTICO")
    if not assoc.is_established:
        return False
    status = assoc.send_c_echo()
    assoc.release()
    return "Status" in status and status.Status == 0


@pytest.mark.xdist_group("browser")
@pytest.mark.timeout(300)
def test_the_first_run_leads_through_four_steps_and_tells_live_when_each_has_worked(
    browser: Browser, empty: Up
) -> None:
    person = person_at(browser, empty.url)
    person.signs_in()
    walks(person, NEW, folder=empty.data)
    person.goes("/")
    home, acting = person.page, person.page.context.new_page()
    steps = home.locator("#first-steps")
    expect(steps).to_contain_text("0 of 4 done")

    _enable_dimse_by_keyboard(acting, empty)
    expect(home.locator("#step-dimse")).to_contain_text(f"PORTICO listens on 127.0.0.1:{empty.dimse_port}, since")

    assert not calls(empty, "VIEWER3")
    expect(home.locator("#step-peer")).to_contain_text("Connection attempt from VIEWER3 at 127.0.0.1")
    _take_the_picture(person, empty.data)
    _leave_and_take_up(home)
    home.get_by_role("link", name="Register VIEWER3").press("Enter")
    expect(home.get_by_role("heading", name="New peer", level=1)).to_be_visible()
    home.get_by_role("button", name="Register peer").press("Enter")
    expect(home.get_by_role("heading", name="VIEWER3", level=1)).to_be_visible()
    person.goes("/")
    expect(home.locator("#step-peer")).to_contain_text("It has neither called nor answered yet")
    assert calls(empty, "VIEWER3")
    expect(home.locator("#step-peer")).to_contain_text("VIEWER3 sent a C-ECHO")

    secret = _new_key(acting, empty)
    expect(home.locator("#step-key")).to_contain_text("has not been used yet")
    answer = requests.get(f"{empty.url}/api/auth/status", headers={"Authorization": f"Bearer {secret}"}, timeout=10)
    assert answer.status_code == 200
    expect(home.locator("#step-key")).to_contain_text("The key first of importer was used")

    _new_storage(acting, empty)
    expect(home.locator("#step-storage")).to_contain_text("the test wrote an object and read it back", timeout=60_000)
    expect(steps).to_contain_text("4 of 4 done")
    expect(steps).not_to_have_attribute("hx-get", re.compile("."))
    person.goes("/")
    expect(home.get_by_role("heading", name="First steps")).to_have_count(0)
    person.page.context.close()
    assert person.complaints == []


def _enable_dimse_by_keyboard(page: Page, up: Up) -> None:
    page.goto(f"{up.url}/")
    page.get_by_role("link", name="Enable in Settings").press("Enter")
    page.get_by_label("DIMSE service enabled").press("Space")
    page.get_by_label("Address to listen on").fill("127.0.0.1")
    page.get_by_label("Port", exact=True).fill(str(up.dimse_port))
    page.keyboard.press("Enter")
    expect(page.get_by_text("DIMSE service enabled: from off to on")).to_be_visible()
    expect(page.locator("#listener")).to_contain_text(f"Listening on 127.0.0.1:{up.dimse_port} since")
    expect(page.locator("#listener")).not_to_have_attribute("hx-get", re.compile("."))


def _leave_and_take_up(home: Page) -> None:
    home.get_by_role("button", name="Skip: Add an external storage").press("Enter")
    expect(home.locator("#step-storage")).to_contain_text("Skipped.")
    home.get_by_role("button", name="Resume: Add an external storage").press("Enter")
    expect(home.locator("#step-storage")).to_contain_text("Needed only for copies in external storage.")


def _new_key(page: Page, up: Up) -> str:
    page.goto(f"{up.url}/")
    page.locator("#step-key").get_by_role("link", name="New device").click()
    page.get_by_label("Label").fill("importer")
    page.get_by_role("button", name="Add device").click()
    page.get_by_label("Name").fill("first")
    page.get_by_role("button", name="Generate API key").click()
    return page.locator("#secret").inner_text()


def _new_storage(page: Page, up: Up) -> None:
    folder = up.data / "storage" / "mirror"
    folder.mkdir(parents=True)
    page.goto(f"{up.url}/")
    page.locator("#step-storage").get_by_role("link", name="Add storage").click()
    page.get_by_role("link", name="File system").click()
    page.get_by_label("Label").fill("mirror")
    page.get_by_label("Folder").fill(str(folder))
    page.get_by_role("button", name="Save and test").click()
    expect(page.locator("#test")).to_contain_text("Every step of the test passed.", timeout=60_000)


def _take_the_picture(person: Person, folder: Path) -> None:
    """As the guide shows it, and as axe sees it."""
    for width in (390, 1280):
        person.page.set_viewport_size({"width": width, "height": 800})
        assert person.page.evaluate("document.documentElement.scrollWidth") <= width
        rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
        found = Axe().run(person.page, options={"runOnly": rules, "resultTypes": ["violations"]})
        assert found.response["violations"] == []
    takes(person.page, "first-steps", folder)
