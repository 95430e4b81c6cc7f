"""How often each device calls: counted beside its requests, written down later, kept for thirty days."""

from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient

from portal.access.actors import Actor
from portal.app import create_app
from portal.devices import api_keys, devices
from portal.devices.device_usage import HISTORY_KEPT, MAX_REQUEST_BYTES, UsageCounter
from portal.models import Device, DeviceHour, database, now
from portal.settings import Settings


def rows() -> list[tuple[int, int, int, int]]:
    found = DeviceHour.select().order_by(DeviceHour.device, DeviceHour.hour)
    return [(row.device_id, row.requests, row.failures, row.bytes) for row in found]


@pytest.fixture
def device(site: Settings, admin: Actor) -> Device:
    return devices.add("importer", actor=admin)


def test_each_answer_to_a_device_counts_and_refusals_apart(site: Settings, device: Device, admin: Actor) -> None:
    app = create_app(site)
    client: FlaskClient = app.test_client()
    secret = api_keys.issue(device, name="one", actor=admin).secret
    header = {"Authorization": f"Bearer {secret}"}
    body = b'{"_id": "imaging"}'
    for method, path, sent in (
        ("GET", "/api/version", b""),
        ("POST", "/api/groups", body),
        ("POST", "/api/groups", b"{"),
        ("GET", "/api/nonsense", b""),
        ("GET", "/api/version", b""),
    ):
        client.open(path, method=method, headers=header, data=sent, content_type="application/json")
    client.get("/api/version", headers={"Authorization": f"Bearer {secret[:-1]}~"})
    client.get("/api/version")

    assert rows() == []
    app.extensions["uses"].flush()

    assert rows() == [(device.id, 5, 2, len(body))]
    hour = DeviceHour.get().hour
    assert (hour.minute, hour.second, now() - hour < timedelta(hours=1, minutes=1)) == (0, 0, True)


def test_what_two_processes_counted_adds_up(device: Device) -> None:
    for uses in (UsageCounter(), UsageCounter()):
        uses.count(device.id, failed=True, size=0)
        uses.count(device.id, failed=False, size=7)
        uses.flush()
        uses.flush()

    assert sum(row[1] for row in rows()) == 4
    assert sum(row[2] for row in rows()) == 2
    assert sum(row[3] for row in rows()) == 14


def test_what_cannot_be_written_waits_and_harms_nobody(device: Device, caplog: pytest.LogCaptureFixture) -> None:
    uses = UsageCounter()
    uses.count(device.id, failed=False, size=1)
    database.execute_sql("ALTER TABLE device_hour RENAME TO gone")
    uses.flush()
    assert "could not be written" in caplog.text
    uses.count(device.id, failed=False, size=2)
    database.execute_sql("ALTER TABLE gone RENAME TO device_hour")

    uses.flush()

    assert sum(row[1] for row in rows()) == 2
    assert sum(row[3] for row in rows()) == 3


def test_what_a_device_did_before_it_was_removed_is_counted(device: Device, admin: Actor) -> None:
    uses = UsageCounter()
    uses.count(device.id, failed=False, size=0)
    devices.remove(device.id, actor=admin)

    uses.flush()

    assert [row[0] for row in rows()] == [device.id]


def test_hours_are_forgotten_after_thirty_days(device: Device) -> None:
    top = datetime(2026, 1, 1, tzinfo=UTC)
    for hour in (top, now() - HISTORY_KEPT + timedelta(hours=1)):
        DeviceHour.create(device=device.id, hour=hour, requests=1, failures=0, bytes=0)
    uses = UsageCounter()
    uses.count(device.id, failed=False, size=0)

    uses.flush()

    assert len(rows()) == 2
    assert not DeviceHour.select().where(DeviceHour.hour == top).exists()


@pytest.mark.parametrize(("said", "counted"), [(-1, 0), (10**30, MAX_REQUEST_BYTES)])
def test_a_size_that_cannot_be_is_held_in_bounds(device: Device, said: int, counted: int) -> None:
    uses = UsageCounter()
    uses.count(device.id, failed=False, size=said)
    uses.flush()

    assert rows() == [(device.id, 1, 0, counted)]
