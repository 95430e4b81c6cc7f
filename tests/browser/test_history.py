"""Lists in a browser: back, forward and a reload bring each page, filter, order and search again, by keyboard alone."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from portal import runtime
from portal.access import readings
from portal.devices import devices
from portal.jobs import jobs
from portal.models import Acquisition, Association, Conflict, File, JobItem, Schedule, Session, Subject, Trash, writing
from portal.peers import peers, refused_callers
from portal.storage import storages
from portal.tree import projects
from portal.users import grants, users
from tests.fixtures.browser import EMAIL, person_at
from tests.fixtures.pages import LEFT_ICON, PAGES, Served, live_in, serve, the_admin
from tests.fixtures.web import Visitor

pytestmark = [pytest.mark.xdist_group("history"), pytest.mark.timeout(120), LEFT_ICON]

MANY = 51
"""More than a page has."""
LISTS = {
    "/data/": "many-1",
    "/data/project/{project}": "many-1",
    "/data/project/{project}/files": "many-1",
    "/data/subject/{subject}": "many-1",
    "/data/session/{session}": "many-1",
    "/data/acquisition/{acquisition}": "many-1",
    "/data/file/{file}/header": "Patient",
    "/data/file/{zip}/instance/{instance}/header": "Patient",
    "/data/projects/{project}/access": "many-1",
    "/data/session/{session}/readers": "admin",
    "/data/trash": "many-1",
    "/data/conflicts/": "1.3",
    "/disk/": "many-1",
    "/exports/": "many-1",
    "/exports/schedules/": "many-1",
    "/imports/": "many-1",
    "/jobs/": "many-1",
    "/jobs/{failed}": "many-1",
    "/activity/": "MANY1",
    "/activity/refused": "MANY1",
    "/activity/verification/": "pwned",
    "/api/docs": "devices",
    "/interfaces/devices/": "many-1",
    "/interfaces/peers/": "many-1",
    "/interfaces/storages/": "many-1",
    "/users/": "many-1",
}
"""Each list, and what is typed into its search box."""
OFTEN = ("/data/session/{session}", "/jobs/{failed}", "/activity/refused", "/interfaces/peers/", "/disk/")
"""One of each kind, which `make test` walks; `make prove` walks all."""
ROWS = """(page) => [...page.querySelectorAll('#list tbody tr, #list :is(.thumbs, .hits) > li')].map(row => {
  const shown = row.cloneNode(true);
  shown.querySelectorAll('time').forEach(time => time.remove());
  return shown.textContent.replace(/\\d+ (s|min)\\b/g, '').replace(/\\s+/g, ' ').trim();
})"""
"""What the rows say, but for how long ago it was, or lasts."""
WHOLE = f"""async () => ({ROWS})(
  new DOMParser().parseFromString(await (await fetch(location.href)).text(), "text/html")
)"""
"""What they say where the address is asked for anew."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("history") / "data") as found:
        live_in(found)
        _add_many(found.names)
        yield found


def _add_many(names: dict[str, Any]) -> None:
    actor, blob = the_admin(), File.get_by_id(names["file"]).blob
    for number in range(MANY):
        label, title = f"many-{number}", f"MANY{number}"
        projects.add(f"neuro/{label}", actor=actor)
        devices.add(label, actor=actor)
        peers.register(label, ae_title=title, actor=actor)
        storages.add(label, "fs", path=str(runtime.current().storage_roots[0] / label), actor=actor)
        user, _password = users.add(f"{label}@site.example", "long enough", actor=actor)
        grants.add(user.id, "neuro", "ro", actor=actor)
        refused_callers.record(calling=title, called="US", address="10.0.0.1", reason="unknown", message="Not known.")
    readings.record_view(actor, names["session"])
    with writing():
        for number in range(MANY):
            label = f"many-{number}"
            Subject.create(project=names["project"], label=label, patient_id=label)
            Session.create(subject=names["subject"], label=label, uid=f"1.8.{number}")
            Acquisition.create(session=names["session"], label=label, uid=f"1.7.{number}")
            for kind in ("acquisition", "project"):
                file = File.create(parent_type=kind, parent_id=names[kind], name=label, blob=blob)
            own = {"file": file, "project": names["project"], "sop_uid": f"1.9.{number}"}
            Conflict.create(**own, kind="content", message="It differs.")
            Trash.create(kind="file", target=file.id, project=names["project"], label=label, files=1, size=1)
            Association.create(role="acceptor", calling=f"MANY{number}", called="US", address="10.0.0.1")
            JobItem.create(job=names["failed"], key=label, state="verified")
            for kind in ("export", "import"):
                place = {"path": label, "to": label, "of": label, "prefix": "", "by": "path"}
                jobs.create(kind, actor=actor, params=place, what=f"{label} to {label}")
            params = {"path": label, "to": label, "project": names["project"], "storage": names["bucket"]}
            Schedule.create(label=label, cron="0 2 * * *", params=params, confirmed_by=EMAIL)


@pytest.fixture
def visitor(served: Served) -> Visitor:
    found = Visitor(client=served.app.test_client(), email=EMAIL, address="127.0.0.1")
    assert found.sign_in().status_code == 303
    return found


def test_every_list_is_here(served: Served, visitor: Visitor) -> None:
    """Whoever adds a list says here what is searched for in it."""
    pages = {address.partition("?")[0] for addresses in PAGES.values() for address in addresses} - {"/sign-in"}
    lists = {path for path in pages if 'hx-target="#list"' in visitor.get(served.at(path)).text}
    assert lists >= set(LISTS)
    assert {_kind(path) for path in lists} == {_kind(path) for path in LISTS}


def _kind(path: str) -> str:
    return re.sub(r"\{\w+\}", "", path)


@pytest.mark.parametrize(
    "path", [path if path in OFTEN else pytest.param(path, marks=pytest.mark.prove) for path in LISTS]
)
def test_back_forward_and_a_reload_bring_the_same_rows(
    browser: Browser, served: Served, visitor: Visitor, path: str
) -> None:
    person = person_at(browser, served.url)
    cookie = visitor.client.get_cookie("portico")
    assert cookie
    person.page.context.add_cookies([{"name": "portico", "value": cookie.value, "url": served.url}])
    page = person.page
    person.goes(served.at(path))

    stops = [_stop(page)]
    for links in (page.locator("a[rel=next]"), _fullest_filter(page), page.locator("#list th a")):
        if links.count():
            _follows(page, links.first)
            stops.append(_stop(page))
    stops[-1] = _search(page, LISTS[path])
    for stop in reversed(stops[:-1]):
        page.go_back()
        _is_at(page, stop)
    for stop in stops[1:]:
        page.go_forward()
        _is_at(page, stop)
    if (row := page.locator("#list :is(tbody, .thumbs, .hits) a:not([download], [aria-hidden])")).count():
        _follows(page, row.first)
        page.go_back()
        _is_at(page, stops[-1])
    page.context.close()
    assert person.complaints == []


def _stop(page: Page, *, reload: bool = False) -> tuple[str, list[str]]:
    """Where one is, with the rows that are there; the whole page at that address has the same ones."""
    stop = (page.url, page.evaluate(f"({ROWS})(document)"))
    assert stop[1]
    assert page.evaluate(WHOLE) == stop[1]
    if reload:
        page.reload()
        _is_at(page, stop)
    return stop


def _fullest_filter(page: Page) -> Locator:
    chips = page.locator(".chips a:not([aria-current])")
    counts = [int((re.findall(r"\d+", text) or ["0"])[-1]) for text in chips.all_inner_texts()]
    return chips.nth(counts.index(max(counts))) if counts else chips


def _is_at(page: Page, stop: tuple[str, list[str]]) -> None:
    expect(page).to_have_url(stop[0])
    assert page.evaluate(f"({ROWS})(document)") == stop[1]


def _follows(page: Page, link: Locator) -> None:
    """By keyboard: the link can have the focus, and Enter goes there."""
    link.focus()
    expect(link).to_be_focused()
    before = page.url
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: url != before)


def _search(page: Page, text: str) -> tuple[str, list[str]]:
    """Type into the search box, which keeps the focus while the rows change; a reload keeps what was typed."""
    box = page.locator("main").get_by_role("searchbox")
    box.focus()
    with page.expect_response(lambda answer: f"q={text}" in answer.url):
        page.keyboard.type(text)
    page.wait_for_url(lambda url: f"q={text}" in url)
    expect(box).to_be_focused()
    stop = _stop(page, reload=True)
    expect(box).to_have_value(text)
    return stop
