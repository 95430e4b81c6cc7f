"""`portal up`, as a newcomer meets it."""

import json
import os
import re
import signal
import socket
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.fixtures.dimse import Listener
from tests.fixtures.up import Up, is_alive, until

pytestmark = [pytest.mark.xdist_group("up"), pytest.mark.timeout(240)]

CURE = "Name another one with --port."
STATES = """SELECT state, count(*) FROM instance JOIN project ON project.id = instance.project_id
            WHERE project.label = 'Clinic' GROUP BY state"""


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A site that `portal up --sample` has filled, and that runs."""
    up = Up(tmp_path_factory.mktemp("sampled") / "data")
    assert up.portal("migrate").returncode == 0
    up.portal("dimse", "enable", "--host", "127.0.0.1", "--port", str(up.dimse_port))
    up.start("--sample")
    try:
        up.ready()
        assert "The sample site is incomplete" not in up.said, up.said
        yield up
    finally:
        up.end()


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Up]:
    """A site without anything in it; nothing runs yet."""
    up = Up(tmp_path / "data")
    yield up
    up.end()


def rows(up: Up) -> dict[str, int]:
    """How many rows each table has of what people keep."""
    tables = ("container_group", "project", "subject", "session", "acquisition", "file", "blob", "instance", "conflict")
    tables += ("device", "api_key", "peer", "storage", "user", "job")
    with closing(sqlite3.connect(up.data / "portal.db")) as database:
        return {table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}


def test_the_counts_of_the_sample_are_true(sampled: Up) -> None:
    counts = sampled.counts()
    assert counts["sent"] == 160
    assert sum(counts.values()) == 2 * counts["sent"]
    with closing(sqlite3.connect(sampled.data / "portal.db")) as database:
        states = dict(database.execute(STATES))
        conflicts = database.execute("SELECT count(*) FROM conflict").fetchone()[0]
    recorded = (states["current"], states["alternate"], conflicts)
    assert recorded == (counts["stored"], counts["alternate"], counts["conflict"])


def test_each_step_of_the_sample_was_said(sampled: Up) -> None:
    steps = (
        "Projects:",
        "DIMSE:",
        "Peer:",
        "Device:",
        "C-STORE:",
        "Comparison:",
        "C-FIND:",
        "C-GET:",
        "C-MOVE:",
        "REST:",
        "Export:",
    )
    for step in steps:
        assert any(line.startswith(step) for line in sampled.lines), sampled.said
    assert sampled.lines[-1] == f"Portico is ready: {sampled.url}"


def test_the_page_that_it_names_answers(sampled: Up) -> None:
    assert requests.get(sampled.url, timeout=10).status_code == 200


def test_status_finds_everything_up(sampled: Up) -> None:
    ended = sampled.portal("status", "--json")
    assert ended.returncode == 0, ended.stderr
    status = json.loads(ended.stdout)
    assert [status[part]["answers"] for part in ("web", "queue", "dimse")] == [True, True, True]
    assert (status["queue"]["workers"], status["queue"]["lanes"]) == (2, {"short": 1, "long": 1})
    assert status["problems"] == []


def test_the_sample_site_is_whole(sampled: Up) -> None:
    ended = sampled.portal("verify", "--wait", "--json")
    assert (ended.returncode, ended.stderr) == (0, "")
    view = json.loads(ended.stdout)
    assert (view["findings"], view["not_checked"], view["checked"]["manifests"]) == (0, {}, 1)


def test_the_sample_peer_answers_an_echo(sampled: Up) -> None:
    def echo() -> Any:
        return sampled.portal("peer", "echo", "Sample workstation", "--json")

    until(lambda: echo().returncode == 0, pause=1)  # the peer may still be starting when the site says that it is ready
    assert json.loads(echo().stdout)["state"] == "done"


def test_a_second_up_on_the_same_data_refuses_in_words(sampled: Up) -> None:
    ended = sampled.portal("up", "--port", str(sampled.port + 1))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "already" in ended.stderr
    assert sampled.url in ended.stderr


@pytest.mark.parametrize("word", ["dimse_worker listen", "dimse_worker work", "portal.processes.web_server", "valkey"])
def test_a_killed_process_comes_back(sampled: Up, word: str) -> None:
    [killed, *_rest] = sampled.children(word)
    os.kill(killed, signal.SIGKILL)
    until(lambda: [pid for pid in sampled.children(word) if pid != killed] and not is_alive(killed))
    until(lambda: sampled.portal("status").returncode == 0, 60, pause=1)


def test_a_web_server_and_a_listener_that_hang_are_killed_and_come_back(sampled: Up) -> None:
    [listener, *_below] = sampled.children("dimse_worker listen")
    hanging = [*sampled.children("portal.processes.web_server"), listener]
    for pid in hanging:
        os.kill(pid, signal.SIGSTOP)
    until(lambda: not any(is_alive(pid) for pid in hanging))
    for name in ("web", "listen"):
        assert re.search(rf"^{name} \(process \d+\) has not answered for \d\d s\. Killing it\.$", sampled.said, re.M)
    until(lambda: sampled.portal("status").returncode == 0, 60, pause=1)


def test_a_second_start_adds_nothing(sampled: Up) -> None:
    before = rows(sampled)
    assert sampled.stop() == 0
    sampled.start("--sample")
    sampled.ready()
    assert "nothing was added" in sampled.said
    assert rows(sampled) == before


def test_a_terminated_site_leaves_nothing_behind(plain: Up) -> None:
    plain.start()
    plain.ready()
    children = plain.children()
    assert plain.stop() == 0
    assert not [pid for pid in children if is_alive(pid)]
    assert plain.lines[-1] == "Stopped."
    anchors = [json.loads(line) for line in (plain.data / "audit-anchors.jsonl").read_text().splitlines()]
    assert [anchor["reason"] for anchor in anchors] == ["start", "stop"]


def test_a_killed_supervisor_leaves_no_process_within_five_seconds(plain: Up) -> None:
    plain.start("--workers", "2")
    plain.ready()
    children = plain.children()
    assert len(children) >= 5
    assert plain.process
    plain.process.kill()
    plain.process.wait()
    until(lambda: not [pid for pid in children if is_alive(pid)], 5)


def test_a_taken_web_port_is_said_before_anything_starts(plain: Up) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", plain.port))
        other.listen()
        ended = plain.portal("up", "--port", str(plain.port))
    assert (ended.returncode, ended.stdout) == (1, "")
    assert (
        ended.stderr == f"Port {plain.port} on 127.0.0.1 is in use by another program. Name another one with --port.\n"
    )


def test_it_is_not_ready_while_another_portico_has_its_dimse_port(plain: Up, listener: Listener) -> None:
    assert plain.portal("dimse", "enable", "--host", "127.0.0.1", "--port", str(listener.port)).returncode == 0
    plain.start()
    until(lambda: f"Port {listener.port} is in use by another program." in plain.said)
    assert "is in use by another program." in plain.portal("status").stderr
    assert "Portico is ready" not in plain.said
    listener.stop()
    plain.ready()


def test_the_first_admin_is_the_one_that_the_environment_names(plain: Up, tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("correct horse battery\n")
    plain.environ = {"PORTAL_ADMIN_EMAIL": "ada@site.example", "PORTAL_ADMIN_PASSWORD_FILE": str(secret)}
    plain.start()
    plain.ready()
    assert "ada@site.example" in plain.said
    assert "correct horse battery" not in plain.said
    for path in [plain.data, *plain.data.rglob("*")]:
        assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path
