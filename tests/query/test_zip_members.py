"""C-FIND, C-MOVE and C-GET of objects that are members of a zip."""

import hashlib
import io
import zipfile

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from portal import runtime
from portal.access.actors import Actor
from portal.access.rights import Scope
from portal.errors import Damaged
from portal.models import Blob, Project
from portal.query import retrieve
from portal.query.retrieve import Outgoing
from portal.settings import Settings
from portal.tree import containers
from tests.fixtures.archive import a_project, an_object, encode, upload, vendor_file
from tests.fixtures.hostile.zips import a_series, a_zip, member_of_series
from tests.fixtures.query import find, over_the_wire, request


@pytest.fixture
def project(site: Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


@pytest.fixture
def acquisition(project: Project, admin: Actor) -> int:
    subject = containers.add_subject(project.id, "sub-01", actor=admin)
    session = containers.add_session(subject.id, "ses-1", actor=admin)
    return containers.add_acquisition(session.id, "acq", actor=admin).id


@pytest.fixture
def scope(project: Project) -> Scope:
    return Scope(projects=(project.id,), stores=frozenset())


METHODS = pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])


def planned(scope: Scope) -> list[Outgoing]:
    asked = request("STUDY", StudyInstanceUID=an_object().StudyInstanceUID)
    return list(retrieve.plan(over_the_wire(asked), scope, root="study"))


@METHODS
def test_members_are_sent_byte_for_byte(method: int, scope: Scope, acquisition: int, admin: Actor) -> None:
    upload(a_zip(a_series(3), method=method), acquisition, "dicom.zip", actor=admin)
    sent = planned(scope)
    assert [one.member for one in sent] == ["0.dcm", "1.dcm", "2.dcm"]
    for number, one in enumerate(sent):
        one.check()
        with one.open() as data:
            content = data.read()
        assert content == encode(member_of_series(number))
        assert (one.length, one.transfer_syntax_uid) == (len(content), ExplicitVRLittleEndian)
        assert one.digest == hashlib.sha256(content).hexdigest()


@METHODS
def test_a_member_is_read_in_any_order_of_its_bytes(method: int, scope: Scope, acquisition: int, admin: Actor) -> None:
    upload(a_zip(a_series(1), method=method), acquisition, "dicom.zip", actor=admin)
    expected, (one,) = encode(member_of_series(0)), planned(scope)
    with one.open() as data:
        for begin, size in ((0, 10), (30_000, 500), (5, 100), (len(expected) - 3, 100), (0, len(expected))):
            data.seek(begin)
            assert data.read(size) == expected[begin : begin + size]
        assert data.read() == b""


@METHODS
def test_a_member_with_a_changed_byte_is_not_sent(method: int, scope: Scope, acquisition: int, admin: Actor) -> None:
    upload(a_zip(a_series(2), method=method), acquisition, "dicom.zip", actor=admin)
    first, second = planned(scope)
    blob = Blob.get()
    with runtime.archive().path(blob.segment).open("r+b") as segment:
        segment.seek(second.place.offset + 1000)
        byte = segment.read(1)
        segment.seek(second.place.offset + 1000)
        segment.write(bytes([byte[0] ^ 1]))
    first.check()
    with pytest.raises(Damaged):
        second.check()


@METHODS
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_members_are_transcoded(syntax: str, method: int, scope: Scope, acquisition: int, admin: Actor) -> None:
    compressed = vendor_file("JPEG-LL.dcm").read_bytes()
    ds = dcmread(io.BytesIO(compressed))
    upload(a_zip({"a.dcm": compressed}, method=method), acquisition, "dicom.zip", actor=admin)
    asked = request("STUDY", StudyInstanceUID=ds.StudyInstanceUID)
    (one,) = retrieve.plan(over_the_wire(asked), scope, root="study")
    with retrieve.transcode(one, syntax) as data:
        assert len(data.read()) > ds.Rows * ds.Columns * 2


@METHODS
def test_members_are_found_with_elements_that_the_index_lacks(
    method: int, scope: Scope, acquisition: int, admin: Actor
) -> None:
    upload(a_zip(a_series(2), method=method), acquisition, "dicom.zip", actor=admin)
    ds = an_object()
    keys = {"StudyInstanceUID": ds.StudyInstanceUID, "SeriesInstanceUID": ds.SeriesInstanceUID}
    found = find(scope, "IMAGE", **keys, SOPInstanceUID="", SliceLocation="")
    assert [(one.SOPInstanceUID, float(one.SliceLocation)) for one in found] == [
        ("1.2.3.1", float(ds.SliceLocation)),
        ("1.2.3.2", float(ds.SliceLocation)),
    ]
