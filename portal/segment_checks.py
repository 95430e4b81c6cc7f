"""Segments that are missing, too short or damaged: found by the sizes of their files, and recorded for status."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from portal import runtime
from portal.errors import Damaged, Purged
from portal.models import Segment, SegmentProblem, connection, now, skip_if_disk_full, writing
from portal.models import archive as archive_rows

SEGMENTS_AT_ONCE = 1000
ROWS_AT_ONCE = 200
DAMAGED = "damaged"
ARCHIVE_KINDS = ("gone", "short")
MAX_PROBLEMS_SHOWN = 20
"""Problems that the disk page and `portal status` show."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A segment that differs from its rows."""

    segment: str
    kind: str
    """gone | short."""
    size: int
    """Bytes of the file."""
    files: int
    """How many files have missing bytes."""

    @property
    def message(self) -> str:
        if not self.files:
            return f"archive/{self.segment} is truncated: its last record is incomplete. Restore it from a backup."
        files = "1 file is" if self.files == 1 else f"{self.files:,} files are"
        problem = "is missing" if self.kind == "gone" else f"is truncated at byte {self.size:,}"
        return f"archive/{self.segment} {problem}: {files} affected. Restore it from a backup."


def find_problems() -> Iterator[Problem]:
    """Each segment that is missing or too short, and not in the bucket. Changes nothing."""
    after = ""
    while page := archive_rows.minimum_sizes(after, SEGMENTS_AT_ONCE):
        after = page[-1][0]
        for segment, end in page:
            if (size := _size(segment)) >= end:
                continue
            # A copy that the bucket has lost or changed is reported on its own.
            copy = Segment.get_or_none(Segment.name == segment, Segment.verified.is_null(False))
            if copy is not None and copy.size >= end:
                continue
            files = archive_rows.count_beyond(segment, size)
            if archive_rows.last_offset(segment) >= 0:  # otherwise it was purged in the meantime
                yield Problem(segment=segment, kind="short" if size else "gone", size=size, files=files)


def check_all() -> list[Problem]:
    """Find the problems and record them for status and pages; solved ones are deleted."""
    problems = list(find_problems())
    _put([(problem.segment, problem.kind, problem.message) for problem in problems], ARCHIVE_KINDS)
    return problems


def record_damaged_places(damage: dict[str, int]) -> None:
    """Record how many places are damaged in each segment, after the whole archive was read."""
    rows = []
    for segment, places in damage.items():
        number = "1 place is" if places == 1 else f"{places:,} places are"
        message = f"archive/{segment}: {number} damaged. Restore it from a backup, then run portal reindex."
        rows.append((segment, DAMAGED, message))
    _put(rows, (DAMAGED,))


def record_scan(segment: str, places: int) -> None:
    """Record how many places are damaged in one segment, after all of it was read; none if it is intact."""
    condition = (SegmentProblem.segment == segment) & (SegmentProblem.kind == DAMAGED)
    if places:
        record_damage(segment)
    elif SegmentProblem.select().where(condition).exists():
        with writing():
            SegmentProblem.delete().where(condition).execute()


def record_damage(segment: str) -> None:
    """Record that bytes of a segment differ from those received, as a reader noticed."""
    _note(segment, f"archive/{segment}: bytes have changed. Restore it from a backup; portal reindex lists the files.")


def is_damaged(segment: str) -> bool:
    """Whether damage of a segment is recorded that has not been repaired."""
    return bool(
        SegmentProblem.select().where(SegmentProblem.segment == segment, SegmentProblem.kind == DAMAGED).exists()
    )


def record_purged(segment: str) -> None:
    """Record that rows refer to purged files of a segment, as an older database was restored."""
    message = f"archive/{segment}: files in it were purged after this database was backed up."
    _note(segment, f"{message} Run portal reindex to remove them from the lists.")


def _note(segment: str, message: str) -> None:
    with connection(), skip_if_disk_full("damage of the archive"):
        if is_damaged(segment):
            return
        with writing():
            SegmentProblem.insert(segment=segment, kind=DAMAGED, message=message).on_conflict_ignore().execute()


def damage_error(segment: str, offset: int) -> Damaged:
    """The error to raise if the content at this byte differs from what was received; also records it for status."""
    with connection():
        begin = archive_rows.content_offset_at(segment, offset)
    if runtime.archive().is_purged(segment, begin):
        record_purged(segment)
        return Purged(
            "This file was purged after this database was backed up, so its bytes are gone. Run portal reindex to "
            "remove it from the lists."
        )
    record_damage(segment)
    return Damaged("The stored bytes of this file differ from those received. Restore its segment from a backup.")


def known_problems() -> list[SegmentProblem]:
    """The first of the recorded problems."""
    return list(SegmentProblem.select().order_by(SegmentProblem.id).limit(MAX_PROBLEMS_SHOWN))


def _put(rows: Sequence[tuple[str, str, str]], kinds: Sequence[str]) -> None:
    """Replace the rows of these kinds; a known problem keeps its time."""
    moment = now()
    keys: Any = [SegmentProblem.segment, SegmentProblem.kind]
    for begin in range(0, len(rows), ROWS_AT_ONCE):
        chunk = [(*row, moment) for row in rows[begin : begin + ROWS_AT_ONCE]]
        fields = [*keys, SegmentProblem.message, SegmentProblem.found]
        with writing():
            SegmentProblem.insert_many(chunk, fields=fields).on_conflict(
                conflict_target=keys, preserve=[SegmentProblem.message]
            ).execute()
    still = {(segment, kind) for segment, kind, _ in rows}
    query: Any = SegmentProblem.select(SegmentProblem.id, *keys).where(SegmentProblem.kind.in_(kinds)).tuples()
    over = [row_id for row_id, *key in query if tuple(key) not in still]
    for begin in range(0, len(over), ROWS_AT_ONCE):
        with writing():
            SegmentProblem.delete().where(SegmentProblem.id.in_(over[begin : begin + ROWS_AT_ONCE])).execute()


def _size(segment: str) -> int:
    """The bytes of a segment's file; 0 if it is missing."""
    try:
        return os.stat(f"{runtime.archive().root}/{segment}").st_size  # a Path for each of 100,000 would take seconds
    except OSError:
        return 0
