"""The effective access of a peer or a user: the grants, resolved to projects in order of precedence."""

from dataclasses import dataclass
from typing import Any

from peewee import fn

from portal.access import rights
from portal.access.actors import Actor
from portal.models import Group, Peer, Project, Study, User

MAX_PROJECTS_SHOWN = 100


@dataclass(frozen=True, kw_only=True)
class ProjectAccess:
    """A project that somebody may read, store to, or both."""

    path: str
    reads: bool
    stores: bool
    studies: int
    manages: bool = False

    @property
    def in_words(self) -> str:
        if self.manages:
            return "admin"
        if not self.reads:
            return "store"
        return "read and write" if self.stores else "read"


@dataclass(frozen=True, kw_only=True)
class EffectiveAccess:
    """The first hundred projects, in the order in which queries use them, and the total number."""

    projects: tuple[ProjectAccess, ...]
    total: int


def for_peer(peer: Peer) -> EffectiveAccess:
    """The projects that a query by the peer reads."""
    return _of(Actor(type="peer", id=str(peer.id)))


def for_user(user: User) -> EffectiveAccess:
    """The projects that the user sees under Data."""
    return _of(Actor(type="user", id=str(user.id), is_admin=bool(user.is_admin)))


def _of(actor: Actor) -> EffectiveAccess:
    scope = rights.scope(actor)
    order = [*scope.projects, *sorted(scope.stores - set(scope.projects))]
    shown = order[:MAX_PROJECTS_SHOWN]
    studies: Any = Study.select(fn.COUNT(Study.id)).where(Study.project == Project.id)
    rows: Any = Project.select(Project.id, Group.code, Project.label, studies).join(Group).where(Project.id.in_(shown))
    known = {number: (f"{group}/{label}", counted) for number, group, label, counted in rows.tuples()}
    found = (
        ProjectAccess(
            path=known[one][0],
            reads=scope.reads(one),
            stores=scope.writes(one),
            manages=one in scope.manages,
            studies=known[one][1],
        )
        for one in shown
        if one in known
    )
    return EffectiveAccess(projects=tuple(found), total=len(order))
