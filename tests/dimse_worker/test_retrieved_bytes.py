"""What comes by C-GET and C-MOVE: in the transfer syntax that it is stored in, and never with a changed byte."""

import hashlib
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import build_role, evt
from pynetdicom.presentation import build_context

from dimse_worker import contexts
from portal import models, runtime
from portal.access.actors import operator
from portal.peers import peers
from tests.dimse_worker.test_retrieval import counts, keys, move, study_uid_of
from tests.fixtures.archive import encode
from tests.fixtures.dimse import (
    SECONDARY_CAPTURE,
    STUDY_GET,
    Encoded,
    Listener,
    associated,
    destination,
    image,
    register,
    rows,
    store,
    until,
)
from tests.fixtures.hostile import pixels

EXPLICIT, IMPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
JPEG_2000, RLE, MPEG_4 = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.102"
EVERYTHING = [EXPLICIT, IMPLICIT, BIG_ENDIAN, JPEG_2000, RLE, MPEG_4]


@pytest.mark.parametrize(
    ("listed", "stored", "accepted"),
    [
        ([EVERYTHING], {}, [EXPLICIT]),
        ([[JPEG_2000, IMPLICIT]], {}, [IMPLICIT]),
        ([[IMPLICIT, EXPLICIT]], {IMPLICIT: 5}, [IMPLICIT]),
        ([EVERYTHING], {JPEG_2000: 5}, [JPEG_2000]),
        ([EVERYTHING], {JPEG_2000: 5, RLE: 1}, [EXPLICIT]),
        ([EVERYTHING], {MPEG_4: 5, EXPLICIT: 1}, [MPEG_4]),
        ([EVERYTHING], {MPEG_4: 5, EXPLICIT: 2, RLE: 3}, [EXPLICIT]),
        ([EVERYTHING], {MPEG_4: 5}, [MPEG_4]),
        ([[EXPLICIT], EVERYTHING], {JPEG_2000: 5, RLE: 6}, [EXPLICIT, RLE]),
        ([EVERYTHING, EVERYTHING], {JPEG_2000: 5, RLE: 6}, [RLE, JPEG_2000]),
        ([EVERYTHING, EVERYTHING], {JPEG_2000: 5, RLE: 6, MPEG_4: 1}, [RLE, EXPLICIT]),
        ([EVERYTHING, [RLE, EXPLICIT]], {JPEG_2000: 5, RLE: 6}, [JPEG_2000, RLE]),
        ([EVERYTHING, [RLE]], {RLE: 5}, [EXPLICIT, RLE]),
        ([[EXPLICIT], [JPEG_2000, EXPLICIT]], {}, [EXPLICIT, JPEG_2000]),
        ([[JPEG_2000, RLE]], {EXPLICIT: 5}, [JPEG_2000]),
        ([[EXPLICIT], [IMPLICIT], [RLE]], {RLE: 5}, [EXPLICIT, IMPLICIT, RLE]),
    ],
)
def test_the_contexts_of_a_get_are_accepted_as_objects_are_stored(
    listed: list[list[str]], stored: dict[str, int], accepted: list[str]
) -> None:
    by_id = {2 * index + 1: syntaxes for index, syntaxes in enumerate(listed)}
    assert list(dict(sorted(contexts.assign_for_get(by_id, stored).items())).values()) == accepted


def test_without_a_choice_nothing_is_asked_about_what_is_stored() -> None:
    proposed = [build_context(SECONDARY_CAPTURE, syntax) for syntax in EVERYTHING]
    for index, context in enumerate(proposed):
        context.context_id = 2 * index + 1
    roles, services = {SECONDARY_CAPTURE: (False, True)}, frozenset({"get"})

    def unasked(_classes: Any) -> Any:
        raise AssertionError

    accepted = contexts.accept(proposed, roles, services, unasked)
    assert list(accepted.values()) == EVERYTHING


def one_study(*objects: Dataset) -> list[Encoded]:
    """The objects as those of one series, each encoded as its file meta says."""
    study_uid, series_uid, encoded = generate_uid(), generate_uid(), []
    for number, ds in enumerate(objects, 1):
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = study_uid, series_uid, generate_uid()
        ds.PatientID, ds.InstanceNumber, ds.SOPClassUID = "P1", number, SECONDARY_CAPTURE
        syntax = str(ds.file_meta.TransferSyntaxUID)
        encoded.append(Encoded(SECONDARY_CAPTURE, str(ds.SOPInstanceUID), syntax, encode(ds, syntax=syntax)))
    return encoded


def video() -> Dataset:
    """An object that nothing here can decode."""
    ds = pixels.jpeg_2000()
    ds.file_meta.TransferSyntaxUID = MPEG_4
    return ds


def get(port: int, study_uid: str, *proposed: list[str]) -> tuple[dict[str, tuple[str, str]], Any, Any]:
    """Transfer syntax and digest of what comes over one context for each list; the final answer and its identifier."""
    came = {}

    def take(event: Any) -> int:
        digest = hashlib.sha256(event.request.DataSet.getvalue()).hexdigest()
        came[str(event.request.AffectedSOPInstanceUID)] = (str(event.context.transfer_syntax), digest)
        return 0

    offered = [build_context(STUDY_GET), *(build_context(SECONDARY_CAPTURE, syntaxes) for syntaxes in proposed)]
    roles = [build_role(SECONDARY_CAPTURE, scp_role=True)]
    with associated(port, offered, roles=roles, handlers=[(evt.EVT_C_STORE, take)]) as assoc:
        wanted = keys("STUDY", StudyInstanceUID=study_uid)
        status, identifier = list(assoc.send_c_get(wanted, STUDY_GET))[-1]
    return came, status, identifier


def as_stored(objects: list[Encoded]) -> dict[str, tuple[str, str]]:
    return {one.sop_instance: (one.syntax, hashlib.sha256(one.raw).hexdigest()) for one in objects}


def test_objects_come_as_they_are_stored_where_the_requestor_lists_that(listener: Listener) -> None:
    register()
    (film,) = one_study(video())
    store(listener.port, [film])
    came, status, _ = get(listener.port, study_uid_of(film), [EXPLICIT, IMPLICIT, MPEG_4])
    assert (status.Status, came) == (0, as_stored([film]))

    packed = one_study(pixels.jpeg_2000(), pixels.rle(rows=64))
    store(listener.port, packed)
    study_uid = study_uid_of(packed[0])
    for proposed in (([EXPLICIT], [RLE], [JPEG_2000]), (EVERYTHING, EVERYTHING, EVERYTHING)):
        came, status, _ = get(listener.port, study_uid, *proposed)
        assert (status.Status, came) == (0, as_stored(packed)), proposed

    # One context for three stored syntaxes: what it cannot carry as it is stored is transcoded.
    came, status, _ = get(listener.port, study_uid, EVERYTHING)
    assert (status.Status, {uid: syntax for uid, (syntax, _) in came.items()}) == (
        0,
        dict.fromkeys((one.sop_instance for one in packed), EXPLICIT),
    )


def change_a_byte(one: Encoded) -> None:
    """In the middle of the data set of an object, in its segment."""
    file = models.Instance.get(models.Instance.sop_uid == one.sop_instance).file
    place = runtime.archive().path(file.blob.segment)
    with place.open("r+b") as segment:
        segment.seek(file.blob.offset + file.blob.size - 3)
        segment.write(b"\xee")


def images(size: int) -> list[Encoded]:
    """Three objects of one series, with so many bytes of pixels each."""
    study_uid, series_uid = generate_uid(), generate_uid()
    same = {"StudyInstanceUID": study_uid, "SeriesInstanceUID": series_uid, "Rows": size // 1024, "Columns": 1024}
    return [Encoded.of(image(**same, InstanceNumber=number, PixelData=bytes(size))) for number in range(1, 4)]


@pytest.mark.parametrize("size", [4096, 2 << 20])
def test_a_changed_byte_fails_its_own_sub_operation_of_a_move(listener: Listener, size: int) -> None:
    register()
    objects = images(size)
    store(listener.port, objects)
    change_a_byte(objects[1])
    with destination("VIEWER") as viewer:
        register("VIEWER", host="127.0.0.1", port=viewer.port, services=("echo",), projects=(), store_to=None)
        peers.edit("SCANNER", moves_to=("VIEWER",), actor=operator())
        status, identifier = move(listener.port, keys("STUDY", StudyInstanceUID=study_uid_of(objects[0])), "VIEWER")
    assert (status.Status, counts(status)) == (0xB000, (None, 2, 1, 0))
    assert identifier.FailedSOPInstanceUIDList == objects[1].sop_instance
    assert viewer.digests == {one.sop_instance: hashlib.sha256(one.raw).hexdigest() for one in (objects[0], objects[2])}


def test_a_changed_byte_of_a_small_object_fails_its_own_sub_operation_of_a_get(listener: Listener) -> None:
    register()
    objects = images(4096)
    store(listener.port, objects)
    change_a_byte(objects[1])
    came, status, identifier = get(listener.port, study_uid_of(objects[0]), [EXPLICIT])
    assert (status.Status, identifier.FailedSOPInstanceUIDList) == (0xB000, objects[1].sop_instance)
    assert came == as_stored([objects[0], objects[2]])


def test_a_changed_byte_of_a_large_object_ends_a_get_once_and_fails_alone_from_then_on(listener: Listener) -> None:
    register()
    objects = images(2 << 20)
    store(listener.port, objects)
    change_a_byte(objects[1])
    study_uid = study_uid_of(objects[0])
    came, status, _ = get(listener.port, study_uid, [EXPLICIT])
    assert ("Status" in status, came) == (False, as_stored(objects[:1]))
    until(lambda: [job.state for job in rows(models.Job)] == ["failed"], "the job has ended")
    assert [item.key for item in rows(models.JobItem)] == [objects[1].sop_instance]

    came, status, identifier = get(listener.port, study_uid, [EXPLICIT])
    assert (status.Status, identifier.FailedSOPInstanceUIDList) == (0xB000, objects[1].sop_instance)
    assert came == as_stored([objects[0], objects[2]])
