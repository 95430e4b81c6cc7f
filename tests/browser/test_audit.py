"""The audit log by keyboard: filtered, kept in the address, left and found again."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from portal.access import audit
from portal.devices import devices
from portal.jobs import jobs
from portal.models import writing
from tests.fixtures.browser import Person, person_at
from tests.fixtures.pages import LEFT_ICON, Served, serve, the_admin

pytestmark = [pytest.mark.timeout(120), LEFT_ICON]

MOST_STOPS = 60
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("audit") / "data") as found:
        devices.add("CT Connector", actor=the_admin())
        with writing():
            for number in range(1, 131):
                audit.record(the_admin(), "job:cancelled", "job", number, kind="export")
        assert jobs.list_recent() == []
        yield found


@pytest.fixture
def person(browser: Browser, served: Served) -> Iterator[Person]:
    found = person_at(browser, served.url)
    found.page.context.add_init_script(Axe().axe_script)
    found.signs_in()
    yield found
    found.page.context.close()
    assert found.complaints == []


def goes_to(page: Page, name: str) -> None:
    """Press Tab until the control with this label has the focus."""
    for _ in range(MOST_STOPS):
        page.keyboard.press("Tab")
        if page.evaluate("e => document.activeElement === e", page.get_by_label(name, exact=True).element_handle()):
            return
    raise AssertionError(f"{name} is not reached by Tab")


def test_filters_are_typed_combine_and_stay_in_the_address(person: Person) -> None:
    page = person.page
    person.goes("/activity/audit?day=today")
    goes_to(page, "Who")
    page.keyboard.type("admin")
    goes_to(page, "Kind of event")
    page.keyboard.type("Dev")
    page.keyboard.press("Tab")
    page.keyboard.type("ct connector")
    page.keyboard.press("Enter")
    expect(page.locator("#count")).to_have_text("1 event found")
    expect(page.locator("#list")).to_contain_text("added device CT Connector")
    expect(page.get_by_role("link", name="Today")).to_have_attribute("aria-current", "true")

    page.goto(page.url)  # as a bookmark
    expect(page.locator("#count")).to_have_text("1 event found")
    expect(page.get_by_label("Who")).to_have_value("admin")
    expect(page.get_by_label("Kind of event")).to_have_value("devices")
    page.locator("#list").get_by_role("link", name="CT Connector").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("CT Connector")
    page.go_back()
    expect(page.locator("#count")).to_have_text("1 event found")
    page.get_by_role("link", name="Yesterday").click()
    expect(page.locator("#list")).to_contain_text("No events found")
    assert page.evaluate("async rules => (await axe.run(rules)).violations", RULES) == []
    page.get_by_role("link", name="Remove the filters").click()
    expect(page.locator("#count")).not_to_contain_text("found")


def test_pages_go_to_older_events_and_back_and_the_file_has_all(person: Person) -> None:
    page = person.page
    person.goes("/activity/audit?kind=jobs")
    first = page.locator("#list tbody tr").first.inner_text()
    for _ in range(2):
        page.get_by_role("link", name="Older").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("link", name="Newer")).to_be_visible()
    expect(page.locator("#list tbody tr")).to_have_count(30)
    page.get_by_role("link", name="Latest").click()
    expect(page.locator("#list tbody tr").first).to_contain_text(first.splitlines()[1])
    with page.expect_download() as coming:
        page.get_by_role("link", name="All of these as JSON lines").click()
    assert len(coming.value.path().read_text().splitlines()) == 130
