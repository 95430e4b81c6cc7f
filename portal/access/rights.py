"""Who may see and store what: the one place that joins grants."""

from dataclasses import dataclass

from portal.access.actors import Actor
from portal.errors import NotAllowed
from portal.models import Grant, Group, Project

UNKNOWN_GROUP = "unknown"
"""The reserved group of what could not be placed; admins only."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The projects whose rows an actor may read, in order of precedence, and those that it may store to.

    Where a Study Instance UID is in two projects of a scope, the first one hides it in the others, whole and at
    every level (design decision 1). Every query, page and REST call takes its rows from here.
    """

    projects: tuple[int, ...]
    stores: frozenset[int]

    def reads(self, project_id: int) -> bool:
        return project_id in self.projects

    def writes(self, project_id: int) -> bool:
        return project_id in self.stores


NO_ACCESS = Scope(projects=(), stores=frozenset())


def scope(actor: Actor, project: int | None = None) -> Scope:
    """What this actor may see and store; with a project (the called title's), no more than that one."""
    whole = _everything() if actor.is_admin else _granted(actor)
    if actor.read_only:
        whole = Scope(projects=whole.projects, stores=frozenset())
    if project is None:
        return whole
    return Scope(
        projects=(project,) if whole.reads(project) else (),
        stores=frozenset({project}) if whole.writes(project) else frozenset(),
    )


def require_admin(actor: Actor) -> None:
    """Raise NotAllowed unless the actor has site-admin level access."""
    if not actor.is_admin:
        raise NotAllowed("Only a site admin may do this. Ask one of yours.")
    if actor.read_only:
        raise NotAllowed("This key may only read. Use one that may write.")


def _everything() -> Scope:
    every = tuple(row.id for row in Project.select(Project.id).order_by(Project.id))
    return Scope(projects=every, stores=frozenset(every))


def _granted(actor: Actor) -> Scope:
    """Each project once, in the order of the grants; `unknown` is never among them."""
    if actor.type not in ("user", "peer") or not actor.id:
        return NO_ACCESS
    grants = list(Grant.select().where(Grant.who_type == actor.type, Grant.who_id == int(actor.id)).order_by(Grant.id))
    known = _grantable() if grants else []
    reads: dict[int, None] = {}
    stores: set[int] = set()
    for grant in grants:
        for project_id in _projects_of(grant, known):
            if grant.role != "store":
                reads.setdefault(project_id)
            if grant.role != "ro":
                stores.add(project_id)
    return Scope(projects=tuple(reads), stores=frozenset(stores))


def _grantable() -> list[tuple[int, int]]:
    """Each project that a grant can reach, with its group, in their order."""
    rows = Project.select(Project.id, Project.group).join(Group).where(Group.code != UNKNOWN_GROUP)
    return [(row.id, row.group_id) for row in rows.order_by(Project.id)]


def _projects_of(grant: Grant, known: list[tuple[int, int]]) -> list[int]:
    """The projects of one grant: its own, its group's, or with neither those of the whole site."""
    if grant.project_id is not None:
        return [project for project, _ in known if project == grant.project_id]
    if grant.group_id is not None:
        return [project for project, group in known if group == grant.group_id]
    return [project for project, _ in known]
