"""fw-client, unmodified, with the key of a device and with that of a user."""

import asyncio
from typing import Any

import pytest
from fw_client import FWClient
from fw_client.errors import ClientError

from tests.fixtures.clients import Caller
from tests.fixtures.stores import Answer, Front

pytestmark = pytest.mark.xdist_group("clients")


def test_who_calls(fw: FWClient, caller: Caller) -> None:
    status = fw.get("/api/auth/status")
    assert status.is_device is caller.is_device
    assert status.origin.type == caller.kind
    assert status.user_is_admin is True


def test_the_release(fw: FWClient) -> None:
    assert fw.core_version == "23.0.0"
    assert fw.check_version("22.1")
    assert not fw.check_version("24.0")


def test_the_features(fw: FWClient) -> None:
    assert fw.core_config["site"]["api_url"].endswith("/api")
    assert not fw.check_feature("signed_url")
    assert fw.check_feature("project_export")
    assert fw.check_feature("dimse")


def test_a_busy_site_is_asked_again(caller: Caller) -> None:
    front = Front(caller.url)
    front.rule = lambda request: Answer(503, b'{"message": "Busy."}') if request.number < 3 else None
    try:
        with FWClient(api_key=f"{front.url}:{caller.key}", retry_backoff=0.01) as client:
            assert client.get("/api/auth/status").is_device is caller.is_device
    finally:
        front.close()
    assert len(front.seen) == 3


def test_a_device_reports_itself(fw: FWClient, caller: Caller) -> None:
    report = {"version": "1.4.2", "interval": 300, "errors": [], "info": {"host": "importer"}}
    if caller.is_device:
        fw.put("/api/devices/self", json=report)
        fw.put("/api/devices/self", json={})
        told = fw.get("/api/devices/self")
        assert {name: told[name] for name in report} == report
    else:
        with pytest.raises(ClientError) as caught:
            fw.put("/api/devices/self", json=report)
        assert caught.value.status_code == 403


def test_devices_are_a_plain_list(fw: FWClient) -> None:
    assert "importer-east" in [device["label"] for device in fw.get("/api/devices")]
    assert {"status", "last_seen"} <= set(next(iter(fw.get("/api/devices/status").values())))


def test_calls_that_wait_for_nothing(caller: Caller) -> None:
    async def ask() -> Any:
        client = FWClient(api_key=f"{caller.url}:{caller.key}")
        try:
            return await asyncio.gather(client.aget("/api/version"), client.aget("/api/auth/status"))
        finally:
            await client.aaclose()
            client.close()

    version, status = asyncio.run(ask())
    assert (version["flywheel_release"], status["is_device"]) == ("23.0.0", caller.is_device)
