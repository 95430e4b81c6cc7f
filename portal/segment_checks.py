"""Whether each segment that files lie in is there, and as long as its last record: one look at each file's size."""

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
"""Problems that the disk's page and `portal status` name."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A segment that is not as the rows say."""

    segment: str
    kind: str
    """gone | short."""
    size: int
    """Bytes that are there."""
    files: int
    """How many files have bytes that are not."""

    @property
    def message(self) -> str:
        if not self.files:
            return f"archive/{self.segment} is cut off: its last record lacks its end. Restore it from a backup."
        files = "1 file lies" if self.files == 1 else f"{self.files:,} files lie"
        where = "in it" if self.kind == "gone" else f"behind its end at byte {self.size:,}"
        what = "is gone" if self.kind == "gone" else "is cut off"
        return f"archive/{self.segment} {what}: {files} {where}. Restore it from a backup."


def find_problems() -> Iterator[Problem]:
    """Each segment that is gone or too short. Reads only; what the bucket has, is there."""
    after = ""
    while page := archive_rows.minimum_sizes(after, SEGMENTS_AT_ONCE):
        after = page[-1][0]
        for segment, end in page:
            if (size := _size(segment)) < end and not _is_in_bucket(segment, end):
                files = archive_rows.count_beyond(segment, size)
                if archive_rows.last_offset(segment) >= 0:  # else it was purged between the two looks
                    yield Problem(segment=segment, kind="short" if size else "gone", size=size, files=files)


def check_all() -> list[Problem]:
    """Find them, and write them down for status and pages; what is as it should be again is forgotten."""
    problems = list(find_problems())
    _put([(problem.segment, problem.kind, problem.message) for problem in problems], ARCHIVE_KINDS)
    return problems


def record_damaged_places(damage: dict[str, int]) -> None:
    """Write down how many places are damaged in each segment, after all of the archive was read."""
    rows = []
    for segment, places in damage.items():
        number = "1 place is" if places == 1 else f"{places:,} places are"
        message = f"archive/{segment}: {number} damaged. Restore it from a backup, then run portal reindex."
        rows.append((segment, DAMAGED, message))
    _put(rows, (DAMAGED,))


def record_damage(segment: str) -> None:
    """Write down that bytes of a segment are not those that were received, as somebody met who was to get them."""
    _note(segment, f"archive/{segment}: bytes have changed. portal reindex names each file; restore it from a backup.")


def record_purged(segment: str) -> None:
    """Write down that rows name what was purged from a segment: an older database was put back."""
    message = f"archive/{segment}: files in it were purged, and the database is older than that."
    _note(segment, f"{message} Run portal reindex, which takes them out of the lists.")


def _note(segment: str, message: str) -> None:
    with connection(), skip_if_disk_full("damage of the archive"):
        if SegmentProblem.select().where(SegmentProblem.segment == segment, SegmentProblem.kind == DAMAGED).exists():
            return
        with writing():
            SegmentProblem.insert(segment=segment, kind=DAMAGED, message=message).on_conflict_ignore().execute()


def damage_error(segment: str, offset: int) -> Damaged:
    """What to raise where the content in which that byte lies is not what was received; status says so from here on."""
    with connection():
        begin = archive_rows.content_offset_at(segment, offset)
    if runtime.archive().is_purged(segment, begin):
        record_purged(segment)
        return Purged(
            "This was purged from the trash, and its bytes are gone; the database is older than that. portal reindex "
            "takes it out of the lists."
        )
    record_damage(segment)
    return Damaged("The file's stored bytes are not those that were received. Restore its segment from a backup.")


def known_problems() -> list[SegmentProblem]:
    """What the last looks found, the first of it."""
    return list(SegmentProblem.select().order_by(SegmentProblem.id).limit(MAX_PROBLEMS_SHOWN))


def _put(rows: Sequence[tuple[str, str, str]], kinds: Sequence[str]) -> None:
    """Have exactly these rows of these kinds; a problem that was known keeps its moment."""
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
    """Bytes of a segment's file; 0 where it is not here."""
    try:
        return os.stat(f"{runtime.archive().root}/{segment}").st_size  # of 100,000: a Path for each costs seconds
    except OSError:
        return 0


def _is_in_bucket(segment: str, end: int) -> bool:
    """Whether the bucket has it, as far as is known; what it has lost or changed is told for itself."""
    row = Segment.get_or_none(Segment.name == segment, Segment.verified.is_null(False))
    return row is not None and row.size >= end
