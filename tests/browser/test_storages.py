"""External storage in a browser, against a bucket that really is there: added, mended, tested, exported to."""

import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from redis import Redis

from portal import runtime, settings
from tests.fixtures.browser import Person
from tests.fixtures.stores import SECRET, Running
from tests.fixtures.up import Up

pytestmark = [pytest.mark.xdist_group("stores"), pytest.mark.timeout(300)]

WRONG = "planted-and-wrong-7731"
PATIENCE = 60_000
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"]}


def test_a_bucket_is_added_mended_tested_and_exported_to_and_its_secret_is_nowhere(
    person: Person, running: Up, stores: Running
) -> None:
    config = stores["juicefs"].config
    page = person.page
    page.context.add_init_script(Axe().axe_script)
    page.emulate_media(reduced_motion="reduce")
    person.signs_in()
    person.goes("/interfaces/storages/")

    _choose_the_provider(page)
    _is_refused_without_its_bucket(person, config["endpoint"])
    page.get_by_label("Bucket").fill(config["bucket"])
    page.get_by_label("Access key").fill(config["access_key"])
    page.get_by_label("Secret").fill(WRONG)
    page.get_by_role("button", name="Save and test").press("Enter")
    expect(page.locator("#test .step-bad")).to_contain_text("Signed in", timeout=PATIENCE)
    expect(page.locator("#test")).to_contain_text("Failed Correct this at the storage, or")
    expect(page.locator("#test .step-off").first).to_contain_text("not run")
    expect(page.locator(".head .st-bad")).to_have_text("Failed")

    page.get_by_role("link", name="edit its settings").press("Enter")
    expect(page.get_by_text("Set on ")).to_contain_text("by admin@site.example.")
    expect(page.get_by_label("Secret")).to_have_value("")
    _says_nothing(page)
    page.get_by_label("Prefix").fill("nightly")
    page.get_by_label("Secret").fill(SECRET)
    page.get_by_label("Secret").press("Enter")
    expect(page.locator("#test")).to_contain_text(
        "Portico checks for an existing object before each write.", timeout=PATIENCE
    )
    expect(page.locator(".head .st-warn")).to_have_text("Degraded")
    expect(page.locator("#test")).to_contain_text("Unfinished uploads: none.")

    _export(page)
    person.goes("/interfaces/storages/")
    page.get_by_role("link", name="minio", exact=True).press("Enter")
    expect(page.get_by_label("Exported objects")).to_contain_text("Exports1Objects6")
    expect(page.get_by_label("Exports and imports", exact=True)).to_contain_text(
        "3 objects exported and verified, each with its sidecar."
    )
    expect(page.get_by_label("History")).to_contain_text("Changed, with new credentials")
    _everybody_can_read(page)
    page.get_by_role("link", name="Edit").press("Enter")
    expect(page.get_by_text("Cannot be changed: objects were exported there.").first).to_be_visible()
    _says_nothing(page)
    _nothing_is_left(running)
    assert person.complaints == []


def _choose_the_provider(page: Page) -> None:
    """What was typed stays when another provider is chosen; its address can be kept."""
    page.get_by_role("link", name="Add storage").press("Enter")
    expect(page.get_by_role("link", name="File system")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_label("Label")).to_be_focused()
    page.keyboard.type("minio")
    page.get_by_role("link", name="Azure Blob Storage").press("Enter")
    expect(page.get_by_label("Container")).to_be_visible()
    expect(page.get_by_role("link", name="Azure Blob Storage")).to_be_focused()
    expect(page.get_by_label("Bucket")).to_have_count(0)
    page.get_by_role("link", name="Amazon S3 and compatible").press("Enter")
    expect(page.get_by_label("Bucket")).to_be_visible()
    expect(page.get_by_label("Label")).to_have_value("minio")
    expect(page).to_have_url(re.compile(r"\?provider=s3$"))


def _is_refused_without_its_bucket(person: Person, endpoint: str) -> None:
    page = person.page
    page.get_by_label("Endpoint URL").fill(endpoint)
    page.get_by_label("Secret").fill(WRONG)
    person.allowed = {422}
    page.get_by_role("button", name="Save and test").press("Enter")
    expect(page.locator("#bucket-e")).to_be_visible()
    person.allowed = set()
    expect(page.get_by_label("Bucket")).to_be_focused()
    expect(page.get_by_label("Endpoint URL")).to_have_value(endpoint)
    expect(page.get_by_label("Secret")).to_have_value("")
    _says_nothing(page)
    _everybody_can_read(page)


def _export(page: Page) -> None:
    page.get_by_role("link", name="Export…").press("Enter")
    expect(page.get_by_label("To", exact=True)).to_have_value("minio")
    page.get_by_label("Project").select_option("neuro/trial-a")
    page.get_by_role("button", name="Dry run").last.press("Enter")
    expect(page.get_by_text("6 of 6 objects and sidecars would be sent.").first).to_be_visible(timeout=PATIENCE)
    page.get_by_label("I confirm that this disclosure is authorised").press("Space")
    page.get_by_role("button", name="Start export of 3 objects").press("Enter")
    expect(page.get_by_text("3 objects exported and verified, each with its sidecar.").first).to_be_visible(
        timeout=PATIENCE
    )
    _says_nothing(page)


def _everybody_can_read(page: Page) -> None:
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for theme in ("dark", "light"):
            page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
            found = page.evaluate("async rules => (await axe.run(rules)).violations", RULES)
            assert [(one["id"], one["nodes"][0]["html"]) for one in found] == []


def _says_nothing(page: Page) -> None:
    """Neither as text nor as the value of a field."""
    content = page.content()
    assert WRONG not in content
    assert SECRET not in content


def _nothing_is_left(running: Up) -> None:
    """The secrets are in no file of the site and in nothing that the queue holds."""
    planted = [text.encode() for text in (WRONG, SECRET)]
    files = [path for path in running.data.rglob("*") if path.is_file()]
    assert any(path.name.endswith(".db") for path in files)
    assert [path for path in files if any(secret in _content(path) for secret in planted)] == []
    socket = runtime.valkey_socket(settings.load(running.data, {}))
    with Redis(unix_socket_path=socket) as queue:
        held = list(_held(queue))
    assert held
    assert not [value for value in held if any(secret in value for secret in planted)]


def _content(path: Path) -> bytes:
    """Of a file that may be gone by now: the site goes on."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _held(queue: "Redis") -> Iterator[bytes]:
    """Whatever stands in the queue's server; RQ packs some of it."""
    readers = {
        b"string": lambda key: [queue.get(key)],
        b"hash": lambda key: [part for pair in queue.hgetall(key).items() for part in pair],
        b"list": lambda key: queue.lrange(key, 0, -1),
        b"set": queue.smembers,
        b"zset": lambda key: queue.zrange(key, 0, -1),
    }
    for key in queue.scan_iter():
        yield key
        for value in filter(None, readers.get(queue.type(key), lambda _key: [])(key)):  # it may have expired by now
            try:
                yield zlib.decompress(value)
            except zlib.error:
                yield value
