"""flywheel-cli, unmodified, with the versions that it asks for: sign-in, ingest, lists, download; then a peer."""

import hashlib
import re
import subprocess
import tarfile
from pathlib import Path

import pytest
from pydicom.uid import generate_uid
from pynetdicom.dsutils import split_dataset

from tests.dimse_worker.test_dcmtk import data_sets, run, write_file
from tests.fixtures.clients import PEER, Caller, Site, fw_command

pytestmark = [pytest.mark.xdist_group("clients"), pytest.mark.timeout(300)]

STUDIES, IMAGES = 3, 3


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What a command said, once it has succeeded; without the colours."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    assert done.returncode == 0, text
    return text


@pytest.fixture(scope="module")
def home(site_of_clients: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home folder of somebody who has signed in with the key of a device."""
    folder = tmp_path_factory.mktemp("home")
    device = Caller("device", site_of_clients.keys["device"], site_of_clients.url)
    assert "You are now logged in as: importer - importer-east!" in said(fw_command(folder, "login", device.sdk_key))
    return folder


@pytest.fixture(scope="module")
def studies(home: Path) -> Path:
    """A folder with three studies of a series each, as a CD or an export of a scanner has them."""
    folder = home / "studies"
    for number in range(1, STUDIES + 1):
        series = folder / f"study{number}"
        series.mkdir(parents=True)
        uids = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid()}
        for image in range(1, IMAGES + 1):
            fields = {"PatientID": f"P-{number}", "StudyDate": "20260301", "SeriesDescription": "T1"}
            write_file(series, **uids, **fields, InstanceNumber=str(image), SOPInstanceUID=generate_uid())
    return folder


@pytest.fixture(scope="module")
def ingested(home: Path, studies: Path) -> str:
    """What `fw ingest dicom` said."""
    return said(fw_command(home, "ingest", "dicom", "-y", "--quiet", str(studies), "clinic", "ingested"))


def test_the_user_of_a_key(site_of_clients: Site, tmp_path: Path) -> None:
    user = Caller("user", site_of_clients.keys["user"], site_of_clients.url)
    assert "You are now logged in as: " in said(fw_command(tmp_path, "login", user.sdk_key))


def test_a_wrong_key(site_of_clients: Site, tmp_path: Path) -> None:
    device = Caller("device", site_of_clients.keys["device"], site_of_clients.url)
    done = fw_command(tmp_path, "login", f"{device.sdk_key[:-1]}!")
    assert done.returncode == 1
    assert "Error logging in" in done.stderr


def test_the_status(home: Path) -> None:
    assert "You are currently logged in as importer - importer-east to 127.0.0.1" in said(fw_command(home, "status"))


def test_the_lists(home: Path, ingested: str) -> None:
    assert "clinic" in said(fw_command(home, "ls"))
    listed = said(fw_command(home, "ls", "clinic/ingested"))
    assert all(f"P-{number}" in listed for number in range(1, STUDIES + 1))


def test_a_folder_and_its_download(home: Path) -> None:
    source = home / "folder" / "lab2" / "from folder" / "sub-01" / "ses-01" / "T1"
    source.mkdir(parents=True)
    (source / "notes.txt").write_bytes(b"hello\n")
    (source / "values.csv").write_bytes(b"a,b\n1,2\n")
    said(fw_command(home, "ingest", "folder", "-y", "--quiet", str(home / "folder")))
    said(fw_command(home, "download", "-y", "fw://lab2/from folder/sub-01", "-o", "sub-01.tar"))
    with tarfile.open(home / "sub-01.tar") as archive:
        found = {Path(entry.name).name: archive.extractfile(entry).read() for entry in archive if entry.isfile()}  # type: ignore[union-attr]
    assert found == {"notes.txt": b"hello\n", "values.csv": b"a,b\n1,2\n"}


def test_a_peer_finds_and_fetches_what_came_as_zips_byte_for_byte(
    site_of_clients: Site, studies: Path, ingested: str, tmp_path: Path
) -> None:
    sent = {}
    for path in studies.rglob("*.dcm"):
        meta, offset = split_dataset(path)
        sent[str(meta.MediaStorageSOPInstanceUID)] = hashlib.sha256(path.read_bytes()[offset:]).hexdigest()
    port = site_of_clients.up.dimse_port
    asked = ["-v", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID=P-*", "-k", "StudyInstanceUID"]
    found = run("findscu", *asked, port=port, calling=PEER)
    uids = set(re.findall(r"\(0020,000d\) UI \[([0-9.]+)", found))
    assert len(uids) == STUDIES, found
    for uid in uids:
        wanted = ["-S", "+B", "-od", str(tmp_path), "-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={uid}"]
        run("getscu", *wanted, port=port, calling=PEER)
    assert data_sets(tmp_path) == sent
