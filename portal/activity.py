"""What goes on: the figures of the first page and of the shell."""

from dataclasses import dataclass
from typing import Any

from peewee import fn

from portal import site, totals
from portal.models import (
    ApiKey,
    Caller,
    Device,
    Job,
    Peer,
    Storage,
    now,
)
from portal.progress import ACTIVE


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The first page: what is set up, and what is here."""

    dimse: dict[str, Any]
    peers: int
    knocking: Any
    """The caller that was refused last because we do not know it."""
    devices: int
    live_keys: int
    storages: int
    held: totals.Totals

    @property
    def steps_done(self) -> int:
        return sum((bool(self.dimse["enabled"]), self.peers > 0, self.live_keys > 0, self.storages > 0))


def running() -> int:
    """Jobs that run or are about to."""
    return int(Job.select().where(Job.state.in_(ACTIVE)).count())


def overview() -> Overview:
    """By five statements."""
    stored = site.every()
    counts: Any = Peer.select(
        fn.COUNT(Peer.id),
        *(table.select(fn.COUNT(table.id)) for table in (Device, Storage)),
        _live_keys().select(fn.COUNT(ApiKey.id)),
    )
    peers, devices, storages, live_keys = counts.tuples().get()
    return Overview(
        dimse={key: stored[f"dimse.{key}"] for key in ("enabled", "ae_title", "host", "port")},
        peers=peers,
        knocking=_knocking(),
        devices=devices,
        live_keys=live_keys,
        storages=storages,
        held=totals.get(),
    )


def _live_keys() -> Any:
    return ApiKey.select().where(ApiKey.revoked.is_null(), ApiKey.expires > now())


def _knocking() -> Caller | None:
    found: Caller | None = (
        Caller.select().where(Caller.reason == "unknown", Caller.decision == "").order_by(Caller.last.desc()).first()
    )
    return found
