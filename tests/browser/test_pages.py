"""Every page that the site has, in a browser: for everybody to read, and without a word to anybody else."""

from collections.abc import Iterable, Iterator
from typing import Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Dialog

from portal import site_settings
from tests.fixtures.browser import Person, person_at
from tests.fixtures.pages import ANSWERS, LEFT_ICON, PAGES, Served, live_in, rules, serve, the_admin

pytestmark = [pytest.mark.xdist_group("pages"), pytest.mark.timeout(300), LEFT_ICON]

EVERY = tuple(address for addresses in PAGES.values() for address in addresses if address not in ("/sign-in", "/"))
EMPTY = (
    "/",
    "/data/",
    "/data/conflicts/",
    "/data/trash",
    "/disk/problems",
    "/exports/",
    "/exports/new",
    "/exports/schedules/",
    "/imports/",
    "/imports/new",
    "/jobs/",
    "/activity/",
    "/activity/refused",
    "/interfaces/devices/",
    "/interfaces/peers/",
    "/interfaces/storages/",
    "/search?q=nothing-of-that",
)
"""Pages that say what they are for while there is nothing."""
PARTS = 3
"""A walk over all pages would take longer than a test may."""
Looks = tuple[tuple[int, Literal["light", "dark"]], ...]
LOOKS: Looks = ((1280, "light"), (1280, "dark"), (390, "light"))
EVERY_LOOK: Looks = (*LOOKS, (390, "dark"))
"""`make prove` adds the dark phone: its colours are those of the dark desk."""
BRIEF = {"resultTypes": ["violations"], "selectors": False}
RULES = {
    "light": {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], **BRIEF},
    "dark": {"runOnly": {"type": "rule", "values": ["color-contrast"]}, **BRIEF},
}
"""In the dark only colours differ."""
PHONE = {
    "runOnly": {"type": "rule", "values": ["color-contrast", "target-size", "scrollable-region-focusable"]},
    **BRIEF,
}
"""On a phone the same elements lie in another way; `make prove` runs all rules there too."""
UNFRAMED = """() => {
  document.querySelectorAll(".side, .top, .alerts").forEach(part => part.style.visibility = "hidden");
  document.querySelectorAll(".crumbs").forEach(part => part.style.visibility = "visible");
}"""
"""Hides the frame that all pages have, and leaves all else where it is. It is two thirds of the elements, and axe takes
long to find out how they lie."""
SETTLED = (
    "Promise.all(document.getAnimations().filter(a => a instanceof CSSTransition).map(a => a.finished)).then(() => 1)"
)
PLANTED = "document.querySelectorAll('pwned, [onerror], [pwned], script:not([src])').length + (window.__pwned ? 1 : 0)"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("pages") / "data") as found:
        yield found


@pytest.fixture(scope="module")
def lived_in(served: Served) -> Served:
    """The same site once something stands on each page."""
    live_in(served)
    return served


@pytest.fixture
def person(browser: Browser, served: Served) -> Iterator[Person]:
    found = person_at(browser, served.url)
    found.page.context.add_init_script(Axe().axe_script)
    found.page.emulate_media(reduced_motion="reduce")
    found.page.on("dialog", lambda dialog: _opened(found, dialog))
    yield found
    found.page.context.close()
    assert found.complaints == []


def _opened(person: Person, dialog: Dialog) -> None:
    person.complaints.append(f"dialog: {dialog.message}")
    dialog.dismiss()


def test_every_route_has_an_example_here(served: Served) -> None:
    """Whoever adds a page adds its address to `page_fixtures.PAGES`."""
    assert rules(served.app, "GET") == set(PAGES) | set(ANSWERS)


@pytest.mark.parametrize(
    "looks",
    [LOOKS, pytest.param(EVERY_LOOK, marks=[pytest.mark.prove, pytest.mark.timeout(1800)])],
    ids=["most", "all"],
)
def test_each_page_is_for_everybody_while_it_is_empty(person: Person, looks: Looks) -> None:
    person.goes("/sign-in")
    found = _look(person, "/sign-in", looks)
    person.signs_in()
    site_settings.change({"dimse.enabled": True}, actor=the_admin())
    assert found + _walk(person, EMPTY, looks) == []


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize(
    "looks",
    [LOOKS, pytest.param(EVERY_LOOK, marks=[pytest.mark.prove, pytest.mark.timeout(1800)])],
    ids=["most", "all"],
)
def test_each_page_is_for_everybody_whatever_stands_on_it(
    person: Person, lived_in: Served, looks: Looks, part: int
) -> None:
    person.goes("/sign-in")
    person.signs_in()
    person.allowed = {404}
    found = _walk(person, ["/"], looks)
    addresses = ["/nowhere", *map(lived_in.at, EVERY)]
    assert found + _walk(person, addresses[part::PARTS], looks, framed=looks is EVERY_LOOK) == []


def _walk(person: Person, addresses: Iterable[str], looks: Looks, *, framed: bool = True) -> list[str]:
    """What is wrong with each page, or with what stands within its frame."""
    found = []
    for address in addresses:
        person.goes(address)
        if not framed:
            person.page.evaluate(UNFRAMED)
        found += _look(person, address, looks)
    return found


def _look(person: Person, address: str, looks: Looks) -> list[str]:
    """What is wrong with the page in each of its looks."""
    page, found = person.page, []
    if page.evaluate(PLANTED):
        found.append(f"{address}: a text has become a part of the page")
    for width, theme in looks:
        page.set_viewport_size({"width": width, "height": 800})
        if (wide := page.evaluate("document.documentElement.scrollWidth")) > width:
            found.append(f"{address} at {width}: {wide} px wide")
        page.emulate_media(color_scheme=theme)
        page.evaluate(SETTLED)
        rules = RULES[theme] if width == 1280 or len(looks) > len(LOOKS) or theme == "dark" else PHONE
        violations = page.evaluate("async rules => (await axe.run(rules)).violations", rules)
        for one in violations:
            nodes = "; ".join(node["html"][:160] for node in one["nodes"][:3])
            found.append(f"{address} at {width}, {theme}: {one['id']}: {nodes}")
    return found
