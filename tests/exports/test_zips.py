"""A zip of DICOM objects goes whole to a storage and comes back with its index; a peer gets its members one by one."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from dimse_worker import destinations
from portal.access.actors import operator
from portal.exports import exports, preview, send
from portal.exports.request import Options
from portal.imports import imports
from portal.imports.request import ImportRequest
from portal.jobs import jobs, runs
from portal.maintenance import unpack
from portal.models import Acquisition, Instance, Job, Project
from portal.settings import Settings
from portal.storage import storages
from portal.tree import containers, projects
from tests.dimse_worker.test_dcmtk import data_sets, storescp
from tests.fixtures.archive import store, upload
from tests.fixtures.dimse import register
from tests.fixtures.hostile.zips import a_series, a_zip, member_of_series
from tests.fixtures.work import add_file

METHODS = pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])


@pytest.fixture
def project(dimse_site: Settings) -> Project:
    return projects.get_by_path("neuro/TRIAL1")


@pytest.fixture
def place(project: Project) -> Acquisition:
    subject = containers.add_subject(project.id, "sub-01", actor=operator())
    session = containers.add_session(subject.id, "ses-1", actor=operator())
    return containers.add_acquisition(session.id, "acq", actor=operator())


def run(job: Job) -> Job:
    """What the worker does with an export or an import, in this process."""
    work = {"export": exports.run, "import": imports.run}[job.kind]
    runs.perform(job.id, lambda this: work(this, destination=destinations.open_storage(this.job)))
    return jobs.get(job.id)


@METHODS
def test_a_peer_gets_each_member_as_it_is_stored(
    method: int, project: Project, place: Acquisition, tmp_path: Path
) -> None:
    store(member_of_series(1), project)
    upload(a_zip(a_series(3), method=method), place.id, "dicom.zip", actor=operator())
    add_file(project, "protocol.pdf", b"%PDF", operator())
    taken = tmp_path / "taken"
    taken.mkdir()
    with storescp(taken) as port:
        register("VIEWER", host="127.0.0.1", port=port, store_to=None)
        job = exports.start("neuro/TRIAL1", to="peer/VIEWER", actor=operator(), options=Options())
        runs.perform(job.id, lambda this: send.run(this, destination=destinations.peer_for(this.job)))
    assert data_sets(taken) == {row.sop_uid: row.dataset_digest for row in Instance.select()}
    job = jobs.get(job.id)
    assert (job.state, job.total, job.done, job.result["unmatched"]) == ("done", 4, 4, 1)
    keys = {item.key.rpartition("dicom.zip/")[2] for item in exports.items(job.id) if item.member}
    assert keys == {"0.dcm", "1.dcm", "2.dcm"}


def test_the_preview_of_a_send_shows_the_first_members(project: Project, place: Acquisition) -> None:
    upload(a_zip(a_series(30)), place.id, "dicom.zip", actor=operator())
    register("VIEWER", host="127.0.0.1", port=104, store_to=None)
    lines = preview.build("neuro/TRIAL1", "peer/VIEWER", Options(), actor=operator()).lines
    assert len(lines) == preview.MAX_LINES
    assert {line.sop_class for line in lines} == {member_of_series(0).SOPClassUID}


@METHODS
def test_an_export_copies_the_zip_whole_and_an_import_brings_it_back_with_its_index(
    method: int, project: Project, place: Acquisition, folder: Path
) -> None:
    content = a_zip(a_series(3), method=method)
    upload(content, place.id, "dicom.zip", actor=operator())
    folder.mkdir(parents=True)
    storages.add("store", "fs", path=str(folder), mode="both", actor=operator())
    exported = run(exports.start("neuro/TRIAL1", to="store", actor=operator(), options=Options()))
    assert exported.state == "done"
    (copy,) = folder.rglob("dicom.zip")
    assert copy.read_bytes() == content

    request = ImportRequest(of="store", to="neuro/TRIAL2", by="path", prefix="TRIAL1")
    job = run(imports.start(request, actor=operator()))
    assert job.state == "done", job.message
    other = projects.get_by_path("neuro/TRIAL2")
    assert {row.member: row.state for row in Instance.select().where(Instance.project == other)} == {
        "0.dcm": "current",
        "1.dcm": "current",
        "2.dcm": "current",
    }


def test_a_zip_with_a_held_member_is_held_back_by_exports_and_a_peer_gets_the_others(
    project: Project, place: Acquisition, folder: Path, tmp_path: Path
) -> None:
    store(member_of_series(0), project)
    upload(a_zip(a_series(2, Rows=64, Columns=128)), place.id, "dicom.zip", actor=operator())
    taken = tmp_path / "taken"
    taken.mkdir()
    folder.mkdir(parents=True)
    storages.add("store", "fs", path=str(folder), mode="both", actor=operator())
    exported = run(exports.start("neuro/TRIAL1", to="store", actor=operator(), options=Options()))
    assert (exported.result["held_back"], list(folder.rglob("dicom.zip"))) == (1, [])
    with storescp(taken) as port:
        register("VIEWER", host="127.0.0.1", port=port, store_to=None)
        job = exports.start("neuro/TRIAL1", to="peer/VIEWER", actor=operator(), options=Options())
        runs.perform(job.id, lambda this: send.run(this, destination=destinations.peer_for(this.job)))
    shown = Instance.select().where(Instance.state == "current")
    assert data_sets(taken) == {row.sop_uid: row.dataset_digest for row in shown}


def test_unpack_writes_the_zip_as_it_came(project: Project, place: Acquisition, tmp_path: Path) -> None:
    content = a_zip(a_series(2))
    upload(content, place.id, "dicom.zip", actor=operator())
    report = unpack.run(tmp_path / "plain")
    assert (report.written, report.failed) == (1, [])
    (written,) = (tmp_path / "plain").rglob("dicom.zip")
    assert hashlib.sha256(written.read_bytes()).digest() == hashlib.sha256(content).digest()
