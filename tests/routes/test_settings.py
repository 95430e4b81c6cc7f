"""Settings: what is saved section by section, what is refused, and that each setting acts."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask

from portal import site_settings
from portal.access.actors import Actor
from portal.devices import devices
from portal.errors import NoSpace, NotAllowed
from portal.ingest import disk_reserve
from portal.models import Audit, File
from portal.peers import peers
from portal.storage import storages
from portal.trash import trash
from portal.users import sessions
from tests.fixtures.archive import a_project, an_object, store
from tests.fixtures.web import HTMX, MOST_STATEMENTS, SETTINGS, Visitor, refusal, statements, text_of

SECTIONS = {
    "site": {"name": "West Campus", "time_zone": "Europe/Zurich"},
    "dimse": {"enabled": "y", "ae_title": "WEST", "host": "127.0.0.1", "port": "11113", "echo_anyone": "y"},
    "association": {"at_once": "50", "identity": "refused"},
    "query": {"answers": "5000", "character_set": "ISO_IR 100"},
    "archive": {"duplicates": "refuse"},
    "trash": {"who": "users", "days": "14"},
    "disk": {"floor": "0,5"},
    "exports": {"threads": "8"},
    "verification": {"weekday": "wednesday", "hour": "23:00"},
    "history": {"jobs": "30", "exports": "400", "associations": "31", "callers": "32", "hourly": "33"},
    "session": {"idle": "30", "longest": "8"},
}


def test_each_section_is_saved_by_itself_and_shown(visitor: Visitor) -> None:
    for section, values in SECTIONS.items():
        before = site_settings.get_all()
        answer = visitor.post(f"/settings/{section}", values, follow_redirects=True)

        assert "Saved." in answer.text
        assert {key.partition(".")[0] for key, value in site_settings.get_all().items() if value != before[key]} == {
            section
        }
    assert site_settings.get_all() == {
        "site.name": "West Campus",
        "site.time_zone": "Europe/Zurich",
        "dimse.enabled": True,
        "dimse.ae_title": "WEST",
        "dimse.host": "127.0.0.1",
        "dimse.port": 11113,
        "dimse.tls_port": 0,
        "dimse.require_certificates": False,
        "dimse.echo_anyone": True,
        "association.at_once": 50,
        "association.identity": "refused",
        "query.answers": 5000,
        "query.character_set": "ISO_IR 100",
        "archive.duplicates": "refuse",
        "trash.who": "users",
        "trash.days": 14,
        "disk.floor": 0.5,
        "exports.threads": 8,
        "verification.enabled": False,
        "verification.weekday": "wednesday",
        "verification.hour": "23:00",
        "history.jobs": 30,
        "history.exports": 400,
        "history.associations": 31,
        "history.callers": 32,
        "history.hourly": 33,
        "session.idle": 30,
        "session.longest": 8,
        "first_steps.left": [],
        "first_steps.hidden": False,
    }
    page = visitor.get("/settings/").text
    for shown in ('value="West Campus"', 'value="11113"', 'value="0.5"', 'value="30"', '"users" selected'):
        assert shown in page
    visitor.post("/settings/dimse", {**SECTIONS["dimse"], "enabled": ""})
    assert site_settings.get("dimse.enabled") is False


def test_what_changed_is_told_audited_and_listed_with_before_and_after(visitor: Visitor) -> None:
    told = text_of(visitor.post("/settings/dimse", {**SETTINGS, "ae_title": "PORTICO"}, follow_redirects=True).text)

    assert "Address to listen on: from 0.0.0.0 to 127.0.0.1; Port: from 11112 to 11113." in told
    assert "Port: 11112 → 11113" in told
    assert f"user {visitor.email}" in told
    detail = Audit.get(Audit.action == "setting:changed").detail
    assert (detail["before"]["dimse.port"], detail["after"]["dimse.port"]) == (11112, 11113)
    again = visitor.post("/settings/dimse", {**SETTINGS, "ae_title": "PORTICO"}, follow_redirects=True)
    assert "Nothing was changed" in again.text
    assert Audit.select().where(Audit.action == "setting:changed").count() == 1


@pytest.mark.parametrize(
    ("section", "field", "value", "message"),
    [
        ("site", "name", "", "The name must have 1 to 100 characters."),
        ("site", "name", "x" * 101, "The name must have 1 to 100 characters."),
        ("site", "time_zone", "Mars/Olympus", "Mars/Olympus is not a time zone."),
        ("site", "time_zone", "../../etc/passwd", "is not a time zone."),
        ("dimse", "ae_title", "x" * 17, "has 17 characters"),
        ("dimse", "host", "", "Enter a host name"),
        ("dimse", "host", "a b", "Enter a host name"),
        ("dimse", "port", "0", "0 is not a port."),
        ("dimse", "port", "", "is not a port."),
        ("dimse", "port", "1e3", "1e3 is not a port."),
        ("archive", "duplicates", "ignore", "must be one of: hold, refuse, replace."),
        ("trash", "who", "everybody", "must be one of: admins, users, nobody."),
        ("trash", "days", "-1", "-1 is out of range. Enter 0 to 3,650 days."),
        ("disk", "floor", "-1", "-1 is not a number of gigabytes."),
        ("disk", "floor", "nan", "nan is not a number of gigabytes."),
        ("exports", "threads", "0", "0 is out of range. Enter 1 to 32 parallel transfers."),
        ("disk", "floor", "1e9", "GB. With 1e9 GB kept free nothing could be stored."),
        ("session", "idle", "4", "4 is out of range. Enter 5 to 10,080 minutes."),
        ("session", "idle", "²", "² is out of range"),
        ("session", "longest", "", "An empty value is out of range. Enter 1 to 720 hours."),
        ("session", "longest", "721", "721 is out of range"),
    ],
)
def test_a_bad_setting_is_refused_beside_its_field_and_none_is_changed(
    visitor: Visitor, section: str, field: str, value: str, message: str
) -> None:
    before = site_settings.get_all()

    answer = visitor.post(f"/settings/{section}", {**SECTIONS[section], field: value})

    refusal(answer, message)
    assert f'id="{field}-e"' in answer.text
    assert answer.text.count("autofocus") == 1
    assert site_settings.get_all() == before


def test_a_bad_field_keeps_no_other_section_from_being_saved(visitor: Visitor) -> None:
    visitor.post("/settings/dimse", {**SECTIONS["dimse"], "port": "0"})
    visitor.post("/settings/site", SECTIONS["site"])

    assert (site_settings.get("site.name"), site_settings.get("dimse.port")) == ("West Campus", 11112)


def test_a_section_that_is_none_is_no_page(visitor: Visitor) -> None:
    assert visitor.post("/settings/first_steps", {"hidden": "y"}).status_code == 404


def test_settings_ask_the_database_at_most_fifteen_times(visitor: Visitor) -> None:
    visitor.post("/settings/site", SECTIONS["site"])
    with statements() as sent:
        assert visitor.get("/settings/").status_code == 200
    assert len(sent) <= MOST_STATEMENTS, "\n".join(sent)


def test_times_are_those_of_the_site_with_utc_on_hover(visitor: Visitor, admin: Actor) -> None:
    devices.add("importer", actor=admin)
    site_settings.change({"site.time_zone": "Pacific/Kiritimati"}, actor=admin)

    page = visitor.get("/interfaces/devices/1").text

    assert "UTC" in page
    assert "<time datetime=" in page


def test_a_form_without_its_fields_is_refused_in_words(visitor: Visitor, dimse: None) -> None:
    forms = ("/interfaces/devices/new", "/interfaces/peers/new", "/interfaces/storages/new")
    for path in (*forms, "/settings/site", "/settings/dimse", "/settings/archive", "/settings/session"):
        assert visitor.post(path).status_code == 422
    assert visitor.post("/exports/new").status_code in (404, 422)
    assert (devices.list_all(), peers.list_all(), storages.list_all()) == ([], [], [])


def test_a_reserve_that_an_admin_sets_refuses_objects_and_is_told(
    visitor: Visitor, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = a_project("one", actor=admin)
    store(an_object(SOPInstanceUID="1.2.3"), project)
    free = disk_reserve.archive_space().free / site_settings.GIGABYTE

    visitor.post("/settings/disk", {"floor": f"{free + 0.5:.3f}"})

    with pytest.raises(NoSpace, match="nearly full"):
        store(an_object(SOPInstanceUID="1.2.4"), project)
    assert File.select().count() == 1
    page = text_of(visitor.get("/settings/").text)
    assert "The disk is full up to the reserve: uploads and C-STORE are refused" in page
    assert "Uploads and C-STORE are stopped." in page
    visitor.post("/settings/disk", {"floor": ""})
    store(an_object(SOPInstanceUID="1.2.4"), project)
    assert File.select().count() == 2


def test_an_object_that_would_go_below_the_reserve_is_refused(admin: Actor, app: Flask) -> None:
    room = disk_reserve.archive_space()
    site_settings.change({"disk.floor": str((room.free - 20_000_000) / site_settings.GIGABYTE)}, actor=admin)

    disk_reserve.check()
    with pytest.raises(NoSpace):
        disk_reserve.check(1_000_000_000)


def test_nobody_goes_below_what_the_machine_keeps(admin: Actor, app: Flask) -> None:
    assert disk_reserve.minimum_free() == 1
    site_settings.change({"disk.floor": "0"}, actor=admin)
    assert disk_reserve.minimum_free() == 1


@pytest.mark.parametrize(
    ("who", "device", "user"), [("admins", True, True), ("users", False, True), ("nobody", False, False)]
)
def test_who_may_throw_things_away_is_who_the_site_lets(
    visitor: Visitor, admin: Actor, who: str, device: bool, user: bool
) -> None:
    store(an_object(), a_project("one", actor=admin))
    visitor.post("/settings/trash", {"who": who, "days": "30"})
    key = Actor(type="device", id="1", is_admin=True)

    for actor, may in ((key, device), (admin, user)):
        if may:
            trash.require_trash_right(actor)
        else:
            with pytest.raises(NotAllowed):
                trash.move_to_trash("file", 1, actor=actor)
    assert visitor.get("/data/file/1/trash").status_code == (200 if user else 403)
    assert visitor.post("/data/file/1/trash").status_code == (303 if user else 403)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[timedelta], None]:
    """Puts the clock of the sessions forward."""
    away = timedelta()

    def forward(by: timedelta) -> None:
        nonlocal away
        away += by

    monkeypatch.setattr(sessions, "now", lambda: datetime.now(UTC) + away)
    return forward


def test_somebody_who_is_away_too_long_is_signed_out_and_told_why(
    visitor: Visitor, later: Callable[[timedelta], None]
) -> None:
    visitor.post("/settings/session", {"idle": "30", "longest": "8"})
    for _ in range(3):
        later(timedelta(minutes=25))
        assert visitor.get("/profile").status_code == 200

    later(timedelta(minutes=25))
    assert visitor.get("/jobs/", headers={"HX-Request": "true"}).status_code == 200
    later(timedelta(minutes=6))
    told = visitor.get("/profile", follow_redirects=True).text

    assert "You were signed out after 30 minutes without activity. Sign in again." in told
    assert visitor.sign_in().status_code == 303
    assert visitor.get("/profile").status_code == 200


def test_nobody_is_signed_in_for_longer_than_the_site_allows(
    visitor: Visitor, later: Callable[[timedelta], None]
) -> None:
    visitor.post("/settings/session", {"idle": "60", "longest": "2"})
    for _ in range(2):
        later(timedelta(minutes=50))
        assert visitor.get("/profile").status_code == 200

    later(timedelta(minutes=25))

    assert "Your session reached its maximum length of 2 hours." in visitor.get("/profile", follow_redirects=True).text


def test_everybody_is_signed_out_but_who_asked_for_it(visitor: Visitor, reader: Visitor, app: Flask) -> None:
    elsewhere = Visitor(client=app.test_client(), email=visitor.email, address="10.9.9.9")
    elsewhere.sign_in()
    assert "All sessions of 2 accounts end" in text_of(visitor.get("/settings/sign-out-all").text)

    told = visitor.post("/settings/sign-out-all", follow_redirects=True)

    assert "Everybody is signed out, except in this browser." in told.text
    assert "Everybody was signed out" in told.text
    assert not reader.is_signed_in()
    assert not elsewhere.is_signed_in()
    assert Audit.select().where(Audit.action == "session:all_ended").count() == 1
    assert reader.post("/settings/sign-out-all").status_code == 303


def test_where_nothing_listens_the_page_says_so_and_asks_again(visitor: Visitor, dimse: None) -> None:
    page = visitor.get("/settings/").text

    assert "The listener is not running." in page
    assert 'hx-get="/settings/"' in page
    visitor.post("/settings/dimse", {**SETTINGS})
    part = visitor.get("/settings/", headers=HTMX).text
    assert "No port is open." in part
    assert "hx-get" not in part
    assert "<html" not in part
