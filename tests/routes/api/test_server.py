"""The REST interface behind the web server that a site runs: large bodies, broken ones, and its memory."""

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from portal import migrations, models, runtime
from portal.access.actors import operator
from portal.devices import api_keys, devices
from portal.models import DeviceHour, File
from portal.settings import Settings
from tests.fixtures.api import Api, assert_refused
from tests.fixtures.servers import FORM, Server, Slow, crowd, serving
from tests.fixtures.work import until

MEGABYTE = 1 << 20


@pytest.fixture
def server(site_settings: Settings) -> Iterator[Server]:
    """gunicorn on a site of the test's own."""
    runtime.start(site_settings)
    migrations.apply(site_settings.run / "migrate.lock")
    limits = {"PORTAL_MIN_FREE": "1", "PORTAL_MAX_UPLOAD": str(60 * MEGABYTE)}
    with serving(site_settings, **limits) as running, models.connection():
        yield running
    runtime.archive().close()


@pytest.fixture
def api(server: Server) -> Api:
    device = devices.add("importer-east", actor=operator())
    return Api(server.url, api_keys.issue(device, name="test", actor=operator()).secret)


def segments(settings: Settings) -> list[Path]:
    return list(settings.archive.glob("*.seg"))


def test_forty_megabytes_go_up_and_down_without_ever_being_in_memory(api: Api, server: Server) -> None:
    acquisition = api.acquisition()
    api.upload(acquisition, "small.bin", b"x" * 1000)
    before = server.most("VmHWM")
    content = hashlib.sha512(b"portico").digest() * (40 * MEGABYTE // 64)
    told = api.upload(acquisition, "large.bin", content).json()[0]
    assert told["hash"] == hashlib.sha256(content).hexdigest()
    assert api.get(f"/api/acquisitions/{acquisition}/files/large.bin").content == content
    assert server.most("VmHWM") - before < 36 * 1024


def test_a_body_of_unknown_length_is_taken_and_held_to_the_limit(api: Api) -> None:
    acquisition = api.acquisition()
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    path = f"/api/acquisitions/{acquisition}/files"
    sent = api.post(path, data=iter([head, b"x" * MEGABYTE, b"y", b"\r\n--b--\r\n"]), headers=headers)
    assert sent.json()[0]["size"] == MEGABYTE + 1
    broken = api.post(path, data=iter([head, b"x" * 100]), headers=headers)
    assert_refused(broken, 400, "incomplete")
    endless = api.post(path, data=(head if not turn else b"x" * MEGABYTE for turn in range(70)), headers=headers)
    assert_refused(endless, 413, "too large")
    assert File.select().count() == 1


def test_an_upload_that_is_cut_off_leaves_nothing(api: Api, site_settings: Settings) -> None:
    acquisition = api.acquisition()
    address = urlsplit(api.url)
    for size in (MEGABYTE, 20 * MEGABYTE):
        with socket.create_connection((address.hostname, address.port)) as half:
            half.sendall(
                f"POST /api/acquisitions/{acquisition}/files HTTP/1.1\r\nHost: x\r\n"
                f"Authorization: Bearer {api.key}\r\nContent-Length: {40 * MEGABYTE}\r\n"
                "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
                '--b\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'.encode()
            )
            half.sendall(b"x" * size)
            if size > 16 * MEGABYTE:
                until(lambda: bool(segments(site_settings)))
        until(lambda: not segments(site_settings))
    assert api.get(f"/api/acquisitions/{acquisition}/files").json() == []
    assert File.select().count() == 0


@pytest.mark.parametrize("megabytes", [5, 50, 100])
def test_a_large_upload_that_is_refused_gets_its_answer(api: Api, megabytes: int) -> None:
    content = b"x" * (megabytes * MEGABYTE)
    wanted = 413 if megabytes > 60 else 404
    assert_refused(api.upload("000500000000000000000099", "a.bin", content), wanted)
    assert_refused(Api(api.url, api.key[:-1]).upload("000500000000000000000099", "a.bin", content), 401)


def test_no_header_of_a_caller_on_this_machine_is_taken_for_a_proxys(api: Api) -> None:
    forged = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9", "Script-Name": "/elsewhere"}
    assert api.get("/api/config", headers=forged).json()["site"]["api_url"] == f"{api.url}/api"


def test_what_a_worker_has_counted_is_written_when_the_server_ends(api: Api, server: Server) -> None:
    for _ in range(3):
        api.get("/api/version")
    assert not DeviceHour.select().exists()
    server.process.terminate()
    until(lambda: sum(row.requests for row in DeviceHour.select()) == 3)


def test_the_server_stops_in_order_whoever_is_slow(server: Server) -> None:
    with crowd(server, (Slow("silent"), 10), (Slow("form", FORM, b"a"), 10)):
        server.process.terminate()
        assert server.process.wait(10) == 0
