"""One's own time zone, and the strip of what waits for an admin."""

import ast
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask

from portal import runtime, site_settings
from portal.access.actors import Actor
from portal.dashboard import alerts
from portal.devices import api_keys, devices, key_authentication
from portal.exports import exports, schedules
from portal.jobs import jobs
from portal.models import ApiKey, Audit, Device, Schedule, database, now, writing
from portal.settings import Settings
from portal.storage import storages
from tests.fixtures.archive import a_project
from tests.fixtures.web import Visitor, account, refusal, statements, text_of


def test_a_user_reads_times_in_a_zone_of_his_own(visitor: Visitor, admin: Actor) -> None:
    site_settings.change({"site.time_zone": "Europe/Zurich"}, actor=admin)
    device = devices.add("one", actor=admin)
    with writing():
        Device.update(last_seen=datetime(2020, 1, 1, 12, tzinfo=UTC)).where(Device.id == device.id).execute()
    assert "1 Jan 2020, 13:00" in visitor.get("/interfaces/devices/").text
    assert "Times in Europe/Zurich" in visitor.get("/interfaces/devices/").text

    answer = visitor.post("/profile", {"time_zone": " Asia/Tokyo "}, follow_redirects=True)

    assert "Times are shown in Asia/Tokyo from now on." in text_of(answer.text)
    assert "1 Jan 2020, 21:00" in visitor.get("/interfaces/devices/").text
    assert Audit.select().where(Audit.action == "user:time_zone_changed").count() == 1
    visitor.post("/profile", {"time_zone": ""})
    assert account(visitor).time_zone == ""
    assert "1 Jan 2020, 13:00" in visitor.get("/interfaces/devices/").text


@pytest.mark.parametrize("name", ["Mars/Olympus", "../../etc/passwd", "x" * 900, "europe/zurich"])
def test_a_zone_that_is_none_is_refused_beside_its_field(visitor: Visitor, name: str) -> None:
    refusal(visitor.post("/profile", {"time_zone": name}), "is not a time zone. Write it like Europe/Zurich.")
    assert account(visitor).time_zone == ""


def test_everybody_has_a_profile(reader: Visitor, stranger: Visitor) -> None:
    assert reader.email in reader.get("/profile").text
    assert reader.post("/profile", {"time_zone": "Asia/Tokyo"}).status_code == 303
    assert stranger.get("/profile").status_code == 303


def test_a_day_of_a_form_is_one_of_the_zone_that_the_page_shows(visitor: Visitor, admin: Actor) -> None:
    device = devices.add("one", actor=admin)
    visitor.post("/profile", {"time_zone": "Pacific/Kiritimati"})
    day = f"{now() + timedelta(days=30):%Y-%m-%d}"

    visitor.post(f"/interfaces/devices/{device.id}/keys", {"name": "k", "expires": day})

    assert f"{ApiKey.get().expires:%Y-%m-%d %H:%M:%S}" == f"{day} 09:59:59"


def a_key_that_ends(device: Device, days: float, admin: Actor) -> None:
    api_keys.issue(device, name="k", expires=now() + timedelta(days=days), actor=admin)


def test_a_key_that_ends_within_thirty_days_waits_for_an_admin_and_within_seven_it_is_urgent(
    visitor: Visitor, admin: Actor
) -> None:
    device = devices.add("one", actor=admin)
    a_key_that_ends(device, 31, admin)
    assert alerts.list_all() == []

    a_key_that_ends(device, 29.5, admin)
    page = visitor.get("/jobs/").text
    assert "1 device key expires in 29 days" in text_of(page)
    assert f'<a href="/interfaces/devices/{device.id}">' in page

    a_key_that_ends(device, 6.5, admin)
    page = visitor.get("/jobs/").text
    assert "2 device keys expire, the first in 6 days" in text_of(page)
    assert '<a href="/interfaces/devices/?sort=expires" class="urgent">' in page
    devices.disable("one", actor=admin)
    assert alerts.list_all() == []


@pytest.mark.usefixtures("app")
def test_a_rotated_key_that_expires_is_an_alert_only_while_it_is_used(admin: Actor) -> None:
    device = devices.add("one", actor=admin)
    old = api_keys.issue(device, name="old", expires=now() + timedelta(days=3), actor=admin)
    new = api_keys.rotate(device, old.key_id, name="new", actor=admin)
    assert alerts.list_all() == []
    key_authentication.authenticate(old.secret, address="10.0.0.9", program="x")
    assert [alert.message for alert in alerts.list_all()] == ["1 device key expires"]
    ApiKey.update(last_used=None).where(ApiKey.key_id == old.key_id).execute()
    api_keys.revoke(device, new.key_id, actor=admin)
    assert [alert.kind for alert in alerts.list_all()] == ["keys"]


def test_the_alert_looks_for_the_successor_of_a_key_among_those_of_its_device(visitor: Visitor) -> None:
    with statements() as sent:
        visitor.get("/jobs/")
    sql, values = next(ast.literal_eval(one) for one in sent if "replaces" in one)
    plan = [row[3] for row in database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert any("api_key_owner_type_owner_id (owner_type=? AND owner_id=?)" in step for step in plan), plan


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize("ended", ["revoked", "removed"])
def test_a_key_that_nobody_can_use_is_no_alert(admin: Actor, ended: str) -> None:
    device = devices.add("one", actor=admin)
    issued = api_keys.issue(device, name="k", expires=now() + timedelta(days=3), actor=admin)
    if ended == "revoked":
        api_keys.revoke(device, issued.key_id, actor=admin)
    else:
        devices.remove(device.id, actor=admin)
    assert alerts.list_all() == []


def test_failed_storages_lead_to_the_one_or_to_their_list(visitor: Visitor, admin: Actor) -> None:
    for number in (1, 2):
        storage = storages.add(f"m{number}", "fs", path=str(runtime.current().storage_roots[0] / "x"), actor=admin)
        storages.record_test(storage.id, state="failed", message="It is full.")
        if number == 1:
            page = visitor.get("/jobs/").text
            assert "External storage m1 failed" in text_of(page)
            assert '<a href="/interfaces/storages/1">' in page

    page = visitor.get("/jobs/").text
    assert "2 external storages failed" in text_of(page)
    assert "/interfaces/storages/?only=failed" in page


def test_a_schedule_that_stopped_waits_for_an_admin_and_goes_on_only_where_it_can(
    visitor: Visitor, admin: Actor
) -> None:
    a_project("trial", actor=admin)
    root = runtime.current().storage_roots[0]
    storage = storages.add("mirror", "fs", path=str(root / "x"), actor=admin)
    tried = exports.dry_run("neuro/trial", to="mirror", actor=admin)
    jobs.cancel(tried.id, actor=admin)
    row = schedules.add(tried.id, "0 2 * * *", confirmed=True, label="nightly", actor=admin)
    storages.edit("mirror", mode="import", actor=admin)
    page = f"/exports/schedules/{row.id}"

    def stops() -> str:
        Schedule.update(state="on", due=now() - timedelta(seconds=1)).execute()
        assert schedules.sweep() == 0
        strip = visitor.get("/jobs/").text
        assert "Schedule nightly stopped automatically" in text_of(strip)
        assert f'<a href="{page}">' in strip
        return visitor.get(page).text

    assert "mirror is for import only." in text_of(stops())
    assert f'action="{page}/resume"' in stops()
    storages.remove(storage.label, actor=admin)
    shown = stops()
    assert "The storage mirror has been removed. It cannot be resumed." in text_of(shown)
    assert f'action="{page}/resume"' not in shown
    assert f'action="{page}/run"' not in shown


def test_a_disk_that_fills_is_told_before_and_when_it_is_full(app: Flask, site: Settings, visitor: Visitor) -> None:
    free = shutil.disk_usage(site.data).free
    for reserve, message in (
        (free * 2, "uploads and C-STORE are refused"),
        (int(free / 1.5), "The disk is nearly full"),
    ):
        runtime.start(replace(site, min_free=reserve))
        assert message in visitor.get("/jobs/").text
    runtime.start(site)
    assert alerts.list_all() == []


def test_somebody_else_is_not_told_what_waits(reader: Visitor, admin: Actor) -> None:
    a_key_that_ends(devices.add("one", actor=admin), 2, admin)

    assert "Alerts" not in reader.get("/data/").text
