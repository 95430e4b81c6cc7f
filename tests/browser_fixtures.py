"""A site that runs, and a person at Chromium in front of it."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from archive_fixtures import a_project, an_object, store, store_vendor_file
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response, expect
from up_fixtures import Up

from portal import migrations, models, runtime, settings, site_settings
from portal.access.actors import operator
from portal.devices import api_keys, devices
from portal.ingest import conflicts
from portal.peers import peers, refused_callers
from portal.users import users

expect.set_options(timeout=20_000)  # four tests share two cores; what never comes is as wrong after 20 s as after 5
EMAIL, PASSWORD = "admin@site.example", "correct horse battery"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, object]:
    """The system's Chromium, without windows where it has that; it asks nobody on the internet for anything."""
    found = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    return {"executable_path": found, "args": list(FLAGS)}


@dataclass
class Person:
    """What happens on the page beside what is asked for stands in `complaints`."""

    page: Page
    url: str
    complaints: list[str] = field(default_factory=list)
    allowed: set[int] = field(default_factory=set)
    """HTTP codes of errors that the test means to see."""

    def watch(self) -> None:
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        self.page.on("request", self._asked)
        self.page.on("response", self._answered)

    def goes(self, path: str) -> None:
        self.page.goto(f"{self.url}{path}")

    def signs_in(self, email: str = EMAIL) -> None:
        self.goes("/sign-in")
        self.page.get_by_label("E-mail address").fill(email)
        self.page.get_by_label("Password").fill(PASSWORD)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(lambda url: "/sign-in" not in url)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):
            self.complaints.append(f"console: {message.text}")

    def _asked(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme != "data" and f"{parts.scheme}://{parts.netloc}" != self.url:
            self.complaints.append(f"outside: {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400 and response.status not in self.allowed:
            self.complaints.append(f"{response.status}: {response.url}")


def person_at(browser: Browser, url: str, *, width: int = 1280, theme: str = "light") -> Person:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=theme)  # type: ignore[arg-type]
    context.set_default_timeout(20_000)
    person = Person(page=context.new_page(), url=url)
    person.watch()
    return person


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A site with an admin and one project with some data, run by `portal up`."""
    up = Up(tmp_path_factory.mktemp("browser") / "data")
    _furnish(up)
    up.start()
    try:
        up.ready()
        yield up
    finally:
        up.end()


@pytest.fixture
def person(browser: Browser, running: Up) -> Iterator[Person]:
    """Somebody in front of the running site, not signed in."""
    found = person_at(browser, running.url)
    yield found
    found.page.context.close()


def _furnish(up: Up) -> None:
    """What a site has after a while: an account, objects, a conflict, a refused caller."""
    chosen = settings.load(up.data, {"PORTAL_CHEAP_PASSWORDS": "1", "PORTAL_MIN_FREE": "1"})
    runtime.start(chosen)
    migrations.apply(chosen.run / "migrate.lock")
    with models.connection():
        owner, _ = users.add(EMAIL, PASSWORD, True, actor=operator())
        actor = users.actor(owner, "127.0.0.1")
        site_settings.put({"dimse.enabled": True, "dimse.host": "127.0.0.1", "dimse.port": up.dimse_port}, actor=actor)
        project = a_project("trial-a", actor=actor)
        for name in ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm"):
            store_vendor_file(name, project)
        store(an_object("CT_small.dcm", PatientID="another"), project)
        assert conflicts.count() == 1
        refused_callers.refused(
            calling="VIEWER7",
            called="PORTICO",
            address="192.0.2.7",
            reason="unknown",
            sentence="VIEWER7 is not registered.",
        )
        api_keys.issue(devices.add("ct-connector", "connector", actor=actor), name="first key", actor=actor)
        peers.register("Reading room 1", ae_title="VIEWER1", host="127.0.0.1", port="11113", actor=actor)
    runtime.archive().close()
    Path(chosen.data / "storage" / "mirror").mkdir(parents=True)
