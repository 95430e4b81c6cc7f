"""What an admin comes with: each question is answered from the front page in at most three clicks."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.fixtures.browser import Person, person_at
from tests.fixtures.hospital import ACCESSION, ANN, READER, SERIES
from tests.fixtures.up import Up

pytestmark = [pytest.mark.xdist_group("hospital"), pytest.mark.timeout(300)]

MOST = 3


class Asking:
    """Somebody on the front page, who counts: a click is one, and so is a search."""

    def __init__(self, person: Person) -> None:
        self.person, self.page, self.clicks = person, person.page, 0

    def clicks_on(self, target: Locator) -> None:
        self.clicks += 1
        target.click()

    def link(self, name: str, *, within: str = "body", exact: bool = False) -> None:
        self.clicks_on(self.page.locator(within).get_by_role("link", name=name, exact=exact).first)

    def searches(self, text: str) -> None:
        self.clicks += 1
        box = self.page.get_by_role("searchbox", name="Search everything")
        box.fill(text)
        box.press("Enter")
        expect(self.page.get_by_role("heading", level=1)).to_contain_text(text)

    def reads(self, *messages: str) -> None:
        for message in messages:
            expect(self.page.locator("body")).to_contain_text(message)


@pytest.fixture
def asking(browser: Browser, hospital: Up) -> Iterator[Asking]:
    person = person_at(browser, hospital.url)
    person.signs_in()
    found = Asking(person)
    yield found
    person.page.context.close()
    assert found.clicks <= MOST
    assert person.complaints == []


def row(page: Page, words: str) -> Locator:
    return page.get_by_role("row").filter(has_text=words)


def test_why_was_viewer3_refused(asking: Asking) -> None:
    asking.searches("VIEWER3")
    asking.reads("VIEWER3 is not registered.", "10.0.4.17")


def test_who_put_this_series_here_and_when(asking: Asking) -> None:
    asking.searches(SERIES)
    asking.clicks_on(asking.page.get_by_label("Series", exact=True).get_by_role("link").first)
    asking.reads(SERIES, "CT room")
    expect(asking.page.locator("main time").first).to_contain_text("ago")


def test_which_key_expires_next(asking: Asking) -> None:
    asking.link("device key expires", within=".alerts")
    asking.reads("ct-connector", "first key", "in 8 days")


def test_which_program_still_uses_the_old_key(asking: Asking) -> None:
    asking.link("Interfaces", within=".side")
    asking.link("trial-importer", within="#list")
    expect(row(asking.page, "first key").first).to_contain_text("Still used 12 min ago from 10.0.4.30 and 1 more")
    asking.link("first key", within="main")
    asking.reads("Still used 12 min ago from 10.0.4.30 and 1 more.", "10.0.4.31", "nightly.sh")


def test_did_last_nights_export_arrive_whole(asking: Asking) -> None:
    asking.link("Exports", within=".side")
    last = row(asking.page, "neuro/Brain")
    expect(last).to_contain_text("objects exported and verified.")
    expect(last.get_by_text("Done", exact=True)).to_be_visible()
    expect(last).to_contain_text("9 h ago")


def test_which_peers_were_silent_today(asking: Asking) -> None:
    asking.link("Interfaces", within=".side")
    asking.link("DICOM Peers")
    asking.link("Silent", within=".chips")
    asking.reads("1 peer found")
    expect(row(asking.page, "Reading room 1").get_by_text("Silent", exact=True)).to_be_visible()
    expect(asking.page.locator("#list")).not_to_contain_text("CT room")


def test_what_is_this_peer_allowed_to_see(asking: Asking) -> None:
    asking.searches("VIEWER1")
    asking.link("Reading room 1", within="main")
    asking.reads("neuro/Brain", "read")
    expect(asking.page.locator("main")).not_to_contain_text("neuro/Spine")


def test_why_did_this_job_fail_and_what_do_i_press(asking: Asking) -> None:
    asking.link("Jobs", within=".side")
    asking.link("Failed", within=".chips")
    asking.link("Reading room 1", within="#list")
    asking.reads("Failed")
    expect(asking.page.get_by_role("alert")).to_contain_text("127.0.0.1")
    expect(asking.page.get_by_role("button", name="Run again")).to_be_visible()


def test_where_is_this_accession(asking: Asking) -> None:
    asking.searches(ACCESSION)
    asking.clicks_on(asking.page.get_by_label("Studies", exact=True).get_by_role("link").first)
    asking.reads("neuro/Brain", ACCESSION)


def test_what_changed_in_the_settings_last_week(asking: Asking) -> None:
    asking.link("Settings", within=".side")
    asking.link("All changes")
    changed = row(asking.page, "dimse.echo_anyone")
    expect(changed).to_contain_text("no → yes")
    expect(changed).to_contain_text("admin@site.example")


def test_who_fetched_this_study_last_week(asking: Asking) -> None:
    asking.searches(f"{SERIES}.1")
    asking.clicks_on(asking.page.get_by_label("Studies", exact=True).get_by_role("link").first)
    asking.link("Who has seen it")
    fetched = row(asking.page, "Reading room 1")
    expect(fetched).to_contain_text("6 instances by get")
    expect(fetched).to_contain_text("10.0.4.12")
    asking.reads(ANN)


def test_what_did_ann_do_yesterday(asking: Asking) -> None:
    asking.link("Users", within=".side")
    asking.link(ANN, within="#list")
    asking.link("yesterday", within="main", exact=True)
    asking.reads("3 events found", "downloaded session", "6 files", "changed project Brain")


def test_who_may_see_this_project(asking: Asking) -> None:
    asking.link("Data", within=".side")
    asking.link("neuro/Brain", within="#list")
    asking.link("Access", within="main")
    asking.reads(READER, "Reading room 1", "CT room", ANN)


def test_what_is_filling_the_disk(asking: Asking) -> None:
    asking.link("Disk usage", within="main")
    asking.reads("Archive", "Database", "Everything else", "Trash", "Recent uploads by source")
    first = asking.page.locator("#list").get_by_role("row").nth(1)
    expect(first).to_contain_text("neuro/Brain")
    expect(first).to_contain_text("kB")


def test_was_anything_changed_or_lost_behind_our_back(asking: Asking) -> None:
    asking.link("Activity", within=".side")
    asking.link("Verification", within="main")
    asking.reads("Last verification", "Next verification")
