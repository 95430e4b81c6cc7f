"""`portal reindex`: makes the DICOM index anew from the archive, and names what is damaged."""

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO, cast

from peewee import JOIN, OperationalError

from portal import runtime, segment_checks
from portal.archive import Damage, Purged, Record
from portal.dicom import header
from portal.errors import Damaged, PortalError
from portal.ingest import alternates, conflicts, descriptions, index, placement, succession
from portal.ingest.duplicates import DuplicateComparison
from portal.ingest.index import SAME
from portal.maintenance import purge, recovery, release, segment_copies
from portal.models import (
    ALTERNATE,
    Blob,
    Conflict,
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
"""Behind the end of any segment."""


@dataclass
class Report:
    """What a run did: objects indexed, records that had no row, places that are damaged, files that stay out,
    segments that are gone or cut off, and files of an older database that were purged."""

    indexed: int = 0
    recovered: int = 0
    missing: list[dict[str, Any]] = field(default_factory=list)
    damaged: list[dict[str, Any]] = field(default_factory=list)
    not_restored: list[dict[str, Any]] = field(default_factory=list)
    purged: list[dict[str, Any]] = field(default_factory=list)

    def view(self) -> dict[str, Any]:
        return asdict(self)


def run() -> Report:
    """Index each DICOM file that has no row in the index, in the order in which they came; then repeat the decisions.

    What was emptied comes back the same; what is there is left as it is, so a second run adds nothing.
    """
    report = Report()
    with connection():
        segment_copies.require_bucket()
        unknown = _look_through(report)
        _look_for_rows(report)
        with writing():
            for table in (Instance, Series, Study):
                restart_numbers(table)
        _index_files(report)
        for record in sorted(unknown, key=_received):
            _recover(record, report)
        _repeat_decisions(report)
    return report


def _received(record: Record) -> str:
    """When it came, by its footer; those without a moment come first."""
    return str(record.footer.get("received_at", "")) if isinstance(record.footer, dict) else ""


def _look_through(report: Report) -> list[Record]:
    """Read every byte of the archive once; the damage goes into the report, records without a row are returned."""
    archive = runtime.archive()
    unknown: list[Record] = []
    for segment in archive.segments():
        if release.is_purged(segment):
            continue
        try:
            with archive.at_rest(segment) as resting:
                unknown.extend(_look_at(segment, report, resting=resting))
        except OSError as error:
            report.damaged.extend(_named(_unreadable(segment, error)))
    bucket = runtime.bucket()
    if bucket is not None:
        segment_copies.adopt_unknown(bucket)
        for segment in segment_copies.only_in_bucket():
            try:
                segment_copies.read_digests(bucket, segment)
                unknown.extend(_look_at(segment, report, resting=True))
            except Damaged as error:
                report.damaged.extend(_named(Damage(segment, 0, BEHIND_ANY_SEGMENT, error.message, torn=False)))
    return unknown


def _look_for_rows(report: Report) -> None:
    """What rows name and no segment has: of a segment that is gone or cut off nothing is there to be read."""
    named = {(place["segment"], place.get("file")) for place in report.damaged}
    for problem in segment_checks.check_all():
        report.missing.append({"segment": problem.segment, "files": problem.files, "message": problem.message})
        for file in archive_rows.files_beyond(problem.segment, problem.size).iterator():
            if (problem.segment, file.id) not in named:
                place = {"segment": problem.segment, "offset": file.blob.offset, "message": problem.message}
                report.damaged.append(_in_place(place, file))
    segment_checks.record_damaged_places(Counter(place["segment"] for place in report.damaged))


def _look_at(segment: str, report: Report, *, resting: bool) -> Iterator[Record]:
    for found in runtime.archive().scan(segment):
        if isinstance(found, Purged):
            report.purged.extend(_settle(found))
        elif isinstance(found, Record):
            if resting and not archive_rows.is_filed_or_purged(found.segment, found.offset):
                yield found
        elif resting or not found.torn:
            report.damaged.extend(_named(found))


def _settle(found: Purged) -> Iterator[dict[str, Any]]:
    """What was purged leaves the rows of an older database, unless its bytes are there still."""
    if archive_rows.has_blob(found.segment, found.offset) and not purge.is_intact(found.segment, found.offset):
        for file in purge.purge_rows(found.segment, found.offset):
            yield {"segment": found.segment, "offset": found.offset, "file": file.id, "name": file.name}
    else:
        recovery.add_tombstone(found)


def _unreadable(segment: str, error: OSError) -> Damage:
    message = f"Segment {segment} cannot be read: {error.strerror}. Restore it from a backup."
    return Damage(segment, 0, BEHIND_ANY_SEGMENT, message, torn=False)


def _named(damage: Damage) -> Iterator[dict[str, Any]]:
    """The damaged place with the files that lie in it."""
    place = {"segment": damage.segment, "offset": damage.offset, "message": damage.message}
    files = (
        File.select(File, Blob)
        .join(Blob)
        .where(Blob.segment == damage.segment, Blob.offset >= damage.offset, Blob.offset < damage.end)
    )
    named = [_in_place(place, file) for file in files]
    yield from named or [place]


def _in_place(place: dict[str, Any], file: File) -> dict[str, Any]:
    return {**place, "file": file.id, "name": file.name, "digest": file.blob.digest}


def _index_files(report: Report) -> None:
    damaged = {(place["segment"], place["file"]) for place in report.damaged if "file" in place}
    for file in _files_without_rows():
        if (file.blob.segment, file.id) in damaged:
            _leave_out(report, file, "Its bytes are damaged.")
            continue
        try:
            _index(file, _header(file), report)
        except OperationalError:
            raise
        except PortalError as error:
            _leave_out(report, file, error.message)
        except Exception as error:  # one object keeps no other from being indexed
            log.exception("file %d cannot be indexed", file.id)
            _leave_out(report, file, f"Reading it failed ({type(error).__name__}).")


def _files_without_rows() -> Iterator[File]:
    """By pages, in the order in which they came."""
    last = 0
    while True:
        page = list(
            File.select(File, Blob)
            .join(Blob)
            .switch(File)
            .join(Instance, JOIN.LEFT_OUTER)
            .where(File.id > last, File.type == "dicom", File.deleted_at.is_null(), Instance.id.is_null())
            .order_by(File.id)
            .limit(FILES_PER_PAGE)
        )
        yield from page
        if len(page) < FILES_PER_PAGE:
            return
        last = page[-1].id


def _index(file: File, parsed: header.Header, report: Report) -> None:
    project_id = placement.project_id_of(file)
    dataset_digest = file.blob.dataset_digest or ""
    with writing():
        conflict = Conflict.get_or_none(Conflict.file == file)
        # What was an alternate for its pixels, compressed otherwise, was never a conflict.
        compared = DuplicateComparison() if conflict is None else None
        container = file.parent_type, file.parent_id
        verdict = index.judge(project_id, parsed, dataset_digest, container, compared=compared)
        verdict = conflicts.hold_if_undecided(verdict, conflict)
        if verdict.state != SAME:
            index.add(project_id, file, parsed, dataset_digest, verdict)
            if verdict.state == ALTERNATE:
                alternates.request_comparison()
            report.indexed += 1
    if verdict.state == SAME:
        _leave_out(report, file, f"File {verdict.file_id} is the same object.")


def _recover(record: Record, report: Report) -> None:
    stored = recovery.index_record(record)
    if stored is not None:
        report.recovered += stored.outcome != SAME
        return
    row = QuarantinedRecord.get_or_none(
        QuarantinedRecord.segment == record.segment, QuarantinedRecord.offset == record.offset
    )
    if row is not None:
        place = {"segment": record.segment, "offset": record.offset}
        report.not_restored.append({**place, "record": row.id, "message": row.message})


def _repeat_decisions(report: Report) -> None:
    for conflict in succession.in_decision_order():
        try:
            with writing():
                conflicts.reapply(conflict)
        except OperationalError:
            raise
        except Exception as error:  # one decision keeps no other from being repeated
            log.exception("the decision of conflict %d cannot be repeated", conflict.id)
            message = f"Its decision, {conflict.choice}, could not be repeated ({type(error).__name__})."
            report.not_restored.append({"file": conflict.file_id, "message": message})
    descriptions.refresh()


def _header(file: File) -> header.Header:
    blob = file.blob
    with runtime.archive().open(blob.segment, blob.offset, blob.size) as content:
        return header.read_file(cast(BinaryIO, content), blob.size)[0]


def _leave_out(report: Report, file: File, message: str) -> None:
    report.not_restored.append({"file": file.id, "name": file.name, "message": message})
