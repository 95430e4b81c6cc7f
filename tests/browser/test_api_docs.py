"""The description of the REST interface by keyboard: found, opened, copied from, and left again."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.fixtures.browser import Person

pytestmark = pytest.mark.xdist_group("browser")


def test_an_address_is_found_opened_and_its_example_copied_by_keyboard(person: Person) -> None:
    page = person.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    person.goes("/api/docs")
    _tabs_to(page, "Address or what it does")
    page.keyboard.type("rotating")
    expect(page.locator("#list")).to_contain_text("No results for")
    page.keyboard.press("Control+A")
    page.keyboard.type("device key")
    expect(page.locator("#list")).to_contain_text("POST /api/devices/{device_id}/key")
    expect(page).to_have_url(re.compile(r"\?q=device"))
    _tabs_to(page, "POST /api/devices/{device_id}/key")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/api/docs/devices#"))
    expect(page.locator(":target")).to_be_in_viewport()
    _tabs_to(page, "Errors")
    page.keyboard.press("Enter")
    expect(page.locator("details[open]")).to_contain_text("429")
    _tabs_to(page, "Copy example of POST /api/devices/{device_id}/key")
    page.keyboard.press("Enter")
    assert "curl" in page.evaluate("navigator.clipboard.readText()")
    page.go_back()
    expect(page.get_by_label("Address or what it does")).to_have_value("device key")


def _tabs_to(page: Page, name: str) -> None:
    """Press Tab until what has this name is in focus: it is reached, and nothing keeps the focus before it."""
    for _ in range(200):
        page.keyboard.press("Tab")
        named = "e => e.getAttribute('aria-label') || e.innerText || ''"
        if page.locator(":focus").evaluate(named).strip().startswith(name):
            return
    raise AssertionError(f"{name} is not reached by Tab")
