"""The lists of peers, refused callers, associations, and associations by day."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from peewee import Case

from portal import hourly_charts
from portal.access import origins
from portal.listing import LongList, contains, ignoring_case
from portal.models import Association, AssociationDay, Caller, Grant, Group, Peer, Project
from portal.peers import associations, peer_status, refused_callers


@dataclass(frozen=True, kw_only=True)
class PeerRow:
    """A peer with its status, its last contact, and the projects that it may read (GROUP/PROJECT)."""

    peer: Peer
    state: str
    last_contact: datetime | None
    day: hourly_charts.Day
    projects: tuple[str, ...]
    all_projects: bool
    store_to: str


def _peer_rows(rows: Sequence[Peer]) -> list[PeerRow]:
    grants: Any = (
        Grant.select(Grant.who_id, Grant.role, Grant.project, Group.code, Project.label)
        .left_outer_join(Project)
        .left_outer_join(Group)
        .where(Grant.who_type == "peer", Grant.who_id.in_([row.id for row in rows]), Grant.role != "store")
        .order_by(Grant.id)
    )
    readable: dict[int, list[str]] = {}
    for peer_id, _role, project, group, label in grants.tuples():
        readable.setdefault(peer_id, []).append(f"{group}/{label}" if project else "")  # without a project: all of them

    days = hourly_charts.for_peers([row.id for row in rows])
    views = []
    for row in rows:
        paths, target = readable.get(row.id, []), row.store_to
        views.append(
            PeerRow(
                peer=row,
                state=peer_status.current(row),
                last_contact=peer_status.last_contact(row),
                day=days[row.id],
                projects=tuple(path for path in paths if path),
                all_projects="" in paths,
                store_to=f"{target.group.code}/{target.label}" if target else "",
            )
        )
    return views


PEERS = LongList(
    table=Peer,
    rows=lambda: Peer.select(Peer, Project, Group).left_outer_join(Project).left_outer_join(Group),
    counted=Peer.select,
    views=_peer_rows,
    state=peer_status.current_sql,
    searched=(Peer.label, Peer.ae_title, Peer.host, Peer.addresses.cast("TEXT")),
    sorts={
        "label": lambda: ignoring_case(Peer.label),
        "title": lambda: Peer.ae_title,
        "status": peer_status.current_sql,
        "seen": peer_status.last_contact_sql,
    },
    usual="label",
    heads=(
        *("Label", "AE title", "Host", "Port", "Addresses", "Status", "Status since", "Message"),
        *("Last called us", "Last answered us", "Allowed services", "Project access", "Default project", "Created"),
        *("Associations in 24 h", "Failed in 24 h"),
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
        *("Calling AE title", "Called", "Address", "Reason", "Message", "First", "Last", "Times", "Decision"),
        *("Requested services", "Resolved"),
    ),
    cells=lambda row: (
        *(row.calling, row.called, row.address, row.reason, row.message, row.first, row.last, row.count),
        *(row.decision, row.wanted, row.resolved),
    ),
)


def undecided_callers(limit: int) -> tuple[list[Caller], int]:
    """The refused callers without a decision, the latest first, and the number of those that are ignored."""
    waiting = (Caller.decision == "") & Caller.resolved.is_null()
    rows = Caller.select().where(waiting).order_by(Caller.last.desc(), Caller.id.desc()).limit(limit)
    return list(rows), int(Caller.select().where(Caller.decision == refused_callers.IGNORED).count())


def _peers(search: str) -> Any:
    """Peers by a part of their label, or one by its number (`peer 7`)."""
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
        *("Association", "Peer", "Calling", "Called", "Address", "Direction", "Outcome", "Message"),
        *("Operations", "Bytes", "Started", "Ended", "TLS"),
    ),
    cells=lambda row: (
        *(row["id"], row["peer"], row["calling"], row["called"], row["address"]),
        _direction(row["role"]),
        *(row["outcome"], row["message"]),
        [
            f"{name} {counted.get('done') or 0}" + (f" ({counted['failed']} failed)" if counted.get("failed") else "")
            for name, counted in row["counts"].items()
        ],
        *(row["bytes"], row["started"], row["ended"], row["tls_version"]),
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
    heads=("Day", "Peer", "Direction", "Outcome", "Associations", "Failed operations", "Objects", "Bytes"),
    cells=lambda row: (
        *(row.day, row.peer.label if row.peer else "", _direction(row.role), row.outcome, row.number),
        *(row.failures, row.stored, row.bytes),
    ),
)


def _direction(role: str) -> str:
    return "incoming" if role == "acceptor" else "outgoing"
