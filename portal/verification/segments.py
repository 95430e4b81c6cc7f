"""The archive: each record of each segment by its check sums and digest, and beside the row that names it."""

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from portal import runtime, segment_checks
from portal.archive import Damage, Found, Purged, Record, Slice, records
from portal.archive.slices import CHUNK
from portal.errors import PortalError
from portal.maintenance import purge, recovery, release, segment_copies
from portal.models import Blob, ClosedSegment, File, FileVersion, Instance, QuarantinedRecord, Segment
from portal.models import archive as archive_rows
from portal.models.compiled import is_one_of, raw_rows
from portal.tree.batches import batched
from portal.verification.recorder import Recorder

ROWS_PER_PAGE = 1000
MAX_NAMED_FILES = 20
BEGIN = len(records.SEGMENT_MAGIC)
BEHIND_ANY_SEGMENT = 1 << 62
RESTORE = "Restore the segment from a backup, then verify again."
ROW_CHANGED = "The row was changed: restore the database from a backup."
ONLY_SIZE = "segments that are only in the bucket were compared by their size alone"


def check(recorder: Recorder) -> None:
    """Continue where the last run was. Raises Stopped."""
    position = recorder.state.position
    if not position:
        for problem in segment_checks.check_all():
            recorder.find(f"archive/{problem.segment}", problem.message)
    if "copy" not in position:
        last, is_read = position.get("segment", ""), position.get("is_read", False)
        for name in runtime.archive().segments():
            if name < last or (name == last and is_read):
                continue
            start, places = (position["offset"], position["places"]) if name == last else (BEGIN, 0)
            if not release.is_purged(name):
                places = _SegmentCheck(recorder, name, places).run(start)
                segment_checks.record_scan(name, places)
                recorder.count("segments")
            recorder.reached({"segment": name, "is_read": True})
    _check_copies(recorder)


@dataclass(frozen=True)
class _Row:
    """The row of a record, as the database has it."""

    offset: int
    size: int
    digest: str
    dataset_digest: str | None
    id: int


class _PacedFile:
    """A segment that is read in pieces, with a rest after each, so that others find the disk free."""

    def __init__(self, path: Path, rest: Callable[[], None]) -> None:
        self._rest = rest
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        # What is read once a week must not push out of memory what people look at.
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_NOREUSE)

    def read(self, size: int, at: int) -> bytes:
        self._rest()
        return os.pread(self._descriptor, min(size, CHUNK), at)

    def size(self) -> int:
        return os.fstat(self._descriptor).st_size

    def close(self) -> None:
        os.close(self._descriptor)


class _SegmentCheck:
    """One segment. What looks wrong is looked at again, since others store, purge and cut meanwhile."""

    def __init__(self, recorder: Recorder, segment: str, places: int) -> None:
        self._recorder, self._segment = recorder, segment
        self._places = places
        """Damaged places so far."""
        self._rows: Iterator[_Row] = iter(())
        self._next: _Row | None = None

    def run(self, start: int) -> int:
        """Check it from an offset on; returns the number of its damaged places."""
        self._rows = _rows_from(self._segment, start)
        self._next = next(self._rows, None)
        try:
            source = _PacedFile(runtime.archive().path(self._segment), self._recorder.rest)
            with Slice(source, 0, source.size()) as file:
                if start == BEGIN and file.size >= BEGIN and file.read(BEGIN) != records.SEGMENT_MAGIC:
                    self._find(0, f"Its first bytes are not those of a segment. {RESTORE}")
                for found in records.scan(file, self._segment, start, with_digests=True):
                    self._judge(found)
            self._judge_missing(self._rows_before(BEHIND_ANY_SEGMENT))
        except FileNotFoundError:  # purged, or only in the bucket now
            return self._places
        except OSError as error:
            rows = list(itertools.islice(self._rows, ROWS_PER_PAGE))
            rows = [self._next, *rows] if self._next else rows
            offset = rows[0].offset if rows else 0
            self._find(offset, f"It cannot be read any further: {error.strerror}. Check the disk. {RESTORE}", rows)
        return self._places

    def _judge(self, found: Found) -> None:
        if isinstance(found, Damage):
            rows = self._rows_before(found.end)
            self._judge_damage(found, rows)
        else:
            self._judge_missing(self._rows_before(found.offset))
            rows = self._rows_before(found.offset + 1)
            self._judge_record(found, rows[0] if rows else None)
        self._recorder.count("records")
        position = {"segment": self._segment, "offset": found.end, "places": self._places}
        size = 0 if isinstance(found, Damage) else found.size
        self._recorder.reached(position, steps=len(rows), size=size)

    def _judge_record(self, found: Record | Purged, row: _Row | None) -> None:
        if isinstance(found, Purged):
            if row and _is_row(row) and not purge.is_intact(self._segment, found.offset):
                message = "It was purged, but the database is older and still has its files."
                self._find(found.offset, f"{message} Run portal reindex to remove them from the lists.", [row])
            return
        footer = found.footer if isinstance(found.footer, dict) else {}
        if row is None:
            if self._is_closed() and self._is_unknown(found, footer):
                self._find(found.offset, "No row names this object. Run portal reindex to recover it.", is_damage=False)
        elif found.digest != footer.get("digest"):
            self._find(found.offset, f"It has other bytes than those that were received. {RESTORE}", [row])
        elif (row.size, row.digest) != (found.size, found.digest) and _is_row(row):
            self._find(
                found.offset, f"Its row has another digest than its bytes. {ROW_CHANGED}", [row], is_damage=False
            )
        elif row.dataset_digest != footer.get("dataset_digest") and _is_row(row):
            message = "Its row has another digest of the data set than was received."
            self._find(found.offset, f"{message} {ROW_CHANGED}", [row], is_damage=False)

    def _judge_missing(self, rows: Sequence[_Row]) -> None:
        """Rows for which no record begins where they say."""
        for row in rows:
            if not self._is_borne(row) and _is_row(row):
                self._find(row.offset, f"A row says that an object is here, but there is none. {RESTORE}", [row])

    def _judge_damage(self, damage: Damage, rows: Sequence[_Row]) -> None:
        damaged = [row for row in rows if not self._is_borne(row) and _is_row(row)]
        if damaged:
            self._find(damage.offset, f"{damage.message} {RESTORE}", damaged)
        elif not rows and self._is_closed() and isinstance(self._read(damage.offset), Damage | None):
            self._find(damage.offset, f"{damage.message} {RESTORE}")

    def _find(self, offset: int, message: str, rows: Sequence[_Row] = (), *, is_damage: bool = True) -> None:
        """Keep a finding, unless no file needs the rows: those of objects that were repaired by others stay.

        `is_damage`: the segment is at fault, and not its rows.
        """
        files = _files_of(rows)
        if rows and not files:
            return
        self._places += is_damage
        named = ", ".join(f"{number:,}" for number in files[:MAX_NAMED_FILES])
        more = f" and {len(files) - MAX_NAMED_FILES:,} more" if len(files) > MAX_NAMED_FILES else ""
        affected = "" if not files else f" Affected: {'file' if len(files) == 1 else 'files'} {named}{more}."
        place = f"archive/{self._segment}, byte {offset:,}"
        self._recorder.find(place, f"{message}{affected}", file_id=files[0] if files else None)

    def _rows_before(self, end: int) -> list[_Row]:
        rows = []
        while self._next is not None and self._next.offset < end:
            rows.append(self._next)
            self._next = next(self._rows, None)
        return rows

    def _read(self, at: int) -> Found | None:
        """What stands there now; None if the segment is gone."""
        with contextlib.suppress(FileNotFoundError):
            source = _PacedFile(runtime.archive().path(self._segment), self._recorder.rest)
            with Slice(source, 0, source.size()) as file:
                return records.read(file, self._segment, at, file.size)
        return None

    def _is_borne(self, row: _Row) -> bool:
        """Whether a whole record stands where the row says, or the segment is not on this disk any more."""
        found = self._read(row.offset - records.HEADER_SIZE)
        return found is None or (not isinstance(found, Damage) and found.size == row.size)

    def _is_closed(self) -> bool:
        """Whether all its records have their rows; else recovery adds them, and cuts what is torn."""
        return ClosedSegment.select().where(ClosedSegment.name == self._segment, ClosedSegment.state == "").exists()

    def _is_unknown(self, record: Record, footer: dict[str, object]) -> bool:
        """Whether nothing in the database tells of a record: also one that arrived twice at once has no row."""
        here = (QuarantinedRecord.segment == self._segment) & (QuarantinedRecord.offset == record.offset)
        if (
            archive_rows.is_filed_or_purged(self._segment, record.offset)
            or QuarantinedRecord.select().where(here).exists()
        ):
            return False
        if Blob.select().where(Blob.digest == record.digest).exists():
            return False
        with contextlib.suppress(PortalError):
            parsed = recovery.read_header(self._segment, record.offset, record.size)
            same = (Instance.sop_uid == parsed.sop_uid) & (Instance.dataset_digest == footer.get("dataset_digest"))
            return not Instance.select().where(same).exists()
        return True


def _rows_from(segment: str, start: int) -> Iterator[_Row]:
    """The rows of a segment in the order of their offsets, by pages."""
    columns = (Blob.offset, Blob.size, Blob.digest, Blob.dataset_digest, Blob.id)
    after = start - 1
    while True:
        page = Blob.select(*columns).where(Blob.segment == segment, Blob.offset > after).order_by(Blob.offset)
        rows = [_Row(*row) for row in raw_rows(page.limit(ROWS_PER_PAGE))]
        yield from rows
        if len(rows) < ROWS_PER_PAGE:
            return
        after = rows[-1].offset


def _is_row(row: _Row) -> bool:
    """Whether the row is still there: its files may have been purged since it was read."""
    return Blob.select().where(Blob.id == row.id).exists()


def _files_of(rows: Sequence[_Row]) -> list[int]:
    """The files of which some version has these rows."""
    found: set[int] = set()
    for some in batched([row.id for row in rows], ROWS_PER_PAGE):
        files = File.select(File.id).where(is_one_of(File.blob, some))
        older = FileVersion.select(FileVersion.file).where(is_one_of(FileVersion.blob, some))
        found |= {number for (number,) in (*raw_rows(files), *raw_rows(older))}
    return sorted(found)


def _check_copies(recorder: Recorder) -> None:
    """Segments in the bucket: whether each is there with its size; nothing of their content is read."""
    bucket = runtime.bucket()
    after = recorder.state.position.get("copy", 0)
    verified = Segment.select(Segment.id, Segment.name, Segment.size).where(Segment.verified.is_null(False))
    while page := raw_rows(verified.where(Segment.id > after).order_by(Segment.id).limit(ROWS_PER_PAGE)):
        for after, name, size in page:
            is_remote = not segment_copies.is_here(name)
            try:
                if bucket is None:
                    is_there = not is_remote
                else:
                    is_there = bucket.has(name, size) or not Segment.select().where(Segment.id == after).exists()
            except PortalError as error:
                recorder.skip(f"segments in the bucket, which does not answer ({error.message})")
                return
            if not is_there:
                message = "It is missing in the bucket, or has another size there. Restore it there from a backup."
                recorder.find(f"bucket, {name}", message)
            elif is_remote:
                recorder.skip(ONLY_SIZE)
            recorder.count("copies")
            recorder.reached({"copy": after})
