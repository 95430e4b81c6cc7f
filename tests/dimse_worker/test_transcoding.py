"""Pixels that break a decoder, on their way out of a listener."""

from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import build_role, evt
from pynetdicom.presentation import build_context

from portal.models import JobItem, Study
from tests.fixtures.archive import encode
from tests.fixtures.dimse import STUDY_GET, Encoded, Listener, associated, image, register, store, until
from tests.fixtures.hostile import pixels as hostile_pixels
from tests.fixtures.process_tree import children

EXPLICIT = "1.2.840.10008.1.2.1"


def one_study(objects: list[Dataset]) -> list[Encoded]:
    """The objects, each under a UID of its own, as those of one study."""
    own = {"StudyInstanceUID": generate_uid(), "SeriesInstanceUID": generate_uid(), "PatientID": "P1"}
    made = []
    for number, ds in enumerate(objects, 1):
        syntax = str(ds.file_meta.TransferSyntaxUID)
        ds.SOPInstanceUID, ds.InstanceNumber = generate_uid(), number
        for keyword, value in own.items():
            setattr(ds, keyword, value)
        made.append(Encoded(str(ds.SOPClassUID), str(ds.SOPInstanceUID), syntax, encode(ds, syntax=syntax)))
    return made


def peak(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def test_pixels_that_break_a_decoder_fail_their_own_sub_operation_and_the_listener_lives_on(listener: Listener) -> None:
    register()
    hostile = hostile_pixels.each()
    good = [hostile_pixels.jpeg_2000(), hostile_pixels.rle(rows=64)]
    objects = one_study([good[0], *hostile.values(), good[1]])
    assert {sent.status for sent in store(listener.port, objects)} == {0}
    processes = [listener.process.pid, *children(listener.process.pid)]
    before = {pid: peak(pid) for pid in processes}

    came, status, identifier = get_uncompressed(listener.port, objects[0].sop_class)

    assert came == [objects[0].sop_instance, objects[-1].sop_instance]
    assert status.Status == 0xB000
    assert (status.NumberOfCompletedSuboperations, status.NumberOfFailedSuboperations) == (2, len(hostile))
    assert list(identifier.FailedSOPInstanceUIDList) == [one.sop_instance for one in objects[1:-1]]
    until(lambda: JobItem.select().count() == len(hostile), "what failed is written down")
    assert all("decoded" in item.message for item in JobItem.select())
    assert [listener.process.pid, *children(listener.process.pid)] == processes
    assert {pid: peak(pid) - before[pid] < 64 << 20 for pid in processes} == dict.fromkeys(processes, True)
    assert store(listener.port, [Encoded.of(image())])[0].status == 0


def get_uncompressed(port: int, sop_class: str) -> tuple[list[str], Any, Any]:
    """What comes where the requestor takes Explicit VR Little Endian alone; the final answer and its identifier."""
    came: list[str] = []

    def take(event: Any) -> int:
        came.append(str(event.request.AffectedSOPInstanceUID))
        return 0

    wanted = Dataset()
    wanted.QueryRetrieveLevel, wanted.StudyInstanceUID = "STUDY", str(Study.get().study_uid)
    contexts = [build_context(STUDY_GET), build_context(sop_class, EXPLICIT)]
    roles = [build_role(sop_class, scp_role=True)]
    with associated(port, contexts, roles=roles, handlers=[(evt.EVT_C_STORE, take)]) as assoc:
        status, identifier = list(assoc.send_c_get(wanted, STUDY_GET))[-1]
    return came, status, identifier
