"""Members of zips over real associations with DCMTK."""

import zipfile
from pathlib import Path

import pytest

from portal import models
from portal.access.actors import operator
from portal.peers import peers
from portal.tree import containers, projects
from tests.dimse_worker.test_dcmtk import data_sets, run, storescp
from tests.fixtures.archive import an_object, upload
from tests.fixtures.dimse import Listener, register
from tests.fixtures.hostile.zips import a_series, a_zip


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_members_are_found_fetched_and_moved_byte_for_byte(method: int, listener: Listener, tmp_path: Path) -> None:
    project = projects.get_by_path("neuro/TRIAL1")
    subject = containers.add_subject(project.id, "sub-01", actor=operator())
    session = containers.add_session(subject.id, "ses-1", actor=operator())
    acquisition = containers.add_acquisition(session.id, "acq", actor=operator())
    upload(a_zip(a_series(4), method=method), acquisition.id, "dicom.zip", actor=operator())
    sent = {row.sop_uid: row.dataset_digest for row in models.Instance.select()}
    register()
    ds = an_object()
    study = ["-k", f"StudyInstanceUID={ds.StudyInstanceUID}"]

    image = ["-k", f"SeriesInstanceUID={ds.SeriesInstanceUID}", "-k", "SOPInstanceUID", "-k", "SliceLocation"]
    said = run("findscu", "-S", "-v", "-k", "QueryRetrieveLevel=IMAGE", *study, *image, port=listener.port)
    assert said.count("Pending") == 4
    assert f"[{ds.SliceLocation}" in said.replace(" ]", "]")

    fetched, moved = tmp_path / "fetched", tmp_path / "moved"
    fetched.mkdir()
    moved.mkdir()
    wanted = ["-k", "QueryRetrieveLevel=STUDY", *study]
    run("getscu", "-S", "+B", "-od", str(fetched), *wanted, port=listener.port)
    assert data_sets(fetched) == sent
    with storescp(moved) as port:
        register("VIEWER", host="127.0.0.1", port=port, services=("echo",), projects=(), store_to=None)
        peers.edit("SCANNER", moves_to=("VIEWER",), actor=operator())
        run("movescu", "-S", "-aem", "VIEWER", *wanted, port=listener.port)
    assert data_sets(moved) == sent
