"""Devices: who they are and how they fare."""

from datetime import timedelta
from typing import Any

import pytest

from portal.access import origins
from portal.access.actors import Actor, operator
from portal.devices import api_keys, device_status, devices, key_authentication
from portal.errors import BadValue, Missing, NotAllowed, NotSignedIn, Taken
from portal.models import ApiKey, Audit, Device, User, now
from tests.fixtures.web import statements

pytestmark = pytest.mark.usefixtures("site")


@pytest.fixture
def device() -> Device:
    return devices.add("importer-east", "importer", actor=operator())


def itself(device: Device) -> Actor:
    return Actor(type="device", id=str(device.id), name=device.label, address="10.0.0.9", is_admin=True)


def test_a_new_device_is_known_by_label_and_by_number(device: Device) -> None:
    assert devices.get("importer-east") == device
    assert devices.get(device.id) == device
    assert devices.list_all() == [device]
    assert device_status.status(device) == "unknown"


@pytest.mark.parametrize("label", ["", " ", "a/b", "a\0", "x" * 65, "\u202ea"])
def test_a_label_that_does_not_fit_is_refused(label: str) -> None:
    with pytest.raises(BadValue):
        devices.add(label, actor=operator())
    assert Device.select().count() == 0


def test_a_taken_label_is_refused(device: Device) -> None:
    with pytest.raises(Taken, match="importer-east") as caught:
        devices.add("importer-east ", actor=operator())
    assert caught.value.field == "label"


def test_a_type_that_there_is_not_is_refused() -> None:
    with pytest.raises(BadValue, match="connector, importer, reaper"):
        devices.add("x", "toaster", actor=operator())


def test_a_device_that_there_is_not_is_missing() -> None:
    for wanted in ("nobody", 4, "1"):
        with pytest.raises(Missing):
            devices.get(wanted)


def test_the_user_who_adds_a_device_answers_for_it() -> None:
    user = User.create(email="pacs@site.example", password="-", is_admin=True)
    actor = Actor(type="user", id=str(user.id), name=user.email, is_admin=True)
    assert devices.view(devices.add("x", actor=actor))["sponsor"] == "pacs@site.example"


def test_only_an_admin_changes_devices(device: Device) -> None:
    user = Actor(type="user", id="5", name="u@site.example")
    for act in (
        lambda: devices.add("y", actor=user),
        lambda: devices.rename(device.id, "y", actor=user),
        lambda: devices.disable(device.id, actor=user),
        lambda: devices.change_owner(device.id, "u@site.example", actor=user),
        lambda: devices.remove(device.id, actor=user),
    ):
        with pytest.raises(NotAllowed):
            act()
    assert devices.list_all() == [device]


def test_a_device_is_renamed_and_keeps_its_number(device: Device) -> None:
    devices.add("importer-west", actor=operator())
    assert devices.rename("importer-east", "importer-north", actor=operator()).id == device.id
    with pytest.raises(Taken):
        devices.rename("importer-north", "importer-west", actor=operator())
    assert devices.rename("importer-north", "importer-north", actor=operator()).label == "importer-north"


def test_disabling_twice_is_one_act(device: Device) -> None:
    devices.disable("importer-east", actor=operator())
    devices.disable("importer-east", actor=operator())
    assert device_status.status(devices.get(device.id)) == "disabled"
    devices.enable("importer-east", actor=operator())
    acts = [row.action for row in Audit.select().order_by(Audit.id)]
    assert acts == ["device:added", "device:disabled", "device:enabled"]


def test_a_removed_device_stays_as_the_name_of_what_it_uploaded(device: Device) -> None:
    issued = api_keys.issue(device, name="k", actor=operator())
    devices.remove("importer-east", actor=operator())

    assert devices.list_all() == []
    with pytest.raises(Missing):
        devices.get("importer-east")
    with pytest.raises(Missing):
        devices.get(device.id)
    with pytest.raises(NotSignedIn, match="The device importer-east was removed"):
        key_authentication.authenticate(issued.secret, address="10.0.0.9", program="x")
    assert origins.names([("device", str(device.id))])["device", str(device.id)].name == "importer-east (removed)"
    gone = devices.get_even_removed(device.id)
    assert gone.removed is not None
    assert [(row.name, api_keys.state(row)) for row in api_keys.for_owner(gone)] == [("k", "revoked")]
    with pytest.raises(Missing):
        devices.remove(device.id, actor=operator())


def test_the_label_of_a_removed_device_is_free_and_its_number_is_not_used_again(device: Device) -> None:
    devices.remove("importer-east", actor=operator())
    again = devices.add("importer-east", actor=operator())
    assert again.id > device.id
    assert devices.get("importer-east").id == again.id
    names = origins.names([("device", str(device.id)), ("device", str(again.id))])
    assert {name.name for name in names.values()} == {"importer-east (removed)", "importer-east"}
    devices.remove("importer-east", actor=operator())
    devices.add("importer-east", actor=operator())


def test_the_keys_of_a_removed_device_stay_listed_for_good(device: Device) -> None:
    api_keys.issue(device, name="k", actor=operator())
    devices.remove(device.id, actor=operator())
    ApiKey.update(revoked=now() - timedelta(days=4000), expires=now() - timedelta(days=3900)).execute()
    assert [row.name for row in api_keys.for_owner(devices.get_even_removed(device.id))] == ["k"]


def a_user(email: str, *, is_admin: bool = True, disabled: bool = False) -> User:
    return User.create(email=email, password="-", is_admin=is_admin, disabled=disabled)


def test_a_device_that_a_program_adds_has_an_owner() -> None:
    first = a_user("one@site.example")
    assert devices.add("by the only admin", actor=operator()).sponsor == first
    a_user("gone@site.example", disabled=True)
    a_user("reader@site.example", is_admin=False)
    assert devices.add("the others are no admins", actor=operator()).sponsor == first

    a_user("two@site.example")
    with pytest.raises(BadValue, match=r"Name the owner of the device.*--owner") as caught:
        devices.add("of whom?", actor=operator())
    assert caught.value.field == "owner"
    named = devices.add("named", owner=" Reader@site.example", actor=operator())
    assert named.sponsor.email == "reader@site.example"
    assert devices.add("by a device", actor=itself(named)).sponsor == named.sponsor
    assert Device.select().count() == 4


@pytest.mark.parametrize("email", ["nobody@site.example", "gone@site.example", pytest.param("x" * 10_000, id="long")])
def test_an_owner_is_a_user_who_can_sign_in(device: Device, email: str) -> None:
    a_user("gone@site.example", disabled=True)
    for act in (
        lambda: devices.add("x", owner=email, actor=operator()),
        lambda: devices.change_owner(device.id, email, actor=operator()),
    ):
        with pytest.raises(BadValue) as caught:
            act()
        assert caught.value.field == "owner"


def test_another_owner_is_named_and_the_log_has_both(device: Device) -> None:
    for email in ("one@site.example", "two@site.example"):
        a_user(email)
        assert devices.change_owner(device.id, email, actor=operator()).sponsor.email == email
    devices.change_owner(device.id, "two@site.example", actor=operator())
    rows = Audit.select().where(Audit.action == "device:owner_changed").order_by(Audit.id)
    assert [(row.detail["before"], row.detail["after"]) for row in rows] == [
        (None, "one@site.example"),
        ("one@site.example", "two@site.example"),
    ]


def test_a_device_reports_what_it_is(device: Device) -> None:
    told = {"version": "2.0.3", "interval": 900, "errors": [], "info": {"host": "a"}}
    row = devices.record_report(told, actor=itself(device))
    assert (row.version, row.interval, row.errors, row.info) == ("2.0.3", 900, [], {"host": "a"})
    assert row.last_address == "10.0.0.9"
    assert device_status.status(row) == "ok"


def test_an_empty_report_updates_last_seen_alone(device: Device) -> None:
    before = devices.record_report({"interval": 60, "errors": ["disk full"]}, actor=itself(device))
    after = devices.record_report({}, actor=itself(device))
    assert after.last_seen > before.last_seen
    assert (after.errors, after.interval, after.modified) == (["disk full"], 60, before.modified)


def test_the_type_is_told_once(device: Device) -> None:
    plain = devices.add("plain", actor=operator())
    assert devices.record_report({"type": "connector"}, actor=itself(plain)).type == "connector"
    assert devices.record_report({"type": "connector"}, actor=itself(plain)).type == "connector"
    with pytest.raises(BadValue, match="Cannot change device type"):
        devices.record_report({"type": "importer", "version": "9"}, actor=itself(plain))
    assert devices.get("plain").version is None


def test_only_a_device_reports(admin: Actor) -> None:
    with pytest.raises(NotAllowed):
        devices.record_report({}, actor=admin)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("type", "toaster"),
        ("type", ["connector"]),
        ("version", ""),
        ("version", 7),
        ("version", "x" * 101),
        ("version", "a\nb"),
        ("interval", 0),
        ("interval", -5),
        ("interval", True),
        ("interval", 1.5),
        ("interval", "60"),
        ("interval", 10**30),
        ("errors", "disk full"),
        ("errors", [1]),
        ("errors", ["x" * 1001]),
        ("errors", ["x"] * 101),
        ("errors", None),
        ("info", []),
        ("info", {"a": "x" * 70_000}),
    ],
)
def test_a_report_that_does_not_fit_changes_nothing(device: Device, name: str, value: Any) -> None:
    before = devices.get(device.id)
    with pytest.raises(BadValue) as caught:
        devices.record_report({"errors": ["new"], name: value}, actor=itself(device))
    assert caught.value.field == name
    assert devices.get(device.id).__data__ == before.__data__


@pytest.mark.parametrize(
    ("errors", "interval", "silent", "expected"),
    [
        (["full"], None, None, "error"),
        (["full"], 60, timedelta(days=9), "error"),
        ([], None, timedelta(0), "unknown"),
        ([], 60, None, "unknown"),
        ([], 60, timedelta(seconds=30), "ok"),
        ([], 60, timedelta(seconds=90), "missing"),
        ([], 60, timedelta(days=1, seconds=5), "missing"),
    ],
)
def test_the_status_goes_by_error_then_unknown_then_missing(
    device: Device, errors: list[str], interval: int | None, silent: timedelta | None, expected: str
) -> None:
    device.errors, device.interval = errors, interval
    device.last_seen = None if silent is None else now() - silent
    device.save()
    row = devices.get(device.id)
    assert device_status.status(row) == expected
    word = "seen" if row.last_seen else "never"
    assert device_status.state(row) == (word if expected == "unknown" else expected)
    row.disabled = True
    assert device_status.status(row) == "disabled"
    assert device_status.health(row) == expected


def test_a_view_counts_live_keys_and_names_the_next_expiry(device: Device) -> None:
    first = api_keys.issue(device, name="first", expires=now() + timedelta(days=3), actor=operator())
    api_keys.issue(device, name="second", actor=operator())
    old = api_keys.issue(device, name="old", expires=now() + timedelta(days=2), actor=operator())
    api_keys.revoke(device, old.key_id, actor=operator())
    view = devices.view(devices.get(device.id))
    assert view["keys"] == 2
    assert view["next_expiry"] == first.expires_at.isoformat()
    assert [key["state"] for key in view["api_keys"]] == ["revoked", "live", "expires soon"]


def test_many_devices_are_viewed_by_as_many_statements_as_one(device: Device) -> None:
    def sent(rows: list[Device]) -> int:
        with statements() as found:
            views = devices.views(rows)
        assert [view["keys"] for view in views] == [1] * len(rows)
        return len(found)

    api_keys.issue(device, name="k", actor=operator())
    one = sent([device])
    for number in range(19):
        api_keys.issue(devices.add(f"device-{number}", actor=operator()), name="k", actor=operator())
    assert sent(devices.list_all()) == one
