"""What waits for an admin: the strip at the head of each page, empty where all is well."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from peewee import Value, fn

from portal import runtime
from portal.ingest import disk_reserve
from portal.maintenance import segment_copies
from portal.models import (
    ApiKey,
    Conflict,
    Device,
    File,
    Peer,
    QuarantinedRecord,
    Schedule,
    SegmentProblem,
    Setting,
    Storage,
    now,
)

KEY_EXPIRY_NOTICE = timedelta(days=14)
"""Before a key ends in less than this, somebody should have made the next one."""
LOW_DISK_FACTOR = 2
"""Free disk under this many times the reserve is low; under the reserve itself nothing is taken in."""

MAX_BUCKET_DELAY = timedelta(hours=1)
"""How long a segment of the archive may wait for its bucket without having been refused there."""

MAX_ROWS = 1000
"""So many of one kind are counted, and no more."""

Kind = Literal["disk", "segments", "records", "archive", "storages", "peers", "schedules", "conflicts", "keys"]


@dataclass(frozen=True, kw_only=True)
class Alert:
    """What to look at: in a sentence, with the row that it is about if it is one, and a moment that belongs to it."""

    kind: Kind
    message: str
    row: int | None = None
    moment: datetime | None = None
    urgent: bool = False


def list_all() -> list[Alert]:
    """Most urgent first; three statements, and one more where the archive has a bucket."""
    found = _rows()
    lost, left = found["lost"][0][0], found["left"][0][0]
    return [*_low_disk(), *_segments(lost, left), *_archive(), *_failed(found), *_conflicts(found), *_keys()]


def _low_disk() -> Iterator[Alert]:
    if given_up := disk_reserve.ballast_warning():
        yield Alert(kind="disk", message=given_up.rstrip("."), urgent=True)
        return
    for disk in disk_reserve.disks():
        name = "The disk" if "archive" in disk.holds else f"The disk of {disk.holds[0]}"
        if disk.room.is_full:
            what = ": nothing is taken in" if disk_reserve.USED_BY_INGEST & set(disk.holds) else ""
            yield Alert(kind="disk", message=f"{name} is full up to the reserve{what}", urgent=True)
        elif disk.room.free < LOW_DISK_FACTOR * disk.room.floor:
            yield Alert(kind="disk", message=f"{name} is nearly full")


def _segments(lost: int, left: int) -> Iterator[Alert]:
    """Segments that the archive has lost, and records of it that cannot be indexed."""
    if lost:
        segments = "1 segment of the archive is" if lost == 1 else f"{lost:,} segments of the archive are"
        yield Alert(kind="segments", message=f"{segments} gone, cut off or damaged", urgent=True)
    if left:
        what = "1 object was received and cannot" if left == 1 else f"{left:,} objects were received and cannot"
        yield Alert(kind="records", message=f"{what} be indexed")


def _archive() -> Iterator[Alert]:
    if runtime.bucket() is None:
        return
    waiting, since, damaged = segment_copies.count_late_and_damaged(MAX_BUCKET_DELAY)
    if damaged:
        segments = "1 segment" if damaged == 1 else f"{damaged:,} segments"
        yield Alert(kind="archive", message=f"The archive's bucket has lost or changed {segments}", urgent=True)
    if waiting:
        segments = "1 segment waits" if waiting == 1 else f"{waiting:,} segments wait"
        yield Alert(kind="archive", message=f"{segments} for the archive's bucket, the first closed", moment=since)


def _rows() -> dict[str, list[Any]]:
    """Storages and peers that failed, schedules that stopped by themselves, and how many problems the archive has.

    By one statement.
    """
    failed = Storage.select(Value("storages"), Storage.id, Storage.label, Storage.since).where(
        Storage.state == "failed"
    )
    stopped = Schedule.select(Value("schedules"), Schedule.id, Schedule.label, Value(None)).where(
        Schedule.state == "stopped"
    )
    dimse = Setting.select().where(Setting.key == "dimse.enabled", Setting.value == True)  # noqa: E712 (a column)
    silent = Peer.select(Value("peers"), Peer.id, Peer.label, Peer.since).where(
        Peer.state == "failed", Peer.enabled, fn.EXISTS(dimse)
    )
    lost = SegmentProblem.select(Value("lost"), fn.COUNT(SegmentProblem.id), Value(""), Value(None))
    left = QuarantinedRecord.select(Value("left"), fn.COUNT(QuarantinedRecord.id), Value(""), Value(None)).where(
        QuarantinedRecord.noted.is_null()
    )
    waiting = (
        Conflict.select(Value("conflicts"), fn.COUNT(Conflict.id), Value(""), Value(None))
        .join(File)
        .where(Conflict.choice == "open", File.deleted_at.is_null())
    )
    kinds = ("storages", "peers", "schedules", "lost", "left", "conflicts")
    found: dict[str, list[Any]] = {kind: [] for kind in kinds}
    every_kind = lost.union_all(left).union_all(waiting).union_all(failed).union_all(stopped).union_all(silent)
    for kind, *row in every_kind.limit(MAX_ROWS).tuples():
        found[kind].append(row)
    return found


def _failed(found: dict[str, list[Any]]) -> Iterator[Alert]:
    schedules = found["schedules"]
    yield from _failing("storages", found["storages"], "External storage", "external storages")
    yield from _failing("peers", found["peers"], "Calls to peer", "peers")
    if len(schedules) == 1:
        yield Alert(kind="schedules", message=f"Schedule {schedules[0][1]} stopped by itself", row=schedules[0][0])
    elif schedules:
        yield Alert(kind="schedules", message=f"{len(schedules)} schedules stopped by themselves")


def _failing(kind: Kind, rows: list[Any], one: str, many: str) -> Iterator[Alert]:
    if len(rows) == 1:
        ((row_id, label, since),) = rows
        yield Alert(kind=kind, message=f"{one} {label} failed", row=row_id, moment=Storage.since.python_value(since))
    elif rows:
        yield Alert(kind=kind, message=f"{len(rows):,} {many} failed")


def _conflicts(found: dict[str, list[Any]]) -> Iterator[Alert]:
    ((count, _label, _since),) = found["conflicts"]
    if count:
        waits = "1 conflict waits" if count == 1 else f"{count:,} conflicts wait"
        yield Alert(kind="conflicts", message=f"{waits} for a decision")


def _keys() -> Iterator[Alert]:
    moment = now()
    live = (ApiKey.owner_type == "device") & ApiKey.revoked.is_null() & (ApiKey.expires > moment)
    ending: Any = (
        ApiKey.select(ApiKey.owner_id, ApiKey.expires)
        .join(Device, on=(ApiKey.owner_id == Device.id))
        .where(live, ApiKey.expires < moment + KEY_EXPIRY_NOTICE, ~Device.disabled)
        .order_by(ApiKey.expires)
    )
    found = list(ending.tuples())
    if len(found) == 1:
        yield Alert(kind="keys", message="1 device key expires", row=found[0][0], moment=found[0][1])
    elif found:
        yield Alert(kind="keys", message=f"{len(found):,} device keys expire, the first", moment=found[0][1])
