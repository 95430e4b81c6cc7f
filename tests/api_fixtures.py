"""A web server on a site of a test's own, and a device that calls its REST interface."""

import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from applications import application
from werkzeug.serving import make_server

from portal import migrations, models, runtime, vault
from portal.access.actors import operator
from portal.devices import api_keys, devices
from portal.models import Device
from portal.settings import Settings

__all__ = ["api", "device", "serve", "url"]

PATIENCE = 20.0


@dataclass
class Api:
    """Calls the interface at one address with one key."""

    url: str
    key: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def __call__(self, method: str, path: str, **kwargs: Any) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        headers |= self.headers | kwargs.pop("headers", {})
        return requests.request(method, f"{self.url}{path}", headers=headers, timeout=PATIENCE, **kwargs)

    def get(self, path: str, **kwargs: Any) -> requests.Response:
        return self("GET", path, **kwargs)

    def post(self, path: str, **kwargs: Any) -> requests.Response:
        return self("POST", path, **kwargs)

    def put(self, path: str, **kwargs: Any) -> requests.Response:
        return self("PUT", path, **kwargs)

    def delete(self, path: str, **kwargs: Any) -> requests.Response:
        return self("DELETE", path, **kwargs)

    def made(self, path: str, **body: Any) -> str:
        """The id of something new."""
        answer = self.post(path, json=body)
        assert answer.status_code == 200, answer.text
        new_id: str = answer.json()["_id"]
        return new_id

    def acquisition(self, group: str = "imaging", project: str = "CT trial") -> str:
        """The id of an acquisition at the end of a new branch of the tree."""
        self.made("/api/groups", _id=group)
        below = self.made("/api/projects", group=group, label=project)
        below = self.made("/api/subjects", project=below, label="sub-01")
        below = self.made("/api/sessions", subject=below, label="ses-01")
        return self.made("/api/acquisitions", session=below, label="T1")

    def upload(self, acquisition: str, name: str, content: bytes, **kwargs: Any) -> requests.Response:
        return self.post(f"/api/acquisitions/{acquisition}/files", files={"file": (name, content)}, **kwargs)


@pytest.fixture
def serve(site_settings: Settings, empty_database: Path) -> Iterator[Callable[[Settings], str]]:
    """Starts the whole application on a free port of this machine; its database is this thread's too."""
    site_settings.data.mkdir(mode=0o700)
    shutil.copy(empty_database, site_settings.database)
    vault.make(site_settings.site_key)
    runtime.start(site_settings)
    migrations.apply(site_settings.run / "migrate.lock")
    running = []

    def start(settings: Settings) -> str:
        server = make_server("127.0.0.1", 0, application(settings), threaded=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server, thread in running:
        server.shutdown()
        thread.join()
        server.server_close()
    runtime.archive().close()


@pytest.fixture
def url(serve: Callable[[Settings], str], site_settings: Settings) -> Iterator[str]:
    address = serve(site_settings)
    with models.connection():
        yield address


@pytest.fixture
def device(url: str) -> Device:
    return devices.add("importer-east", "importer", actor=operator())


@pytest.fixture
def api(url: str, device: Device) -> Api:
    """The interface as a device with a key sees it."""
    return Api(url, api_keys.issue(device, name="test", actor=operator()).secret)


def assert_refused(answer: requests.Response, status: int, words: str = "") -> None:
    """An error as every client reads it: JSON with one sentence."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"message", "status_code", "request_id"}
    assert body["status_code"] == status
    assert body["message"].endswith(".") or body["message"] == "Cannot change device type"
    assert words in body["message"]
    assert answer.headers["X-Request-Id"] == body["request_id"]
