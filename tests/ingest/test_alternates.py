import resource
from typing import Any

import pytest
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless

from portal import settings
from portal.access.actors import Actor
from portal.ingest import alternates
from portal.ingest.incoming import Stored
from portal.jobs import runs
from portal.models import Conflict, Instance, Job, Project, Study, now
from portal.trash import trash
from tests.fixtures.archive import a_project, an_object, begin, encode, store, store_vendor_file
from tests.fixtures.hostile import pixels as hostile_pixels


@pytest.fixture
def project(site: settings.Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


def compared() -> list[str]:
    return [alternates.compare(instance) for instance in alternates.pending()]


def store_other(project: Project) -> Stored:
    """MR_small in another transfer syntax and with another element."""
    ds = an_object("MR_small.dcm", ImageComments="other")
    with begin(project, sop_class=ds.SOPClassUID, uid=ds.SOPInstanceUID, syntax=ImplicitVRLittleEndian) as incoming:
        incoming.write(encode(ds, syntax=ImplicitVRLittleEndian))
        return incoming.commit()


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_implicit.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_RLE.dcm",
        "MR_small_jp2klossless.dcm",
        "MR_small_jpeg_ls_lossless.dcm",
    ],
)
def test_a_lossless_alternate_of_the_same_image_stays_an_alternate(project: Project, name: str) -> None:
    store_vendor_file("MR_small.dcm", project)
    store_vendor_file(name, project)
    assert compared() == [alternates.SAME_CONTENT]
    assert compared() == []
    assert Conflict.select().count() == 0


def test_an_alternate_with_another_element_becomes_a_conflict(project: Project) -> None:
    ds = an_object()
    store(ds, project)
    with begin(project, uid=ds.SOPInstanceUID, syntax=ImplicitVRLittleEndian) as incoming:
        incoming.write(encode(an_object(ImageComments="other"), syntax=ImplicitVRLittleEndian))
        assert incoming.commit().outcome == "alternate"
    assert compared() == ["Another transfer syntax and different content: ImageComments."]
    assert [row.state for row in Instance.select()] == ["current", "held"]
    assert (Conflict.get().kind, Study.get().n_instances) == ("content", 1)


def test_an_alternate_with_other_pixels_becomes_a_conflict(project: Project) -> None:
    ds = an_object()
    store(ds, project)
    changed = an_object(PixelData=bytes(len(ds.PixelData)))
    with begin(project, uid=ds.SOPInstanceUID, syntax=ImplicitVRLittleEndian) as incoming:
        incoming.write(encode(changed, syntax=ImplicitVRLittleEndian))
        incoming.commit()
    assert compared() == ["Another transfer syntax and different content: PixelData."]


def test_an_alternate_of_another_number_of_frames_becomes_a_conflict(project: Project) -> None:
    store_vendor_file("rtdose.dcm", project)
    store_vendor_file("rtdose_rle_1frame.dcm", project)
    (message,) = compared()
    assert "different content: " in message
    assert "NumberOfFrames" in message


def test_one_job_is_asked_for_all_alternates_and_compares_them(project: Project) -> None:
    store_vendor_file("MR_small.dcm", project)
    for name in ("MR_small_implicit.dcm", "MR_small_bigendian.dcm"):
        store_vendor_file(name, project)
    Job.update(due=now()).where(Job.kind == "comparison").execute()
    job = Job.get(Job.kind == "comparison")
    runs.perform(job.id, alternates.run)
    job = Job.get_by_id(job.id)
    assert (job.state, job.done) == ("done", 2)
    assert (job.result["alternates"], job.result["conflicts"]) == (2, 0)
    assert job.message == "2 alternates compared: 2 stay alternates, 0 differ and are held."


def test_an_alternate_that_is_trashed_meanwhile_is_left_out_and_the_next_one_compared(
    project: Project, admin: Actor
) -> None:
    store_vendor_file("MR_small.dcm", project)
    thrown = store_other(project)
    store_vendor_file("MR_small_RLE.dcm", project)
    comparing = alternates.pending()
    first = next(comparing)
    trash.move_to_trash("file", thrown.file_id, actor=admin)
    assert [alternates.compare(instance) for instance in (first, *comparing)] == ["", alternates.SAME_CONTENT]
    assert Conflict.select().count() == 0


def test_an_alternate_that_is_shown_meanwhile_since_the_current_object_was_trashed_stays_shown(
    project: Project, admin: Actor
) -> None:
    current = store_vendor_file("MR_small.dcm", project)
    store_vendor_file("MR_small_RLE.dcm", project)
    (alternate,) = alternates.pending()
    trash.move_to_trash("file", current.file_id, actor=admin)
    assert alternates.compare(alternate) == ""
    assert (Instance.get_by_id(alternate.id).state, Study.get().n_instances) == ("current", 1)


def test_a_comparison_whose_alternates_are_trashed_meanwhile_ends_in_order(project: Project, admin: Actor) -> None:
    store_vendor_file("MR_small.dcm", project)
    store_vendor_file("MR_small_RLE.dcm", project)
    thrown = store_vendor_file("MR_small_implicit.dcm", project)
    Job.update(due=now()).where(Job.kind == "comparison").execute()
    job = Job.get(Job.kind == "comparison")

    def compare_and_trash(run: runs.Run) -> runs.RunEnd:
        run.check = lambda: Instance.select().count() == 3 and trash.move_to_trash("file", thrown.file_id, actor=admin)
        return alternates.run(run)

    runs.perform(job.id, compare_and_trash)
    job = Job.get_by_id(job.id)
    assert (job.state, job.done, job.result["conflicts"]) == ("done", 1, 0)


@pytest.mark.parametrize("wrong", [{"cut": True}, {"said": 60_000}])
def test_pixels_that_break_a_decoder_end_one_comparison_and_cost_no_memory(
    project: Project, wrong: dict[str, Any]
) -> None:
    store_vendor_file("MR_small.dcm", project)
    ds = hostile_pixels.jpeg_2000(**wrong)
    with begin(project, sop_class=ds.SOPClassUID, uid=ds.SOPInstanceUID, syntax=JPEG2000Lossless) as incoming:
        incoming.write(encode(ds, syntax=JPEG2000Lossless))
        assert incoming.commit().outcome == "alternate"
    store_vendor_file("MR_small_implicit.dcm", project)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert compared() == [
        "The same elements in another transfer syntax; the pixels cannot be decoded for comparison.",
        alternates.SAME_CONTENT,
    ]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_a_lossy_alternate_is_compared_by_its_elements_alone(project: Project) -> None:
    store_vendor_file("SC_ybr_full_422_uncompressed.dcm", project)
    store_vendor_file("SC_rgb_dcmtk_+eb+cy+n2.dcm", project)
    (message,) = compared()
    assert message == alternates.SAME_CONTENT or "different content" in message
