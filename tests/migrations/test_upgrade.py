"""A data folder of the first release, run by this one: it starts, and answers as before."""

import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
import requests

from tests.fixtures.archive import vendor_file
from tests.fixtures.up import Up
from tests.migrations.test_migrations import FIRST_RELEASE

pytestmark = [pytest.mark.xdist_group("up"), pytest.mark.timeout(240)]

EMAIL, PASSWORD = "admin@site.example", "correct horse battery"
SENT = {"1CT1": "CT_small.dcm", "4MR1": "MR_small.dcm", "id00001": "rtplan.dcm"}
"""The file of each patient that the folder holds."""


@pytest.fixture
def upgraded(tmp_path: Path) -> Iterator[Up]:
    """The site, running, on ports of its own."""
    up = Up(tmp_path / "data")
    up.data.mkdir(mode=0o700)
    with tarfile.open(FIRST_RELEASE) as packed:
        packed.extractall(up.data, filter="data")
    assert up.portal("migrate").returncode == 0
    assert up.portal("dimse", "enable", "--port", str(up.dimse_port)).returncode == 0
    up.start()
    try:
        up.ready()
        yield up
    finally:
        up.end()


def dcmtk(up: Up, command: str, *options: str) -> str:
    """What a tool of DCMTK says, called as the peer of the folder."""
    whole = [command, "-v", "-aet", "CT1", "-aec", "BRAIN", "127.0.0.1", str(up.dimse_port), *options]
    done = subprocess.run(whole, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout + done.stderr


def test_a_folder_of_the_first_release_starts_and_answers_as_before(upgraded: Up, tmp_path: Path) -> None:
    found = dcmtk(upgraded, "findscu", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID")
    assert {patient for patient in SENT if f"[{patient}" in found} == set(SENT)

    got = tmp_path / "got"
    got.mkdir()
    dcmtk(upgraded, "getscu", "-P", "-od", str(got), "-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientID=1CT1")
    [received] = got.iterdir()
    assert pydicom.dcmread(received).PixelData == pydicom.dcmread(vendor_file(SENT["1CT1"])).PixelData

    assert "patient" in upgraded.portal("conflict", "list").stdout
    assert upgraded.portal("status").returncode == 0
    browser = requests.Session()
    form = browser.get(f"{upgraded.url}/sign-in", timeout=10).text
    token = form.partition('name="csrf_token" value="')[2].partition('"')[0]
    answer = browser.post(
        f"{upgraded.url}/sign-in", {"email": EMAIL, "password": PASSWORD, "csrf_token": token}, timeout=10
    )
    assert "Sign out" in answer.text
    for path in ("/data/", "/exports/", "/jobs/", "/interfaces/peers/", "/data/conflicts/", "/activity/audit"):
        assert browser.get(f"{upgraded.url}{path}", timeout=10).status_code == 200, path
