"""Which addresses and programs use a key."""

from datetime import timedelta

import pytest
from flask.testing import FlaskClient

from portal.access.actors import operator
from portal.app import create_app
from portal.devices import api_keys, devices, key_uses
from portal.devices.key_uses import KeyUseCounter
from portal.models import Device, KeyUse, database, now
from portal.settings import Settings


@pytest.fixture
def device(site: Settings) -> Device:
    return devices.add("importer", actor=operator())


def rows() -> set[tuple[str, str, str, int]]:
    return {(row.key.name, row.address, row.program, row.count) for row in KeyUse.select()}


def test_keys_of_one_device_show_their_own_addresses_and_programs(site: Settings, device: Device) -> None:
    app = create_app(site)
    client: FlaskClient = app.test_client()
    secrets = {f"key {number}": api_keys.issue(device, name=f"key {number}", actor=operator()) for number in range(5)}
    for number, issued in enumerate(secrets.values()):
        for address in (f"10.0.{number}.1", f"10.0.{number}.2"):
            for _ in range(3):
                answer = client.get(
                    "/api/auth/status",
                    headers={"Authorization": f"Bearer {issued.secret}", "User-Agent": f"importer/{number}"},
                    environ_base={"REMOTE_ADDR": address},
                )
                assert answer.status_code == 200
    app.extensions["uses"].flush()

    assert rows() == {
        (f"key {number}", f"10.0.{number}.{host}", f"importer/{number}", 3) for number in range(5) for host in (1, 2)
    }
    shown = key_uses.by_key(api_keys.for_owner(device))
    assert all(len(uses) == 2 and uses[0].last >= uses[1].last for uses in shown.values())


def test_the_first_use_is_shown_before_it_is_counted(site: Settings, device: Device) -> None:
    issued = api_keys.issue(device, name="one", actor=operator())
    client = create_app(site).test_client()
    client.get(
        "/api/auth/status", headers={"Authorization": f"Bearer {issued.secret}", "User-Agent": "x\ty" + "z" * 300}
    )
    assert rows() == {("one", "127.0.0.1", "xy" + "z" * 98, 0)}


def test_what_processes_counted_adds_up_and_keeps_the_first_and_the_last_time(device: Device) -> None:
    issued = api_keys.issue(device, name="one", actor=operator())
    begun = now()
    for _process in range(2):
        uses = KeyUseCounter()
        uses.count(issued.key_id, address="10.0.0.9", program="a")
        uses.count(issued.key_id, address="10.0.0.9", program="a")
        uses.flush()
        uses.flush()
    row = KeyUse.get()
    assert (row.count, begun <= row.first < row.last) == (4, True)


def test_the_latest_addresses_of_a_key_are_kept_and_no_more(device: Device) -> None:
    busy, quiet = (api_keys.issue(device, name=name, actor=operator()) for name in ("busy", "quiet"))
    uses = KeyUseCounter()
    uses.count(quiet.key_id, address="10.9.9.9", program="a")
    for number in range(key_uses.MAX_USES_PER_KEY + 200):
        uses.count(busy.key_id, address=f"10.0.{number // 250}.{number % 250}", program="a")
    uses.flush()
    kept = {address for name, address, _program, _count in rows() if name == "busy"}
    assert len(kept) == key_uses.MAX_USES_PER_KEY
    assert "10.0.0.249" in kept
    assert "10.0.0.0" not in kept
    assert ("quiet", "10.9.9.9", "a", 1) in rows()


def test_uses_are_forgotten_after_ninety_days(device: Device) -> None:
    issued = api_keys.issue(device, name="one", actor=operator())
    for address, days in (("old", 91), ("new", 89)):
        at = now() - timedelta(days=days)
        KeyUse.create(key=issued.row, address=address, program="", first=at, last=at, count=1)
    uses = KeyUseCounter()
    uses.count(issued.key_id, address="now", program="")
    uses.flush()
    assert {row[1] for row in rows()} == {"new", "now"}


def test_uses_that_cannot_be_written_wait_within_bounds(
    device: Device, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_uses, "MAX_USES_WAITING", 2)
    issued = api_keys.issue(device, name="one", actor=operator())
    uses = KeyUseCounter()
    for address in ("a", "b", "c", "a"):
        uses.count(issued.key_id, address=address, program="")
    database.execute_sql("ALTER TABLE key_use RENAME TO gone")
    uses.flush()
    assert "could not be written" in caplog.text
    database.execute_sql("ALTER TABLE gone RENAME TO key_use")
    uses.flush()
    assert {(row[1], row[3]) for row in rows()} == {("a", 2), ("b", 1)}
