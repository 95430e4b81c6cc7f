"""No object does harm, whatever it is: it is kept or refused, and the site goes on."""

import contextlib
import io
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from portal import runtime, settings
from portal.access.actors import Actor
from portal.dicom import elements, header
from portal.errors import NotDicom, PortalError
from portal.ingest import comparison
from portal.ingest.register import Stored
from portal.maintenance import recovery, reindex
from portal.models import File, Instance, Project, Study, database
from portal.tree import containers
from tests.fixtures.archive import a_project, begin, upload
from tests.fixtures.hostile import objects as hostile

pytestmark = pytest.mark.usefixtures("site")

LONGEST_WRITE = 0.05
"""Seconds that a write block may take, since others wait for so long."""

SHAPES = {
    "nested sequences": lambda: hostile.nested(400),
    "nested sequences of undefined length": lambda: hostile.nested(400, defined=False),
    "short pixel representation": hostile.short_pixel_representation,
    "1,000 frames": lambda: hostile.enhanced(1000),
    "1,000 frames of undefined length": lambda: hostile.enhanced(1000, defined=False),
    "3,000 frames": lambda: hostile.enhanced(3000),
    "3,000 frames of undefined length": lambda: hostile.enhanced(3000, defined=False),
    "tiny elements": lambda: hostile.tiny_elements(1_500_000),
}


@pytest.fixture
def project(site: settings.Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


@pytest.fixture
def acquisition(project: Project, admin: Actor) -> int:
    subject = containers.add_subject(project.id, "sub-01", actor=admin)
    session = containers.add_session(subject.id, "ses-1", actor=admin)
    return containers.add_acquisition(session.id, "acq", actor=admin).id


@pytest.fixture
def writes() -> list[float]:
    """Seconds of this thread's work in each write block: others' load on the machine does not count."""
    taken: list[float] = []
    begun = [0.0]

    def trace(statement: str) -> None:
        if statement.startswith("BEGIN"):
            begun[0] = time.thread_time()
        elif statement.startswith(("COMMIT", "ROLLBACK")):
            taken.append(time.thread_time() - begun[0])

    connection = database.connection()
    connection.set_trace_callback(trace)
    return taken


def send(data_set: bytes, uid: str, project: Project, *, sop_class: str = hostile.CT_IMAGE_STORAGE) -> Stored:
    """Take a data set in as C-STORE does."""
    with begin(project, uid=uid, sop_class=sop_class) as incoming:
        incoming.write(data_set)
        return incoming.commit()


@pytest.mark.parametrize("shape", SHAPES)
def test_an_odd_object_is_kept_indexed_and_found_again(
    shape: str, project: Project, writes: list[float], make_site: Callable[[Path], settings.Settings]
) -> None:
    uid = "1.2.826.0.1.3680043.9.7.3"
    stored = send(hostile.an_object(uid=uid, last=SHAPES[shape]()), uid, project)

    assert (stored.outcome, max(writes) < LONGEST_WRITE) == ("stored", True)
    assert (Study.get().patient_id, Instance.get().sop_uid) == ("ODD", uid)
    blob = File.get_by_id(stored.file_id).blob
    with runtime.archive().open(blob.segment, blob.offset, blob.size) as content:
        assert elements.read(content, blob.size)
    make_site(runtime.archive().root)
    assert recovery.recover() == 1
    Instance.delete().execute()
    assert (reindex.run().indexed, Instance.get().sop_uid) == (1, uid)


def test_elements_that_hide_the_uids_are_refused_with_the_bound_and_uploaded_as_a_plain_file(
    project: Project, acquisition: int, admin: Actor
) -> None:
    uid = "1.2.3"
    for first, bound in (
        (hostile.tiny_elements(100_000, within=False), "more elements than are read"),
        (hostile.tiny_elements(1_500_000), "more elements than are read"),
        (hostile.nested(10_000, defined=False), "nested more deeply than 32 levels"),
    ):
        data_set = hostile.an_object(uid=uid, first=first)
        with pytest.raises(NotDicom, match=bound):
            send(data_set, uid, project)
        stored = upload(hostile.as_file(data_set, uid=uid), acquisition, f"{len(data_set)}.dcm", actor=admin)
        assert File.get_by_id(stored.file_id).type is None
    assert not Instance.select().exists()


def test_no_write_block_is_long_for_any_file_of_pydicom(project: Project, writes: list[float]) -> None:
    kept = 0
    for path in hostile.vendor_files():
        content = path.read_bytes()
        try:
            parsed, begins = header.read_file(io.BytesIO(content), len(content))
        except PortalError:
            continue
        with (
            contextlib.suppress(NotDicom),  # the data set of one is not encoded as its file meta says
            begin(project, uid=parsed.sop_uid, sop_class=parsed.sop_class, syntax=parsed.transfer_syntax) as incoming,
        ):
            incoming.write(content[begins:])
            kept += bool(incoming.commit().file_id)
    assert kept > 150
    assert max(writes) < LONGEST_WRITE


@pytest.mark.parametrize("shape", ["nested sequences", "tiny elements", "3,000 frames"])
def test_odd_objects_are_compared_on_their_conflicts_page(shape: str, project: Project) -> None:
    files = []
    for name in ("Odd^Object", "Odd^Person"):
        data_set = hostile.an_object(uid="1.2.3", last=SHAPES[shape]()).replace(b"Odd^Object", name.encode())
        files.append(File.get_by_id(send(data_set, "1.2.3", project).file_id))
    compared = comparison.compare(*files)
    assert [row.name for row in compared.different] == ["PatientName"]
