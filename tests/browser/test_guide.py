"""The guide: its pictures are pages of a site that really runs, and its links lead somewhere.

`make guide` (GUIDE=1) takes the pictures anew; without it the same walk proves that each page is still as described.
"""

import itertools
import re
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Browser

from portal import models
from portal.models import ApiKey
from tests.fixtures.browser import person_at
from tests.fixtures.guide import LIVE, NEW, NOBODY, PICTURES, SAME_PAGE, STOPS, walks
from tests.fixtures.pages import ANSWERS, rules
from tests.fixtures.up import Up

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "guide"
MOST_BYTES = 7_000_000
LINK = re.compile(r"\]\(([^)#]+?)(?:#[^)]*)?\)")
SHOWN = re.compile(r"!\[([^\]]*)\]\((?:docs/guide/)?pictures/([a-z-]+)\.png\)")


@pytest.mark.xdist_group("hospital")
@pytest.mark.timeout(300)
def test_each_picture_of_the_guide_is_a_page_that_is_there(browser: Browser, hospital: Up) -> None:
    with models.connection():
        keys = {"key": ApiKey.get(ApiKey.owner_id == 1), "old_key": ApiKey.get(ApiKey.owner_id == 2)}
        names = {name: key.key_id for name, key in keys.items()}
    for who in dict.fromkeys(stop.who for stop in STOPS):
        person = person_at(browser, hospital.url)
        if who != NOBODY:
            person.signs_in(who)
        walks(person, [stop for stop in STOPS if stop.who == who], names, folder=hospital.data)
        person.page.context.close()
        assert person.complaints == []


def test_the_guide_pictures_every_page_or_says_which_one_looks_the_same(app: Flask) -> None:
    """Whoever adds a page adds a stop, or a line to SAME_PAGE."""
    urls = app.url_map.bind("localhost")
    pictured = {urls.match(stop.path.partition("?")[0])[0] for stop in (*STOPS, *NEW) if stop.code == 200}
    assert pictured | set(SAME_PAGE) == rules(app, "GET") - set(ANSWERS)
    assert not pictured & set(SAME_PAGE)
    assert {other for other, _ in SAME_PAGE.values()} <= pictured


def test_the_guide_shows_each_picture_and_all_are_small() -> None:
    walked = {stop.picture for stop in (*STOPS, *NEW)} | LIVE
    shown = {name for page in _pages() for _, name in SHOWN.findall(page.read_text())}
    assert shown == walked == {path.stem for path in PICTURES.glob("*.png")}
    assert sum(path.stat().st_size for path in PICTURES.iterdir()) < MOST_BYTES


def test_each_picture_says_what_it_shows_and_follows_a_sentence() -> None:
    for page in _pages():
        blocks = page.read_text().split("\n\n")
        for before, block in itertools.pairwise(blocks):
            if found := SHOWN.match(block):
                assert found[1], f"{page.name}: {found[2]}"
                assert before.rstrip().endswith((".", ":")), f"{page.name}: no sentence before {found[2]}"


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


def test_the_design_system_names_each_part_and_none_that_is_gone() -> None:
    named = re.findall(r"^\| `([a-z_]+)` \|", (ROOT / "docs" / "design-system.md").read_text(), re.MULTILINE)
    assert named == sorted(path.stem for path in (ROOT / "portal" / "templates" / "_parts").glob("*.html"))


def _pages() -> list[Path]:
    return sorted(GUIDE.glob("*.md"))
