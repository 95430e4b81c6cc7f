"""A person at a browser, without the browser: Flask's test client that signs in and sends forms as a page would."""

import html
import logging
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from applications import application
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from portal import site_settings
from portal.access.actors import Actor, operator
from portal.models import User
from portal.settings import Settings
from portal.users import users

PASSWORD = "correct horse battery"
SETTINGS = {
    "name": "West Campus",
    "time_zone": "Europe/Zurich",
    "ae_title": "WEST",
    "host": "127.0.0.1",
    "port": "11113",
    "duplicates": "refuse",
}
"""The form of Settings, filled in."""

MOST_STATEMENTS = 15
"""Statements that a page may send to the database."""

HTMX = {"HX-Request": "true", "HX-Request-Type": "partial"}


@dataclass
class Visitor:
    """Each visitor has an address of its own, so that attempts of one test are not counted in another."""

    client: FlaskClient
    email: str
    address: str

    def get(self, path: str, **kwargs: Any) -> TestResponse:
        return self.client.get(path, environ_base={"REMOTE_ADDR": self.address}, buffered=True, **kwargs)

    def post(self, path: str, data: dict[str, Any] | None = None, **kwargs: Any) -> TestResponse:
        """Send a form with the token that a page has."""
        sent = {"csrf_token": self.token(), **(data or {})}
        return self.client.post(path, data=sent, environ_base={"REMOTE_ADDR": self.address}, **kwargs)

    def token(self) -> str:
        page = self.get("/password")
        return token_in((page if page.status_code == 200 else self.get("/sign-in")).text)

    def is_signed_in(self) -> bool:
        return self.get("/password").status_code == 200

    def sign_in(self, password: str = PASSWORD, **more: str) -> TestResponse:
        return self.post("/sign-in", {"email": self.email, "password": password, **more})


def token_in(page: str) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert found is not None, page
    return html.unescape(found[1])


def text_of(page: str) -> str:
    """What a person reads of a page."""
    body = re.sub(r"<(script|style|svg)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def refusal(answer: TestResponse, sentence: str) -> None:
    """The page says it in words, and the focus is on the field that it belongs to."""
    assert answer.status_code == 422
    assert sentence in text_of(answer.text)
    assert "autofocus" in answer.text


@contextmanager
def statements() -> Iterator[list[str]]:
    """The SQL that is sent meanwhile, as Peewee logs it."""
    found: list[str] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(str(record.args or record.msg))

    log, handler = logging.getLogger("peewee"), Keeping()
    level = log.level
    log.setLevel(logging.DEBUG)
    log.addHandler(handler)
    try:
        yield found
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


def visitor_of(app: Flask, *, is_admin: bool) -> Visitor:
    """An account with a visitor who has not signed in yet."""
    name = secrets.token_hex(4)
    email = f"{'admin' if is_admin else 'reader'}-{name}@site.example"
    users.add(email, PASSWORD, is_admin, actor=operator())
    return Visitor(client=app.test_client(), email=email, address=f"10.{int(name[:2], 16)}.{int(name[2:4], 16)}.7")


def account(visitor: Visitor) -> User:
    found: User = User.get(User.email == visitor.email)
    return found


@pytest.fixture
def app(site: Settings) -> Flask:
    """The application of the test's own site; no queue runs, so attempts are counted in memory."""
    return application(site)


@pytest.fixture
def dimse(app: Flask, admin: Actor) -> None:
    """The DIMSE service is enabled."""
    site_settings.put({"dimse.enabled": True}, actor=admin)


@pytest.fixture
def stranger(app: Flask) -> Visitor:
    """A site admin who has not signed in."""
    return visitor_of(app, is_admin=True)


@pytest.fixture
def visitor(stranger: Visitor) -> Visitor:
    """A site admin who has signed in."""
    assert stranger.sign_in().status_code == 303
    return stranger


@pytest.fixture
def reader(app: Flask) -> Visitor:
    """Somebody who is signed in and no site admin."""
    found = visitor_of(app, is_admin=False)
    assert found.sign_in().status_code == 303
    return found
