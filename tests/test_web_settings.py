"""Settings: what is saved, and what is refused."""

import pytest
from web_fixtures import SETTINGS, Visitor, app, dimse, refusal, stranger, visitor

from portal import devices, peers, site
from portal.provenance import Actor
from portal.storage import storages

__all__ = ["app", "dimse", "stranger", "visitor"]


def test_settings_are_saved_and_shown(visitor: Visitor) -> None:
    answer = visitor.post("/settings/", {**SETTINGS, "enabled": "y", "echo_anyone": "y"}, follow_redirects=True)

    assert "The settings are saved." in answer.text
    assert "West Campus" in answer.text
    assert 'value="11113"' in answer.text
    assert site.every() == {
        "site.name": "West Campus",
        "site.time_zone": "Europe/Zurich",
        "dimse.enabled": True,
        "dimse.ae_title": "WEST",
        "dimse.host": "127.0.0.1",
        "dimse.port": 11113,
        "dimse.echo_anyone": True,
        "archive.duplicates": "refuse",
    }
    visitor.post("/settings/", SETTINGS)
    assert site.get("dimse.enabled") is False


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("name", "", "The name has between 1 and 100 characters."),
        ("name", "x" * 101, "The name has between 1 and 100 characters."),
        ("time_zone", "Mars/Olympus", "Mars/Olympus is no time zone."),
        ("time_zone", "../../etc/passwd", "is no time zone."),
        ("ae_title", "x" * 17, "has 17 characters"),
        ("host", "", "The address is a host name"),
        ("host", "a b", "The address is a host name"),
        ("port", "0", "0 is no port."),
        ("port", "", "is no port."),
        ("port", "1e3", "1e3 is no port."),
        ("duplicates", "ignore", "is one of: hold, refuse, replace."),
    ],
)
def test_a_bad_setting_is_refused_and_none_is_changed(visitor: Visitor, field: str, value: str, sentence: str) -> None:
    before = site.every()

    answer = visitor.post("/settings/", {**SETTINGS, "enabled": "y", field: value})

    refusal(answer, sentence)
    assert f'id="{field}-e"' in answer.text
    assert site.every() == before


def test_times_are_those_of_the_site_with_utc_on_hover(visitor: Visitor, admin: Actor) -> None:
    devices.add("importer", actor=admin)
    site.put({"site.time_zone": "Pacific/Kiritimati"}, actor=admin)

    page = visitor.get("/interfaces/devices/1").text

    assert "UTC" in page
    assert "<time datetime=" in page


def test_a_form_without_its_fields_is_refused_in_words(visitor: Visitor, dimse: None) -> None:
    for path in ("/interfaces/devices/new", "/interfaces/peers/new", "/interfaces/storages/new", "/settings/"):
        assert visitor.post(path).status_code == 422
    assert visitor.post("/exports/new").status_code in (404, 422)
    assert (devices.every(), peers.every(), storages.every()) == ([], [], [])
