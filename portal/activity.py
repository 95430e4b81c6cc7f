"""What goes on: the figures of the first page and of the shell, the items of a job, the conflicts."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from portal import runtime, site
from portal.models import (
    ApiKey,
    Blob,
    Caller,
    Conflict,
    Device,
    File,
    Group,
    Instance,
    Job,
    Peer,
    Project,
    Storage,
    Study,
    now,
)
from portal.progress import ACTIVE


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


def running() -> int:
    """Jobs that run or are about to."""
    return int(Job.select().where(Job.state.in_(ACTIVE)).count())


def conflicts(search: str, state: str, limit: int, skip: int) -> tuple[Sequence[Conflict], int]:
    """Conflicts in one state, newest first, by a part of the UID or of the sentence."""
    found = (
        Conflict.select(Conflict, File, Blob, Project, Group)
        .join(File)
        .join(Blob)
        .switch(Conflict)
        .join(Project)
        .join(Group)
        .where(Conflict.choice == state, File.deleted_at.is_null())
    )
    if search:
        found = found.where(Conflict.sop_uid.contains(search) | Conflict.sentence.contains(search))
    return list(found.order_by(Conflict.id.desc()).limit(limit).offset(skip)), found.count()


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


def _live_keys() -> Any:
    return ApiKey.select().where(ApiKey.revoked.is_null(), ApiKey.expires > now())


def _knocking() -> Caller | None:
    found: Caller | None = (
        Caller.select().where(Caller.reason == "unknown", Caller.decision == "").order_by(Caller.last.desc()).first()
    )
    return found
