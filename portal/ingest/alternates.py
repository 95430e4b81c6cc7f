"""Alternates: the same SOP Instance UID in another transfer syntax. A job looks whether they say the same."""

from collections.abc import Iterator
from datetime import timedelta
from typing import BinaryIO, cast

from peewee import DoesNotExist
from pydicom.uid import (
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from portal import runtime
from portal.access.actors import Actor
from portal.dicom import same_content
from portal.dicom.same_content import Differences
from portal.errors import PortalError, Unreachable
from portal.ingest import duplicates, index
from portal.jobs import jobs
from portal.jobs.runs import Run, RunEnd
from portal.models import ALTERNATE, HELD, Blob, Conflict, File, Instance, Job, now, writing
from portal.pixels import render_pool

COMPARISON_DELAY = timedelta(seconds=20)
"""How long a comparison waits for more to arrive."""
_SYSTEM = Actor(type="system", name="Portico", via="portal")
SAME_CONTENT = "The same elements and the same pixels in another transfer syntax."
COMPRESSED_DIFFERENTLY = "The same elements and the same pixels, compressed otherwise."
UNDECODABLE = "The same elements in another transfer syntax; the pixels cannot be decoded for comparison."
PIXEL_DATA = "PixelData"
ALTERNATES_PER_PAGE = 100
_MAY_DIFFER = frozenset(
    (
        0x00280004,  # Photometric Interpretation: a codec may have its own colour space
        0x00280006,  # Planar Configuration
        0x00282110,  # Lossy Image Compression
        0x00282112,  # Lossy Image Compression Ratio
        0x00282114,  # Lossy Image Compression Method
    )
)
_LOSSLESS = {
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEG2000Lossless,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    RLELossless,
}


def request_comparison() -> None:
    """Have the alternates compared soon, inside the caller's write block: one job for all that arrive by then."""
    if Job.select().where(Job.kind == "comparison", Job.state == "waiting").exists():
        return
    job = jobs.create("comparison", actor=_SYSTEM, params={}, what="Alternates")
    job.due = now() + COMPARISON_DELAY
    job.save(only=[Job.due])


def run(run: Run) -> RunEnd:
    """The job: compare what is pending. What has been compared stays so, if the run ends in between."""
    same = conflicts = 0
    for instance in pending():
        run.check()
        if not compare(instance):
            continue
        if instance.state == HELD:
            conflicts += 1
        else:
            same += 1
        run.write(total=same + conflicts, done=same + conflicts)
    message = f"{same + conflicts:,} alternates compared: {same:,} stay alternates, {conflicts:,} differ and are held."
    return RunEnd(message=message, result={"alternates": same, "conflicts": conflicts})


def pending() -> Iterator[Instance]:
    """Alternates that nobody has compared, by pages."""
    last = 0
    while page := list(
        Instance.select(Instance, File, Blob)
        .join(File)
        .join(Blob)
        .where(Instance.state == ALTERNATE, Instance.reason.in_(index.PENDING_COMPARISON), Instance.id > last)
        .order_by(Instance.id)
        .limit(ALTERNATES_PER_PAGE)
    ):
        yield from page
        last = page[-1].id


def compare(instance: Instance) -> str:
    """Compare one alternate with the object that peers see, and write down what came of it.

    Elements are compared by their encoded values, frames as decoded where neither side is lossy. What differs becomes
    a Conflict. Returns the sentence that now stands on the instance; none where one of the two was taken away or
    replaced meanwhile, which leaves the instance as it is then.
    """
    current = index.current_instance(instance.project_id, instance.sop_uid)
    difference, message = "", SAME_CONTENT
    if current is not None:
        same_syntax = current.transfer_syntax == instance.transfer_syntax
        message = COMPRESSED_DIFFERENTLY if same_syntax else SAME_CONTENT
        try:
            difference = _difference(current, instance)
        except Unreachable:
            return ""  # the next job asks again
        except render_pool.Undecodable:
            message = UNDECODABLE
        except PortalError as error:
            message = f"Not comparable: {error.message}"
        except DoesNotExist:
            return ""
        if message == UNDECODABLE and same_syntax:
            difference = PIXEL_DATA  # other bytes are other content until somebody shows that they are not
        if difference:
            kind = "Other bytes" if same_syntax else "Another transfer syntax"
            message = f"{kind}, and other content: {difference}."
    with writing():
        if not _is_still(instance, current):
            return ""
        _settle(instance, message, difference)
    return message


def _is_still(instance: Instance, current: Instance | None) -> bool:
    """Whether it waits for this comparison yet; with another current object it waits for another one."""
    waiting = Instance.select().where(
        Instance.id == instance.id, Instance.state == ALTERNATE, Instance.reason.in_(index.PENDING_COMPARISON)
    )
    if not waiting.exists():
        return False
    if index.current_instance(instance.project_id, instance.sop_uid) == current:
        return True
    request_comparison()
    return False


def _settle(instance: Instance, message: str, difference: str) -> None:
    if not difference:
        index.change_state(instance, ALTERNATE, message)
        return
    index.change_state(instance, HELD, message)
    Conflict.create(
        file=instance.file_id,
        project=instance.project_id,
        sop_uid=instance.sop_uid,
        kind="content",
        message=message,
        differs=difference,
    )


def _difference(current: Instance, alternate: Instance) -> str:
    """Keywords of what differs; empty where nothing does."""
    one, other = current.file.blob, alternate.file.blob
    same_syntax = current.transfer_syntax == alternate.transfer_syntax
    found = _compared(current, alternate, same_syntax=same_syntax)
    if found.tags:
        return found.keywords
    if same_syntax and not found.compressed:
        return PIXEL_DATA if found.pixels else ""
    comparable = current.rows is not None and (same_syntax or not (_lossy(current) or _lossy(alternate)))
    return "" if not comparable or _same_frames(one, other) else PIXEL_DATA


def _compared(current: Instance, alternate: Instance, *, same_syntax: bool) -> Differences:
    """By their encoded values; the pixels too where both are encoded alike."""
    with (
        duplicates.open_data_set(current.file.blob, current.transfer_syntax) as one,
        duplicates.open_data_set(alternate.file.blob, alternate.transfer_syntax) as other,
    ):
        ignored = frozenset() if same_syntax else _MAY_DIFFER
        return same_content.differences(one, other, ignored=ignored, pixels=same_syntax)


def _lossy(instance: Instance) -> bool:
    """Whether the transfer syntax may have lost pixels, so that a comparison says nothing."""
    syntax = UID(instance.transfer_syntax)
    return syntax.is_encapsulated and syntax not in _LOSSLESS


def _same_frames(one: Blob, other: Blob) -> bool:
    """Compare frame by frame, in a process of its own."""
    archive = runtime.archive()
    with (
        archive.open(one.segment, one.offset, one.size) as first,
        archive.open(other.segment, other.offset, other.size) as second,
    ):
        return render_pool.same_frames(cast(BinaryIO, first), cast(BinaryIO, second))
