"""Who has seen or fetched a session, as a list: views, downloads, retrievals by peers, and exports."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from peewee import Case, fn

from portal.access import audit_entries
from portal.access.audit_entries import AuditEntry
from portal.listing import LongList
from portal.models import Audit, AuditedSession, Device, Peer, User

WAYS = {
    "viewed": "Viewed",
    "downloaded": "Downloaded",
    "retrieved": "Retrieved",
    "exported": "Exported",
}
"""Word in the address → name."""
_WAY_OF = {
    "session:viewed": "viewed",
    "file:downloaded": "downloaded",
    "session:fetched": "downloaded",
    "session:downloaded": "downloaded",
    "container:downloaded": "downloaded",
    "study:retrieved": "retrieved",
    "export:ended": "exported",
    "send:ended": "exported",
}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One time that somebody saw or fetched the session."""

    entry: AuditEntry

    @property
    def way(self) -> str:
        return WAYS[_WAY_OF[str(self.entry.row.action)]]

    @property
    def what(self) -> str:
        """What was seen or fetched: nothing of it is a patient's name."""
        row, detail = self.entry.row, self.entry.row.detail
        instances = f"{detail.get('instances', 0):,} instance{'' if detail.get('instances') == 1 else 's'}"
        words = {
            "session:viewed": "pages or images, within this hour",
            "file:downloaded": f"file {row.target_id}, version {detail.get('version', 1)}",
            "session:fetched": "more of its files, within this hour",
            "session:downloaded": "the session as zip",
            "container:downloaded": f"a {detail.get('format', 'zip')} of {row.target_type} {row.target_id}",
            "study:retrieved": f"{instances} by {detail.get('operation', 'C-MOVE')}",
            "export:ended": f"to {detail.get('to', 'a storage')}, by export {row.target_id}",
            "send:ended": f"to {detail.get('to', 'a peer')}, by send {row.target_id}",
        }
        return words[str(row.action)]

    @property
    def job_id(self) -> int | None:
        row = self.entry.row
        return int(row.target_id) if row.target_type == "job" and str(row.target_id).isdecimal() else None


@dataclass(frozen=True, kw_only=True)
class ReadingCounts:
    """How often a session was seen or fetched, by way, and by how many users, devices and peers."""

    by_way: dict[str, int]
    actors: int


def of_session(session_id: int) -> LongList:
    """The latest first; filtered by way, searched by actor, address, key or AE title."""
    return LongList(
        table=Audit,
        rows=lambda: Audit.select().where(_about(session_id)),
        views=lambda rows: [Reading(entry=entry) for entry in audit_entries.with_names(rows)],
        state=_way,
        searched=(Audit.address, Audit.via, _name()),
        sorts={"at": lambda: Audit.id, "by": _name, "way": _way},
        usual="-at",
        heads=("Event", "Time", "Kind", "What", "Actor type", "Actor number", "Actor", "Via", "Address"),
        cells=_cells,
    )


def counts(session_id: int) -> ReadingCounts:
    query: Any = Audit.select(_way(), fn.COUNT(Audit.id)).where(_about(session_id)).group_by(_way())
    by = Audit.select(Audit.actor_type, Audit.actor_id).where(_about(session_id)).distinct()
    return ReadingCounts(by_way=dict(query.tuples()), actors=by.count())


def _cells(one: Reading) -> Sequence[Any]:
    row, who = one.entry.row, one.entry.who
    return row.id, row.at, one.way, one.what, who.type, who.id, who.name, row.via, row.address


def _about(session_id: int) -> Any:
    """The condition on the entries of a session, those of several sessions among them; by two indexes."""
    own = Audit.select(Audit.id).where(Audit.session == session_id)
    among = AuditedSession.select(AuditedSession.audit).where(AuditedSession.session == session_id)
    # Chosen by an expression on the action: by its index, SQLite would go through all views of the site.
    return Audit.id.in_(own.union_all(among)) & (_way() != "")


def _way() -> Any:
    return Case(Audit.action, list(_WAY_OF.items()), "")


def _name() -> Any:
    """The SQL expression of the actor's present name."""
    number = Audit.actor_id.cast("INTEGER")
    user = User.select(User.email).where(Audit.actor_type == "user", User.id == number)
    device = Device.select(Device.label).where(Audit.actor_type == "device", Device.id == number)
    peer = Peer.select(Peer.label).where(Audit.actor_type == "peer", Peer.id == number)
    return fn.COALESCE(user, device, peer, Audit.actor_id)
