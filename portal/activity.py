"""What goes on and what waits for an admin: lists as Activity and Jobs show them, and the figures of the shell."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from portal import origins, runtime, site
from portal.models import (
    ApiKey,
    Association,
    Audit,
    Blob,
    Caller,
    Conflict,
    Device,
    File,
    Group,
    Instance,
    Job,
    JobItem,
    Peer,
    Project,
    Storage,
    Study,
    now,
)
from portal.progress import ACTIVE

SOON = timedelta(days=14)


@dataclass(frozen=True, kw_only=True)
class Need:
    """One thing that an admin should look at; `kind` is conflicts, keys, storages or callers."""

    kind: str
    sentence: str


@dataclass(frozen=True, kw_only=True)
class Act:
    """One row of the audit log, with the names of who did it."""

    at: Any
    who: origins.Named
    via: str
    address: str
    action: str
    target_type: str
    target_id: str
    detail: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The first page: what is set up, what is here, how much room is left."""

    dimse: dict[str, Any]
    peers: int
    knocking: Any
    """The caller that was refused last because we do not know it."""
    devices: int
    live_keys: int
    storages: int
    studies: int
    instances: int
    files: int
    running: int
    free: int

    @property
    def steps_done(self) -> int:
        return sum((bool(self.dimse["enabled"]), self.peers > 0, self.live_keys > 0, self.storages > 0))


def needs() -> list[Need]:
    """What waits for an admin, most urgent first; empty is the normal case."""
    return [*_open_conflicts(), *_failed_storages(), *_expiring_keys()]


def running() -> int:
    """Jobs that run or are about to."""
    return int(Job.select().where(Job.state.in_(ACTIVE)).count())


def audit_log(search: str, action: str, limit: int, skip: int) -> tuple[Sequence[Act], int]:
    """Acts, the last one first; `search` looks at what was done, to what and from where, `action` at its noun."""
    found = Audit.select()
    if search:
        found = found.where(
            Audit.action.contains(search)
            | Audit.target_id.contains(search)
            | Audit.address.contains(search)
            | Audit.via.contains(search)
        )
    if action:
        found = found.where(Audit.target_type == action)
    rows = list(found.order_by(Audit.id.desc()).limit(limit).offset(skip))
    names = origins.names({(row.actor_type, row.actor_id) for row in rows})
    return [_act(row, names) for row in rows], found.count()


def associations(search: str, outcome: str, limit: int, skip: int) -> tuple[Sequence[Association], int]:
    """Associations, newest first, by a part of a title, an address or a peer's label, and by how they ended."""
    found = Association.select(Association, Peer).left_outer_join(Peer)
    if search:
        found = found.where(
            Association.calling.contains(search)
            | Association.called.contains(search)
            | Association.address.contains(search)
            | Peer.label.contains(search)
        )
    if outcome:
        found = found.where(Association.outcome == outcome)
    return list(found.order_by(Association.id.desc()).limit(limit).offset(skip)), found.count()


def jobs(search: str, state: str, limit: int, skip: int, *, kind: str = "") -> tuple[Sequence[Job], int]:
    """Jobs, newest first, of one kind or of all; `state` may also be `active`."""
    found = Job.select().where(Job.kind == kind) if kind else Job.select()
    if search:
        found = found.where(Job.what.contains(search) | Job.sentence.contains(search) | Job.started_by.contains(search))
    if state:
        found = found.where(Job.state.in_(ACTIVE if state == "active" else (state,)))
    return list(found.order_by(Job.id.desc()).limit(limit).offset(skip)), found.count()


def job_items(job_id: int, search: str, state: str, limit: int, skip: int) -> tuple[Sequence[JobItem], int]:
    """The items of one job in their order."""
    found = JobItem.select().where(JobItem.job == job_id)
    if search:
        found = found.where(JobItem.key.contains(search) | JobItem.sentence.contains(search))
    if state:
        found = found.where(JobItem.state == state)
    return list(found.order_by(JobItem.id).limit(limit).offset(skip)), found.count()


def conflicts(search: str, state: str, limit: int, skip: int) -> tuple[Sequence[Conflict], int]:
    """Conflicts in one state, newest first, by a part of the UID or of the sentence."""
    found = (
        Conflict.select(Conflict, File, Blob, Project, Group)
        .join(File)
        .join(Blob)
        .switch(Conflict)
        .join(Project)
        .join(Group)
        .where(Conflict.choice == state)
    )
    if search:
        found = found.where(Conflict.sop_uid.contains(search) | Conflict.sentence.contains(search))
    return list(found.order_by(Conflict.id.desc()).limit(limit).offset(skip)), found.count()


def nouns() -> list[str]:
    """What the audit log has acts about, for the filter."""
    return [row.target_type for row in Audit.select(Audit.target_type).distinct().order_by(Audit.target_type)]


def overview() -> Overview:
    settings = runtime.current()
    disk = os.statvfs(settings.data)
    stored = site.every()
    return Overview(
        dimse={key: stored[f"dimse.{key}"] for key in ("enabled", "ae_title", "host", "port")},
        peers=Peer.select().count(),
        knocking=_knocking(),
        devices=Device.select().count(),
        live_keys=_live_keys().count(),
        storages=Storage.select().count(),
        studies=Study.select().count(),
        instances=Instance.select().count(),
        files=File.select().where(File.deleted_at.is_null()).count(),
        running=running(),
        free=disk.f_frsize * disk.f_bavail,
    )


def _act(row: Audit, names: dict[tuple[str, str], origins.Named]) -> Act:
    return Act(
        at=row.at,
        who=names[row.actor_type, row.actor_id],
        via=row.via,
        address=row.address,
        action=row.action,
        target_type=row.target_type,
        target_id=row.target_id,
        detail=row.detail or {},
    )


def _open_conflicts() -> list[Need]:
    count = Conflict.select().where(Conflict.choice == "open").count()
    return _need("conflicts", count, "1 conflict waits for a decision", f"{count} conflicts wait for a decision")


def _failed_storages() -> list[Need]:
    failed = list(Storage.select(Storage.label).where(Storage.state == "failed").order_by(Storage.label))
    one = f"External storage {failed[0].label} failed" if failed else ""
    return _need("storages", len(failed), one, f"{len(failed)} external storages failed")


def _expiring_keys() -> list[Need]:
    count = _live_keys().where(ApiKey.expires < now() + SOON).count()
    soon = f"within {SOON.days} days"
    return _need("keys", count, f"1 device key expires {soon}", f"{count} device keys expire {soon}")


def _need(kind: str, count: int, one: str, many: str) -> list[Need]:
    return [Need(kind=kind, sentence=one if count == 1 else many)] if count else []


def _live_keys() -> Any:
    return ApiKey.select().where(ApiKey.revoked.is_null(), ApiKey.expires > now())


def _knocking() -> Caller | None:
    found: Caller | None = (
        Caller.select().where(Caller.reason == "unknown", Caller.decision == "").order_by(Caller.last.desc()).first()
    )
    return found
