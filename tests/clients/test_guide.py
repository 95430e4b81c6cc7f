"""The examples of the guide for programs, run as they stand there, one after the other, and what they print."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.dimse_worker.test_dcmtk import write_file
from tests.fixtures.archive import vendor_file
from tests.fixtures.clients import Site

pytestmark = pytest.mark.xdist_group("clients")

PAGE = Path(__file__).parents[2] / "docs" / "guide" / "programs.md"
EXAMPLE = re.compile(r"^## (\d+)\. ([^\n]+)\n.*?```(sh|python)\n(.*?)```\n+```text\n(.*?)```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the files that the examples name."""
    shutil.copy(vendor_file("CT_small.dcm"), tmp_path / "ct.dcm")
    (tmp_path / "scan").mkdir()
    uids = {"StudyInstanceUID": "1.2.826.7.1", "SeriesInstanceUID": "1.2.826.7.1.1"}
    for number in (1, 2, 3):
        write_file(tmp_path, **uids).rename(tmp_path / "scan" / f"{number}.dcm")
    return tmp_path


def test_each_example_prints_what_the_page_says(site_of_clients: Site, folder: Path) -> None:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("FLYWHEEL")}
    key = site_of_clients.keys["device"]
    environ = {**ours, "PORTICO": site_of_clients.url, "KEY": key}
    bearer = {"Authorization": f"Bearer {key}"}
    requests.post(f"{site_of_clients.url}/api/groups", json={"_id": "imaging"}, headers=bearer, timeout=20)
    examples = EXAMPLE.findall(PAGE.read_text())
    assert [number for number, *_ in examples] == [str(number) for number in range(1, 11)]
    for number, title, language, code, promised in examples:
        command = ["sh", "-eu", "-c", code] if language == "sh" else [sys.executable, "-W", "ignore", "-c", code]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environ, timeout=60, check=False)
        assert done.returncode == 0, f"{number}. {title}\n{done.stdout}{done.stderr}"
        pattern = ".*".join(re.escape(piece) for piece in promised.strip().split("…"))
        assert re.match(pattern, done.stdout, re.DOTALL), f"{number}. {title}\n{done.stdout}"
