import hashlib
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pynetdicom.dsutils import split_dataset

from portal import models
from portal.access.actors import operator
from portal.peers import peers, refused_callers
from tests.fixtures.dimse import OURS, Encoded, Listener, Sent, accepts, image, register, store, until, vendor_files
from tests.fixtures.free_ports import free_port


def run(tool: str, *arguments: str, port: int, calling: str = "SCANNER", called: str = OURS) -> str:
    """What a DCMTK tool says; its exit code must be 0."""
    done = dcmtk(tool, *arguments, port=port, calling=calling, called=called)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def dcmtk(
    tool: str, *arguments: str, port: int, calling: str = "SCANNER", called: str = OURS
) -> subprocess.CompletedProcess[str]:
    titles = ["-aet", calling, "-aec", called]
    options = [one for one in arguments if not one.endswith(".dcm")]
    files = [one for one in arguments if one.endswith(".dcm")]
    command = [tool, *titles, *options, "127.0.0.1", str(port), *files]
    return subprocess.run(command, capture_output=True, text=True, timeout=90)


@contextmanager
def storescp(folder: Path, title: str = "VIEWER") -> Iterator[int]:
    """`storescp +B +xa`: takes every transfer syntax and writes what it read, bit by bit; its port."""
    port = free_port()
    command = ["storescp", "+B", "+xa", "-aet", title, "-od", str(folder), str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: accepts(port), "storescp listens")
            yield port
        finally:
            process.kill()


def data_sets(folder: Path) -> dict[str, str]:
    """Digest of the data set of each file in a folder, by SOP Instance UID."""
    found = {}
    for path in folder.iterdir():
        meta, offset = split_dataset(path)
        found[str(meta.MediaStorageSOPInstanceUID)] = hashlib.sha256(path.read_bytes()[offset:]).hexdigest()
    return found


def write_file(folder: Path, **fields: str) -> Path:
    """A DICOM file of a small image."""
    ds = image(**fields)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    path = folder / f"{ds.SOPInstanceUID}.dcm"
    FileDataset(str(path), ds, file_meta=meta, preamble=bytes(128)).save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two images of one study."""
    folder = tmp_path / "files"
    folder.mkdir()
    uids = {"StudyInstanceUID": "1.2.3.4", "SeriesInstanceUID": "1.2.3.4.5"}
    return [write_file(folder, **uids) for _ in range(2)]


def test_echoscu(listener: Listener) -> None:
    register()
    run("echoscu", port=listener.port)
    refused = dcmtk("echoscu", "-v", port=listener.port, calling="NOBODY")
    assert refused.returncode != 0
    assert "Calling AE Title Not Recognized" in refused.stdout + refused.stderr
    assert [row.calling for row in refused_callers.list_all()] == ["NOBODY"]
    assert "Called AE Title Not Recognized" in dcmtk("echoscu", "-v", port=listener.port, called="OTHER").stderr


def test_storescu_findscu_at_each_level_and_getscu(listener: Listener, files: list[Path], tmp_path: Path) -> None:
    register()
    run("storescu", *map(str, files), port=listener.port)
    assert models.Instance.select().count() == 2
    instance = str(models.Instance.get().sop_uid)
    for model, root in (("-S", []), ("-P", ["-k", "PatientID=P1"])):
        for level, keys in (
            ("STUDY", ["StudyInstanceUID", "PatientName=Doe*"]),
            ("SERIES", ["StudyInstanceUID=1.2.3.4", "SeriesInstanceUID"]),
            ("IMAGE", ["StudyInstanceUID=1.2.3.4", "SeriesInstanceUID=1.2.3.4.5", f"SOPInstanceUID={instance}"]),
        ):
            wanted = [part for key in keys for part in ("-k", key)]
            said = run("findscu", model, "-v", "-k", f"QueryRetrieveLevel={level}", *root, *wanted, port=listener.port)
            assert said.count("Pending") == 1, said
    said = run("findscu", "-P", "-v", "-k", "QueryRetrieveLevel=PATIENT", "-k", "PatientName=DOE*", port=listener.port)
    assert said.count("Pending") == 1
    came = tmp_path / "came"
    came.mkdir()
    wanted = ["-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3.4"]
    run("getscu", "-S", "+B", "-od", str(came), *wanted, port=listener.port)
    assert len(data_sets(came)) == 2


def test_movescu_into_a_storescp(listener: Listener, files: list[Path], tmp_path: Path) -> None:
    register()
    run("storescu", *map(str, files), port=listener.port)
    came = tmp_path / "came"
    came.mkdir()
    with storescp(came) as port:
        register("VIEWER", host="127.0.0.1", port=port, services=("echo",), projects=(), store_to=None)
        peers.edit("SCANNER", moves_to=("VIEWER",), actor=operator())
        wanted = ["-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3.4"]
        run("movescu", "-S", "-aem", "VIEWER", *wanted, port=listener.port)
    assert data_sets(came).keys() == {path.stem for path in files}


@pytest.fixture
def vendors(listener: Listener) -> list[Sent]:
    """One object for each SOP Instance UID of pydicom-data (35 and more), sent as it lies in its file.

    One calls itself by a digest in letters, which is no UID, and is refused.
    """
    register(projects=(("neuro/TRIAL1", "rw"),))
    sent = store(listener.port, [Encoded.of_file(path) for path in vendor_files()])
    taken = [one for one in sent if one.status == 0]
    assert [(one.status, one.sop_instance[:4]) for one in sent if one.status] == [(0xA900, "dccc")]
    assert len(taken) >= 35
    return taken


def test_what_dcmtk_sends_of_each_vendors_object_after_pydicom_is_no_conflict(
    listener: Listener, vendors: list[Sent]
) -> None:
    before = models.Conflict.select().count()
    dcmtk("storescu", "-nh", *(str(path) for path in vendor_files()), port=listener.port)
    until(lambda: models.Association.select().where(models.Association.outcome != "open").count() == 2, "both ended")
    counted = models.Association.select().order_by(models.Association.id.desc()).get().counts["store"]
    assert models.Conflict.select().count() == before
    assert counted["reencoded"] >= 5
    assert set(counted) <= {"done", "failed", "same", "reencoded", "alternate", "refused"}


def studies() -> list[str]:
    return [str(study.study_uid) for study in models.Study.select()]


def test_every_vendors_object_comes_back_byte_for_byte_as_it_crossed_the_wire(
    listener: Listener, vendors: list[Sent], tmp_path: Path
) -> None:
    came = tmp_path / "came"
    came.mkdir()
    with storescp(came) as port:
        register("VIEWER", host="127.0.0.1", port=port, services=("echo",), projects=(), store_to=None)
        peers.edit("SCANNER", moves_to=("VIEWER",), actor=operator())
        for uid in studies():
            wanted = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={uid}"]
            run("movescu", "-S", "-aem", "VIEWER", *wanted, port=listener.port)
    assert data_sets(came) == {one.sop_instance: one.digest for one in vendors}
