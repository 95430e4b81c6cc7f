"""The `portal` command on a site of a test's own, run in this process."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from portal import cli, vault


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def view(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Ended]


@dataclass
class Portal:
    """Runs commands on one data folder."""

    data: Path
    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> Ended:
        """Run one command, and return how it ended."""
        self.capture.readouterr()
        code = cli.run([*arguments, "--data", str(self.data)])
        said = self.capture.readouterr()
        return Ended(code, said.out, said.err)

    def ok(self, *arguments: str) -> Any:
        """The JSON of a command that has to succeed."""
        ended = self(*arguments, "--json")
        assert (ended.code, ended.err) == (0, "")
        return ended.view

    def dump(self) -> str:
        """Every row of the site."""
        with closing(sqlite3.connect(self.data / "portal.db")) as database:
            return "\n".join(database.iterdump())


@pytest.fixture
def portal(
    tmp_path: Path, empty_database: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Portal:
    """The command on a migrated, empty site; nothing else runs on it."""
    monkeypatch.setenv("PORTAL_MIN_FREE", "1")
    command = Portal(tmp_path / "data", capsys)
    command.data.mkdir(mode=0o700)
    shutil.copy(empty_database, command.data / "portal.db")
    vault.make(command.data / "keys" / "site.key")
    assert command("migrate").code == 0
    return command
