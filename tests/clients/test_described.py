"""The interface answers as its document says: schemathesis calls every address, with all of its checks."""

import subprocess
import sys
from pathlib import Path

import pytest

from portal.access.actors import operator
from portal.devices import api_keys
from portal.models import Device, User
from portal.tree import groups, rest_ids
from portal.users import users
from portal.web import sign_in
from tests.fixtures.api import Api

pytestmark = pytest.mark.xdist_group("described")

CONFIG = Path(__file__).with_name("schemathesis.toml")
WHO = ("device", "user", "narrowed", "none")
EXISTING = """
[[operations]]
include-path-regex = "^/api/{noun}/"
exclude-method = "DELETE"
parameters = {{ "path.{parameter}" = "{value}" }}
"""


def key_of(who: str, owner: Device) -> str:
    """A key of that kind; narrowed, it reads and writes one group that has no data."""
    if who == "user":
        person: User = users.add("ann@site.example", "correct horse battery", True, actor=operator())[0]
        return api_keys.issue(person, name="test", actor=users.actor(person, "127.0.0.1")).secret
    if who == "narrowed":
        groups.add("other", actor=operator())
        return api_keys.issue(owner, name="test", only="other", actor=operator()).secret
    return api_keys.issue(owner, name="test", actor=operator()).secret if who == "device" else ""


def config(folder: Path, url: str, owner: Device) -> Path:
    """The configuration with ids of what there is, so that calls get farther than 404. What is deleted is made up."""
    api = Api(url, api_keys.issue(owner, name="data", actor=operator()).secret)
    acquisition = api.acquisition()
    api.upload(acquisition, "notes.txt", b"hello")
    parents = api.get(f"/api/acquisitions/{acquisition}").json()["parents"]
    ids = {"acquisitions": acquisition, **{f"{kind}s": parents[kind] for kind in ("project", "subject", "session")}}
    text = CONFIG.read_text()
    text += "".join(EXISTING.format(noun=noun, parameter="container_id", value=value) for noun, value in ids.items())
    text += EXISTING.format(noun="devices", parameter="device_id", value=rest_ids.encode("device", owner.id))
    path = folder / "schemathesis.toml"
    path.write_text(text)
    return path


@pytest.fixture(autouse=True)
def _unlimited(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong keys are tried at every address, which a site would soon answer with 429."""
    monkeypatch.setattr(sign_in.limiter, "enabled", False)


def run(folder: Path, url: str, owner: Device, who: str, *options: str) -> subprocess.CompletedProcess[str]:
    key = key_of(who, owner)
    command = [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()"]
    command += ["--config-file", str(config(folder, url, owner)), "run", f"{url}/api/openapi.json"]
    command += ["--header", f"Authorization: Bearer {key}"] if key else []
    command += ["--suppress-health-check", "all", "--warnings", "off", "--no-color", "--continue-on-failure", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("who", WHO)
def test_nothing_is_answered_that_is_not_described(who: str, url: str, device: Device, tmp_path: Path) -> None:
    few = "2" if who == "device" else "1"
    done = run(tmp_path, url, device, who, "--phases", "fuzzing", "--max-examples", few, "--seed", "1")
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr


@pytest.mark.prove
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("who", WHO)
def test_nothing_is_answered_that_is_not_described_in_the_long_run(
    who: str, url: str, device: Device, tmp_path: Path
) -> None:
    done = run(tmp_path, url, device, who, "--phases", "examples,coverage,fuzzing,stateful", "--max-examples", "60")
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
