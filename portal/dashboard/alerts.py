"""What needs an admin: the alerts at the top of each page."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from peewee import Value, fn

from portal import runtime
from portal.devices import api_keys
from portal.ingest import disk_reserve
from portal.maintenance import segment_copies
from portal.models import (
    ApiKey,
    Conflict,
    Device,
    File,
    Job,
    Peer,
    QuarantinedRecord,
    Schedule,
    SegmentProblem,
    Setting,
    SiteCertificate,
    Storage,
    now,
)
from portal.tls import certificates

LOW_DISK_FACTOR = 2
"""Free space below this many times the reserve is low; below the reserve, uploads and C-STORE stop."""

MAX_BUCKET_DELAY = timedelta(hours=1)
"""How long a segment of the archive may wait to be replicated without an error."""

VERIFICATION = "site_verification"
"""The kind of job that verifies the site."""
MAX_ROWS = 1000
"""At most so many storages, peers and schedules are counted."""

Kind = Literal[
    "disk",
    "verification",
    "segments",
    "records",
    "archive",
    "storages",
    "peers",
    "schedules",
    "conflicts",
    "keys",
    "certificate",
]


@dataclass(frozen=True, kw_only=True)
class Alert:
    """What to look at, with the id of the row that it is about, if it is one, and a time that belongs to it."""

    kind: Kind
    message: str
    row: int | None = None
    moment: datetime | None = None
    urgent: bool = False


def list_all() -> list[Alert]:
    """Most urgent first; three statements, and one more if the archive has a bucket."""
    # One statement for failed storages and peers, stopped schedules, and the problems of the archive.
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
    problems = SegmentProblem.select(Value("lost"), fn.COUNT(SegmentProblem.id), Value(""), Value(None))
    records = QuarantinedRecord.select(Value("left"), fn.COUNT(QuarantinedRecord.id), Value(""), Value(None)).where(
        QuarantinedRecord.noted.is_null()
    )
    waiting = (
        Conflict.select(Value("conflicts"), fn.COUNT(Conflict.id), Value(""), Value(None))
        .join(File)
        .where(Conflict.choice == "open", File.deleted_at.is_null())
    )
    ended = Job.select(fn.MAX(Job.id)).where(Job.kind == VERIFICATION, Job.state.in_(("done", "errors")))
    verified = Job.select(Value("verification"), Job.failed, Value(""), Job.ended).where(
        Job.id == ended, Job.state == "errors"
    )
    ending = SiteCertificate.select(Value("certificate"), SiteCertificate.id, Value(""), SiteCertificate.expires).where(
        SiteCertificate.expires < now() + certificates.EXPIRY_NOTICE
    )
    kinds = ("storages", "peers", "schedules", "lost", "left", "conflicts", "verification", "certificate")
    rows: dict[str, list[Any]] = {kind: [] for kind in kinds}
    every_kind = problems.union_all(records).union_all(waiting).union_all(failed).union_all(stopped).union_all(silent)
    for kind, *row in every_kind.union_all(verified).union_all(ending).limit(MAX_ROWS).tuples():
        rows[kind].append(row)

    lost, quarantined, conflicts = (rows[kind][0][0] for kind in ("lost", "left", "conflicts"))
    return [*_verification(rows["verification"]), *_disk_and_archive(lost, quarantined), *_interfaces(rows, conflicts)]


def _verification(rows: list[Any]) -> Iterator[Alert]:
    """That the last verification found something."""
    for findings, _label, ended in rows:
        problems = "1 problem" if findings == 1 else f"{findings:,} problems"
        moment = Storage.since.python_value(ended)
        yield Alert(
            kind="verification", message=f"The verification of the site found {problems}", moment=moment, urgent=True
        )


def _disk_and_archive(lost: int, quarantined: int) -> Iterator[Alert]:
    if warning := disk_reserve.ballast_warning():
        yield Alert(kind="disk", message=warning.rstrip("."), urgent=True)
    else:
        for disk in disk_reserve.disks():
            name = "The disk" if "archive" in disk.holds else f"The disk of {disk.holds[0]}"
            if disk.room.is_full:
                what = ": uploads and C-STORE are refused" if disk_reserve.USED_BY_INGEST & set(disk.holds) else ""
                yield Alert(kind="disk", message=f"{name} is full up to the reserve{what}", urgent=True)
            elif disk.room.free < LOW_DISK_FACTOR * disk.room.floor:
                yield Alert(kind="disk", message=f"{name} is nearly full")

    if lost:
        segments = "1 segment of the archive is" if lost == 1 else f"{lost:,} segments of the archive are"
        yield Alert(kind="segments", message=f"{segments} missing, truncated or damaged", urgent=True)
    if quarantined:
        objects = "1 received object" if quarantined == 1 else f"{quarantined:,} received objects"
        yield Alert(kind="records", message=f"{objects} cannot be indexed")
    if runtime.bucket() is None:
        return
    waiting, since, damaged = segment_copies.count_late_and_damaged(MAX_BUCKET_DELAY)
    if damaged:
        segments = "1 segment" if damaged == 1 else f"{damaged:,} segments"
        yield Alert(kind="archive", message=f"The archive's bucket has lost or changed {segments}", urgent=True)
    if waiting:
        segments = "1 segment waits" if waiting == 1 else f"{waiting:,} segments wait"
        yield Alert(
            kind="archive", message=f"{segments} to be replicated to the bucket, the oldest closed", moment=since
        )


def _interfaces(rows: dict[str, list[Any]], conflicts: int) -> Iterator[Alert]:
    yield from _failed("storages", rows["storages"], "External storage", "external storages")
    yield from _failed("peers", rows["peers"], "Calls to peer", "peers")
    schedules = rows["schedules"]
    if len(schedules) == 1:
        yield Alert(kind="schedules", message=f"Schedule {schedules[0][1]} stopped automatically", row=schedules[0][0])
    elif schedules:
        yield Alert(kind="schedules", message=f"{len(schedules)} schedules stopped automatically")
    if conflicts:
        waits = "1 conflict waits" if conflicts == 1 else f"{conflicts:,} conflicts wait"
        yield Alert(kind="conflicts", message=f"{waits} for a decision")

    yield from _expiring_keys()
    for _id, _label, ends in rows["certificate"]:
        moment = SiteCertificate.expires.python_value(ends) or now()
        verb = "expired" if moment < now() else "expires"
        is_urgent = moment < now() + api_keys.URGENT_EXPIRY_NOTICE
        yield Alert(kind="certificate", message=f"The TLS certificate {verb}", moment=moment, urgent=is_urgent)


def _expiring_keys() -> Iterator[Alert]:
    """Of keys that expire within 30 days, urgent within 7; but for those that were rotated and are no longer used."""
    moment, successor = now(), ApiKey.alias()
    is_replaced = fn.EXISTS(
        successor.select(Value(1)).where(
            successor.owner_type == ApiKey.owner_type,
            successor.owner_id == ApiKey.owner_id,
            successor.replaces == ApiKey.key_id,
            successor.revoked.is_null(),
            # A comparison that no index answers: SQLite would read all keys that expire later, for each of these.
            fn.COALESCE(successor.expires, "") > ApiKey.expires.db_value(moment),
            ApiKey.last_used.is_null() | (ApiKey.last_used <= successor.created),
        )
    )
    # SQLite takes the owner from the row with the least expiry.
    ending: Any = (
        ApiKey.select(fn.COUNT(ApiKey.id), fn.MIN(ApiKey.expires), ApiKey.owner_id)
        .join(Device, on=(ApiKey.owner_id == Device.id))
        .where(ApiKey.owner_type == "device", ApiKey.revoked.is_null(), ApiKey.expires > moment)
        .where(ApiKey.expires < moment + api_keys.EXPIRY_NOTICE, ~Device.disabled, ~is_replaced)
    )
    [(count, first, device)] = ending.tuples()
    expires = ApiKey.expires.python_value(first)
    if expires is not None:
        message = "1 device key expires" if count == 1 else f"{count:,} device keys expire, the first"
        is_urgent = expires < moment + api_keys.URGENT_EXPIRY_NOTICE
        yield Alert(kind="keys", message=message, row=device if count == 1 else None, moment=expires, urgent=is_urgent)


def _failed(kind: Kind, rows: list[Any], one: str, many: str) -> Iterator[Alert]:
    if len(rows) == 1:
        ((row_id, label, since),) = rows
        yield Alert(kind=kind, message=f"{one} {label} failed", row=row_id, moment=Storage.since.python_value(since))
    elif rows:
        yield Alert(kind=kind, message=f"{len(rows):,} {many} failed")
