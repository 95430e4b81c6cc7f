"""An export in a browser, from its form over the dry run to its end: by keyboard, on a small screen, for everybody."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser_fixtures import Person, browser_type_launch_args, person, running
from playwright.sync_api import Page, expect
from up_fixtures import Up

from portal import models
from portal.provenance import operator
from portal.storage import storages

__all__ = ["browser_type_launch_args", "person", "running"]
pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.timeout(300)]

SMALL = {"width": 390, "height": 800}


def test_an_export_by_rules_is_tried_mended_confirmed_and_done(person: Person, running: Up) -> None:
    page = person.page
    with models.connection():
        storages.add("mirror", "fs", path=str(running.data / "storage" / "mirror"), actor=operator())
    page.context.add_init_script(Axe().axe_script)
    person.signs_in()
    person.goes("/exports/new?project=neuro/trial-a")
    _read(page)

    page.get_by_label("If one of these is so").fill("modality is MRT or CT")
    page.get_by_label("Path of each object").fill("{project}/{colour}")
    expect(page.locator("#preview")).to_contain_text("There is no field {colour}.")
    page.get_by_label("Path of each object").fill("scan.dcm")
    expect(page.locator("#preview mark")).to_have_text(["scan.dcm"])
    expect(page.locator("#preview")).to_contain_text("No rule takes it.")

    _press(page, "Add rule")
    expect(page.get_by_label("Takes").nth(1)).to_be_focused()
    page.get_by_label("If one of these is so").nth(1).fill("red is good")
    person.allowed = {422}
    _press(page, "Dry run")
    expect(page.get_by_label("If one of these is so").nth(1)).to_be_focused()
    expect(page.locator("#include_2-e")).to_contain_text("does not begin with a field")
    person.allowed = set()
    page.get_by_label("If one of these is so").nth(1).fill("modality is MR")
    page.get_by_label("Path of each object").nth(1).fill("Scan.dcm")
    _press(page, "Dry run")
    expect(page.get_by_text("2 share a path with another one: change the paths.").first).to_be_visible(timeout=60_000)
    _read(page)

    page.get_by_role("link", name="Change…").press("Enter")
    page.get_by_label("Path of each object").nth(1).fill("{modality}/{file}")
    _press(page, "Dry run")
    expect(page.get_by_text("2 of 2 objects would be sent.").first).to_be_visible(timeout=60_000)
    page.get_by_role("link", name="1 object left here").press("Enter")
    expect(page.get_by_role("heading", name="1 item found")).to_be_visible()
    person.allowed = {422}
    _press(page, "Start export of 2 objects")
    expect(page.get_by_text("tick that this is allowed")).to_be_visible()
    person.allowed = set()
    page.get_by_label("I know, and it is allowed").press("Space")
    _press(page, "Start export of 2 objects")

    done = "2 objects arrived whole. 1 that no rule takes stayed here."
    expect(page.get_by_text(done).first).to_be_visible(timeout=60_000)
    expect(page.get_by_role("link", name="Export again…")).to_be_visible()
    assert person.complaints == []


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
        assert page.evaluate("async () => (await axe.run()).violations.map(one => [one.id, one.nodes[0].html])") == []
    page.set_viewport_size(usual)
    expect(page.locator("h1")).to_have_text(re.compile("."))
