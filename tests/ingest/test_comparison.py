"""Two objects side by side: what the page says of them, in every case."""

from typing import Any

import pytest
from pydicom.uid import ImplicitVRLittleEndian

from portal.access.actors import Actor
from portal.errors import BadValue
from portal.ingest import comparison
from portal.models import Acquisition, File, Project
from portal.settings import Settings
from tests.fixtures.archive import CT_IMAGE_STORAGE, a_project, an_object, begin, encode, store, upload


@pytest.fixture
def project(site: Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


def two_files() -> tuple[File, File]:
    here, held = File.select().order_by(File.id)
    return here, held


@pytest.mark.parametrize(
    ("changes", "headline"),
    [
        ({"ImageComments": "again"}, "1 of 260 elements differs"),
        ({"ImageComments": "again", "KVP": "100"}, "2 of 260 elements differ"),
        ({"PixelData": bytes(32768)}, "Only the pixel data differ: 32,768 bytes in both"),
        ({"PixelData": bytes(32770)}, "Only the pixel data differ: 32,768 bytes here against 32,770 held"),
        ({"ImageComments": "x", "PixelData": bytes(32768)}, "1 of 260 elements differs, and the pixel data"),
    ],
)
def test_the_headline_says_what_differs(project: Project, changes: dict[str, Any], headline: str) -> None:
    store(an_object(), project)
    store(an_object(**changes), project)
    assert comparison.compare(*two_files()).headline == headline


def test_pixels_in_two_transfer_syntaxes_are_not_compared_and_both_are_named(project: Project) -> None:
    store(an_object(), project)
    ds = an_object()
    with begin(project, sop_class=CT_IMAGE_STORAGE, uid=ds.SOPInstanceUID, syntax=ImplicitVRLittleEndian) as incoming:
        incoming.write(encode(ds, syntax=ImplicitVRLittleEndian))
        incoming.commit()
    found = comparison.compare(*two_files())
    assert found.headline == "No element differs; the pixel data are not compared"
    assert found.pixels_message == (
        "Not compared: here they are in Explicit VR Little Endian, held in Implicit VR Little Endian."
    )


def test_two_objects_of_one_study_are_told_apart_by_what_they_must_share(project: Project) -> None:
    store(an_object(), project)
    store(an_object(SOPInstanceUID="1.2.3", PatientID="other"), project)
    here, held = two_files()
    assert comparison.compare(here, held, neighbours=True).headline == (
        "1 of 15 elements that the two must share differs"
    )
    assert comparison.compare(here, here, neighbours=True).headline == "Nothing that the two must share differs"
    assert comparison.compare(here, here).headline == "No element differs, only how they are encoded"


def test_the_object_whose_header_cannot_be_read_is_named(project: Project, admin: Actor) -> None:
    store(an_object(), project)
    upload(b"no DICOM", Acquisition.get().id, "notes.txt", actor=admin)
    here, held = two_files()
    with pytest.raises(BadValue, match=r"^The held object cannot be read: "):
        comparison.compare(here, held)
    with pytest.raises(BadValue, match=r"^The existing object cannot be read: "):
        comparison.compare(held, here)
    with pytest.raises(BadValue, match=r"^The existing object cannot .* The held object cannot "):
        comparison.compare(held, held)


def test_how_the_two_are_encoded_is_no_difference(project: Project) -> None:
    store(an_object(), project)
    store(an_object(ImageComments="again", DataSetTrailingPadding=bytes(64)), project)
    found = comparison.compare(*two_files())
    assert [row.name for row in found.different] == ["ImageComments"]
    assert found.pixels == "equal"
