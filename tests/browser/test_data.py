"""Data in a browser: pictures paged by keyboard, a decision taken and taken back, the trash, a session as a zip."""

import zipfile

import pytest
from playwright.sync_api import expect

from portal import models, runtime
from portal.models import Project
from tests.fixtures.archive import an_object, store
from tests.fixtures.browser import Person
from tests.fixtures.up import Up

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.timeout(300)]


def test_pictures_a_decision_and_the_trash_by_keyboard(person: Person, running: Up) -> None:
    with models.connection():
        store(an_object(SOPInstanceUID="1.2.3", InstanceNumber="2"), Project.get())
    runtime.archive().close()
    person.signs_in()
    page = person.page

    person.goes("/data/session/1")
    picture = page.locator("img.pic").first
    expect(picture).to_have_js_property("complete", True)
    assert picture.evaluate("picture => picture.naturalWidth") == 128

    person.goes("/data/conflicts/1")
    _press(person, "Replace (keep old version)")
    expect(page.locator(".note-ok")).to_contain_text("Decided: this object is shown.")
    _pages_with_the_arrow_keys(person)
    person.goes("/data/conflicts/1")
    _press(person, "Keep current")
    expect(page.get_by_role("heading", name="2 decisions")).to_be_visible()

    person.goes("/data/session/1")
    with page.expect_download() as started:
        page.get_by_role("link", name="Download as zip").click()
    with zipfile.ZipFile(started.value.path()) as packed:
        assert packed.testzip() is None
        assert len(packed.namelist()) == 2

    page.get_by_role("link", name="Move to trash…").press("Enter")
    _press(person, "Move 2 files to trash")
    expect(page.locator(".note-ok")).to_contain_text("is moved to trash")
    person.goes("/data/trash")
    page.get_by_role("button", name="Restore").press("Enter")
    expect(page.locator(".note-ok")).to_contain_text("2 files restored.")
    assert person.complaints == []


@pytest.mark.parametrize("height", [844, 664])
def test_a_phone_shows_the_picture_and_what_pages_through_the_series_at_once(
    person: Person, running: Up, height: int
) -> None:
    long = "1.2.826.0.1.3680043.2.1143.15904296885197201988883336.1."
    with models.connection():
        for number in (1, 2, 3):
            ds = an_object(SOPInstanceUID=f"{long}{height}.{number}", SeriesInstanceUID=f"1.2.{height}")
            store(ds, Project.get())
        series = models.Series.get(models.Series.series_uid == f"1.2.{height}")
    runtime.archive().close()
    person.signs_in()
    page = person.page
    page.set_viewport_size({"width": 390, "height": height})
    person.goes(f"/data/series/{series.id}?frame=2")
    shown = [page.locator(".viewer > img"), page.get_by_role("slider"), page.get_by_role("link", name="Next")]
    for each in shown:
        expect(each).to_be_in_viewport(ratio=1)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert shown[0].bounding_box()["height"] >= 224  # type: ignore[index]


def _pages_with_the_arrow_keys(person: Person) -> None:
    page = person.page
    person.goes("/data/series/1")
    page.get_by_role("slider").press("ArrowRight")
    expect(page.locator("#frame")).to_contain_text("2 of 2")
    expect(page).to_have_url(f"{person.url}/data/series/1?frame=2")
    page.get_by_role("link", name="Previous").press("Enter")
    expect(page.locator("#frame")).to_contain_text("1 of 2")
    expect(page.get_by_role("slider")).to_have_value("1")
    page.go_back()
    expect(page.locator("#frame")).to_contain_text("2 of 2")
    page.reload()
    expect(page.locator("#frame")).to_contain_text("2 of 2")


def _press(person: Person, words: str) -> None:
    person.page.get_by_role("button", name=words).press("Enter")
