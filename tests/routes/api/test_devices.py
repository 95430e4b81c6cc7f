"""/api/devices: devices, what they report, and their keys."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from portal.access.actors import operator
from portal.devices import api_keys, devices
from portal.models import ApiKey, Device, now
from portal.tree import groups, rest_ids
from portal.users import users
from tests.fixtures.api import Api, assert_refused
from tests.fixtures.web import statements

UNKNOWN = "0007" + "0" * 19 + "9"


def id_of(device: Device) -> str:
    return rest_ids.encode("device", device.id)


def test_a_new_device_is_listed_plain_also_when_pages_are_announced(api: Api, device: Device) -> None:
    made = api.post("/api/devices", json={"label": "ct-connector", "type": "connector"}).json()
    assert (made["label"], made["name"], made["type"]) == ("ct-connector", "ct-connector", "connector")
    assert (made["disabled"], made["errors"], made["api_keys"], made["last_seen"]) == (False, [], [], None)
    assert made["origin"]["type"] == "device"
    listed = api.get("/api/devices", headers={"x-accept-feature": "pagination"}).json()
    assert [row["_id"] for row in listed] == [made["_id"], id_of(device)]
    assert api.get(f"/api/devices/{made['_id']}").json() == made


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"label": "importer-east"}, 409, "importer-east"),
        ({"label": "x", "type": "toaster"}, 422, "connector, importer, reaper"),
        ({"label": " "}, 422, "visible character"),
        ({"label": "a/b"}, 422, "slash"),
        ({"label": "x" * 65}, 422, "64"),
        ({"label": "\u202ex"}, 422, "cannot be seen"),
    ],
)
def test_a_device_that_cannot_be_is_refused(api: Api, body: dict[str, Any], status: int, words: str) -> None:
    assert_refused(api.post("/api/devices", json=body), status, words)
    assert Device.select().count() == 1


def test_a_device_reports_itself(api: Api, device: Device) -> None:
    told = {
        "version": "2.0.3",
        "interval": 900,
        "errors": ["disk full"],
        "info": {"host": "a", "deep": [1, {"b": None}]},
    }
    answer = api.put("/api/devices/self", json=told).json()
    assert {name: answer[name] for name in told} == told
    assert answer["_id"] == id_of(device)
    assert api.get("/api/devices/status").json()[id_of(device)]["status"] == "error"
    assert api.put("/api/devices/self", json={"errors": []}).json()["version"] == "2.0.3"
    assert api.get("/api/devices/status").json()[id_of(device)]["status"] == "ok"


def test_an_empty_report_updates_last_seen_alone(api: Api) -> None:
    api.put("/api/devices/self", json={"interval": 60, "errors": ["x"]})
    before = api.get("/api/devices/self").json()
    after = api.put("/api/devices/self").json()
    assert after.pop("last_seen") > before.pop("last_seen")
    assert after == before


def test_the_type_is_set_once(api: Api) -> None:
    assert_refused(api.put("/api/devices/self", json={"type": "reaper"}), 422, "Cannot change device type")
    assert api.put("/api/devices/self", json={"type": "importer"}).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {"interval": "60"},
        {"interval": 0},
        {"interval": 1.5},
        {"interval": True},
        {"interval": 10**15},
        {"errors": "x"},
        {"errors": [1]},
        {"errors": None},
        {"info": []},
        {"info": {"x": "y" * 70_000}},
        {"version": ""},
        {"version": {"a": 1}},
        {"label": "mine"},
        {"disabled": False},
    ],
)
def test_a_report_that_does_not_fit_changes_nothing(api: Api, body: dict[str, Any]) -> None:
    before = api.get("/api/devices/self").json()
    assert_refused(api.put("/api/devices/self", json=body), 422)
    assert api.get("/api/devices/self").json() == before


def test_a_device_is_renamed_and_disabled_and_its_keys_are_refused(api: Api, device: Device) -> None:
    other = api.post("/api/devices", json={"label": "other"}).json()["_id"]
    key = api.post(f"/api/devices/{other}/key", json={"label": "k"}).json()
    changed = api.put(f"/api/devices/{other}", json={"label": "renamed", "disabled": True}).json()
    assert (changed["label"], changed["disabled"]) == ("renamed", True)
    assert_refused(replace(api, key=key["unencrypted_secret"]).get("/api/devices/self"), 401, "disabled")
    assert api.put(f"/api/devices/{other}", json={"disabled": False}).json()["disabled"] is False
    assert replace(api, key=key["unencrypted_secret"]).get("/api/devices/self").json()["_id"] == other


def test_a_refused_change_changes_neither_half(api: Api) -> None:
    other = api.post("/api/devices", json={"label": "other"}).json()["_id"]
    assert_refused(api.put(f"/api/devices/{other}", json={"label": "importer-east", "disabled": True}), 409)
    assert_refused(api.put(f"/api/devices/{other}", json={"label": "fine", "disabled": "yes"}), 422, "true or false")
    assert api.get(f"/api/devices/{other}").json()["label"] == "other"
    assert api.get(f"/api/devices/{other}").json()["disabled"] is False


def test_a_removed_device_is_gone_with_its_keys(api: Api) -> None:
    other = api.post("/api/devices", json={"label": "other"}).json()["_id"]
    key = api.post(f"/api/devices/{other}/key", json={"label": "k"}).json()
    assert api.delete(f"/api/devices/{other}").status_code == 200
    assert_refused(api.get(f"/api/devices/{other}"), 404)
    assert_refused(replace(api, key=key["unencrypted_secret"]).get("/api/version"), 401)


@pytest.mark.parametrize(
    "device_id", [UNKNOWN, "self2", "0" * 24, "000500000000000000000001", "x" * 300, "%00", "..%2f"]
)
def test_a_device_that_there_is_not_is_missing(api: Api, device_id: str) -> None:
    for method, path, body in (
        ("GET", "", None),
        ("PUT", "", {"disabled": True}),
        ("DELETE", "", None),
        ("POST", "/key", {"label": "k"}),
        ("DELETE", "/key/ptk_000000", None),
    ):
        assert_refused(api(method, f"/api/devices/{device_id}{path}", json=body), 404)
    assert Device.select().count() == 1


def test_a_key_is_shown_once(api: Api, device: Device) -> None:
    expires = (now() + timedelta(days=90)).replace(microsecond=0)
    path = f"/api/devices/{id_of(device)}/key"
    key = api.post(path, json={"label": "rollout", "expires_at": expires.isoformat()}).json()
    assert (key["label"], key["expires_at"], key["last_used"]) == ("rollout", expires.isoformat(), None)
    assert len(key["unencrypted_secret"]) == 57
    assert key["unencrypted_secret"].startswith(key["key"])
    assert replace(api, key=key["unencrypted_secret"]).get("/api/devices/self").status_code == 200
    assert key["unencrypted_secret"] not in api.get(f"/api/devices/{id_of(device)}").text


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "lacks the field label"),
        ({"label": ""}, "visible character"),
        ({"label": "k", "expires_at": "soon"}, "write a time like"),
        ({"label": "k", "expires_at": "0001-01-01T00:00:00+14:00"}, "write a time like"),
        ({"label": "k", "expires_at": "2020-01-01"}, "in the past"),
        ({"label": "k", "expires_at": "9999-12-31"}, "at most two years"),
        ({"label": "k", "expires_at": 5}, "must be a string"),
    ],
)
def test_a_key_that_cannot_be_is_refused(api: Api, device: Device, body: dict[str, Any], words: str) -> None:
    assert_refused(api.post(f"/api/devices/{id_of(device)}/key", json=body), 422, words)
    assert ApiKey.select().count() == 1


def test_a_key_is_narrowed_and_reaches_no_further(api: Api, device: Device) -> None:
    acquisition = api.acquisition("imaging", "CT trial")
    other = api.acquisition("other", "MR trial")
    limits = {"read_only": True, "only": "imaging/CT trial", "addresses": ["127.0.0.0/8"]}
    path = f"/api/devices/{id_of(device)}/key"
    key = api.post(path, json={"label": "k", **limits}).json()
    assert (key["read_only"], key["only"], key["addresses"]) == tuple(limits.values())

    narrowed = replace(api, key=key["unencrypted_secret"])
    assert narrowed.get(f"/api/acquisitions/{acquisition}").status_code == 200
    assert_refused(narrowed.get(f"/api/acquisitions/{other}"), 404)
    assert_refused(narrowed.post(path, json={"label": "wider"}), 403)
    shown = {row["label"]: row["only"] for row in api.get("/api/devices/self").json()["api_keys"]}
    assert shown == {"k": "imaging/CT trial", "test": None}
    for body, words in (({"only": "imaging/none"}, "There is no"), ({"addresses": ["10.0.0.300"]}, "address range")):
        assert_refused(api.post(path, json={"label": "k", **body}), 422, words)


def test_the_place_of_a_key_is_told_to_site_admins_and_to_that_key_alone(api: Api, device: Device) -> None:
    api.acquisition("imaging", "CT trial")
    api.acquisition("other", "MR trial")
    path = f"/api/devices/{id_of(device)}/key"
    keys = {only: api.post(path, json={"label": "k", "only": only}).json() for only in ("imaging", "other")}
    narrowed = replace(api, key=keys["imaging"]["unencrypted_secret"])
    answer = narrowed.get("/api/devices/self")
    assert {row["only"] for row in answer.json()["api_keys"]} == {"imaging", None}


def test_a_key_issues_none_that_outlives_it(api: Api, device: Device) -> None:
    path = f"/api/devices/{id_of(device)}/key"
    soon = (now() + timedelta(days=5)).replace(microsecond=0)
    short = api.post(path, json={"label": "short", "expires_at": soon.isoformat()}).json()
    issuing = replace(api, key=short["unencrypted_secret"])
    assert issuing.post(path, json={"label": "as long"}).json()["expires_at"] == soon.isoformat()
    later = (soon + timedelta(seconds=1)).isoformat()
    assert_refused(issuing.post(path, json={"label": "longer", "expires_at": later}), 422, "cannot outlive it")


def test_a_device_has_an_owner_who_can_be_another_one(api: Api, device: Device) -> None:
    for email in ("ada@site.example", "bob@site.example"):
        users.add(email, "correct horse battery", True, actor=operator())
    assert_refused(api.post("/api/devices", json={"label": "of whom?"}), 422, "Name the owner of the device")
    made = api.post("/api/devices", json={"label": "new", "sponsor": "ada@site.example"}).json()
    assert made["sponsor"] == "ada@site.example"
    path = f"/api/devices/{made['_id']}"
    assert api.put(path, json={"sponsor": "bob@site.example"}).json()["sponsor"] == "bob@site.example"
    assert_refused(api.put(path, json={"sponsor": "nobody@site.example"}), 422, "There is no user")
    assert api.put(path, json={"label": "newer"}).json()["sponsor"] == "bob@site.example"


def test_twenty_devices_are_listed_by_as_many_statements_as_one(api: Api, device: Device) -> None:
    def sent() -> int:
        with statements() as found:
            assert api.get("/api/devices").status_code == 200
        return len(found)

    api.get("/api/devices")
    one = sent()
    for number in range(19):
        added = devices.add(f"device-{number}", actor=operator())
        api_keys.issue(added, name="k", actor=operator())
    assert sent() == one


def test_a_sixth_live_key_is_refused(api: Api, device: Device) -> None:
    path = f"/api/devices/{id_of(device)}/key"
    for number in range(4):
        assert api.post(path, json={"label": f"key {number}"}).status_code == 200
    assert_refused(api.post(path, json={"label": "sixth"}), 422, "Revoke one first")


def test_a_revoked_key_is_listed_as_such(api: Api, device: Device) -> None:
    path = f"/api/devices/{id_of(device)}/key"
    key = api.post(path, json={"label": "old"}).json()["key"]
    answer = api.delete(f"{path}/{key}")
    assert (answer.status_code, answer.text) == (204, "")
    states = {row["label"]: row["state"] for row in api.get("/api/devices/self").json()["api_keys"]}
    assert states == {"old": "revoked", "test": "live"}
    assert_refused(api.delete(f"{path}/ptk_nothing"), 404)


def test_the_key_in_use_may_revoke_itself(api: Api, device: Device) -> None:
    assert api.delete(f"/api/devices/{id_of(device)}/key/{api.key[:10]}").status_code == 204
    assert_refused(api.get("/api/version"), 401, "revoked")
    assert api_keys.count_live(device) == 0


def test_a_key_that_is_limited_to_a_project_sees_no_device_but_its_own(api: Api, url: str) -> None:
    groups.add("neuro", actor=operator())
    other, own = devices.add("Secret scanner", actor=operator()), devices.add("Importer", actor=operator())
    caller = Api(url, api_keys.issue(own, name="limited", only="neuro", actor=operator()).secret)

    assert [row["label"] for row in caller.get("/api/devices").json()] == ["Importer"]
    assert list(caller.get("/api/devices/status").json()) == [rest_ids.encode("device", own.id)]
    assert caller.get(f"/api/devices/{rest_ids.encode('device', own.id)}").status_code == 200
    assert caller.get(f"/api/devices/{rest_ids.encode('device', other.id)}").status_code == 404
    assert caller.get("/api/devices/self").json()["label"] == "Importer"


def test_a_user_who_is_no_site_admin_sees_no_owners_keys_or_reports(api: Api, url: str, device: Device) -> None:
    users.add("ada@site.example", "correct horse battery", True, actor=operator())
    path = f"/api/devices/{id_of(device)}"
    api.put(path, json={"sponsor": "ada@site.example"})
    api.put("/api/devices/self", json={"version": "2.1", "info": {"host": "10.1.2.3"}, "errors": ["disk full"]})
    user, _ = users.add("rita@site.example", "correct horse battery", actor=operator())
    caller = Api(url, api_keys.issue(user, name="k", actor=users.actor(user, "127.0.0.1")).secret)

    listed = caller.get("/api/devices")

    (shown,) = listed.json()
    assert listed.json() == [caller.get(path).json()]
    assert (shown["_id"], shown["label"], shown["version"]) == (id_of(device), "importer-east", "2.1")
    assert [shown[name] for name in ("sponsor", "api_keys", "info", "errors")] == [None, [], {}, []]
    assert not {shown["origin"]["id"], shown["origin"]["via"], shown["origin"].get("name") or ""} - {""}
    status = caller.get("/api/devices/status").json()[id_of(device)]
    assert (status["status"], status.get("errors")) == ("error", None)
    assert api.get("/api/devices").json()[0]["sponsor"] == "ada@site.example"


def test_many_devices_are_listed_part_by_part_in_the_order_of_their_labels(api: Api, device: Device) -> None:
    for label in ("b", "a", "z", "c"):
        devices.add(label, actor=operator())

    def labels(query: str) -> list[str]:
        return [row["label"] for row in api.get(f"/api/devices{query}").json()]

    every = ["a", "b", "c", "importer-east", "z"]
    assert labels("") == every
    assert labels("?limit=2") + labels("?limit=2&skip=2") + labels("?limit=2&skip=4") == every
    assert labels("?skip=3") == every[3:]
    assert labels("?skip=5") == []
    assert_refused(api.get("/api/devices?limit=0"), 422, "limit")
