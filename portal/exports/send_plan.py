"""The snapshot of what goes to a peer: single DICOM instances, each where its bytes lie; everything else stays here."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from peewee import fn

from portal.ingest import index
from portal.jobs import item_row
from portal.jobs.item_row import Item
from portal.models import ALTERNATE, CURRENT, Instance, Job, JobItem, Series, Study
from portal.query import retrieve
from portal.query.retrieve import Outgoing
from portal.tree.batches import batched
from portal.tree.walk import WalkedFile

FILES_PER_PAGE = 200
OTHER_FILE = "This is no single DICOM object; a peer takes only those."
OTHER_FORM = "This is another form of an object that is sent: a peer keeps one of each."
OTHER_STUDY = "This is of another study."
GONE = "The archive no longer has this object."


def with_refusals(found: Iterable[WalkedFile], study: str = "") -> Iterator[tuple[WalkedFile, str]]:
    """Each file, and why it is not sent; an empty sentence for an instance that is. `study` leaves out all others."""
    for some in batched(found, FILES_PER_PAGE):
        known = _instances([one.id for one in some])
        for one in some:
            yield one, _why_not(known.get(one.id), study)


def _instances(file_ids: Sequence[int]) -> dict[int, tuple[bool, str]]:
    """Of the instances that are files of their own: whether it is another form of one that is sent, and the study."""
    rows: Any = (
        Instance.select(Instance.file, Instance.state, Instance.reason, Study.study_uid)
        .join(Series)
        .join(Study)
        .where(Instance.file.in_(file_ids), Instance.member == "", Instance.state.in_((CURRENT, ALTERNATE)))
    )
    return {
        file: (state == ALTERNATE and reason != index.IN_TWO_PLACES, study)
        for file, state, reason, study in rows.tuples()
    }


def _why_not(known: tuple[bool, str] | None, study: str) -> str:
    if known is None:
        return OTHER_FILE
    is_other_form, study_uid = known
    if study and study_uid != study:
        return OTHER_STUDY
    return OTHER_FORM if is_other_form else ""


def classes(job: Job) -> list[tuple[str, str]]:
    """Each SOP Class and transfer syntax of what is still to be sent."""
    rows: Any = (
        Instance.select(Instance.sop_class, Instance.transfer_syntax)
        .join(JobItem, on=(JobItem.file == Instance.file))
        .where(JobItem.job == job, JobItem.state == "pending", Instance.member == "")
    )
    return list(rows.distinct().order_by(Instance.sop_class, Instance.transfer_syntax).tuples())


def sop_classes(file_ids: Sequence[int]) -> dict[int, str]:
    """The SOP Class of each file that is a single object."""
    rows: Any = Instance.select(Instance.file, Instance.sop_class).where(
        Instance.file.in_(file_ids), Instance.member == ""
    )
    return dict(rows.tuples())


def count_by_class(job: Job) -> dict[str, int]:
    """How many objects of each SOP Class are still to be sent, the most first."""
    number = fn.COUNT(JobItem.id)
    rows: Any = (
        JobItem.select(Instance.sop_class, number)
        .join(Instance, on=(JobItem.file == Instance.file))
        .where(JobItem.job == job, JobItem.state == "pending", Instance.member == "")
    )
    return dict(rows.group_by(Instance.sop_class).order_by(number.desc()).tuples())


def unfinished_items(job: Job) -> Iterator[tuple[Item, Outgoing | None]]:
    """The items that are not over, in their order, and where each one's bytes lie; None where they are gone.

    Those that were tried before come last: three that end each association must not keep the others from their turn.
    """
    yield from _pages(job, JobItem.attempts == 0)
    yield from _pages(job, JobItem.attempts > 0)


def _pages(job: Job, which: Any) -> Iterator[tuple[Item, Outgoing | None]]:
    after = 0
    while True:
        mine = (JobItem.job == job) & (JobItem.state == "pending") & which & (JobItem.id > after)
        page = item_row.select_first(mine, FILES_PER_PAGE)
        if not page:
            return
        found = retrieve.for_files([item.file_id for item in page if item.file_id is not None])
        for item in page:
            yield item, found.get(item.file_id or 0)
        after = page[-1].id
