"""What a peer may see in fact: its grants, resolved to projects in their order."""

from dataclasses import dataclass
from typing import Any

from peewee import fn

from portal import rights
from portal.models import Group, Peer, Project, Study
from portal.provenance import Actor

MOST = 100


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A project that a peer sees, or may only store to."""

    path: str
    reads: bool
    stores: bool
    studies: int


@dataclass(frozen=True, kw_only=True)
class Access:
    """The first hundred projects, in the order in which they answer, and how many there are."""

    projects: tuple[Seen, ...]
    total: int


def of_peer(peer: Peer) -> Access:
    """What its next query would be answered from."""
    scope = rights.scope(Actor(type="peer", id=str(peer.id)))
    order = [*scope.projects, *sorted(scope.stores - set(scope.projects))]
    shown = order[:MOST]
    rows = Project.select(Project, Group).join(Group).where(Project.id.in_(shown))
    paths = {row.id: f"{row.group.code}/{row.label}" for row in rows}
    counts: Any = (
        Study.select(Study.project, fn.COUNT(Study.id)).where(Study.project.in_(shown)).group_by(Study.project)
    )
    studies: dict[int, int] = dict(counts.tuples())
    found = (
        Seen(path=paths[one], reads=scope.reads(one), stores=scope.writes(one), studies=studies.get(one, 0))
        for one in shown
        if one in paths
    )
    return Access(projects=tuple(found), total=len(order))
