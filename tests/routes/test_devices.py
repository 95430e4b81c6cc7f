"""The tab Devices: what its forms change, and what they refuse."""

import ast
import csv
import io
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from portal import hourly_charts
from portal.access.actors import Actor
from portal.devices import api_keys, devices, key_authentication, key_format
from portal.devices.key_uses import KeyUseCounter
from portal.models import ApiKey, Audit, Device, DeviceHour, File, database, now
from portal.tree import projects
from portal.users import users
from tests.fixtures.archive import a_project, an_object, store
from tests.fixtures.web import MOST_STATEMENTS, PASSWORD, Visitor, refusal, statements, text_of
from tests.fixtures.work import add_file


def test_a_new_device_names_who_added_it_and_can_do_nothing_yet(visitor: Visitor) -> None:
    answer = visitor.post(
        "/interfaces/devices/new", {"label": "ct-connector", "type": "connector"}, follow_redirects=True
    )

    assert "ct-connector is added." in text_of(answer.text)
    assert "No API key yet." in answer.text
    assert visitor.email in answer.text
    assert "site-admin level access" in answer.text
    assert "origin device and no user ID" in answer.text


@pytest.mark.parametrize(
    ("label", "kind", "message"),
    [
        ("", "", "The label needs at least one visible character."),
        ("   ", "", "The label needs at least one visible character."),
        ("x" * 65, "", "The label has more than 64 characters"),
        ("a/b", "", "The label must not contain a slash"),
        ("a\0b", "", "control character"),
        ("taken", "", "There is a device taken already."),
        ("fine", "toaster", "The type of a device is one of"),
    ],
)
def test_a_bad_device_is_refused(visitor: Visitor, admin: Actor, label: str, kind: str, message: str) -> None:
    devices.add("taken", actor=admin)

    refusal(visitor.post("/interfaces/devices/new", {"label": label, "type": kind}), message)

    assert len(devices.list_all()) == 1


def test_a_key_is_shown_once_and_works(visitor: Visitor, admin: Actor) -> None:
    device = devices.add("importer", actor=admin)

    answer = visitor.post(f"/interfaces/devices/{device.id}/keys", {"name": "rollout", "expires": "2027-06-30"})

    assert answer.status_code == 201
    secret = answer.text.split('id="secret">')[1].split("<")[0]
    assert len(secret) == key_format.KEY_LENGTH
    assert key_authentication.authenticate(secret, address="10.0.0.1", program="curl").id == str(device.id)
    page = visitor.get(f"/interfaces/devices/{device.id}").text
    assert secret not in page
    assert "rollout" in page
    assert "30 Jun 2027" in page
    assert not any(secret in f"{row.detail}{row.target_id}" for row in Audit.select())


@pytest.mark.parametrize(
    ("name", "expires", "message"),
    [
        ("", "2027-06-30", "The name needs at least one visible character."),
        ("key", "", "Choose a day."),
        ("key", "tomorrow", "write a time like"),
        ("key", "2020-01-01", "The expiry date is in the past"),
        ("key", "2099-01-01", "A key is valid for at most two years"),
        ("key", "9999-12-31", "A key is valid for at most two years"),
        ("key", "2027-02-30", "write a time like"),
    ],
)
def test_a_bad_key_is_refused_and_none_is_made(
    visitor: Visitor, admin: Actor, name: str, expires: str, message: str
) -> None:
    device = devices.add("importer", actor=admin)

    refusal(visitor.post(f"/interfaces/devices/{device.id}/keys", {"name": name, "expires": expires}), message)

    assert api_keys.for_owner(device) == []


def test_a_form_that_is_sent_twice_makes_one_key(visitor: Visitor, admin: Actor) -> None:
    device = devices.add("importer", actor=admin)
    path = f"/interfaces/devices/{device.id}"
    typed = {"name": "rollout", "expires": f"{now() + timedelta(days=99):%Y-%m-%d}"}
    shown = re.search(r'name="newest" type="hidden" value="(.*?)"', visitor.get(path).text)
    assert shown
    typed["newest"] = shown[1]
    assert visitor.post(f"{path}/keys", typed).status_code == 201
    [made] = api_keys.for_owner(device)

    again = visitor.post(f"{path}/keys", typed)

    refusal(again, f"Key {made.key_id} was created after this page was opened, so no other key was created.")
    assert api_keys.for_owner(device) == [made]
    typed["newest"] = made.key_id  # as the refusal's own form has it
    assert f'value="{made.key_id}"' in again.text
    assert visitor.post(f"{path}/keys", typed).status_code == 201


def test_a_sixth_live_key_is_refused(visitor: Visitor, admin: Actor) -> None:
    device = devices.add("importer", actor=admin)
    for number in range(5):
        api_keys.issue(device, name=f"key {number}", actor=admin)

    answer = visitor.post(f"/interfaces/devices/{device.id}/keys", {"name": "sixth", "expires": "2027-06-30"})

    refusal(answer, "importer has 5 live keys")


def test_a_key_is_revoked_after_a_question(visitor: Visitor, admin: Actor) -> None:
    device = devices.add("importer", actor=admin)
    issued = api_keys.issue(device, name="rollout", actor=admin)
    path = f"/interfaces/devices/{device.id}/keys/{issued.key_id}/revoke"

    assert "Cancel" in visitor.get(path).text
    visitor.post(path)

    assert api_keys.state(api_keys.for_owner(device)[0]) == "revoked"
    assert visitor.get(f"/interfaces/devices/{device.id}/keys/ptk_NONE00/revoke").status_code == 404
    assert visitor.post(f"/interfaces/devices/{device.id}/keys/ptk_NONE00/revoke").status_code == 404


def test_a_device_is_renamed_disabled_and_enabled(visitor: Visitor, admin: Actor) -> None:
    device = devices.add("importer", actor=admin)
    devices.add("taken", actor=admin)

    visitor.post(f"/interfaces/devices/{device.id}/rename", {"label": "importer-east"})
    refusal(
        visitor.post(f"/interfaces/devices/{device.id}/rename", {"label": "taken"}), "There is a device taken already."
    )
    assert devices.get(device.id).label == "importer-east"

    assert "is disabled" in visitor.post(f"/interfaces/devices/{device.id}/disable", follow_redirects=True).text
    assert devices.get(device.id).disabled
    assert "is enabled" in visitor.post(f"/interfaces/devices/{device.id}/enable", follow_redirects=True).text
    assert not devices.get(device.id).disabled


def used(device: Device, *, hours_ago: int, requests: int, failures: int = 0, size: int = 0) -> None:
    hour = (now() - timedelta(hours=hours_ago)).replace(minute=0, second=0, microsecond=0)
    DeviceHour.create(device=device.id, hour=hour, requests=requests, failures=failures, bytes=size)


def test_a_devices_day_stands_in_the_list_and_on_its_page(visitor: Visitor, admin: Actor) -> None:
    device, quiet = devices.add("importer", actor=admin), devices.add("quiet", actor=admin)
    used(device, hours_ago=3, requests=40, failures=2, size=10**6)
    used(device, hours_ago=30, requests=7)
    used(device, hours_ago=24 * 9, requests=9)

    days = hourly_charts.for_devices([device.id, quiet.id])
    assert [(hour.all, hour.failed) for hour in days[device.id].hours if hour.all] == [(40, 2)]
    assert days[quiet.id].all == 0

    listed = visitor.get("/interfaces/devices/").text
    assert "Last 24 hours: 40 requests, 2 failed, busiest" in listed
    assert "no activity" in listed
    assert "2 of 40 failed" in text_of(listed)
    page = visitor.get(f"/interfaces/devices/{device.id}").text
    assert "40 requests, 2 failed Day Requests Failed Uploaded Today" in text_of(page)
    assert "1.0 MB" in page


@pytest.mark.parametrize(
    ("zone", "at", "hours"),
    [
        ("UTC", "2026-11-26T12:40", [24, 24, 24, 24, 24, 24, 13]),
        ("UTC", "2026-11-26T00:00", [24, 24, 24, 24, 24, 24, 1]),
        # The hour from 18:00 UTC begins at 23:30 in Kolkata: it is yesterday's, also for what came after midnight.
        ("Asia/Kolkata", "2026-11-26T18:40", [24, 24, 24, 24, 24, 24, 0]),
        ("Asia/Kolkata", "2026-11-26T19:10", [24, 24, 24, 24, 24, 24, 1]),
        ("America/Los_Angeles", "2026-11-26T07:59", [24, 24, 24, 24, 24, 24, 24]),
        ("America/Los_Angeles", "2026-11-04T08:10", [24, 24, 24, 25, 24, 24, 1]),
    ],
)
def test_a_devices_week_has_the_days_of_the_reader(
    admin: Actor, site: None, monkeypatch: pytest.MonkeyPatch, zone: str, at: str, hours: list[int]
) -> None:
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    monkeypatch.setattr(hourly_charts, "now", lambda: moment)
    device = devices.add("importer", actor=admin)
    for back in range(24 * 9):
        hour = moment.replace(minute=0) - timedelta(hours=back)
        DeviceHour.create(device=device.id, hour=hour, requests=1, failures=1, bytes=5)

    week = hourly_charts.week_for_device(device.id, ZoneInfo(zone))

    assert week[-1].day == moment.astimezone(ZoneInfo(zone)).date()
    assert [one.all for one in week] == hours
    assert all((one.failed, one.size) == (one.all, one.all * 5) for one in week)


def test_a_device_shows_who_did_what_to_it_and_its_keys(visitor: Visitor, admin: Actor) -> None:
    device, other = devices.add("importer", actor=admin), devices.add("other", actor=admin)
    path = f"/interfaces/devices/{device.id}"
    visitor.post(f"{path}/keys", {"name": "rollout", "expires": "2027-06-30"})
    key_id = ApiKey.get().key_id
    visitor.post(f"{path}/keys/{key_id}/revoke")
    visitor.post(f"{path}/rename", {"label": "importer-east"})
    visitor.post(f"{path}/disable")
    api_keys.issue(other, name="of another", actor=admin)

    told = text_of(visitor.get(path).text.split('aria-label="History"')[1].split("</section>")[0])

    who = f"user {visitor.email} just now"
    renamed = f"Renamed importer → importer-east {who}"
    revoked, issued = f"Key revoked {key_id} rollout {who}", f"Key issued {key_id} rollout {who}"
    assert f"Disabled {who} {renamed} {revoked} {issued} Added" in told
    assert "of another" not in told
    assert "5 events found" in text_of(visitor.get(f"/activity/audit?q=device+{device.id}").text)


def test_a_device_shows_what_it_wrote_last(visitor: Visitor, admin: Actor) -> None:
    device = devices.add("importer", actor=admin)
    assert "None." in visitor.get(f"/interfaces/devices/{device.id}").text
    project = a_project("trial", actor=admin)
    for number in range(1, 8):
        store(an_object(SOPInstanceUID=f"1.2.3.{number}"), project)
    File.update(origin_type="device", origin_id=str(device.id)).execute()
    newest = File.select().order_by(File.id.desc()).first()
    File.update(deleted_at=now()).where(File.id == newest.id).execute()

    page = visitor.get(f"/interfaces/devices/{device.id}").text

    assert f'href="/data/file/{newest.id}"' not in page
    assert page.count('href="/data/file/') == devices.RECENT_FILES
    assert f'href="/data/file/{newest.id - 1}"' in page


def test_keys_say_in_words_when_they_end(visitor: Visitor, admin: Actor) -> None:
    device = devices.add("importer", actor=admin)
    for days in (200, 3):
        api_keys.issue(device, name=f"for {days}", expires=now() + timedelta(days=days, hours=1), actor=admin)
    gone = api_keys.issue(device, name="gone", actor=admin)
    ApiKey.update(expires=now() - timedelta(days=2, hours=12)).where(ApiKey.key_id == gone.key_id).execute()

    page = text_of(visitor.get(f"/interfaces/devices/{device.id}").text)

    for words in ("2 of 5 live", "in 200 days", "in 3 days", "2 days ago"):
        assert words in page


@pytest.mark.parametrize("page", ["", "/rename", "/keys/{key}/revoke"])
def test_a_page_of_a_device_asks_the_database_at_most_fifteen_times(visitor: Visitor, admin: Actor, page: str) -> None:
    device = devices.add("importer", actor=admin)
    visitor.post("/interfaces/devices/new", {"label": "sponsored"})
    sponsored = devices.get("sponsored")
    assert sponsored.sponsor is not None
    key = api_keys.issue(sponsored, name="one", actor=admin)
    devices.rename(sponsored.id, "renamed", actor=Actor(type="device", id=str(device.id), is_admin=True))

    with statements() as sent:
        answer = visitor.get(f"/interfaces/devices/{sponsored.id}{page.format(key=key.key_id)}")

    assert answer.status_code == 200
    assert len(sent) <= MOST_STATEMENTS, "\n".join(sent)


def test_a_limited_key_says_what_it_may_and_asks_again_with_what_was_typed(visitor: Visitor, admin: Actor) -> None:
    device = devices.add("importer", actor=admin)
    projects.add_in_new_group("neuro", "Brain", actor=admin)
    path = f"/interfaces/devices/{device.id}"
    typed = {"name": "trial", "expires": "2027-06-30", "only": "neuro/Nothing", "addresses": "10.0.4.0/24\n10.0.5.9"}

    answer = visitor.post(f"{path}/keys", {**typed, "read_only": "y"})
    refusal(answer, "There is no 'neuro/Nothing'. Write a group's ID, or a project as GROUP/PROJECT.")
    assert '<details class="more" open>' in answer.text
    assert "10.0.4.0/24\n10.0.5.9</textarea>" in answer.text
    assert '<details class="more">' in visitor.get(path).text

    answer = visitor.post(f"{path}/keys", {**typed, "read_only": "y", "only": "neuro/Brain"})
    assert answer.status_code == 201
    words = "Read only, neuro/Brain, from 10.0.4.0/24, 10.0.5.9/32"
    assert f"Access: {words}." in text_of(answer.text)
    assert words in text_of(visitor.get(path).text)


def test_a_key_is_rotated_and_its_page_shows_every_address_that_still_uses_it(visitor: Visitor, admin: Actor) -> None:
    device = devices.add("importer", actor=admin)
    old = api_keys.issue(device, name="first key", addresses=["10.0.0.0/24"], actor=admin)
    path = f"/interfaces/devices/{device.id}"
    asked = visitor.get(f"{path}/keys/{old.key_id}/rotate").text
    assert "Its access is the same: from 10.0.0.0/24." in text_of(asked)
    newest = re.findall(r'name="newest"[^>]*value="([^"]*)"', asked)[0]

    answer = visitor.post(
        f"{path}/keys/{old.key_id}/rotate", {"name": "rollout", "expires": "2027-06-30", "newest": newest}
    )
    assert answer.status_code == 201
    assert f"The old key {old.key_id} works until it is revoked or expires." in text_of(answer.text)
    assert "Not used since rollout was created" in text_of(visitor.get(f"{path}/keys/{old.key_id}").text)

    uses = KeyUseCounter()
    for host in (9, 10, 11):
        key_authentication.authenticate(old.secret, address=f"10.0.0.{host}", program=f"importer/{host}")
        uses.count(old.key_id, address=f"10.0.0.{host}", program=f"importer/{host}")
    uses.flush()

    page = text_of(visitor.get(f"{path}/keys/{old.key_id}").text)
    assert "Still used just now from 10.0.0.11 and 2 more." in page
    assert all(f"10.0.0.{host} importer/{host} 1" in page for host in (9, 10, 11))
    assert "Still used just now from 10.0.0.11 and 2 more" in text_of(visitor.get(path).text)
    new_id = api_keys.newest_id(device)
    assert "was still used just now from 10.0.0.11 and 2 more" in text_of(visitor.get(f"{path}/keys/{new_id}").text)
    assert visitor.get(f"{path}/keys/ptk_000000").status_code == 404


def test_another_owner_is_chosen_and_one_who_is_disabled_is_a_warning(visitor: Visitor, admin: Actor) -> None:
    device = devices.add("importer", owner=visitor.email, actor=admin)
    users.add("colleague@site.example", PASSWORD, False, actor=admin)
    path = f"/interfaces/devices/{device.id}"
    assert '<option value="colleague@site.example">' in visitor.get(f"{path}/owner").text
    for typed, message in (("", "Enter the e-mail address"), ("nobody@site.example", "There is no user")):
        refusal(visitor.post(f"{path}/owner", {"owner": typed}), message)
        refusal(visitor.post("/interfaces/devices/new", {"label": "x", "owner": typed}), message)

    answer = visitor.post(f"{path}/owner", {"owner": "colleague@site.example"}, follow_redirects=True)
    assert "colleague@site.example is the owner of importer." in text_of(answer.text)
    assert "Owner colleague@site.example" in text_of(answer.text)

    users.disable(users.by_email("colleague@site.example").id, actor=admin)
    assert "The owner, colleague@site.example, is disabled." in text_of(visitor.get(path).text)
    assert "colleague@site.example Disabled user" in text_of(visitor.get("/interfaces/devices/").text)


def test_a_removed_device_has_a_page_without_actions_and_frees_its_label(visitor: Visitor, admin: Actor) -> None:
    device = devices.add("importer", actor=admin)
    issued = api_keys.issue(device, name="first key", actor=admin)
    path = f"/interfaces/devices/{device.id}"
    assert "1 live key is revoked." in text_of(visitor.get(f"{path}/remove").text)

    answer = visitor.post(f"{path}/remove", follow_redirects=True)
    assert "importer is removed, and its keys are revoked." in text_of(answer.text)
    assert f'href="{path}"' not in visitor.get("/interfaces/devices/").text
    page = visitor.get(path).text
    assert "importer (removed)" in text_of(page)
    assert issued.key_id in page
    main = page.split("<main")[1]
    assert not any(action in main for action in ("<form", "/rename", "/owner", "/rotate", "/revoke"))
    assert visitor.get(f"{path}/keys/{issued.key_id}").status_code == 200
    for action in ("rename", "owner", "remove", f"keys/{issued.key_id}/rotate"):
        assert visitor.get(f"{path}/{action}").status_code == 404
    assert visitor.post(f"{path}/keys", {"name": "k", "expires": "2027-06-30"}).status_code == 404
    assert visitor.post("/interfaces/devices/new", {"label": "importer"}).status_code == 303


def test_uploads_are_listed_by_time_and_key_and_as_csv(visitor: Visitor, admin: Actor) -> None:
    device, other = devices.add("importer", actor=admin), devices.add("other", actor=admin)
    project = projects.add_in_new_group("neuro", "Brain", actor=admin)
    key = Actor(type="device", id=str(device.id), name="importer", via="ptk_AAAAAA", is_admin=True)
    old = add_file(project, "old.txt", b"1", key)
    File.update(created=now() - timedelta(days=3)).where(File.id == old).execute()
    add_file(project, "new.txt", b"22", replace(key, via="ptk_BBBBBB"))
    add_file(project, "foreign.txt", b"3", replace(key, id=str(other.id)))
    path = f"/interfaces/devices/{device.id}/uploads"

    def shown(query: str = "") -> list[str]:
        return re.findall(r"(\w+)\.txt</a>", visitor.get(f"{path}{query}").text)

    assert shown() == ["new", "old"]
    assert shown("?kind=day") == ["new"]
    assert shown("?kind=week&sort=name") == ["new", "old"]
    assert shown("?q=ptk_AAAAAA") == ["old"]
    assert "neuro/Brain" in text_of(visitor.get(path).text)
    [only] = csv.DictReader(io.StringIO(visitor.get(f"{path}?format=csv&q=new").text.removeprefix("\ufeff")))
    assert (only["File"], only["Project"], only["Key"], only["Bytes"]) == ("new.txt", "neuro/Brain", "ptk_BBBBBB", "2")
    with statements() as sent:
        visitor.get(path)
    assert len(sent) <= MOST_STATEMENTS


@pytest.mark.parametrize("query", ["", "?sort=expires", "?sort=status", "?q=imp", "?only=never"])
def test_no_list_of_devices_reads_all_keys_for_each_of_them(visitor: Visitor, admin: Actor, query: str) -> None:
    api_keys.issue(devices.add("importer", actor=admin), name="first", actor=admin)
    visitor.get("/interfaces/devices/")
    with statements() as sent:
        assert visitor.get(f"/interfaces/devices/{query}").status_code == 200
    for sql, values in (ast.literal_eval(one) for one in sent if "api_key" in one):
        plan = [row[3] for row in database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", values)]
        at = next((number for number, step in enumerate(plan) if "CORRELATED" in step), len(plan))
        assert all(
            "api_key_owner_type_owner_id (owner_type=? AND owner_id=?)" in step for step in plan[at + 1 : at + 2]
        )
        assert not any(step.startswith("SCAN") and "api_key" in step for step in plan), plan
