"""The tab Devices: what its forms change, and what they refuse."""

import pytest
from web_fixtures import Visitor, app, refusal, stranger, text_of, visitor

from portal import devices, keys
from portal.models import Audit
from portal.provenance import Actor

__all__ = ["app", "stranger", "visitor"]


def test_a_new_device_names_who_added_it_and_can_do_nothing_yet(visitor: Visitor) -> None:
    answer = visitor.post(
        "/interfaces/devices/new", {"label": "ct-connector", "type": "connector"}, follow_redirects=True
    )

    assert "ct-connector is added." in text_of(answer.text)
    assert "No key yet." in answer.text
    assert visitor.email in answer.text
    assert "site-admin level access" in answer.text
    assert "origin device and no user id" in answer.text


@pytest.mark.parametrize(
    ("label", "kind", "sentence"),
    [
        ("", "", "The label has at least one visible character."),
        ("   ", "", "The label has at least one visible character."),
        ("x" * 65, "", "The label has more than 64 characters"),
        ("a/b", "", "The label has no slash"),
        ("a\0b", "", "control character"),
        ("taken", "", "There is a device taken already."),
        ("fine", "toaster", "The type of a device is one of"),
    ],
)
def test_a_bad_device_is_refused(visitor: Visitor, admin: Actor, label: str, kind: str, sentence: str) -> None:
    devices.add("taken", actor=admin)

    refusal(visitor.post("/interfaces/devices/new", {"label": label, "type": kind}), sentence)

    assert len(devices.every()) == 1


def test_a_key_is_shown_once_and_works(visitor: Visitor, admin: Actor) -> None:
    device = devices.add("importer", actor=admin)

    answer = visitor.post(f"/interfaces/devices/{device.id}/keys", {"name": "rollout", "expires": "2027-06-30"})

    assert answer.status_code == 201
    secret = answer.text.split('id="secret">')[1].split("<")[0]
    assert len(secret) == keys.LENGTH
    assert keys.authenticate(secret, address="10.0.0.1", program="curl").id == str(device.id)
    page = visitor.get(f"/interfaces/devices/{device.id}").text
    assert secret not in page
    assert "rollout" in page
    assert "30 Jun 2027" in page
    assert not any(secret in f"{row.detail}{row.target_id}" for row in Audit.select())


@pytest.mark.parametrize(
    ("name", "expires", "sentence"),
    [
        ("", "2027-06-30", "The name has at least one visible character."),
        ("key", "", "Choose a day."),
        ("key", "tomorrow", "write a moment like"),
        ("key", "2020-01-01", "The expiry date is in the past"),
        ("key", "2099-01-01", "A key lives for two years at most"),
        ("key", "9999-12-31", "A key lives for two years at most"),
        ("key", "2027-02-30", "write a moment like"),
    ],
)
def test_a_bad_key_is_refused_and_none_is_made(
    visitor: Visitor, admin: Actor, name: str, expires: str, sentence: str
) -> None:
    device = devices.add("importer", actor=admin)

    refusal(visitor.post(f"/interfaces/devices/{device.id}/keys", {"name": name, "expires": expires}), sentence)

    assert keys.every(device) == []


def test_a_sixth_live_key_is_refused(visitor: Visitor, admin: Actor) -> None:
    device = devices.add("importer", actor=admin)
    for number in range(5):
        keys.issue(device, name=f"key {number}", actor=admin)

    answer = visitor.post(f"/interfaces/devices/{device.id}/keys", {"name": "sixth", "expires": "2027-06-30"})

    refusal(answer, "importer has 5 live keys")


def test_a_key_is_revoked_after_a_question(visitor: Visitor, admin: Actor) -> None:
    device = devices.add("importer", actor=admin)
    issued = keys.issue(device, name="rollout", actor=admin)
    path = f"/interfaces/devices/{device.id}/keys/{issued.key_id}/revoke"

    assert "Keep it" in visitor.get(path).text
    visitor.post(path)

    assert keys.state(keys.every(device)[0]) == "revoked"
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
