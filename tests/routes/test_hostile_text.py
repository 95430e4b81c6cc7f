"""What comes from outside is shown, taken away and named in headers as text, whatever it is."""

import csv
import html
import io
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
from werkzeug.test import TestResponse

from portal.access.actors import operator
from portal.models import Audit
from portal.users import users
from portal.web.csv_export import FORMULA_STARTS
from portal.web.security_headers import CONTENT_SECURITY_POLICY
from tests.fixtures.browser import EMAIL, PASSWORD
from tests.fixtures.pages import ANSWERS, ATTACK, NAME, PAGES, TURN, UNSEEN, Served, live_in, serve
from tests.fixtures.web import HTMX, Visitor

DISPOSITION = re.compile(r"attachment; filename=\"[ !#-\[\]-~]*\"; filename\*=UTF-8''([\w!#$&+.^`|~%-]+)", re.ASCII)
KEPT = {"value", "data-copy"}
"""Attributes that have a text as it is, to be sent back or copied."""


class Page(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.made: list[str] = []
        """Elements and attributes that no template of ours has."""
        self.words: list[str] = []
        self._inside = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag
        given = {name: value or "" for name, value in attrs}
        if tag in ("pwned", "style", "iframe") or (tag == "script" and not given.get("src", "").startswith("/static/")):
            self.made.append(self.get_starttag_text() or tag)
        self.made += [name for name in given if name.startswith("on") or name in ("pwned", "style", "srcdoc")]
        self.made += [value for value in given.values() if re.match(r"\s*(javascript|data):", value, re.IGNORECASE)]
        self.words += [value for name, value in given.items() if name not in KEPT]

    def handle_data(self, data: str) -> None:
        if self._inside != "textarea":
            self.words.append(data)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("hostile") / "data") as found:
        live_in(found)
        yield found


@pytest.fixture
def visitor(served: Served) -> Visitor:
    found = Visitor(client=served.app.test_client(), email=EMAIL, address="127.0.0.1")
    assert found.sign_in().status_code == 303
    return found


def harmless(answer: TestResponse, path: str) -> str:
    """What the page says; nothing of it is made by a text from outside."""
    assert answer.status_code == 200, path
    page = Page(answer.text)
    said = "\n".join(page.words)
    assert page.made == [], path
    assert "a=49" not in answer.text, path
    assert TURN not in said, path
    assert UNSEEN not in said, path
    return said


def test_nothing_from_outside_becomes_part_of_a_page_nor_turns_the_text_after_it(
    served: Served, visitor: Visitor
) -> None:
    shown = 0
    for path in map(served.at, [address for addresses in PAGES.values() for address in addresses]):
        if path != "/sign-in":
            shown += "<pwned" in harmless(visitor.get(path), path)
            harmless(visitor.get(path, headers=HTMX), path)
    assert shown > 50

    visitor.client.delete_cookie("portico")
    assert ATTACK in harmless(visitor.get("/sign-in?next=%22%3E%3Cpwned%3E"), "/sign-in")


def test_what_is_typed_comes_back_as_it_was_typed_and_as_text(served: Served, visitor: Visitor) -> None:
    typed = f"{ATTACK}{TURN}{UNSEEN}"

    for path, name in (("/interfaces/devices/new", "label"), ("/interfaces/peers/new", "addresses")):
        answer = visitor.post(path, {"label": "", name: typed})
        assert answer.status_code == 422
        assert Page(answer.text).made == []
        assert typed in html.unescape(answer.text)


def test_no_cell_of_a_download_is_run_by_a_spreadsheet(served: Served, visitor: Visitor) -> None:
    tables = _tables(served, visitor)
    assert len(tables) >= 10
    for path in tables:
        answer = visitor.get(path)
        rows = list(csv.reader(io.StringIO(answer.data.decode("utf-8-sig"), newline="")))
        assert len({len(row) for row in rows}) == 1, path
        assert [cell for row in rows for cell in row if cell.startswith(FORMULA_STARTS)] == [], path
        assert DISPOSITION.fullmatch(answer.headers["Content-Disposition"]), path


def _tables(served: Served, visitor: Visitor) -> set[str]:
    """Where each page says that it can be had as CSV."""
    pages = [visitor.get(served.at(address)).text for addresses in PAGES.values() for address in addresses]
    found = [re.findall(r'href="([^"]*format=csv[^"]*)"', page) for page in pages]
    return {html.unescape(path) for paths in found for path in paths}


def test_a_download_is_named_by_a_header_that_a_name_cannot_leave(served: Served, visitor: Visitor) -> None:
    names = {}
    for endpoint, address in ANSWERS.items():
        answer = visitor.get(served.at(address))
        assert answer.status_code == 200, endpoint
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "pwned" not in str(answer.headers.getlist("Set-Cookie"))
        if endpoint in ("data.download", "data.session_zip", "jobs.report"):
            found = DISPOSITION.fullmatch(answer.headers["Content-Disposition"])
            assert found, answer.headers["Content-Disposition"]
            names[endpoint] = unquote(found[1])
    assert names["data.download"] == NAME


def test_a_head_takes_nothing_away_and_writes_nothing_down(served: Served, visitor: Visitor) -> None:
    # Somebody who has seen no data yet: that a page was seen is recorded once an hour.
    person, _password = users.add("head@site.example", PASSWORD, is_admin=True, actor=operator())
    newcomer = Visitor(client=served.app.test_client(), email=person.email, address="127.0.0.1")
    assert newcomer.sign_in().status_code == 303
    before = Audit.select().count()
    answers = [address for endpoint, address in ANSWERS.items() if endpoint != "static"]
    for path in map(served.at, [*(addresses[0] for addresses in PAGES.values()), *answers]):
        client = newcomer.client if path.startswith("/data/") else visitor.client
        answer = client.head(path, environ_base={"REMOTE_ADDR": visitor.address})
        assert (answer.status_code, answer.data) == (303 if path == "/sign-in" else 200, b""), path
    assert Audit.select().count() == before


def test_a_report_is_one_json_object_a_line(served: Served, visitor: Visitor) -> None:
    lines = visitor.get(served.at(ANSWERS["jobs.report"])).data.splitlines()

    assert len([json.loads(line) for line in lines]) == 2


def test_the_strict_policy_stands_on_every_answer(served: Served, visitor: Visitor) -> None:
    paths = [*(addresses[0] for addresses in PAGES.values()), *ANSWERS.values(), "/nowhere", "/api/version", "/api/x"]
    for path in map(served.at, paths):
        assert visitor.get(path).headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY, path
    assert visitor.post("/users/new").headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'self'; ")
