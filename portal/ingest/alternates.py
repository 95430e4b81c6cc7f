"""Alternates: the same SOP Instance UID in another transfer syntax. A job compares their content."""

from collections.abc import Iterator
from datetime import timedelta

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

from portal.access.actors import Actor
from portal.errors import PortalError, Unreachable
from portal.ingest import duplicates, index
from portal.jobs import jobs
from portal.jobs.runs import Run, RunEnd
from portal.models import ALTERNATE, HELD, Blob, Conflict, File, Instance, Job, now, object_places, writing
from portal.pixels import render_pool
from portal.zip_members import object_content

COMPARISON_DELAY = timedelta(seconds=20)
"""How long a comparison job waits, so that one job compares all alternates of a study."""
_SYSTEM = Actor(type="system", name="Portico", via="portal")
SAME_CONTENT = "The same elements and the same pixels in another transfer syntax."
COMPRESSED_DIFFERENTLY = "The same elements and the same pixels, compressed differently."
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
    """Create the job that compares the alternates, unless one is waiting; inside the caller's write block."""
    if Job.select().where(Job.kind == "comparison", Job.state == "waiting").exists():
        return
    job = jobs.create("comparison", actor=_SYSTEM, params={}, what="Alternates")
    job.due = now() + COMPARISON_DELAY
    job.save(only=[Job.due])


def run(run: Run) -> RunEnd:
    """The job: compare what is pending. Results stay if the run ends early."""
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
    """Alternates that have not been compared, read by pages."""
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
    """Compare one alternate with the object that peers see, and record the result.

    Elements are compared by their encoded values, decoded frames where neither side is lossy. Different content becomes
    a Conflict. Returns the reason that the instance now has; an empty one where one of the two was removed or replaced
    meanwhile, which leaves the instance unchanged.
    """
    current = index.current_instance(instance.project_id, instance.sop_uid)
    difference, message = "", SAME_CONTENT
    if current is not None:
        same_syntax = current.transfer_syntax == instance.transfer_syntax
        message = COMPRESSED_DIFFERENTLY if same_syntax else SAME_CONTENT
        try:
            difference = _difference(current, instance)
        except Unreachable:
            return ""  # the next job compares them
        except render_pool.Undecodable:
            message = UNDECODABLE
        except PortalError as error:
            message = f"Not comparable: {error.message}"
        except DoesNotExist:
            return ""
        if message == UNDECODABLE and same_syntax:
            difference = PIXEL_DATA  # different bytes count as different content until compared
        if difference:
            kind = "Different bytes" if same_syntax else "Another transfer syntax"
            message = f"{kind} and different content: {difference}."
    with writing():
        return message if _record(instance, current, message, difference) else ""


def _record(instance: Instance, current: Instance | None, message: str, difference: str) -> bool:
    """Write the result, unless the alternate no longer waits for a comparison with this current object."""
    waiting = Instance.select().where(
        Instance.id == instance.id, Instance.state == ALTERNATE, Instance.reason.in_(index.PENDING_COMPARISON)
    )
    if not waiting.exists():
        return False
    if index.current_instance(instance.project_id, instance.sop_uid) != current:
        request_comparison()
        return False

    if not difference:
        index.change_state(instance, ALTERNATE, message)
        return True
    index.change_state(instance, HELD, message)
    Conflict.create(
        file=instance.file_id,
        member=instance.member,
        project=instance.project_id,
        sop_uid=instance.sop_uid,
        kind="content",
        message=message,
        differs=difference,
    )
    return True


def _difference(current: Instance, alternate: Instance) -> str:
    """Keywords of the elements that differ; empty where none does."""
    same_syntax = current.transfer_syntax == alternate.transfer_syntax
    ignored = frozenset() if same_syntax else _MAY_DIFFER
    data_sets = object_places.of_instances([current.id, alternate.id], object_places.data_set)
    whole = object_places.of_instances([current.id, alternate.id])
    if len(data_sets) < 2 or len(whole) < 2:
        raise DoesNotExist
    differences = duplicates.differences(
        (data_sets[current.id], current.transfer_syntax),
        (data_sets[alternate.id], alternate.transfer_syntax),
        ignored=ignored,
        pixels=same_syntax,
    )
    if differences.tags:
        return differences.keywords
    if same_syntax and not differences.compressed:
        return PIXEL_DATA if differences.pixels else ""

    comparable = current.rows is not None and (same_syntax or not (_is_lossy(current) or _is_lossy(alternate)))
    if not comparable:
        return ""
    with (
        object_content.open_to_seek(whole[current.id]) as first,
        object_content.open_to_seek(whole[alternate.id]) as second,
    ):
        same = render_pool.same_frames(first, second)
    return "" if same else PIXEL_DATA


def _is_lossy(instance: Instance) -> bool:
    """Whether the transfer syntax may have changed pixels, so that they cannot be compared."""
    syntax = UID(instance.transfer_syntax)
    return syntax.is_encapsulated and syntax not in _LOSSLESS
