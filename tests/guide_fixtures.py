"""What the guide pictures: each page of the site once, some in another light, and what a new site shows."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from browser_fixtures import EMAIL, Person
from hospital_fixtures import ACCESSION, READER
from playwright.sync_api import Page, expect

PICTURES = Path(__file__).parent.parent / "docs" / "guide" / "pictures"
HEIGHT, WIDE, PHONE = 800, 1280, 390
NOBODY = ""
RENAME = """names => {
  const renamed = text => names.reduce((so_far, [from, to]) => so_far.replaceAll(from, to), text);
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) walk.currentNode.data = renamed(walk.currentNode.data);
  document.querySelectorAll("input").forEach(input => input.value = renamed(input.value));
}"""


@dataclass(frozen=True)
class Stop:
    """A picture, the address that it is taken at, and words that stand there."""

    picture: str
    path: str
    words: str
    who: str = EMAIL
    width: int = WIDE
    dark: bool = False
    code: int = 200


STOPS = (
    Stop("sign-in", "/sign-in", "Sign in", who=NOBODY),
    Stop("home", "/", "For the other side"),
    Stop("home-phone", "/", "For the other side", width=PHONE),
    Stop("home-dark", "/", "For the other side", dark=True),
    Stop("first-steps-done", "/first-steps/", "First steps"),
    Stop("disk", "/disk/", "Who wrote last"),
    Stop("search", f"/search?q={ACCESSION}", "Studies"),
    Stop("search-nothing", "/search?q=VIEWER9", "VIEWER9"),
    Stop("projects", "/data/", "Brain"),
    Stop("project-new", "/data/projects/new", "AE title"),
    Stop("project-edit", "/data/projects/1/edit", "AE title"),
    Stop("project", "/data/project/1", "4 subjects"),
    Stop("beside", "/data/project/1/files", "Files of Brain"),
    Stop("subject", "/data/subject/1", "1CT1"),
    Stop("session", "/data/session/1", "CT room"),
    Stop("session-phone", "/data/session/1", "CT room", width=PHONE),
    Stop("acquisition", "/data/acquisition/1", "CT room"),
    Stop("series", "/data/series/1", "of 6"),
    Stop("series-dark", "/data/series/1", "of 6", dark=True),
    Stop("file", "/data/file/1", "Digest"),
    Stop("header", "/data/file/1/header", "PatientName"),
    Stop("trash", "/data/trash", "1 thing"),
    Stop("trash-ask", "/data/session/2/trash", "Move"),
    Stop("conflicts", "/data/conflicts/", "PatientID"),
    Stop("conflict", "/data/conflicts/1", "Keep"),
    Stop("exports", "/exports/", "objects arrived whole."),
    Stop("exports-phone", "/exports/", "objects arrived whole.", width=PHONE),
    Stop("export-new", "/exports/new?project=neuro/Brain", "As it will be"),
    Stop("dry-run", "/jobs/4", "What would be done"),
    Stop("export", "/jobs/2", "objects arrived whole."),
    Stop("schedules", "/exports/schedules/", "Brain, every night"),
    Stop("schedule-new", "/exports/schedules/new?job=2", "How often"),
    Stop("schedule", "/exports/schedules/1", "Run now"),
    Stop("schedule-remove", "/exports/schedules/1/remove", "Brain, every night"),
    Stop("verification", "/jobs/5", "Verification"),
    Stop("imports", "/imports/", "neuro/Spine"),
    Stop("import-new", "/imports/new?of=mirror-b&to=neuro/Spine", "Folder there"),
    Stop("import-dry-run", "/jobs/6", "neuro/Spine"),
    Stop("jobs", "/jobs/", "Echo"),
    Stop("job", "/jobs/3", "Run again"),
    Stop("associations", "/activity/", "VIEWER"),
    Stop("refused", "/activity/refused", "VIEWER3 is not registered."),
    Stop("audit", "/activity/audit", "setting:changed"),
    Stop("devices", "/interfaces/devices/", "Silent for"),
    Stop("device-new", "/interfaces/devices/new", "Label"),
    Stop("device", "/interfaces/devices/1", "Generate API key"),
    Stop("device-rename", "/interfaces/devices/1/rename", "Label"),
    Stop("key-revoke", "/interfaces/devices/1/keys/{key}/revoke", "first key"),
    Stop("peers", "/interfaces/peers/", "Refused callers"),
    Stop("peers-phone", "/interfaces/peers/", "Refused callers", width=PHONE),
    Stop("peers-dark", "/interfaces/peers/", "Refused callers", dark=True),
    Stop("peer-new", "/interfaces/peers/new", "What it may do"),
    Stop("peer", "/interfaces/peers/2", "For the other side"),
    Stop("peer-edit", "/interfaces/peers/2/edit", "What it may do"),
    Stop("peer-remove", "/interfaces/peers/2/remove", "Reading room 1"),
    Stop("storages", "/interfaces/storages/", "An export needs one."),
    Stop("storage-new", "/interfaces/storages/new?provider=s3", "CA certificate"),
    Stop("storage", "/interfaces/storages/1", "Every step of the test passed."),
    Stop("storage-edit", "/interfaces/storages/1/edit", "Save and test"),
    Stop("storage-remove", "/interfaces/storages/1/remove", "mirror-b"),
    Stop("users", "/users/", READER),
    Stop("user-new", "/users/new", "E-mail address"),
    Stop("user", "/users/2", "Sees in fact"),
    Stop("user-role", "/users/2/role", READER),
    Stop("user-new-password", "/users/2/new-password", READER),
    Stop("settings", "/settings/", "AE title of the site"),
    Stop("sign-out-all", "/settings/sign-out-all", "Sign everybody out"),
    Stop("profile", "/profile", "Time zone"),
    Stop("password", "/password", "Current password"),
    Stop("not-found", "/data/project/99", "", code=404),
    Stop("not-allowed", "/settings/", "", who=READER, code=403),
)

NEW = (
    Stop("data-empty", "/data/", "New project"),
    Stop("exports-empty", "/exports/", "Add storage"),
    Stop("jobs-empty", "/jobs/", ""),
    Stop("devices-empty", "/interfaces/devices/", "New device"),
)
"""Of a new site; `test_first_steps.py` goes there."""

LIVE = {"first-steps"}
"""Pictures that `test_first_steps.py` takes on its way."""

SAME_PAGE = {
    "activity.association_days": ("activity.associations_list", "a list made of the same parts"),
    "help.index": ("home.index", "the guide itself"),
    "help.page": ("home.index", "the guide itself"),
    "trash.ask_purge": ("trash.ask", "the same question, of what is in the trash"),
    "disk.problems": ("disk.index", "made of the same parts, and empty where all that came can be read"),
    "disk.bucket": ("disk.index", "made of the same parts, and only there where the archive has a bucket"),
}
"""Pages without a picture: which pictured one each looks like, and why that is enough."""


def walks(person: Person, stops: Sequence[Stop], names: dict[str, str] | None = None, *, folder: Path) -> None:
    """Go to each stop, read what must stand there, and with GUIDE=1 take its picture."""
    page = person.page
    for stop in stops:
        page.set_viewport_size({"width": stop.width, "height": HEIGHT})
        page.emulate_media(color_scheme="dark" if stop.dark else "light")
        person.allowed = {stop.code}
        person.goes(stop.path.format_map(names or {}))
        expect(page.locator("main")).to_contain_text(stop.words)
        assert page.evaluate("document.documentElement.scrollWidth") <= stop.width, stop.picture
        takes(page, stop.picture, folder)


def takes(page: Page, picture: str, folder: Path) -> None:
    """With GUIDE=1 the picture of what is on the screen, with the folder of the test under a site's usual name."""
    if os.environ.get("GUIDE"):
        page.wait_for_load_state("networkidle")
        page.evaluate(RENAME, [[str(folder), "/srv/portico"], [socket.gethostname(), "portico"]])
        page.screenshot(path=PICTURES / f"{picture}.png", scale="css", animations="disabled")
