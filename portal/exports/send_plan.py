"""What goes to a peer: single DICOM instances, each with the place of its bytes; everything else is skipped."""

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
OTHER_FILE = "Not a single DICOM object; only those can be sent to a peer."
OTHER_FORM = "An alternate of an object that is sent; a peer keeps one object per SOP Instance UID."
OTHER_STUDY = "This is of another study."
GONE = "The archive no longer has this object."


def with_refusals(files: Iterable[WalkedFile], study_instance_uid: str = "") -> Iterator[tuple[WalkedFile, str]]:
    """Each file, and why it is not sent; empty for an instance that is. With a study, only its instances are sent."""
    for page in batched(files, FILES_PER_PAGE):
        instances: Any = (
            Instance.select(Instance.file, Instance.state, Instance.reason, Study.study_uid)
            .join(Series)
            .join(Study)
            .where(Instance.file.in_([file.id for file in page]), Instance.member == "")
            .where(Instance.state.in_((CURRENT, ALTERNATE)))
        )
        by_file = {row[0]: row[1:] for row in instances.tuples()}
        for file in page:
            if file.id not in by_file:
                yield file, OTHER_FILE
                continue
            state, reason, study_uid = by_file[file.id]
            if study_instance_uid and study_uid != study_instance_uid:
                yield file, OTHER_STUDY
            elif state == ALTERNATE and reason != index.IN_TWO_PLACES:
                yield file, OTHER_FORM
            else:
                yield file, ""


def classes(job: Job) -> list[tuple[str, str]]:
    """Each SOP Class and transfer syntax of the instances that are still to be sent."""
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
    """How many objects of each SOP Class are still to be sent, the most frequent first."""
    number = fn.COUNT(JobItem.id)
    rows: Any = (
        JobItem.select(Instance.sop_class, number)
        .join(Instance, on=(JobItem.file == Instance.file))
        .where(JobItem.job == job, JobItem.state == "pending", Instance.member == "")
    )
    return dict(rows.group_by(Instance.sop_class).order_by(number.desc()).tuples())


def unfinished_items(job: Job) -> Iterator[tuple[Item, Outgoing | None]]:
    """The unfinished items in their order, each with the place of its bytes; None where they are gone.

    Items that failed before come last, so that three that fail again do not block the others.
    """
    pending = (JobItem.job == job) & (JobItem.state == "pending")
    for is_first_try in (True, False):
        tried = JobItem.attempts == 0 if is_first_try else JobItem.attempts > 0
        after = 0
        while page := item_row.select_first(pending & tried & (JobItem.id > after), FILES_PER_PAGE):
            outgoing = retrieve.for_files([item.file_id for item in page if item.file_id is not None])
            for item in page:
                yield item, outgoing.get(item.file_id or 0)
            after = page[-1].id
