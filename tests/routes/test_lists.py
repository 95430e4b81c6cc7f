"""The long lists: counted, searched, filtered, sorted, paged and taken away as CSV, by their addresses alone."""

import csv
import io
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from werkzeug.test import TestResponse

from portal.access.actors import Actor
from portal.devices import api_keys, device_status, devices
from portal.models import Association, Caller, Device, Job, Peer, Storage, now
from portal.peers import peers
from portal.users import users
from portal.web import csv_export, formats
from tests.fixtures.lists import refuse
from tests.fixtures.web import HTMX, MOST_STATEMENTS, Visitor, statements, text_of

LISTS = (
    "/interfaces/devices/",
    "/interfaces/peers/",
    "/interfaces/storages/",
    "/users/",
    "/jobs/",
    "/exports/",
    "/exports/schedules/",
    "/imports/",
    "/exports/schedules/",
    "/activity/",
    "/activity/refused",
    "/activity/audit",
)
FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1")


def first_cells(page: str) -> list[str]:
    """What the first cell of each row says, without its second line."""
    body = page.split("<tbody", 1)[1]
    return re.findall(r'<tr role="row"[^>]*>\s*<td role="cell"[^>]*><(?:a|span) class="t[^>]*>([^<]*)<', body)


def table_in(answer: TestResponse) -> list[list[str]]:
    assert answer.status_code == 200
    assert answer.mimetype == "text/csv"
    assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
    return list(csv.reader(io.StringIO(answer.data.decode("utf-8-sig"), newline="")))


@pytest.mark.parametrize("path", [*LISTS, *(f"/search?q={text}" for text in ("device", "10.0.0.1", "1.2", "7"))])
def test_a_page_asks_the_database_at_most_fifteen_times(visitor: Visitor, full: None, path: str) -> None:
    for query in ("", "q=1&sort=label"):
        with statements() as sent:
            answer = visitor.get(f"{path}{'&' if '?' in path else '?'}{query}")
        assert answer.status_code == 200
        assert len(sent) <= MOST_STATEMENTS, "\n".join(sent)


@pytest.mark.parametrize("path", LISTS)
def test_a_list_is_downloaded_whole_with_heads_and_in_few_statements(visitor: Visitor, full: None, path: str) -> None:
    with statements() as sent:
        rows = table_in(visitor.get(f"{path}?format=csv"))

    assert len({len(row) for row in rows}) == 1
    assert len(rows) > (1 if path == "/users/" else 60)
    assert len(sent) <= MOST_STATEMENTS


def test_a_download_has_what_the_page_was_narrowed_to_in_its_order(visitor: Visitor, admin: Actor) -> None:
    for label in ("beta", "Alpha", "gamma", "alp"):
        devices.add(label, actor=admin)
    devices.disable("gamma", actor=admin)

    narrowed = table_in(visitor.get("/interfaces/devices/?format=csv&only=never&sort=-label&q=a"))

    assert [row[0] for row in narrowed[1:]] == ["beta", "Alpha", "alp"]


def test_filters_have_counts_that_follow_the_search(visitor: Visitor, admin: Actor) -> None:
    one = devices.add("one", actor=admin)
    devices.add("one more", actor=admin)
    devices.add("other", actor=admin)
    devices.disable("one", actor=admin)
    Device.update(interval=60, last_seen=now() - timedelta(hours=1)).where(Device.label == "other").execute()

    page = text_of(visitor.get("/interfaces/devices/").text)
    assert "All 3 Missing 1 Never seen 1 Disabled 1" in page

    part = visitor.get("/interfaces/devices/?q=one", headers=HTMX).text
    assert "All 2 Never seen 1 Disabled 1" in text_of(part)
    assert 'id="narrow" hx-swap-oob="outerMorph"' in part
    assert "q=one&amp;only=disabled" in part
    disabled = visitor.get("/interfaces/devices/?q=one&only=disabled").text
    assert "1 device found" in text_of(disabled)
    assert first_cells(disabled) == [one.label]


def test_each_word_of_a_filter_is_what_the_row_says(visitor: Visitor, admin: Actor) -> None:
    """The state in SQL and in Python are the same."""
    quiet, lively, broken = (devices.add(label, actor=admin) for label in ("quiet", "lively", "broken"))
    for device, interval, ago in ((quiet, 60, 61), (lively, 3600, 5), (broken, 60, 5)):
        seen = now() - timedelta(seconds=ago)
        Device.update(interval=interval, last_seen=seen).where(Device.id == device.id).execute()
    Device.update(errors=["x"]).where(Device.id == broken.id).execute()
    devices.add("silent", actor=admin)
    seen = devices.add("seen", actor=admin)
    Device.update(last_seen=now()).where(Device.id == seen.id).execute()

    for label in ("quiet", "lively", "broken", "silent", "seen"):
        state = device_status.state(devices.get(label))
        assert first_cells(visitor.get(f"/interfaces/devices/?only={state}").text) == [label]


def test_a_column_sorts_both_ways_and_says_which(visitor: Visitor, admin: Actor) -> None:
    for label in ("beta", "Alpha", "gamma"):
        devices.add(label, actor=admin)

    usual = visitor.get("/interfaces/devices/").text
    assert first_cells(usual) == ["Alpha", "beta", "gamma"]
    assert 'aria-sort="ascending"' in usual
    assert "/interfaces/devices/?sort=-label" in usual
    turned = visitor.get("/interfaces/devices/?sort=-label").text
    assert first_cells(turned) == ["gamma", "beta", "Alpha"]
    assert 'aria-sort="descending"' in turned
    for nonsense in ("nothing", "-", "--label", "id;drop"):
        assert first_cells(visitor.get("/interfaces/devices/", query_string={"sort": nonsense}).text) == [
            "Alpha",
            "beta",
            "gamma",
        ]


@pytest.mark.parametrize("path", [path for path in LISTS if path != "/activity/audit"])  # always the latest first
def test_every_column_that_offers_to_sort_does(visitor: Visitor, full: None, path: str) -> None:
    offered = set(re.findall(r'\?sort=([a-z-]+)"', visitor.get(path).text))
    assert offered

    for sort in offered | {name.removeprefix("-") for name in offered}:
        answer = visitor.get(f"{path}?sort={sort}&page=1")
        assert answer.status_code == 200, sort
        assert "aria-sort" in answer.text, sort


def test_every_row_stands_on_one_page_only_and_the_pages_keep_search_and_order(visitor: Visitor, admin: Actor) -> None:
    for number in range(120):
        devices.add(f"device-{number:03}", actor=admin)

    seen: list[str] = []
    path: str | None = "/interfaces/devices/?q=device&sort=-status"
    while path:
        page = visitor.get(path).text
        seen += first_cells(page)
        following = re.search(r'<a href="([^"]+)" rel="next"', page)
        path = following[1].replace("&amp;", "&") if following else None
    assert sorted(seen) == [f"device-{number:03}" for number in range(120)]


def test_a_page_beyond_the_end_says_so_and_leads_back(visitor: Visitor, admin: Actor) -> None:
    devices.add("one", actor=admin)

    page = visitor.get("/interfaces/devices/?page=9").text

    assert "This page is empty; 1 in total." in text_of(page)
    assert 'rel="prev"' in page


def test_upper_and_lower_case_are_alike_in_every_script(visitor: Visitor, admin: Actor) -> None:
    devices.add("ÜBERGANG Ω", actor=admin)

    for typed in ("übergang", "Übergang", "ω", "ÜBER"):
        assert first_cells(visitor.get("/interfaces/devices/", query_string={"q": typed}).text) == ["ÜBERGANG Ω"]
    for nothing in ("%", "_", "\\", "'", '"'):
        assert "None found." in visitor.get("/interfaces/devices/", query_string={"q": nothing}).text


def test_a_device_is_found_by_the_id_of_its_key(visitor: Visitor, admin: Actor) -> None:
    issued = api_keys.issue(devices.add("importer", actor=admin), name="one", actor=admin)
    devices.add("other", actor=admin)

    for typed in (issued.key_id, issued.key_id.lower(), issued.key_id[:7]):
        assert first_cells(visitor.get("/interfaces/devices/", query_string={"q": typed}).text) == ["importer"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_text_that_a_spreadsheet_would_run_gets_an_apostrophe(text: str) -> None:
    line = b"".join(csv_export.lines([[text, 1, -1]])).decode("utf-8-sig")

    assert line == f'"\'{text}",1,-1\r\n'


def test_formulas_and_foreign_text_in_a_download_are_harmless(visitor: Visitor, dimse: None, admin: Actor) -> None:
    refuse("=HYPERLINK(1)")
    refuse('a";=1+1,"b')
    refuse("\u202eevil")

    raw = visitor.get("/activity/refused?format=csv&sort=title")
    titles = [row[0] for row in table_in(raw)[1:]]

    assert titles == ["'=HYPERLINK(1)", 'a";=1+1,"b', "\u202eevil"]
    assert b'"a"";=1+1,""b"' in raw.data


def test_a_download_says_moments_in_utc_and_lists_with_commas(visitor: Visitor, dimse: None, admin: Actor) -> None:
    peers.register("Viewer", ae_title="VIEWER", services=("echo", "find"), addresses=("10.0.0.1",), actor=admin)

    heads, row = table_in(visitor.get("/interfaces/peers/?format=csv"))
    by_head = dict(zip(heads, row, strict=True))

    assert by_head["Allowed services"] == "echo, find"
    assert by_head["Addresses"] == "10.0.0.1/32"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", by_head["Created"])
    assert by_head["Last called us"] == ""


def test_nobody_else_downloads_a_list(stranger: Visitor, dimse: None) -> None:
    for path in LISTS:
        answer = stranger.get(f"{path}?format=csv")
        assert answer.status_code == 303
        assert "/sign-in" in answer.headers["Location"]


Count = Callable[[], int]


@pytest.mark.parametrize(
    ("path", "count"),
    [
        ("/interfaces/devices/", lambda: Device.select().count()),
        ("/interfaces/peers/", lambda: Peer.select().count()),
        ("/interfaces/storages/", lambda: Storage.select().count()),
        ("/activity/refused", lambda: Caller.select().count()),
        ("/activity/", lambda: Association.select().count()),
        ("/jobs/", lambda: Job.select().count()),
        ("/exports/", lambda: Job.select().where(Job.kind == "export").count()),
        ("/users/", lambda: len(users.list_all())),
    ],
)
def test_the_head_counts_all_and_the_filters_add_up(visitor: Visitor, full: None, path: str, count: Count) -> None:
    page = visitor.get(path).text

    assert f"{count()} " in text_of(page.split('id="count"')[1][:60])
    chips = page.split('aria-label="Filter"')[1].split("</ul>")[0]
    whole, *parts = (int(number) for number in re.findall(r'class="n">(\d+)<', chips))
    assert whole == sum(parts) == count()


INTERVALS = ((60, "minute"), (300, "5 min"), (3600, "hour"), (7200, "2 h"), (86400, "day"), (90, "90 s"))


@pytest.mark.parametrize(("seconds", "said"), INTERVALS)
def test_an_interval_is_said_as_people_say_it(seconds: int, said: str) -> None:
    assert formats.interval(seconds) == said
