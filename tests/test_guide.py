"""The guide: its pictures are pages of a site that really runs, and its links lead somewhere.

`make guide` (GUIDE=1) takes the pictures anew; without it the same walk proves that each page is still as described.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from browser_fixtures import browser_type_launch_args, person_at
from hospital_fixtures import ACCESSION, hospital
from playwright.sync_api import Browser, expect
from up_fixtures import Up

__all__ = ["browser_type_launch_args", "hospital"]

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / "docs" / "guide"
PICTURES = GUIDE / "pictures"
MOST_BYTES = 4_000_000
WIDTH, HEIGHT = 1280, 800
LINK = re.compile(r"\]\(([^)#]+?)(?:#[^)]*)?\)")


@dataclass(frozen=True)
class Stop:
    """A picture, the address that it is taken at, and words that stand there."""

    picture: str
    path: str
    words: str


STOPS = (
    Stop("home", "/", "For the other side"),
    Stop("search", f"/search?q={ACCESSION}", "Studies"),
    Stop("peers", "/interfaces/peers/", "Refused callers"),
    Stop("peer-new", "/interfaces/peers/new", "What it may do"),
    Stop("peer", "/interfaces/peers/2", "For the other side"),
    Stop("devices", "/interfaces/devices/", "Silent for"),
    Stop("device", "/interfaces/devices/1", "Generate API key"),
    Stop("storages", "/interfaces/storages/", "An export needs one."),
    Stop("storage-new", "/interfaces/storages/new?provider=s3", "CA certificate"),
    Stop("storage", "/interfaces/storages/1", "Every step of the test passed."),
    Stop("exports", "/exports/", "objects arrived whole."),
    Stop("export", "/jobs/2", "objects arrived whole."),
    Stop("export-new", "/exports/new?project=neuro/Brain", "As it will be"),
    Stop("dry-run", "/jobs/4", "What would be done"),
    Stop("session", "/data/session/1", "CT room"),
    Stop("file", "/data/file/1", "Digest"),
    Stop("conflicts", "/data/conflicts/", "PatientID"),
    Stop("conflict", "/data/conflicts/1", "Keep"),
    Stop("jobs", "/jobs/", "Echo"),
    Stop("job", "/jobs/3", "Run again"),
    Stop("refused", "/activity/refused", "VIEWER3 is not registered."),
    Stop("audit", "/activity/audit", "setting:changed"),
    Stop("users", "/users/", "radiologist@site.example"),
    Stop("user", "/users/2", "Sees in fact"),
    Stop("settings", "/settings/", "AE title of the site"),
)

ELSEWHERE = {"first-steps"}
"""Pictures of an empty site, which `test_first_steps.py` takes."""


@pytest.mark.xdist_group("hospital")
@pytest.mark.timeout(300)
def test_each_picture_of_the_guide_is_a_page_that_is_there(browser: Browser, hospital: Up) -> None:
    person = person_at(browser, hospital.url, width=WIDTH)
    person.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
    person.signs_in()
    for stop in STOPS:
        person.goes(stop.path)
        expect(person.page.locator("main")).to_contain_text(stop.words)
        person.page.wait_for_load_state("networkidle")
        if os.environ.get("GUIDE"):
            person.page.screenshot(path=PICTURES / f"{stop.picture}.png", scale="css", animations="disabled")
    person.page.context.close()
    assert person.complaints == []


def test_the_guide_shows_each_picture_and_all_are_small() -> None:
    walked = {stop.picture for stop in STOPS} | ELSEWHERE
    shown = {name for page in _pages() for name in re.findall(r"pictures/([a-z-]+)\.png", page.read_text())}
    assert shown == walked == {path.stem for path in PICTURES.glob("*.png")}
    assert sum(path.stat().st_size for path in PICTURES.iterdir()) < MOST_BYTES


def test_each_link_of_the_documentation_leads_to_a_file() -> None:
    lost = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in (ROOT / "README.md", ROOT / "deploy" / "README.md", ROOT / "docs" / "design-system.md", *_pages())
        for target in LINK.findall(page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert lost == []


def test_each_page_of_the_guide_is_in_its_contents() -> None:
    listed = set(LINK.findall((GUIDE / "README.md").read_text()))
    assert {page.name for page in _pages()} - {"README.md"} == {name for name in listed if "/" not in name}


def test_the_design_system_names_no_part_that_is_gone() -> None:
    named = set(re.findall(r"^\| `([a-z_]+)` \|", (ROOT / "docs" / "design-system.md").read_text(), re.MULTILINE))
    assert named <= {path.stem for path in (ROOT / "portal" / "templates" / "_parts").glob("*.html")}


def _pages() -> list[Path]:
    return sorted(GUIDE.glob("*.md"))
