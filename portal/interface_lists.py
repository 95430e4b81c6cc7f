"""The lists of Interfaces and Users: devices, peers, external storages, refused callers, users."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from peewee import Case, Value, fn

from portal import callers, devices, keys, peers, pictures
from portal.lists import LongList, beginning, ordered
from portal.models import ApiKey, Caller, Device, Grant, Group, Peer, Project, Storage, User, now
from portal.storage import health, records, storages


@dataclass(frozen=True, kw_only=True)
class DeviceRow:
    """A device with its state in a word, how many live keys it has, and when the first and the last of them ends."""

    device: Device
    state: str
    live: int
    next_expiry: datetime | None
    expires_soon: bool
    last_expiry: datetime | None
    """When its last key ended, where none is live."""
    day: pictures.Day


@dataclass(frozen=True, kw_only=True)
class PeerRow:
    """A peer with its state in a word, its last sign of life, and the projects that it sees (GROUP/PROJECT)."""

    peer: Peer
    state: str
    heard: datetime | None
    day: pictures.Day
    projects: tuple[str, ...]
    all_projects: bool
    store_to: str


def _device_state() -> Any:
    """`devices.state` in SQL."""
    silent = (fn.julianday(Value(Device.last_seen.db_value(now()))) - fn.julianday(Device.last_seen)) * 86400.0
    cases = [
        (Device.disabled, "disabled"),
        (Device.errors.cast("TEXT") != "[]", "error"),
        (Device.last_seen.is_null(), "never"),
        (Device.interval.is_null(), "seen"),
        (silent > Device.interval, "missing"),
    ]
    return Case(None, cases, "ok")


def _next_expiry() -> Any:
    live = _live() & (ApiKey.owner_id == Device.id)
    return ApiKey.select(fn.MIN(ApiKey.expires)).where(live)


def _live() -> Any:
    return (ApiKey.owner_type == "device") & ApiKey.revoked.is_null() & (ApiKey.expires > now())


def _device_rows(rows: Sequence[Device]) -> list[DeviceRow]:
    numbers = [row.id for row in rows]
    live = (ApiKey.revoked.is_null()) & (ApiKey.expires > now())
    figures: Any = (
        ApiKey.select(
            ApiKey.owner_id,
            fn.SUM(Case(None, [(live, 1)], 0)),
            fn.MIN(Case(None, [(live, ApiKey.expires)], None)),
            fn.MAX(Case(None, [(ApiKey.revoked.is_null(), ApiKey.expires)], None)),
        )
        .where(ApiKey.owner_type == "device", ApiKey.owner_id.in_(numbers))
        .group_by(ApiKey.owner_id)
    )
    by_device = {found[0]: found[1:] for found in figures.tuples()}
    days = pictures.of_devices(numbers)
    return [_device_row(row, days[row.id], *by_device.get(row.id, (0, None, None))) for row in rows]


def _device_row(row: Device, day: pictures.Day, live: int, soonest: Any, latest: Any) -> DeviceRow:
    first, last = ApiKey.expires.python_value(soonest), ApiKey.expires.python_value(latest)
    return DeviceRow(
        device=row,
        state=devices.state(row),
        live=live,
        next_expiry=first,
        expires_soon=first is not None and first - now() <= keys.SOON,
        last_expiry=None if live else last,
        day=day,
    )


def _with_key(search: str) -> Sequence[Any]:
    """A key is found by its id, of which people have the beginning; never by more of it than that."""
    begin = keys.id_in(search)
    if not begin:
        return ()
    owners = ApiKey.select(ApiKey.owner_id).where(ApiKey.owner_type == "device", beginning(ApiKey.key_id, begin))
    return (Device.id.in_(owners),)


DEVICES = LongList(
    table=Device,
    rows=lambda: Device.select(Device, User).left_outer_join(User),
    views=_device_rows,
    state=_device_state,
    searched=(Device.label, Device.type, Device.last_address, Device.version, User.email),
    also=_with_key,
    sorts={
        "label": lambda: ordered(Device.label),
        "status": _device_state,
        "seen": lambda: Device.last_seen,
        "expires": _next_expiry,
        "sponsor": lambda: ordered(User.email),
    },
    usual="label",
    heads=(
        *("Label", "Type", "Version", "Status", "Errors", "Last seen", "Last address", "Live keys", "Next expiry"),
        *("Answers for it", "Added", "Requests in 24 h", "Failed in 24 h"),
    ),
    cells=lambda row: (
        *(row.device.label, row.device.type, row.device.version, row.state, row.device.errors, row.device.last_seen),
        *(row.device.last_address, row.live, row.next_expiry),
        *(row.device.sponsor.email if row.device.sponsor else "", row.device.created, row.day.all, row.day.failed),
    ),
)


def _heard() -> Any:
    """`peers.heard` in SQL; null where there was never a sign of life."""
    return fn.NULLIF(fn.MAX(fn.COALESCE(Peer.last_seen, ""), fn.COALESCE(Peer.last_answered, "")), "")


def _peer_state() -> Any:
    silent = _heard() <= Peer.last_seen.db_value(now() - peers.SILENT_AFTER)
    return Case(None, [(~Peer.enabled, "disabled"), (silent, "silent")], Peer.state)


def peer_state(peer: Peer) -> str:
    """The word of its filter. Silence comes before a failed call, which is one reason for it."""
    if not peer.enabled:
        return "disabled"
    return "silent" if peers.is_silent(peer) else str(peer.state)


def _peer_rows(rows: Sequence[Peer]) -> list[PeerRow]:
    grants: Any = (
        Grant.select(Grant.who_id, Grant.role, Grant.project, Group.code, Project.label)
        .left_outer_join(Project)
        .left_outer_join(Group)
        .where(Grant.who_type == "peer", Grant.who_id.in_([row.id for row in rows]), Grant.role != "store")
        .order_by(Grant.id)
    )
    sees: dict[int, list[str]] = {}
    for who, _role, project, group, label in grants.tuples():
        sees.setdefault(who, []).append(f"{group}/{label}" if project else "")
    days = pictures.of_peers([row.id for row in rows])
    return [_peer_row(row, sees.get(row.id, []), days[row.id]) for row in rows]


def _peer_row(row: Peer, sees: list[str], day: pictures.Day) -> PeerRow:
    target = row.store_to
    return PeerRow(
        peer=row,
        state=peer_state(row),
        heard=peers.heard(row),
        day=day,
        projects=tuple(path for path in sees if path),
        all_projects="" in sees,
        store_to=f"{target.group.code}/{target.label}" if target else "",
    )


PEERS = LongList(
    table=Peer,
    rows=lambda: Peer.select(Peer, Project, Group).left_outer_join(Project).left_outer_join(Group),
    counted=Peer.select,
    views=_peer_rows,
    state=_peer_state,
    searched=(Peer.label, Peer.ae_title, Peer.host, Peer.addresses.cast("TEXT")),
    sorts={
        "label": lambda: ordered(Peer.label),
        "title": lambda: Peer.ae_title,
        "status": _peer_state,
        "seen": _heard,
    },
    usual="label",
    heads=(
        *(
            "Label",
            "AE title",
            "Host",
            "Port",
            "Addresses",
            "Status",
            "Since",
            "What happened",
            "Last called us",
            "Last answered us",
            "May",
        ),
        *("Sees", "Stores to", "Registered", "Associations in 24 h", "Failed in 24 h"),
    ),
    cells=lambda row: (
        *(row.peer.label, row.peer.ae_title, row.peer.host, row.peer.port, row.peer.addresses, row.state),
        *(row.peer.since, row.peer.sentence, row.peer.last_seen, row.peer.last_answered, row.peer.services),
        *("all projects" if row.all_projects else row.projects, row.store_to, row.peer.created),
        *(row.day.all, row.day.failed),
    ),
)

CALLERS = LongList(
    table=Caller,
    rows=Caller.select,
    views=list,
    state=lambda: Case(
        None, [(Caller.resolved.is_null(False), "resolved"), (Caller.decision != "", Caller.decision)], Caller.reason
    ),
    searched=(Caller.calling, Caller.called, Caller.address, Caller.sentence),
    sorts={
        "last": lambda: Caller.last,
        "first": lambda: Caller.first,
        "count": lambda: Caller.count,
        "title": lambda: Caller.calling,
    },
    usual="-last",
    heads=(
        *("Calling AE title", "Called", "Address", "Reason", "What happened", "First", "Last", "Times", "Decision"),
        *("Wanted", "Resolved"),
    ),
    cells=lambda row: (
        *(row.calling, row.called, row.address, row.reason, row.sentence, row.first, row.last, row.count),
        *(row.decision, row.wanted, row.resolved),
    ),
)


@dataclass(frozen=True, kw_only=True)
class StorageRow:
    """A storage with what it holds of ours, and when the next test begins."""

    view: dict[str, Any]
    holds: records.Holds
    next_test: datetime | None


def _storage_rows(rows: Sequence[Storage]) -> list[StorageRow]:
    held = records.holds([row.id for row in rows])
    return [
        StorageRow(view=storages.view(row), holds=held.get(row.id, records.NOTHING), next_test=health.due(row))
        for row in rows
    ]


STORAGES = LongList(
    table=Storage,
    rows=Storage.select,
    views=_storage_rows,
    state=lambda: Storage.state,
    searched=(
        *(Storage.label, Storage.prefix),
        *(
            fn.json_extract(Storage.config, f"$.{name}")
            for name in ("path", "bucket", "account", "container", "endpoint")
        ),
    ),
    sorts={
        "label": lambda: ordered(Storage.label),
        "status": lambda: Storage.state,
        "provider": lambda: Storage.provider,
        "mode": lambda: Storage.mode,
        "tested": lambda: Storage.tested,
    },
    usual="label",
    heads=(
        "Label",
        "Provider",
        "Place",
        "Prefix",
        "Used for",
        "Visible to",
        "Status",
        "Since",
        "What happened",
        "Last test",
        "Next test",
        "Enforces create-only",
        "Exports",
        "Objects",
        "Bytes",
        "Added",
    ),
    cells=lambda row: (
        *(row.view[name] for name in ("label", "provider_label", "place", "prefix", "mode", "visible", "state")),
        *(row.view["since"], row.view["sentence"], row.view["tested"], row.next_test, row.view["create_only"]),
        *(row.holds.exports, row.holds.objects, row.holds.size, row.view["created"]),
    ),
)


def _user_kind() -> Any:
    return Case(None, [(User.disabled, "disabled"), (User.is_admin, "admin")], "user")


USERS = LongList(
    table=User,
    rows=User.select,
    views=list,
    state=_user_kind,
    searched=(User.email,),
    sorts={
        "email": lambda: ordered(User.email),
        "state": _user_kind,
        "seen": lambda: User.last_seen,
        "since": lambda: User.created,
    },
    usual="email",
    heads=("E-mail address", "Site admin", "Disabled", "Last signed in", "Since"),
    cells=lambda row: (row.email, row.is_admin, row.disabled, row.last_seen, row.created),
)


def waiting_callers(most: int) -> tuple[list[Caller], int]:
    """The refused callers that nobody has looked at, the latest first, and how many there are that are ignored."""
    waiting = (Caller.decision == "") & Caller.resolved.is_null()
    rows = Caller.select().where(waiting).order_by(Caller.last.desc(), Caller.id.desc()).limit(most)
    return list(rows), int(Caller.select().where(Caller.decision == callers.IGNORED).count())
