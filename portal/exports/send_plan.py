"""What goes to a peer: single DICOM instances, files or members of zips, each with the place of its bytes."""

from collections.abc import Iterable, Iterator
from typing import Any

from peewee import JOIN, fn

from portal.ingest import index
from portal.jobs import item_row
from portal.jobs.item_row import Item
from portal.models import ALTERNATE, CURRENT, DicomZip, Instance, Job, JobItem, Series, Study, ZipMember
from portal.models.compiled import raw_rows
from portal.query import retrieve
from portal.query.retrieve import Outgoing
from portal.tree.batches import batched
from portal.tree.walk import WalkedFile

FILES_PER_PAGE = 200
OTHER_FILE = "Not a single DICOM object; only those can be sent to a peer."
OTHER_FORM = "An alternate of an object that is sent; a peer keeps one object per SOP Instance UID."
OTHER_STUDY = "This is of another study."
GONE = "The archive no longer has this object."
_IS_ITEM = (JobItem.file == Instance.file) & (fn.COALESCE(JobItem.member, "") == Instance.member)
"""Whether an item is of an instance."""


def with_refusals(files: Iterable[WalkedFile], study_instance_uid: str = "") -> Iterator[tuple[WalkedFile, str]]:
    """Each object, and why it is not sent; empty for an instance that is. With a study, only its instances are sent.

    Of a zip each member that is an instance is an object, with a path below that of the zip.
    """
    for page in batched(files, FILES_PER_PAGE):
        ids = [file.id for file in page]
        by_file = {row[0]: row for row in raw_rows(_instances(Instance.file.in_(ids), Instance.member == ""))}
        zips = {row.file_id for row in DicomZip.select(DicomZip.file).where(DicomZip.file.in_(ids))}
        for file in page:
            if file.id in by_file:
                yield file, _refusal(by_file[file.id], study_instance_uid)
            elif file.id in zips and not file.is_older:
                yield from _members(file, study_instance_uid)
            else:
                yield file, OTHER_FILE


def _instances(*conditions: Any) -> Any:
    columns = (Instance.file, Instance.state, Instance.reason, Study.study_uid, Instance.id, Instance.member)
    rows = Instance.select(*columns, Instance.number, Instance.sop_uid, Instance.dataset_digest, ZipMember.size)
    rows = rows.join(Series).join(Study).join_from(Instance, ZipMember, JOIN.LEFT_OUTER)
    return rows.where(*conditions, Instance.state.in_((CURRENT, ALTERNATE)))


def _members(file: WalkedFile, study_instance_uid: str) -> Iterator[tuple[WalkedFile, str]]:
    """The instances of a zip, by pages."""
    kind, origin, *_ = file.details
    after = 0
    rows = _instances(Instance.file == file.id, Instance.member != "").order_by(Instance.id).limit(FILES_PER_PAGE)
    while page := raw_rows(rows.where(Instance.id > after)):
        after = page[-1][4]
        for row in page:
            member, number, sop_uid, digest, size = row[5:]
            path, details = f"{file.path}/{member}", (kind, origin, number, sop_uid)
            one = file._replace(path=path, size=size, digest=digest, details=details, member=member)
            yield one, _refusal(row, study_instance_uid)


def _refusal(row: tuple[Any, ...], study_instance_uid: str) -> str:
    _, state, reason, study_uid = row[:4]
    if study_instance_uid and study_uid != study_instance_uid:
        return OTHER_STUDY
    return OTHER_FORM if state == ALTERNATE and reason != index.IN_TWO_PLACES else ""


def classes(job: Job) -> list[tuple[str, str]]:
    """Each SOP Class and transfer syntax of the instances that are still to be sent."""
    rows: Any = Instance.select(Instance.sop_class, Instance.transfer_syntax).join(JobItem, on=_IS_ITEM)
    rows = rows.where(JobItem.job == job, JobItem.state == "pending")
    return list(rows.distinct().order_by(Instance.sop_class, Instance.transfer_syntax).tuples())


def sop_class(file: WalkedFile) -> str:
    """The SOP Class of an object."""
    of_file = Instance.file == file.id, Instance.member == (file.member or "")
    return str(Instance.select(Instance.sop_class).where(*of_file).scalar() or "")


def count_by_class(job: Job) -> dict[str, int]:
    """How many objects of each SOP Class are still to be sent, the most frequent first."""
    number = fn.COUNT(JobItem.id)
    rows: Any = JobItem.select(Instance.sop_class, number).join(Instance, on=_IS_ITEM)
    rows = rows.where(JobItem.job == job, JobItem.state == "pending")
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
            outgoing = retrieve.for_objects({(item.file_id or 0, item.member or "") for item in page})
            for item in page:
                yield item, outgoing.get((item.file_id or 0, item.member or ""))
            after = page[-1].id
