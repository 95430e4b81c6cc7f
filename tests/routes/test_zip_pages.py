"""The pages of a zip: its members are listed, and each is seen and read like a file of its own."""

import zipfile

import pytest

from portal.access.actors import Actor
from portal.models import Conflict, File, Instance, Project, Series
from portal.tree import container_page, containers
from tests.fixtures.archive import a_project, store, upload, vendor_file
from tests.fixtures.hostile.zips import a_series, a_zip, member_of_series
from tests.fixtures.web import Visitor

METHODS = pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])


@pytest.fixture
def project(admin: Actor) -> Project:
    return a_project(actor=admin)


@pytest.fixture
def acquisition(project: Project, admin: Actor) -> int:
    subject = containers.add_subject(project.id, "sub-01", actor=admin)
    session = containers.add_session(subject.id, "ses-1", actor=admin)
    return containers.add_acquisition(session.id, "acq", actor=admin).id


@METHODS
def test_members_are_listed_with_their_headers_and_pictures(
    method: int, visitor: Visitor, acquisition: int, admin: Actor
) -> None:
    members = {"a.dcm": vendor_file("CT_small.dcm").read_bytes(), "b.dcm": vendor_file("MR_small.dcm").read_bytes()}
    upload(a_zip(members, method=method), acquisition, "dicom.zip", actor=admin)
    file, (first, second) = File.get(), Instance.select().order_by(Instance.id)
    page = visitor.get(f"/data/file/{file.id}").text
    assert "2 SOP Instances" in page
    assert f"/data/file/{file.id}/instance/{second.id}/header" in page
    header = visitor.get(f"/data/file/{file.id}/instance/{second.id}/header?q=Modality").text
    assert "Header of b.dcm" in header
    assert ">MR<" in header
    assert visitor.get(f"/data/file/{file.id}/instance/{second.id + 1}/header").status_code == 404
    pictures = [visitor.get(f"/data/file/{file.id}/frame/1?instance={one.id}").get_data() for one in (first, second)]
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert pictures[0] != pictures[1]


def test_a_series_of_members_is_looked_through(visitor: Visitor, acquisition: int, admin: Actor) -> None:
    upload(a_zip(a_series(3)), acquisition, "dicom.zip", actor=admin)
    series, second = Series.get(), Instance.get(Instance.member == "1.dcm")
    page = visitor.get(f"/data/series/{series.id}?frame=2").text
    assert f"frame/1?instance={second.id}" in page
    assert "dicom.zip</a>, 1.dcm" in page
    assert visitor.get(f"/data/series/{series.id}/thumbnail").get_data().startswith(b"\x89PNG")


def test_a_large_zip_lists_its_first_members(
    visitor: Visitor, acquisition: int, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container_page, "MAX_INSTANCES", 2)
    upload(a_zip(a_series(3)), acquisition, "dicom.zip", actor=admin)
    page = visitor.get(f"/data/file/{File.get().id}").text
    assert "3 SOP Instances" in page
    assert "Only the first 2 are shown." in page


def test_the_page_of_a_conflict_shows_the_member(
    visitor: Visitor, project: Project, acquisition: int, admin: Actor
) -> None:
    store(member_of_series(1), project)
    upload(a_zip(a_series(2, Rows=64, Columns=128)), acquisition, "dicom.zip", actor=admin)
    conflict, held = Conflict.get(), Instance.get(Instance.state == "held")
    page = visitor.get(f"/data/conflicts/{conflict.id}").text
    assert "dicom.zip, 1.dcm" in page
    assert f"/instance/{held.id}/header" in page
    assert f"thumbnail?instance={held.id}" in page
    assert "Rows" in page
    assert "Move to a separate project" not in page
    listed = visitor.get("/data/conflicts/").text
    assert "CT 1, object 2" in listed
