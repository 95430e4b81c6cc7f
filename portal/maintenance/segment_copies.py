"""What of the archive is here, what lies in the bucket alone, and what of it this disk keeps for a while."""

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
from portal.errors import BadSetting, Damaged, NoSpace
from portal.ingest import disk_reserve
from portal.models import Segment, now, writing

log = logging.getLogger(__name__)

ENDING = ".seg"
MAX_NAMED_SEGMENTS = 20
"""Damaged segments that the disk's page names."""


@dataclass(frozen=True, kw_only=True)
class BucketState:
    """How the archive stands to its bucket; sizes in bytes."""

    words: str
    there: int
    there_size: int
    waiting: int
    waiting_size: int
    since: datetime | None
    """When the first of those that wait was found closed."""
    message: str
    """Why they wait, if one was tried."""
    damaged: tuple[tuple[str, str], ...]
    """Some segments, with what the bucket has done to them."""
    cache: int
    limit: int

    @property
    def problem(self) -> str:
        """Empty where all is well; waiting for its turn is no problem."""
        if self.damaged:
            return f"The archive's bucket has damaged segments. {self.damaged[0][1]}"
        return f"Segments of the archive wait for the bucket. {self.message}" if self.message else ""


def has_bucket() -> bool:
    return runtime.bucket() is not None


def bucket_state() -> BucketState | None:
    """For pages and `portal status`; None without a bucket. Four statements, and a look at the cache's folder."""
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
    """How many segments wait that were tried in vain, or for so long; the first one's moment; how many are damaged."""
    late = Segment.verified.is_null() & ((Segment.message != "") | (Segment.since < now() - patience))
    damaged = fn.COUNT(Case(None, [(Segment.damage != "", 1)]))
    columns = fn.COUNT(Case(None, [(late, 1)])), fn.MIN(Case(None, [(late, Segment.since)])), damaged
    found: Any = Segment.select(*columns).where(Segment.verified.is_null() | (Segment.damage != "")).tuples().get()
    since = None if found[1] is None else Segment.since.python_value(found[1])
    return found[0], since, found[2]


def only_in_bucket() -> list[str]:
    """Segments that lie in the bucket alone."""
    rows: Any = Segment.select(Segment.name).where(Segment.verified.is_null(False)).order_by(Segment.name).tuples()
    return [name for (name,) in rows if not is_here(name)]


def require_bucket() -> None:
    """Raise BadSetting where no bucket is named, and parts of the archive lie in one alone."""
    if runtime.bucket() is None and (names := only_in_bucket()):
        number = "1 segment of the archive lies" if len(names) == 1 else f"{len(names):,} segments of the archive lie"
        raise BadSetting(
            f"{number} in a bucket alone. Set PORTAL_ARCHIVE again; to go without, first run: portal archive fetch"
        )


def adopt_unknown(bucket: Bucket) -> int:
    """Write down the segments that the bucket has and no row knows: the database was lost, or is an older one."""
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
    """Read a segment through that lies in the bucket alone and whose digests nobody knows. Raises as reading does."""
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
    """Read one of the segments through that were adopted and that nobody knows yet, if there is one."""
    row = Segment.select(Segment.name).where(Segment.digest == "", Segment.verified.is_null(False)).first()
    if row is not None:
        read_digests(bucket, row.name, check)


def fetch_all(bucket: Bucket) -> int:
    """Copy all segments that lie in the bucket alone to this disk again; returns how many. A second run goes on.

    Raises NoSpace before the first byte where they do not fit, Unreachable, and Damaged after all that are whole.
    """
    names, room = only_in_bucket(), disk_reserve.archive_space()
    size = sum(Segment.select(Segment.size).where(Segment.name == name).scalar() for name in names)
    if names and room.free - size < room.floor:
        raise NoSpace(f"{size:,} bytes lie in the bucket alone, and do not fit on this disk. Free some space.")
    damaged = []
    for name in names:
        try:
            _fetch(bucket, Segment.get(Segment.name == name))
        except Damaged as error:
            damaged.append(error)
    if damaged:
        raise Damaged(f"{len(names) - len(damaged):,} of {len(names):,} segments fetched. {damaged[0].message}")
    return len(names)


def trim(bucket: Bucket) -> int:
    """Drop copies of segments that were verified, and blocks, those first that were read longest ago.

    Each half of the cache is held; where the disk nears its reserve, both give way to what comes in. Returns how many
    segments lie in the bucket alone now. Raises as the bucket does: while it is away no copy goes.
    """
    half, room, blocks = runtime.current().archive_cache // 2, disk_reserve.archive_space(), _blocks()
    short = max(0, 2 * room.floor - room.free)
    blocks.trim(max(0, min(half, blocks.size() - short)))
    copies = sorted(_copies())
    left, gone = sum(size for _, size, _ in copies), 0
    limit = max(0, min(half, left - short))
    for _, size, name in copies:
        if left <= limit:
            break
        if _drop(bucket, name, size):
            left, gone = left - size, gone + 1
    return gone


def is_intact(name: str) -> bool:
    """Whether each record of a segment that is here is as it was written, by its own check sum."""
    return not any(isinstance(found, Damage) for found in runtime.archive().scan(name))


def mark_for_replication(name: str) -> None:
    """Take a segment that is here for one that is still to be brought to the bucket, and read its digests anew."""
    with writing():
        Segment.update(verified=None, damage="", digest="", blocks=b"").where(Segment.name == name).execute()


def is_here(name: str) -> bool:
    return _is_ours(name) and stat(name) is not None


def stat(name: str) -> os.stat_result | None:
    """Size and times of a segment's file; None where it is not here."""
    try:
        return (runtime.archive().root / name).stat()
    except OSError:
        return None


def _is_ours(key: str) -> bool:
    return key.endswith(ENDING) and "/" not in key


def _fetch(bucket: Bucket, row: Segment) -> None:
    archive = runtime.archive()
    path = archive.path(row.name)
    part, whole = path.with_suffix(".part"), hashlib.sha256()
    with part.open("wb") as file:
        for start, size in block_spans(row.size):
            content = bucket.fetch(row.name, start, size)
            whole.update(content)
            file.write(content)
        file.flush()
        os.fsync(file.fileno())
    if row.digest not in ("", whole.hexdigest()):
        part.unlink()
        raise Damaged(f"The bucket gives other bytes of segment {row.name} than were stored there. Restore it there.")
    part.replace(path)
    archive.sync()


def _copies() -> Iterator[tuple[float, int, str]]:
    """Segments that are here and, whole, in the bucket: when they were read last, size and name.

    One that was found there (`adopt`) and whose copy came back here later has not been compared with it yet.
    """
    proved = Segment.verified.is_null(False), Segment.damage == "", Segment.digest != ""
    rows: Any = Segment.select(Segment.name, Segment.size).where(*proved).tuples()
    sizes: dict[str, int] = dict(rows)
    for name in runtime.archive().segments() if sizes else ():
        told = stat(name)
        if told is not None and sizes.get(name) == told.st_size:
            yield told.st_atime, told.st_size, name


def _drop(bucket: Bucket, name: str, size: int) -> bool:
    """Drop the copy here of a segment, unless somebody holds it, or the bucket has not the same any more."""
    archive = runtime.archive()
    with archive.at_rest(name) as resting:
        if not resting or not bucket.has(name, size):
            return False
        if not _is_as_there(name):
            mark_for_replication(name)
            return False
        archive.path(name).unlink()
    log.info("segment %s (%d bytes) lies in the bucket alone now", name, size)
    return True


def _is_as_there(name: str) -> bool:
    """Whether the copy here has the bytes that the bucket has, or worse ones."""
    with runtime.archive().path(name).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Segment.get(Segment.name == name).digest == digest or not is_intact(name)


def _blocks() -> BlockCache:
    remote = runtime.archive().remote
    assert remote is not None
    return remote.blocks
