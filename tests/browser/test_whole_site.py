"""Portico in a browser, against processes that really run: the main job from sign-in to a finished export."""

import re
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Route, expect

from tests.fixtures.browser import PASSWORD, Person
from tests.fixtures.up import Up

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.timeout(300)]


def test_the_main_job_from_sign_in_to_a_finished_export(person: Person, running: Up) -> None:
    page = person.page
    person.goes("/interfaces/devices/")
    expect(page).to_have_url(f"{running.url}/sign-in?next=/interfaces/devices/")
    page.get_by_label("E-mail address").fill("admin@site.example")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="1 device")).to_be_visible()

    secret = _new_device_with_a_key(person)
    answer = requests.get(
        f"{running.url}/api/auth/status", headers={"Authorization": f"Bearer {secret}"}, timeout=10
    ).json()
    assert answer["is_device"] is True
    assert answer["user_id"] is None

    _new_peer_that_echoes(person, running)
    _new_storage_that_passes(person, running)
    _export_until_it_ends(person)
    mirror = running.data / "storage" / "mirror" / "nightly"
    assert len([path for path in mirror.rglob("*.dcm") if path.is_file()]) == 3
    assert len(list(mirror.rglob("manifest*.json"))) == 1
    assert person.complaints == []


def _new_device_with_a_key(person: Person) -> str:
    page = person.page
    page.get_by_role("link", name="New device").click()
    page.get_by_label("Label").fill("importer-east")
    page.get_by_label("Type").select_option("importer")
    page.get_by_role("button", name="Add device").click()
    expect(page.get_by_text("Generate an API key for it.")).to_be_visible()
    page.get_by_label("Name").fill("rollout")
    page.get_by_role("button", name="Generate API key").click()
    shown = page.locator("#secret")
    expect(shown).to_have_text(re.compile(r"^ptk_[0-9A-Za-z]{53}$"))
    secret = shown.inner_text()
    expect(page).to_have_url(re.compile(r"/devices/\d+$"))  # the script has run: a reload does not send the form again
    page.reload()
    expect(page.get_by_text("1 of 5 live")).to_be_visible()
    assert secret not in page.content()
    return secret


def _new_peer_that_echoes(person: Person, running: Up) -> None:
    """The site itself, as a peer: what we call is then really there."""
    page = person.page
    person.allowed = {422}
    page.get_by_role("link", name="Interfaces").first.click()
    page.get_by_role("link", name="DICOM Peers").click()
    page.get_by_role("link", name="New peer").click()
    page.get_by_label("Label").fill("Ourselves")
    page.get_by_label("AE title", exact=True).fill("VIEWER ROOM THREE")
    page.get_by_label("Host").fill("127.0.0.1")
    page.get_by_label("Port").fill(str(running.dimse_port))
    page.get_by_label("Allowed addresses").fill("127.0.0.1")
    page.get_by_role("button", name="Register peer").click()
    expect(page.get_by_text("VIEWER ROOM THREE has 17 characters; an AE title has at most 16.")).to_be_visible()
    expect(page.get_by_label("AE title", exact=True)).to_be_focused()
    expect(page.get_by_label("Allowed addresses")).to_have_value("127.0.0.1")
    page.get_by_label("AE title", exact=True).fill("PORTICO")
    page.get_by_role("button", name="Register peer").click()
    person.allowed = set()
    expect(page.get_by_role("heading", name="Ourselves")).to_be_visible()
    page.get_by_role("button", name="Send C-ECHO").click()
    expect(page.locator("#test .step-ok")).to_be_visible(timeout=60_000)
    expect(page.locator(".head .st-ok")).to_have_text("OK")


def _new_storage_that_passes(person: Person, running: Up) -> None:
    page = person.page
    person.allowed = {422}
    page.get_by_role("link", name="Interfaces").first.click()
    page.get_by_role("link", name="External Storage").click()
    page.get_by_role("link", name="Add storage").click()
    page.get_by_role("link", name="File system").click()
    page.get_by_label("Label").fill("mirror")
    page.get_by_label("Folder").fill("/etc")
    page.get_by_label("Prefix").fill("nightly")
    page.get_by_role("button", name="Save and test").click()
    expect(page.get_by_label("Folder")).to_be_focused()
    expect(page.locator("#path-e")).to_be_visible()
    page.get_by_label("Folder").fill(str(running.data / "storage" / "mirror"))
    page.get_by_role("button", name="Save and test").click()
    person.allowed = set()
    expect(page.locator("#test")).to_contain_text("Every step of the test passed.", timeout=60_000)
    expect(page.locator("#test .step-ok")).to_have_count(7)
    expect(page.locator(".head .st-ok")).to_have_text("OK")


def _export_until_it_ends(person: Person) -> None:
    page = person.page
    page.get_by_role("link", name="Exports").first.click()
    page.get_by_role("link", name="New export").click()
    page.get_by_label("Project").select_option("neuro/trial-a")
    page.get_by_label("To", exact=True).select_option("mirror")
    page.get_by_role("button", name="Dry run").click()
    expect(page.get_by_role("heading", name="neuro/trial-a to mirror")).to_be_visible()
    expect(page.get_by_text("6 of 6 objects and sidecars would be sent.").first).to_be_visible(timeout=60_000)
    page.get_by_label("I confirm that this disclosure is authorised").check()
    page.get_by_role("button", name="Start export of 3 objects").click()
    expect(page.get_by_text("3 objects exported and verified, each with its sidecar.").first).to_be_visible(
        timeout=60_000
    )
    expect(page.locator(".head .st-ok")).to_have_text("Done")
    expect(page.get_by_text("SHA-256 of the manifest")).to_be_visible()


def test_a_list_is_searched_while_one_types_and_the_address_can_be_kept(person: Person) -> None:
    page = person.page
    person.signs_in()
    person.goes("/interfaces/peers/")
    expect(page.get_by_role("link", name="Reading room 1")).to_be_visible()

    page.get_by_role("searchbox", name="Label, AE title or address").press_sequentially("nobody", delay=20)

    expect(page.get_by_text("None found.")).to_be_visible()
    expect(page.get_by_role("heading", name="0 peers found")).to_be_visible()
    expect(page).to_have_url(re.compile(r"\?q=nobody$"))
    page.reload()
    expect(page.get_by_text("None found.")).to_be_visible()
    assert person.complaints == []


def test_the_back_button_and_a_reload_keep_search_filter_and_order(person: Person) -> None:
    page = person.page
    person.signs_in()
    person.goes("/interfaces/peers/")
    page.get_by_role("searchbox", name="Label, AE title or address").press_sequentially("reading", delay=20)
    expect(page.get_by_role("heading", name="1 peer found")).to_be_visible()
    expect(page.get_by_role("link", name="All 1")).to_be_visible()
    page.get_by_role("link", name="Never tested 1").click()
    page.get_by_role("link", name="Peer", exact=True).click()
    expect(page).to_have_url(re.compile(r"\?q=reading&only=unknown&sort=-label$"))
    page.get_by_role("link", name="Reading room 1").click()
    expect(page.get_by_role("heading", name="Reading room 1")).to_be_visible()

    page.go_back()
    page.reload()

    expect(page.get_by_role("searchbox", name="Label, AE title or address")).to_have_value("reading")
    expect(page.get_by_role("heading", name="1 peer found")).to_be_visible()
    expect(page.locator("th[aria-sort=descending]")).to_have_text("Peer")
    expect(page.get_by_role("link", name="Never tested 1")).to_have_attribute("aria-current", "true")
    page.go_back()
    page.go_back()
    expect(page.get_by_role("link", name="All 1")).to_have_attribute("aria-current", "true")
    assert person.complaints == []


def test_one_box_finds_a_thing_and_a_list_is_taken_away(person: Person) -> None:
    page = person.page
    person.signs_in()
    page.get_by_role("searchbox", name="Search everything").fill("viewer")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Refused callers")).to_be_visible()
    page.get_by_role("link", name="Reading room 1").click()
    expect(page.get_by_role("heading", name="Reading room 1")).to_be_visible()

    person.goes("/interfaces/peers/")
    with page.expect_download() as download:
        page.get_by_role("link", name=re.compile("as CSV")).click()
    assert re.fullmatch(r"peers-\d{4}-\d\d-\d\d\.csv", download.value.suggested_filename)
    assert '"Reading room 1"' in download.value.path().read_text("utf-8-sig")
    assert person.complaints == []


def test_everything_can_be_reached_by_keyboard(person: Person) -> None:
    page = person.page
    person.signs_in()

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.locator("details.who > summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Profile and time zone")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("details.who > summary")).to_be_focused()


def test_a_page_says_that_the_server_is_away(person: Person, running: Up, tmp_path: Path) -> None:
    page = person.page
    person.signs_in()
    person.goes("/interfaces/peers/")
    page.context.set_offline(True)

    page.get_by_role("searchbox", name="Label, AE title or address").press_sequentially("x")

    expect(page.get_by_text("Portico does not respond.")).to_be_visible()


def test_a_page_says_that_the_server_is_slow_and_takes_it_back(person: Person) -> None:
    page = person.page
    person.signs_in()
    person.goes("/interfaces/peers/")
    held: list[Route] = []
    page.route(re.compile("/interfaces/peers/.q="), lambda route: held.append(route))

    page.get_by_role("searchbox", name="Label, AE title or address").press_sequentially("x")
    expect(page.get_by_text("Portico is slow to respond.")).to_be_visible()
    held[0].continue_()

    expect(page.get_by_text("None found.")).to_be_visible()
    expect(page.get_by_text("Portico is slow to respond.")).to_be_hidden()
