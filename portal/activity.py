"""What goes on: the figures of the first page and of the shell."""

import os
from dataclasses import dataclass
from typing import Any

from portal import runtime, site
from portal.models import (
    ApiKey,
    Caller,
    Device,
    File,
    Instance,
    Job,
    Peer,
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
