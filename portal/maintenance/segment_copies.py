"""Which segments are on this disk, which are only in the bucket, and which copies this disk caches."""

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from peewee import Case, fn

from portal import runtime
from portal.archive import Damage
from portal.archive.block_cache import BlockCache
from portal.archive.bucket import Bucket
from portal.archive.remote import block_spans
from portal.archive.segments import SEGMENT_SUFFIX
from portal.errors import BadSetting, Damaged, NoSpace
from portal.ingest import disk_reserve
from portal.models import Segment, now, writing

log = logging.getLogger(__name__)

MAX_NAMED_SEGMENTS = 20
"""Damaged segments that the disk page lists."""


@dataclass(frozen=True, kw_only=True)
class BucketState:
    """What is replicated to the bucket, and what waits for it; sizes in bytes."""

    words: str
    there: int
    there_size: int
    waiting: int
    waiting_size: int
    since: datetime | None
    """When the first of the waiting segments was closed."""
    message: str
    """Why they wait, if replicating one has failed."""
    damaged: tuple[tuple[str, str], ...]
    """Names of some damaged segments, each with what is wrong."""
    cache: int
    limit: int

    @property
    def problem(self) -> str:
        """Empty if there is none; a segment that only waits for its turn is no problem."""
        if self.damaged:
            return f"The archive's bucket has damaged segments. {self.damaged[0][1]}"
        return f"Segments of the archive wait for the bucket. {self.message}" if self.message else ""


def has_bucket() -> bool:
    return runtime.bucket() is not None


def bucket_state() -> BucketState | None:
    """For pages and `portal status`; None without a bucket. Costs four queries and one listing of the cache folder."""
    bucket = runtime.bucket()
    if bucket is None:
        return None
    is_there = Segment.verified.is_null(False)
    sums = fn.COUNT(Segment.id), fn.COALESCE(fn.SUM(Segment.size), 0)
    there: Any = Segment.select(*sums).where(is_there).tuples().get()
    waits: Any = Segment.select(*sums, fn.MIN(Segment.since), fn.MAX(Segment.message)).where(~is_there).tuples().get()
    damaged: Any = (
        Segment.select(Segment.name, Segment.damage).where(Segment.damage != "").limit(MAX_NAMED_SEGMENTS).tuples()
    )
    return BucketState(
        words=bucket.words,
        there=there[0],
        there_size=there[1],
        waiting=waits[0],
        waiting_size=waits[1],
        since=waits[2],
        message=waits[3] or "",
        damaged=tuple(damaged),
        cache=_blocks().size() + sum(size for _, size, _ in _copies()),
        limit=runtime.current().archive_cache,
    )


def count_late_and_damaged(patience: timedelta) -> tuple[int, datetime | None, int]:
    """How many segments failed or wait for longer than `patience`, since when, and how many are damaged."""
    late = Segment.verified.is_null() & ((Segment.message != "") | (Segment.since < now() - patience))
    damaged = fn.COUNT(Case(None, [(Segment.damage != "", 1)]))
    columns = fn.COUNT(Case(None, [(late, 1)])), fn.MIN(Case(None, [(late, Segment.since)])), damaged
    found: Any = Segment.select(*columns).where(Segment.verified.is_null() | (Segment.damage != "")).tuples().get()
    since = None if found[1] is None else Segment.since.python_value(found[1])
    return found[0], since, found[2]


def only_in_bucket() -> list[str]:
    """Segments that are only in the bucket."""
    rows: Any = Segment.select(Segment.name).where(Segment.verified.is_null(False)).order_by(Segment.name).tuples()
    return [name for (name,) in rows if not is_here(name)]


def require_bucket() -> None:
    """Raise BadSetting if no bucket is configured although some segments are only in one."""
    if runtime.bucket() is None and (names := only_in_bucket()):
        number = "1 segment of the archive is" if len(names) == 1 else f"{len(names):,} segments of the archive are"
        raise BadSetting(
            f"{number} only in a bucket. Set PORTAL_ARCHIVE again, or run `portal archive fetch` before removing it."
        )


def adopt_unknown(bucket: Bucket) -> int:
    """Add rows for segments in the bucket that have none: the database was lost, or is an older one."""
    adopted = 0
    rows: Any = Segment.select(Segment.name).tuples()
    known = {name for (name,) in rows}
    for found in bucket.destination().list():
        if _is_ours(found.key) and found.key not in known and not is_here(found.key):
            with writing():
                Segment.insert(name=found.key, size=found.size, verified=now()).on_conflict_ignore().execute()
            adopted += 1
    return adopted


def read_digests(bucket: Bucket, name: str, check: Callable[[], None] = lambda: None) -> None:
    """Read a segment that is only in the bucket once, if its digests are unknown. Raises as reading does."""
    row = Segment.get_or_none(Segment.name == name)
    if row is None or row.digest:
        return
    whole, digests = hashlib.sha256(), bytearray()
    for number, (start, size) in enumerate(block_spans(row.size)):
        check()
        content = bucket.fetch(name, start, size)
        whole.update(content)
        digests += hashlib.sha256(content).digest()
        _blocks().put(name, number, content)
    with writing():
        Segment.update(digest=whole.hexdigest(), blocks=bytes(digests)).where(Segment.id == row.id).execute()


def read_next_digests(bucket: Bucket, check: Callable[[], None]) -> None:
    """Read one of the adopted segments whose digests are unknown, if there is one."""
    row = Segment.select(Segment.name).where(Segment.digest == "", Segment.verified.is_null(False)).first()
    if row is not None:
        read_digests(bucket, row.name, check)


def fetch_all(bucket: Bucket) -> int:
    """Copy all segments that are only in the bucket to this disk; returns how many. A second run continues.

    Raises NoSpace before the first byte if they do not fit, Unreachable, and Damaged after all intact ones are copied.
    """
    names, room = only_in_bucket(), disk_reserve.archive_space()
    size = sum(Segment.select(Segment.size).where(Segment.name == name).scalar() for name in names)
    if names and room.free - size < room.floor:
        raise NoSpace(f"{size:,} bytes are only in the bucket, and do not fit on this disk. Free some space.")

    archive, damaged = runtime.archive(), []
    for name in names:
        row, whole = Segment.get(Segment.name == name), hashlib.sha256()
        try:
            path = archive.path(name)
            part = path.with_suffix(".part")
            with part.open("wb") as file:
                for start, length in block_spans(row.size):
                    content = bucket.fetch(name, start, length)
                    whole.update(content)
                    file.write(content)
                file.flush()
                os.fsync(file.fileno())
        except Damaged as error:
            damaged.append(error.message)
            continue
        if row.digest not in ("", whole.hexdigest()):
            part.unlink()
            damaged.append(
                f"The bucket returns other bytes of segment {name} than were stored there. Restore it there."
            )
            continue
        # The segment gets its name only when all its bytes are on the disk.
        part.replace(path)
        archive.sync()
    if damaged:
        raise Damaged(f"{len(names) - len(damaged):,} of {len(names):,} segments fetched. {damaged[0]}")
    return len(names)


def trim(bucket: Bucket) -> int:
    """Delete cached blocks and local copies of verified segments, the least recently read first.

    Each may take half of the cache, and less where the disk nears its reserve. Returns how many copies were deleted.
    Raises as the bucket does: while it does not answer, no copy is deleted.
    """
    half, room, blocks = runtime.current().archive_cache // 2, disk_reserve.archive_space(), _blocks()
    short = max(0, 2 * room.floor - room.free)
    blocks.trim(max(0, min(half, blocks.size() - short)))
    copies = sorted(_copies())
    left, deleted = sum(size for _, size, _ in copies), 0
    limit = max(0, min(half, left - short))
    for _, size, name in copies:
        if left <= limit:
            break
        if _delete_copy(bucket, name, size):
            left, deleted = left - size, deleted + 1
    return deleted


def is_intact(name: str) -> bool:
    """Whether each record of a segment on this disk is unchanged, by its own check sum."""
    return not any(isinstance(found, Damage) for found in runtime.archive().scan(name))


def mark_for_replication(name: str) -> None:
    """Have a segment on this disk replicated again, with digests that are read from it again."""
    with writing():
        Segment.update(verified=None, damage="", digest="", blocks=b"").where(Segment.name == name).execute()


def is_here(name: str) -> bool:
    return _is_ours(name) and stat(name) is not None


def stat(name: str) -> os.stat_result | None:
    """Size and times of a segment's file; None if it is not on this disk."""
    try:
        return (runtime.archive().root / name).stat()
    except OSError:
        return None


def _is_ours(key: str) -> bool:
    return key.endswith(SEGMENT_SUFFIX) and "/" not in key


def _copies() -> Iterator[tuple[float, int, str]]:
    """Local copies of segments that are intact in the bucket: time of the last read, size and name.

    Adopted segments without digests are left out: their copy was not compared with the bucket yet.
    """
    proved = Segment.verified.is_null(False), Segment.damage == "", Segment.digest != ""
    rows: Any = Segment.select(Segment.name, Segment.size).where(*proved).tuples()
    sizes: dict[str, int] = dict(rows)
    for name in runtime.archive().segments() if sizes else ():
        status = stat(name)
        if status is not None and sizes.get(name) == status.st_size:
            yield status.st_atime, status.st_size, name


def _delete_copy(bucket: Bucket, name: str, size: int) -> bool:
    """Delete the local copy of a segment, unless it is in use, or the bucket does not have the same bytes."""
    archive = runtime.archive()
    with archive.at_rest(name) as resting:
        if not resting or not bucket.has(name, size):
            return False
        with archive.path(name).open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        # A copy that differs and is damaged is deleted; one that differs and is intact is the better one.
        if Segment.get(Segment.name == name).digest != digest and is_intact(name):
            mark_for_replication(name)
            return False
        archive.path(name).unlink()
    log.info("segment %s (%d bytes) is only in the bucket now", name, size)
    return True


def _blocks() -> BlockCache:
    remote = runtime.archive().remote
    assert remote is not None
    return remote.blocks
