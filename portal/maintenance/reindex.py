"""`portal reindex`: rebuilds the DICOM index from the archive, and reports damage."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from operator import attrgetter
from typing import Any

from peewee import JOIN, OperationalError

from portal import runtime, segment_checks
from portal.archive import Damage, Record
from portal.errors import Damaged, PortalError
from portal.ingest import alternates, conflicts, descriptions, index, placement, succession, zip_index
from portal.ingest.duplicates import DuplicateComparison
from portal.ingest.index import SAME
from portal.maintenance import purge, recovery, release, segment_copies
from portal.models import (
    ALTERNATE,
    DICOM,
    Blob,
    DicomZip,
    File,
    Instance,
    QuarantinedRecord,
    Series,
    Study,
    connection,
    restart_numbers,
    writing,
)
from portal.models import archive as archive_rows

log = logging.getLogger(__name__)

FILES_PER_PAGE = 500
BEHIND_ANY_SEGMENT = 1 << 62
"""An offset behind the end of any segment."""


@dataclass
class Report:
    """The result of a run.

    `indexed` and `recovered` count objects that were indexed, and records that had no row. `missing`: segments that are
    gone or cut off; `damaged`: places in segments; `not_restored`: files and records that could not be indexed;
    `purged`: files of an older database that had been purged.
    """

    indexed: int = 0
    recovered: int = 0
    missing: list[dict[str, Any]] = field(default_factory=list)
    damaged: list[dict[str, Any]] = field(default_factory=list)
    not_restored: list[dict[str, Any]] = field(default_factory=list)
    purged: list[dict[str, Any]] = field(default_factory=list)

    def view(self) -> dict[str, Any]:
        return asdict(self)


def run() -> Report:
    """Index each DICOM file that has no row in the index, in the order of their arrival; then reapply the decisions.

    Existing rows are left unchanged, and deleted ones come back the same, so a second run adds nothing.
    """
    report = Report()
    with connection():
        segment_copies.require_bucket()
        unknown = _check_archive(report)
        with writing():
            for table in (Instance, Series, Study):
                restart_numbers(table)
        _index_files(report)
        report.indexed += _index_zips()

        for record in sorted(unknown, key=attrgetter("received_at")):
            stored = recovery.index_record(record)
            if stored is not None:
                report.recovered += stored.outcome != SAME
                continue
            place = {"segment": record.segment, "offset": record.offset}
            row = QuarantinedRecord.get_or_none(**place)
            if row is not None:
                report.not_restored.append({**place, "record": row.id, "message": row.message})

        for conflict in succession.in_decision_order():
            try:
                with writing():
                    conflicts.reapply(conflict)
            except OperationalError:
                raise
            except Exception as error:  # one failed decision must not stop the others
                log.exception("the decision of conflict %d cannot be reapplied", conflict.id)
                message = f"Its decision, {conflict.choice}, could not be reapplied ({type(error).__name__})."
                report.not_restored.append({"file": conflict.file_id, "message": message})
        descriptions.refresh()
    return report


def _check_archive(report: Report) -> list[Record]:
    """Read every byte of the archive once; damage is added to the report, records without rows are returned."""
    archive, bucket = runtime.archive(), runtime.bucket()
    unknown: list[Record] = []
    for segment in archive.segments():
        if release.is_purged(segment):
            continue
        try:
            with archive.at_rest(segment) as resting:
                unknown.extend(_scan(segment, report, resting=resting))
        except OSError as error:
            message = f"Segment {segment} cannot be read: {error.strerror}. Restore it from a backup."
            report.damaged.extend(_with_files(Damage(segment, 0, BEHIND_ANY_SEGMENT, message, torn=False)))
    if bucket is not None:
        segment_copies.adopt_unknown(bucket)
        for segment in segment_copies.only_in_bucket():
            try:
                segment_copies.read_digests(bucket, segment)
                unknown.extend(_scan(segment, report, resting=True))
            except Damaged as error:
                report.damaged.extend(_with_files(Damage(segment, 0, BEHIND_ANY_SEGMENT, error.message, torn=False)))

    # Segments that are gone or cut off contain nothing to scan: their files are found by their rows.
    reported = {(place["segment"], place.get("file")) for place in report.damaged}
    for problem in segment_checks.check_all():
        report.missing.append({"segment": problem.segment, "files": problem.files, "message": problem.message})
        for file in archive_rows.files_beyond(problem.segment, problem.size).iterator():
            if (problem.segment, file.id) not in reported:
                place = {"segment": problem.segment, "offset": file.blob.offset, "message": problem.message}
                report.damaged.append(_with_file(place, file))
    segment_checks.record_damaged_places(Counter(place["segment"] for place in report.damaged))
    return unknown


def _scan(segment: str, report: Report, *, resting: bool) -> Iterator[Record]:
    """Whole records of a segment without rows. None of a segment that is written to: the last ones may get theirs."""
    for found in runtime.archive().scan(segment):
        if isinstance(found, Damage):
            if resting or not found.torn:
                report.damaged.extend(_with_files(found))
        elif isinstance(found, Record):
            if resting and not archive_rows.is_filed_or_purged(found.segment, found.offset):
                yield found
        elif archive_rows.has_blob(found.segment, found.offset) and not purge.is_intact(found.segment, found.offset):
            # The database is older than the purge: its rows follow the bytes.
            place = {"segment": found.segment, "offset": found.offset}
            for file in purge.purge_rows(found.segment, found.offset):
                report.purged.append({**place, "file": file.id, "name": file.name})
        else:
            recovery.add_tombstone(found)


def _with_files(damage: Damage) -> list[dict[str, Any]]:
    """The damaged place, once for each file in it; once without a file if there is none."""
    place = {"segment": damage.segment, "offset": damage.offset, "message": damage.message}
    files = (
        File.select(File, Blob)
        .join(Blob)
        .where(Blob.segment == damage.segment, Blob.offset >= damage.offset, Blob.offset < damage.end)
    )
    return [_with_file(place, file) for file in files] or [place]


def _with_file(place: dict[str, Any], file: File) -> dict[str, Any]:
    return {**place, "file": file.id, "name": file.name, "digest": file.blob.digest}


def _index_files(report: Report) -> None:
    """Index the DICOM files without rows, page by page, in the order of their arrival."""
    damaged = {(place["segment"], place["file"]) for place in report.damaged if "file" in place}
    without_rows = (
        File.select(File, Blob)
        .join(Blob)
        .switch(File)
        .join(Instance, JOIN.LEFT_OUTER)
        .where(File.mimetype == DICOM, File.deleted_at.is_null(), Instance.id.is_null())
        .order_by(File.id)
        .limit(FILES_PER_PAGE)
    )
    last = 0
    while page := list(without_rows.where(File.id > last)):
        last = page[-1].id
        for file in page:
            try:
                is_damaged = (file.blob.segment, file.id) in damaged
                message = "Its bytes are damaged." if is_damaged else _index(file, report)
            except OperationalError:
                raise
            except PortalError as error:
                message = error.message
            except Exception as error:  # one object must not stop the others
                log.exception("file %d cannot be indexed", file.id)
                message = f"Reading it failed ({type(error).__name__})."
            if message:
                report.not_restored.append({"file": file.id, "name": file.name, "message": message})


def _index_zips() -> int:
    """Index the members of zips of which not all are indexed; returns how many there are now."""
    added = 0
    for row in list(DicomZip.select(DicomZip.file, DicomZip.objects)):
        if Instance.select().where(Instance.file == row.file_id).count() == row.objects:
            continue
        with writing():
            zip_index.unsettle([row.file_id])
        added += zip_index.settle(row.file_id).total()
    # Those that a release before has taken for plain files.
    unread = File.select(File.id).where(File.deleted_at.is_null(), File.name.endswith(".zip"))
    unread = unread.where(File.id.not_in(DicomZip.select(DicomZip.file))).order_by(File.id).limit(FILES_PER_PAGE)
    last = 0
    while page := list(unread.where(File.id > last)):
        last = page[-1].id
        added += sum(zip_index.adopt(file.id) for file in page)
    return added


def _index(file: File, report: Report) -> str:
    """Write the index rows of a file; returns why it is left out, empty if it is indexed."""
    parsed = recovery.read_header(file.blob.segment, file.blob.offset, file.blob.size)
    project_id = placement.project_id_of(file)
    dataset_digest = file.blob.dataset_digest or ""
    with writing():
        conflict = index.conflict_of(file.id)
        # An alternate with the same pixels in another compression was never a conflict.
        compared = DuplicateComparison() if conflict is None else None
        container = file.parent_type, file.parent_id
        verdict = index.judge(project_id, parsed, dataset_digest, container, compared=compared)
        verdict = conflicts.hold_if_undecided(verdict, conflict)
        if verdict.state == SAME:
            return f"File {verdict.file_id} is the same object."
        index.add(project_id, file, parsed, dataset_digest, verdict)
        if verdict.state == ALTERNATE:
            alternates.request_comparison()
        report.indexed += 1
        return ""
