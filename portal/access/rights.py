"""Which projects an actor may read and store to: the one place that joins grants."""

from dataclasses import dataclass

from portal.access.actors import Actor
from portal.errors import NotAllowed
from portal.models import Grant, Group, Project

UNKNOWN_GROUP = "unknown"
"""The reserved group for data that could not be placed; admins only."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The projects whose rows an actor may read, in order of precedence, and those that it may store to.

    Where a Study Instance UID is in two projects of a scope, the first project hides the whole study in the others, at
    every level (docs/decisions/0081). Every query, page and REST call takes its rows from here.
    """

    projects: tuple[int, ...]
    stores: frozenset[int]

    def reads(self, project_id: int) -> bool:
        return project_id in self.projects

    def writes(self, project_id: int) -> bool:
        return project_id in self.stores


NO_ACCESS = Scope(projects=(), stores=frozenset())


def scope(actor: Actor, project: int | None = None) -> Scope:
    """What this actor may read and store; with a project (that of the called title), limited to it."""
    if actor.is_admin:
        every = tuple(row.id for row in Project.select(Project.id).order_by(Project.id))
        full = Scope(projects=every, stores=frozenset(every))
    else:
        full = _granted(actor)
    if actor.read_only:
        full = Scope(projects=full.projects, stores=frozenset())
    if project is None:
        return full
    return Scope(
        projects=(project,) if full.reads(project) else (),
        stores=frozenset({project}) if full.writes(project) else frozenset(),
    )


def require_admin(actor: Actor) -> None:
    """Raise NotAllowed unless the actor is a site admin who may write."""
    if not actor.is_admin:
        raise NotAllowed("Only a site admin may do this. Ask one of your site admins.")
    if actor.read_only:
        raise NotAllowed("This API key is read-only. Use one that may write.")


def _granted(actor: Actor) -> Scope:
    """Each project once, in the order of the grants; without those of the group `unknown`."""
    if actor.type not in ("user", "peer") or not actor.id:
        return NO_ACCESS
    grants = list(Grant.select().where(Grant.who_type == actor.type, Grant.who_id == int(actor.id)).order_by(Grant.id))
    if not grants:
        return NO_ACCESS
    query = Project.select(Project.id, Project.group).join(Group).where(Group.code != UNKNOWN_GROUP)
    projects = list(query.order_by(Project.id))

    reads: dict[int, None] = {}
    stores: set[int] = set()
    for grant in grants:
        # A grant names a project or a group; with neither it is for the whole site.
        for project in projects:
            if grant.project_id not in (None, project.id):
                continue
            if grant.project_id is None and grant.group_id not in (None, project.group_id):
                continue
            if grant.role != "store":
                reads.setdefault(project.id)
            if grant.role != "ro":
                stores.add(project.id)
    return Scope(projects=tuple(reads), stores=frozenset(stores))
