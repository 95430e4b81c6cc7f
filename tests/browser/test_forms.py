"""Every form, with good and bad input, by keyboard alone: what is wrong stands beside the field that has the focus."""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, Response, request, request_finished, url_for
from playwright.sync_api import Browser, Locator, Page, expect

from portal import models, runtime, site_settings
from portal.access.actors import Actor
from portal.dashboard import first_steps
from portal.devices import api_keys, devices
from portal.exports import exports, schedules
from portal.jobs import jobs
from portal.models import AuditAnchor, JobItem, QuarantinedRecord, writing
from portal.peers import peers, refused_callers
from portal.storage import storages
from portal.tls import site_certificate
from portal.trash import trash
from portal.users import grants, users
from portal.verification import verification
from tests.fixtures.archive import a_project, an_object, store
from tests.fixtures.browser import EMAIL, PASSWORD, Person, person_at
from tests.fixtures.pages import LEFT_ICON, Served, find_away, rules, serve, the_admin
from tests.fixtures.web import Visitor

pytestmark = [pytest.mark.xdist_group("forms"), pytest.mark.timeout(120), LEFT_ICON]

MOST_STOPS = 150
"""How often somebody presses Tab before giving up."""


@dataclass(frozen=True)
class Walk:
    """One form: what is typed into which field, the button, and what the site says then."""

    route: str
    page: str
    button: str
    says: str
    typed: dict[str, str] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    """What is typed first instead, and refused."""
    beside: str = ""
    """Id of the field that the refusal stands beside; none where it is of the form as a whole."""
    message: str = ""
    code: int = 422
    who: str = EMAIL
    before: Callable[[], None] = lambda: None
    """What a walk before this one has done, where each walk has a site of its own."""


BY_ITSELF = {"exports.preview"}
"""What a page asks for while somebody types."""
NEXT = f"{PASSWORD} again"
PEER = {
    "Label": "Reading room 9",
    "AE title": "VIEWER9",
    "Host": "127.0.0.1",
    "Port": "11112",
    "Store: send objects to us": "x",
    "Project access": "All",
}
WALKS = (
    Walk(
        "session.check_sign_in",
        "/sign-in",
        "Sign in",
        "",
        {"E-mail address": EMAIL, "Password": PASSWORD},
        {"Password": "wrong"},
        message="Wrong e-mail address or password",
        code=401,
        who="",
    ),
    Walk(
        "session.save_profile",
        "/profile",
        "Save time zone",
        "Europe/Zurich from now on.",
        {"Time zone": "Europe/Zurich"},
        {"Time zone": "Mars/Base"},
        "time_zone",
        "Mars/Base",
    ),
    Walk(
        "session.change_password",
        "/password",
        "Change password",
        "Your password is changed.",
        {"Current password": PASSWORD, "New password": NEXT, "New password, again": NEXT},
        {"New password, again": "other"},
        "again",
        "Enter the new password twice.",
        who="moves@site.example",
    ),
    Walk("session.sign_out", "/profile", "Sign out", "You are signed out", who="leaves@site.example"),
    Walk(
        "devices.add",
        "/interfaces/devices/new",
        "Add device",
        "ct-9 is added.",
        {"Label": "ct-9", "Type": "Importer"},
        {"Label": "a/b"},
        "label",
        "not contain a slash",
    ),
    Walk(
        "devices.issue",
        "/interfaces/devices/1",
        "Generate API key",
        "It is shown only once",
        {"Name": "rollout"},
        {"Name": " "},
        "name",
        "at least one visible character",
    ),
    Walk(
        "devices.rename",
        "/interfaces/devices/2/rename",
        "Rename device",
        "is renamed to importer-new.",
        {"Label": "importer-new"},
        {"Label": "connector"},
        "label",
        "connector",
    ),
    Walk(
        "devices.rotate",
        "/interfaces/devices/2/keys/{key}/rotate",
        "Generate API key",
        "It is shown only once",
        {"Name": "next"},
        {"Name": " "},
        "name",
        "at least one visible character",
    ),
    Walk(
        "devices.change_owner",
        "/interfaces/devices/1/owner",
        "Save owner",
        "sees@site.example is the owner of connector.",
        {"Owner": "sees@site.example"},
        {"Owner": "nobody@site.example"},
        "owner",
        "There is no user 'nobody@site.example'",
    ),
    Walk("devices.remove", "/interfaces/devices/4/remove", "Remove device", "leaving is removed"),
    Walk(
        "user_keys.issue",
        "/profile/keys",
        "Generate API key",
        "It is shown only once",
        {"Name": "notebook"},
        {"Name": " "},
        "name",
        "at least one visible character",
    ),
    Walk(
        "user_keys.rotate",
        "/profile/keys/{own_key}/rotate",
        "Generate API key",
        "It is shown only once",
        {"Name": "next"},
        {"Name": "a/b"},
        "name",
        "must not contain a slash",
    ),
    Walk("user_keys.revoke", "/profile/keys/{own_key}/revoke", "Revoke key", "is revoked."),
    Walk("user_keys.revoke_of_user", "/users/{sees}/keys/{their_key}/revoke", "Revoke key", "is revoked."),
    Walk("devices.disable", "/interfaces/devices/1", "Disable device", "connector is disabled."),
    Walk("devices.enable", "/interfaces/devices/3", "Enable device", "stopped is enabled."),
    Walk("devices.revoke", "/interfaces/devices/2/keys/{key}/revoke", "Revoke key", "is revoked."),
    Walk(
        "peers.register",
        "/interfaces/peers/new",
        "Register peer",
        "Allowed services: echo, store.",
        PEER,
        {"AE title": "VIEWER ROOM THREE"},
        "ae_title",
        "has 17 characters",
    ),
    Walk(
        "peers.save",
        "/interfaces/peers/1/edit",
        "Save peer",
        "Reading room 2 is saved.",
        {"Label": "Reading room 2", "Port": "104"},
        {"Port": "99999"},
        "port",
        "99999",
    ),
    Walk("peers.echo", "/interfaces/peers/2", "Send C-ECHO", "Waiting for a worker"),
    Walk("peers.disable", "/interfaces/peers/2", "Disable", "Scanner is disabled."),
    Walk("peers.enable", "/interfaces/peers/3", "Enable", "Archive is enabled."),
    Walk("peers.remove", "/interfaces/peers/4/remove", "Remove peer", "Old one is removed."),
    Walk("peers.ignore_caller", "/activity/refused", "Ignore NOISE from 10.0.4.12", "is ignored."),
    Walk(
        "storages.add",
        "/interfaces/storages/new?provider=fs",
        "Save and test",
        "vault",
        {"Label": "vault", "Folder": "{root}/vault", "Prefix": "nightly"},
        {"Folder": "/etc"},
        "path",
        "/etc",
    ),
    Walk(
        "storages.save",
        "/interfaces/storages/3/edit",
        "Save without test",
        "inbox is saved.",
        {"Prefix": "weekly", "Visible to": "Group lab"},
        {"Prefix": "../up"},
        "prefix",
        "..",
    ),
    Walk(
        "projects.add",
        "/data/projects/new",
        "Create project",
        "new/Brain is created.",
        {"Group": "New group", "Code of the new group": "new", "Label": "Brain", "AE title": "BRAIN"},
        {"AE title": "VIEWER ROOM THREE"},
        "ae_title",
        "has 17 characters",
    ),
    Walk(
        "projects.save",
        "/data/projects/{empty}/edit",
        "Save project",
        "lab/empty is saved.",
        {"AE title": "EMPTY"},
        {"AE title": "PORTICO"},
        "ae_title",
        "the site's own",
    ),
    Walk(
        "projects.save_group",
        "/data/projects/{empty}/edit",
        "Save group",
        "Group lab is saved.",
        {"Group label": "Laboratory"},
        {"Group label": "a/b"},
        "group_label",
        "not contain a slash",
    ),
    Walk("storages.test", "/interfaces/storages/1", "Test now", "waiting for a worker"),
    Walk(
        "storages.remove",
        "/interfaces/storages/2/remove",
        "Remove storage",
        "old is removed.",
        {"Type old to confirm": "old"},
        {"Type old to confirm": "older"},
        "sure",
        "Type old to confirm.",
    ),
    Walk(
        "exports.dry_run",
        "/exports/new",
        "Dry run",
        "lab/trial to mirror",
        {"Project": "lab/trial", "To": "mirror", "Path template": "{{subject}}/{{file}}"},
        {"Path template": "{{patient}}"},
        "path_1",
        "There is no field {patient}.",
    ),
    Walk(
        "exports.start",
        "/jobs/{tried}",
        "Start export of 1 object",
        "lab/trial to mirror",
        {"I confirm that this disclosure is authorised": "x"},
        {"I confirm that this disclosure is authorised": ""},
        "confirmed",
        "confirm that this is authorised",
    ),
    Walk(
        "schedules.add",
        "/exports/schedules/new?job={repeated}",
        "Create schedule",
        "is created.",
        {"How often": "Every week", "At (UTC)": "03:30", "I confirm that this disclosure is authorised": "x"},
        {"At (UTC)": "25:00"},
        "at",
        "is no time of the day",
    ),
    Walk("schedules.pause", "/exports/schedules/{nightly}", "Pause", "is paused. A running export continues."),
    Walk("schedules.resume", "/exports/schedules/{paused}", "Resume", "is resumed."),
    Walk("schedules.run", "/exports/schedules/{pressed}", "Run now", "pressed"),
    Walk(
        "schedules.remove", "/exports/schedules/{paused}/remove", "Delete schedule", "is deleted. Its exports are kept."
    ),
    Walk("jobs.cancel", "/jobs/{waiting}", "Cancel export", "The job is cancelled."),
    Walk("jobs.try_now", "/jobs/{away}", "Try now", "The job is retried now."),
    Walk("jobs.retry", "/jobs/{failed}", "Retry 1 failed", "The job runs again."),
    Walk(
        "users.add",
        "/users/new",
        "Create user",
        "Password of new@site.example",
        {"E-mail address": "new@site.example", "Site admin (full access)": "x"},
        {"E-mail address": "nobody"},
        "email",
        "looks like name@site.example",
    ),
    Walk("users.disable", "/users/{busy}", "Disable", "busy@site.example is disabled"),
    Walk("users.enable", "/users/{gone}", "Enable", "is enabled."),
    Walk("users.new_password", "/users/{forgets}/new-password", "Reset password", "New password of"),
    Walk("users.change_role", "/users/{forgets}/role", "Make site admin", "is a site admin."),
    Walk(
        "users.grant",
        "/users/{sees}",
        "Grant access",
        "can now read in lab/empty.",
        {"Group or project": "lab/empty", "Access": "Read"},
        {"Group or project": "lab/none"},
        "place",
        "lab/none",
    ),
    Walk(
        "projects.grant",
        "/data/projects/2/access",
        "Grant access",
        "sees@site.example can now read and write in lab/trial.",
        {"E-mail address": "sees@site.example", "Access": "Read and write"},
        {"E-mail address": "nobody@site.example"},
        "email",
        "has no account",
    ),
    Walk(
        "projects.remove_grant",
        "/data/projects/2/access",
        "Remove access of busy@site.example to this project",
        "busy@site.example can no longer read in lab/trial.",
    ),
    Walk("users.remove_grant", "/users/{sees}", "Remove lab/trial", "can no longer read in lab/trial."),
    Walk(
        "settings.save",
        "/settings/",
        "Save site",
        "West to East",
        {"Name of the site": "East", "Time zone": "UTC"},
        {"Time zone": "Mars/Base"},
        "time_zone",
        "Mars/Base",
    ),
    Walk(
        "settings.save", "/settings/", "Save DIMSE", "to 104", {"Port": "104"}, {"Port": "0"}, "port", "0 is not a port"
    ),
    Walk(
        "settings.save",
        "/settings/",
        "Save associations",
        "Saved.",
        {"Associations at once": "100"},
        {"Associations at once": "201"},
        "at_once",
        "201 is out of range",
    ),
    Walk(
        "settings.save",
        "/settings/",
        "Save queries",
        "Saved.",
        {"Assumed character set": "ISO_IR 100"},
        {"Assumed character set": "Latin"},
        "character_set",
        "Latin is not a character set",
    ),
    Walk(
        "settings.save",
        "/settings/",
        "Save disk",
        "Saved.",
        {"Reserved free space (GB)": "0.5"},
        {"Reserved free space (GB)": "much"},
        "floor",
        "is not a number of gigabytes",
    ),
    Walk(
        "settings.save",
        "/settings/",
        "Save sessions",
        "Saved.",
        {"Idle timeout (minutes)": "30"},
        {"Idle timeout (minutes)": "1"},
        "idle",
        "1 is out of range",
    ),
    Walk("activity.verify", "/activity/verification/", "Verify now", "The verification is started."),
    Walk(
        "activity.accept_restore",
        "/activity/verification/",
        "Accept and verify again",
        "The restore is accepted",
        {"Reason": "Restored the backup of Monday"},
        {"Reason": "x"},
        "reason",
        "Give the reason",
    ),
    Walk(
        "settings.install_certificate",
        "/settings/tls",
        "Install certificate",
        "The certificate is in use from the next association on.",
        {"Certificate": "{chain}"},
        {"Certificate": "no certificate"},
        "chain",
        "certificate",
    ),
    Walk(
        "settings.create_certificate",
        "/settings/tls",
        "Create certificate",
        "A self-signed certificate for portico.site.example is in use",
        {"Name or address of this site": "portico.site.example"},
        {"Name or address of this site": " "},
        "host",
        "Enter the name by which peers call the site",
    ),
    Walk("settings.sign_out_all", "/settings/sign-out-all", "Sign everybody out", "Everybody is signed out"),
    Walk("first_steps.skip", "/first-steps/", "Skip: Turn on DIMSE", "Skipped."),
    Walk(
        "first_steps.resume",
        "/first-steps/",
        "Resume: Turn on DIMSE",
        "Skip",
        before=lambda: first_steps.skip("dimse", actor=the_admin()),
    ),
    Walk("first_steps.hide", "/", "Hide first steps", "The first steps are hidden."),
    Walk(
        "first_steps.unhide",
        "/first-steps/",
        "Show on Home",
        "are shown on Home again.",
        before=lambda: first_steps.hide(True, actor=the_admin()),
    ),
    Walk(
        "imports.dry_run",
        "/imports/new?of=inbox",
        "Dry run",
        "inbox/in to lab/trial",
        {"Into project": "lab/trial", "Folder": "in"},
        {"Folder": "../up"},
        "prefix",
        "The prefix must not begin with a slash",
    ),
    Walk("imports.start", "/jobs/{looked}", "Start import of 1 object", "Import"),
    Walk("exports.verify", "/jobs/{proved}", "Verify", "Verification"),
    Walk("conflicts.resolve", "/data/conflicts/1", "Keep current", "The decision can be changed later."),
    Walk("conflicts.resolve", "/data/conflicts/1", "Replace (keep old version)", "2 decisions"),
    Walk(
        "conflicts.decide",
        "/data/conflicts/",
        "Keep current",
        "1 conflict is resolved",
        {"Select conflict 1": "x"},
        {"Select conflict 1": ""},
        message="No conflict is selected.",
    ),
    Walk("trash.move", "/data/file/{spare}/trash", "Move 1 file to trash", "is moved to trash."),
    Walk("disk.note_record", "/disk/problems", "Acknowledge odd.bin", "It stays listed here"),
    Walk("trash.purge", "/data/trash/{purged}/purge", "Purge 1 file", "1 file purged"),
    Walk("trash.restore", "/data/trash", "Restore {thrown}", "1 file restored."),
)


PRESSED = (
    "devices.disable",
    "peers.echo",
    "jobs.cancel",
    "conflicts.resolve",
    "trash.move",
    "trash.purge",
    "trash.restore",
)
WALKED = [
    walk if walk.typed or walk.route in PRESSED else pytest.param(walk, marks=pytest.mark.prove) for walk in WALKS
]
"""In `make test` the forms that somebody types into, and some that are only pressed; `make prove` walks all."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("forms") / "data") as found:
        actor = the_admin()
        site_settings.change({"dimse.enabled": True, "site.name": "West"}, actor=actor)
        for email in ("moves", "leaves", "busy", "gone", "forgets", "sees"):
            users.add(f"{email}@site.example", PASSWORD, email in ("moves", "leaves"), actor=actor)
        numbers = {user.email.split("@")[0]: user.id for user in users.list_all()}
        users.disable(numbers["gone"], actor=actor)
        found.names = {**numbers, "root": runtime.current().storage_roots[0]}
        site_certificate.create("portico.site.example", actor=actor)
        found.names["chain"] = site_certificate.chain()  # of the current key, which it is installed for again
        for part in (_data, _machines, _work):
            found.names.update(part(actor))
        for email in ("sees", "busy"):
            grants.add(numbers[email], "lab/trial", "ro", actor=actor)
        yield found


def _data(actor: Actor) -> dict[str, object]:
    empty = a_project("empty", group="lab", actor=actor).id
    project = a_project("trial", group="lab", actor=actor)
    store(an_object(), project)
    store(an_object(PatientID="another"), project)
    numbers = (3, 4, 5)
    spare, gone, thrown = (store(an_object(SOPInstanceUID=f"1.2.{number}"), project).file_id for number in numbers)
    purged = trash.move_to_trash("file", gone, actor=actor).id
    trash.move_to_trash("file", thrown, actor=actor)
    odd = runtime.archive().append([b"odd"], {"name": "odd.bin"})
    with writing():
        QuarantinedRecord.create(**vars(odd), name="odd.bin", message="Reading it failed.")
    return {"empty": empty, "spare": spare, "purged": purged, "thrown": trash.list_newest()[0].label}


def _machines(actor: Actor) -> dict[str, object]:
    for label in ("connector", "importer", "stopped", "leaving"):
        devices.add(label, actor=actor)
    devices.disable("stopped", actor=actor)
    issued = api_keys.issue(devices.get("importer"), name="first", actor=actor)
    people = {email: users.by_email(email) for email in (EMAIL, "sees@site.example")}
    own_key, their_key = (
        api_keys.issue(person, name="first", actor=users.actor(person, "127.0.0.1")).key_id
        for person in people.values()
    )
    for number, label in enumerate(("Reading room 1", "Scanner", "Archive", "Old one"), 1):
        peers.register(label, ae_title=f"AE{number}", host="127.0.0.1", port="11113", actor=actor)
    peers.disable("Archive", actor=actor)
    for calling in ("CT2", "NOISE"):
        refused_callers.record(
            calling=calling, called="PORTICO", address="10.0.4.12", reason="unknown", message="Not known."
        )
    for label, mode in (("mirror", "both"), ("old", "export"), ("inbox", "import")):
        folder = runtime.current().storage_roots[0] / label
        folder.mkdir(parents=True)
        storages.add(label, "fs", path=str(folder), mode=mode, actor=actor)
    return {"key": issued.key_id, "own_key": own_key, "their_key": their_key}


def _work(actor: Actor) -> dict[str, object]:
    params = {"path": "lab/trial", "to": "mirror"}
    with writing():
        waiting, failed, polled, away = (
            jobs.create("export", actor=actor, params=params, what="to old") for _ in range(4)
        )
        JobItem.create(job=failed, key="one", state="failed", message="It was refused.")
    find_away(away, "Nobody answers.")
    jobs.report_progress(failed, done=0, failed=1)
    jobs.finish(failed, "errors", "1 object failed.")
    verified = verification.start(actor=actor, enqueue=False)
    JobItem.create(job=verified, key="anchors", state="audit", message="Lines 1 to 3 are missing.")
    AuditAnchor.create(place=3, number=1, mac="0")  # of a file that is gone
    jobs.report_progress(verified, done=1, failed=1)
    jobs.finish(verified, "errors", "1 problem found.", verification={"found": {"audit": 1}})
    with writing():
        proved = jobs.create("export", actor=actor, params={**params, "storage": storages.get("mirror").id})
    jobs.finish(
        proved, "done", "1 object exported and verified.", manifest={"name": "m", "sha256": "0" * 64, "size": 1}
    )
    with writing():
        place = {"storage": storages.get("mirror").id, "project": 2, "rules": [], "only": "", "level": "project"}
        tried = jobs.create("dry_run", actor=actor, params={**params, **place}, what="lab/trial to mirror", total=1)
    jobs.finish(tried, "done", "1 object would be sent.", found={"pending": [1, 1]}, patients=1)
    of = {**place, "of": "mirror", "prefix": "", "by": "headers", "template": "", "include": [], "exclude": []}
    with writing():
        looked = jobs.create(
            "import_dry_run", actor=actor, params={**params, **of}, what="mirror to lab/trial", total=1
        )
    jobs.report_progress(looked, done=1, failed=0)
    jobs.finish(looked, "done", "1 object: 1 new.", found={"new": [1, 1]})
    repeated = exports.dry_run("lab/trial", to="mirror", actor=actor).id
    nightly, paused, pressed = (
        schedules.add(repeated, "0 2 * * *", confirmed=True, label=label, actor=actor).id
        for label in ("nightly", "paused", "pressed")
    )
    schedules.pause(paused, actor=actor)
    repeats = {"repeated": repeated, "nightly": nightly, "paused": paused, "pressed": pressed}
    return repeats | {
        "looked": looked.id,
        "tried": tried.id,
        "proved": proved.id,
        "waiting": waiting.id,
        "away": away.id,
        "failed": failed.id,
        "polled": polled.id,
    }


@pytest.fixture
def sent(served: Served) -> Iterator[list[tuple[str, int]]]:
    """The forms that arrive: route and HTTP code."""
    found: list[tuple[str, int]] = []

    def note(_app: Flask, response: Response, **_more: Any) -> None:
        if request.method == "POST" and request.endpoint not in BY_ITSELF:
            found.append((request.endpoint or "", response.status_code))

    with request_finished.connected_to(note, served.app):
        yield found


@pytest.mark.parametrize("walk", WALKED, ids=lambda walk: f"{walk.route} {walk.button}")
def test_a_form_is_filled_refused_and_done_by_keyboard(
    browser: Browser, served: Served, sent: list[tuple[str, int]], walk: Walk
) -> None:
    walk.before()
    person = person_at(browser, served.url)
    if walk.who:
        _is_signed_in(person, served, walk.who)
    person.allowed = {walk.code} if walk.wrong else set()
    sent.clear()
    person.goes(served.at(walk.page))

    if walk.wrong:
        before = _rows()
        _fill(person.page, served, {**walk.typed, **walk.wrong})
        with person.page.expect_response(lambda answer: answer.request.method == "POST"):
            _press(person.page, served.at(walk.button), "Enter")
        _is_refused_beside_its_field(person.page, served, walk)
        assert _rows() == before
    _fill(person.page, served, walk.typed)
    with person.page.expect_response(lambda answer: answer.request.method == "POST"):
        _press(person.page, served.at(walk.button), "Space")
    expect(person.page.locator("main")).to_contain_text(walk.says)
    assert [route for route, _ in sent] == [walk.route] * (2 if walk.wrong else 1)
    assert [code for _, code in sent][:-1] == [walk.code] * (len(sent) - 1)
    assert sent[-1][1] in (201, 303)
    person.page.context.close()
    assert person.complaints == []


def test_a_key_is_limited_by_keyboard_and_a_wrong_limit_is_shown_where_it_was_typed(
    browser: Browser, served: Served
) -> None:
    person = person_at(browser, served.url)
    _is_signed_in(person, served, EMAIL)
    person.allowed = {422}
    page = person.page
    person.goes("/interfaces/devices/3")
    limits = {"Only in this group or project": "lab/trial", "Only from these addresses": "10.0.4.0/24"}
    _fill(page, served, {"Name": "ward"})
    _reach(page, page.locator("details.more > summary"))
    page.keyboard.press("Enter")
    _fill(page, served, {**limits, "Read only": "x", "Only in this group or project": "lab/none"})
    _press(page, "Generate API key", "Enter")

    field = _field(page, "Only in this group or project")
    expect(field).to_be_focused()
    expect(page.locator("#only-e")).to_contain_text("There is no 'lab/none'.")
    expect(_field(page, "Read only")).to_be_checked()
    _fill(page, served, limits)
    _press(page, "Generate API key", "Enter")
    expect(page.locator("main")).to_contain_text("Access: Read only, lab/trial, from 10.0.4.0/24.")
    page.context.close()
    assert person.complaints == []


def test_every_route_that_takes_a_form_is_walked(served: Served) -> None:
    """Whoever adds a form adds its walk."""
    assert rules(served.app, "POST") - BY_ITSELF == {walk.route for walk in WALKS}
    assert {walk.route for walk in WALKS if walk.typed} == {walk.route for walk in WALKS if walk.wrong}


def test_a_part_that_is_replaced_keeps_the_focus(browser: Browser, served: Served) -> None:
    person = person_at(browser, served.url)
    _is_signed_in(person, served, EMAIL)
    page = person.page
    person.goes(served.at("/jobs/{polled}"))
    cancel = page.get_by_role("button", name="Cancel export")
    _reach(page, cancel)
    for _ in range(2):
        with page.expect_response(lambda answer: answer.url.endswith("/progress")):
            pass
        page.wait_for_function("document.activeElement.textContent.includes('Cancel export')")

    person.goes(served.at("/interfaces/peers/1"))
    _press(page, "Send C-ECHO", "Enter")
    expect(page.locator("#test")).to_contain_text("Waiting for a worker")
    expect(page.locator("#test")).to_be_focused()
    page.context.close()
    assert person.complaints == []


@pytest.fixture
def visitor(served: Served) -> Visitor:
    found = Visitor(client=served.app.test_client(), email=EMAIL, address="127.0.0.1")
    assert found.sign_in().status_code == 303
    return found


def _addresses(served: Served, number: int) -> list[str]:
    """Of each route that takes a form, with this number for whatever it is about."""
    values: dict[str, object] = {"kind": "file", "section": "site", "name": "storage", "key_id": "ptk_NOBODY"}
    with served.app.test_request_context():
        return [
            url_for(rule.endpoint, **{name: values.get(name, number) for name in rule.arguments})
            for rule in served.app.url_map.iter_rules()
            if rule.endpoint in rules(served.app, "POST")
        ]


def test_a_form_about_what_is_gone_changes_nothing(served: Served, visitor: Visitor) -> None:
    before = _rows()
    for path in _addresses(served, 999):
        if "/999" in path:
            answer = visitor.post(path, {"choice": "keep"})
            assert answer.status_code == 404, path
            assert "Page not found" in answer.text
    assert _rows() == before


def test_a_forged_form_and_one_of_a_stranger_change_nothing(served: Served, visitor: Visitor) -> None:
    stranger = Visitor(client=served.app.test_client(), email=EMAIL, address="127.0.0.1")
    before = _rows()
    for path in _addresses(served, 1):
        assert visitor.client.post(path).status_code == 400, path
        assert stranger.post(path).status_code == (401 if path == "/sign-in" else 303), path
    assert _rows() == before


def _is_signed_in(person: Person, served: Served, email: str) -> None:
    visitor = Visitor(client=served.app.test_client(), email=email, address="127.0.0.1")
    visitor.sign_in()
    cookie = visitor.client.get_cookie("portico")
    assert cookie
    person.page.context.add_cookies([{"name": "portico", "value": cookie.value, "url": served.url}])


def _fill(page: Page, served: Served, typed: dict[str, str]) -> None:
    for label, text in typed.items():
        target = _field(page, label)
        _reach(page, target)
        kind = target.evaluate("e => e.type")
        if kind == "checkbox":
            if target.is_checked() != bool(text):
                page.keyboard.press("Space")
            continue
        if not kind.startswith("select"):
            page.keyboard.press("Control+a")
        page.keyboard.type(served.at(text))


def _field(page: Page, label: str) -> Locator:
    return page.locator("input, select, textarea").and_(page.get_by_label(label, exact=True))


def _press(page: Page, name: str, key: str) -> None:
    button = page.locator("main, .who").get_by_role("button", name=name, exact=True)
    if name == "Sign out":
        _reach(page, page.locator("details.who > summary"))
        page.keyboard.press("Enter")
    _reach(page, button)
    page.keyboard.press(key)


def _reach(page: Page, target: Locator) -> None:
    """Press Tab until the focus is there."""
    expect(target).to_be_visible()
    element = target.element_handle()  # the page is not searched for it again at each stop
    if element.evaluate("e => !!e.closest('main') && document.activeElement === document.body"):
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")  # "Skip to content"
    for _ in range(MOST_STOPS):
        if element.evaluate("e => e === document.activeElement"):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"nobody gets to {target} by Tab")


def _is_refused_beside_its_field(page: Page, served: Served, walk: Walk) -> None:
    at = page.locator(f"#{walk.beside}" if walk.beside else "main [role=alert]").first
    expect(at).to_be_focused()
    if walk.beside:
        expect(page.locator(f"#{walk.beside}-e")).to_contain_text(walk.message)
        assert f"{walk.beside}-e" in (at.get_attribute("aria-describedby") or "")
        assert at.get_attribute("aria-invalid") == "true"
    else:
        expect(at).to_contain_text(walk.message)
    for label, text in walk.typed.items():
        kept, wanted = _field(page, label), served.at(walk.wrong.get(label, text)).strip()
        kind = kept.evaluate("e => e.type")
        if kind == "checkbox":
            expect(kept).to_be_checked(checked=bool(wanted))
        elif kind.startswith("select"):
            assert wanted in kept.evaluate("e => e.selectedOptions[0].text")
        elif kind != "password":
            expect(kept).to_have_value(wanted)


def _rows() -> list[str]:
    """Everything that the database holds, but for who was refused at the door."""
    path = Path(str(models.database.database))
    with sqlite3.connect(path) as connection:
        lines = list(connection.iterdump())
    connection.close()
    return [line for line in lines if "user:sign_in_refused" not in line and "sqlite_sequence" not in line]
