"""The lists of peers, refused callers and associations."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from peewee import Case, fn

from portal import hourly_charts
from portal.access import origins
from portal.listing import LongList, contains, ordered
from portal.models import (
    Association,
    AssociationDay,
    Caller,
    Grant,
    Group,
    Peer,
    Project,
    now,
)
from portal.peers import associations, peers, refused_callers


@dataclass(frozen=True, kw_only=True)
class PeerRow:
    """A peer with its state in a word, its last sign of life, and the projects that it sees (GROUP/PROJECT)."""

    peer: Peer
    state: str
    heard: datetime | None
    day: hourly_charts.Day
    projects: tuple[str, ...]
    all_projects: bool
    store_to: str


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
    days = hourly_charts.for_peers([row.id for row in rows])
    return [_peer_row(row, sees.get(row.id, []), days[row.id]) for row in rows]


def _peer_row(row: Peer, sees: list[str], day: hourly_charts.Day) -> PeerRow:
    target = row.store_to
    return PeerRow(
        peer=row,
        state=peer_state(row),
        heard=peers.last_contact(row),
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
        *(row.peer.since, row.peer.message, row.peer.last_seen, row.peer.last_answered, row.peer.services),
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
    searched=(Caller.calling, Caller.called, Caller.address, Caller.message),
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
        *(row.calling, row.called, row.address, row.reason, row.message, row.first, row.last, row.count),
        *(row.decision, row.wanted, row.resolved),
    ),
)


def undecided_callers(most: int) -> tuple[list[Caller], int]:
    """The refused callers that nobody has looked at, the latest first, and how many there are that are ignored."""
    waiting = (Caller.decision == "") & Caller.resolved.is_null()
    rows = Caller.select().where(waiting).order_by(Caller.last.desc(), Caller.id.desc()).limit(most)
    return list(rows), int(Caller.select().where(Caller.decision == refused_callers.IGNORED).count())


def _peers(search: str) -> Any:
    """Peers by a part of their label, or the one of a number (`peer 7`)."""
    kind, number = origins.parse_reference(search) or ("", "")
    found = Peer.id == int(number) if kind == "peer" else contains(Peer.label, search)
    return Peer.select(Peer.id).where(found)


ASSOCIATIONS = LongList(
    table=Association,
    rows=lambda: Association.select(Association, Peer).left_outer_join(Peer),
    counted=Association.select,
    views=lambda rows: [associations.view(row) for row in rows],
    state=lambda: Association.outcome,
    searched=(Association.calling, Association.called, Association.address, Association.message),
    also=lambda search: (Association.peer.in_(_peers(search)),),
    sorts={
        "began": lambda: Association.id,
        "who": lambda: Association.calling,
        "outcome": lambda: Association.outcome,
        "data": lambda: Association.bytes,
    },
    usual="-began",
    heads=(
        *("Association", "Peer", "Calling", "Called", "Address", "Direction", "Outcome", "What happened"),
        *("Operations", "Bytes", "Began", "Ended"),
    ),
    cells=lambda row: (
        *(row["id"], row["peer"], row["calling"], row["called"], row["address"]),
        _direction(row["role"]),
        *(row["outcome"], row["message"], _operations(row["counts"]), row["bytes"], row["started"], row["ended"]),
    ),
)
ASSOCIATION_DAYS = LongList(
    table=AssociationDay,
    rows=lambda: AssociationDay.select(AssociationDay, Peer).left_outer_join(Peer),
    counted=AssociationDay.select,
    views=list,
    state=lambda: AssociationDay.outcome,
    searched=(AssociationDay.day,),
    also=lambda search: (AssociationDay.peer.in_(_peers(search)),),
    sorts={
        "day": lambda: AssociationDay.day,
        "number": lambda: AssociationDay.number,
        "data": lambda: AssociationDay.bytes,
    },
    usual="-day",
    heads=("Day", "Peer", "Direction", "Outcome", "Associations", "Operations that failed", "Objects", "Bytes"),
    cells=lambda row: (
        *(row.day, row.peer.label if row.peer else "", _direction(row.role), row.outcome, row.number),
        *(row.failures, row.stored, row.bytes),
    ),
)


def _direction(role: str) -> str:
    return "it called us" if role == "acceptor" else "we called it"


def _operations(counts: dict[str, dict[str, int]]) -> list[str]:
    """store 12, find 3 (1 failed)."""
    return [
        f"{name} {counted.get('done') or 0}" + (f" ({counted['failed']} failed)" if counted.get("failed") else "")
        for name, counted in counts.items()
    ]
