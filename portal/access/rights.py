"""Which projects an actor may read, store to and manage: the one place that joins grants."""

from collections.abc import Callable
from dataclasses import dataclass

from portal.access import permissions
from portal.access.actors import Actor, Narrowing
from portal.errors import NotAllowed
from portal.models import Grant, Group, Project

UNKNOWN_GROUP = "unknown"
"""The reserved group for data that could not be placed; admins only."""


@dataclass(frozen=True, kw_only=True)
class Scope:
    """The projects whose rows an actor may read, in order of precedence, and those that it may store to and manage.

    Where a Study Instance UID is in two projects of a scope, the first project hides the whole study in the others, at
    every level (docs/decisions/0081). Every query, page and REST call takes its rows from here.
    """

    projects: tuple[int, ...]
    stores: frozenset[int]
    manages: frozenset[int] = frozenset()
    """The projects of which the actor is an admin: by its own role, that of its group, or that of the site."""

    def reads(self, project_id: int) -> bool:
        return project_id in self.projects

    def writes(self, project_id: int) -> bool:
        return project_id in self.stores

    def limited_to(self, is_within: Callable[[int], bool]) -> "Scope":
        """The same rights in those projects alone."""
        return Scope(
            projects=tuple(filter(is_within, self.projects)),
            stores=frozenset(filter(is_within, self.stores)),
            manages=frozenset(filter(is_within, self.manages)),
        )


NO_ACCESS = Scope(projects=(), stores=frozenset())


def scope(actor: Actor, project: int | None = None) -> Scope:
    """What this actor may read, store and manage; with a project (that of the called title), limited to it."""
    if actor.is_admin or (actor.type == "device" and actor.narrowed):
        every = tuple(row.id for row in Project.select(Project.id).order_by(Project.id))
        full = Scope(projects=every, stores=frozenset(every), manages=frozenset(every))
    else:
        full = _granted(actor)
    if actor.narrowed is not None:
        full = _narrowed(full, actor.narrowed)
    if actor.read_only:
        full = Scope(projects=full.projects, stores=frozenset())
    return full if project is None else full.limited_to(lambda number: number == project)


def is_site_admin(actor: Actor) -> bool:
    """Whether the actor sees everything of the site: a narrowed key of an admin does not."""
    return actor.is_admin and actor.narrowed is None


def require_site_wide(actor: Actor) -> None:
    """Raise NotAllowed for a narrowed key: what is asked for belongs to no project."""
    if actor.narrowed is not None:
        raise NotAllowed(permissions.NARROWED_KEY)


def require_may_write(actor: Actor) -> None:
    """Raise NotAllowed for a read-only key."""
    if actor.read_only:
        raise NotAllowed(permissions.READ_ONLY_KEY)


def require_admin(actor: Actor) -> None:
    """Raise NotAllowed unless the actor is a site admin who may write, and everywhere."""
    require_site_wide(actor)
    if not actor.is_admin:
        raise NotAllowed(permissions.ADMINISTER.refusal)
    require_may_write(actor)


def require_store(actor: Actor, project_id: int) -> None:
    """Raise NotAllowed unless the actor may add to and change what is in this project."""
    require_may_write(actor)
    if not scope(actor).writes(project_id):
        raise NotAllowed(permissions.STORE.refusal)


def require_manager(actor: Actor, project_id: int) -> None:
    """Raise NotAllowed unless the actor is an admin of this project: by its role there, in its group or of the site."""
    require_may_write(actor)
    if project_id not in scope(actor).manages:
        raise NotAllowed(permissions.MANAGE.refusal)


def require_project_creator(actor: Actor, group_id: int) -> None:
    """Raise NotAllowed unless the actor may create projects in this group.

    A device key that is narrowed to the group may, as it would everywhere without the narrowing.
    """
    if actor.type == "device" and actor.narrowed == Narrowing(group_id=group_id):
        require_may_write(actor)
        return
    require_group_admin(actor, group_id)


def require_group_admin(actor: Actor, group_id: int) -> None:
    """Raise NotAllowed unless the actor is an admin of this group, or of the site."""
    require_may_write(actor)
    if not may_edit_group(actor, group_id):
        raise NotAllowed(permissions.MANAGE_GROUP.refusal)


def may_edit_group(actor: Actor, group_id: int) -> bool:
    """Whether `require_group_admin` lets the actor through."""
    return may_edit_groups(actor)(group_id)


def may_edit_groups(actor: Actor) -> Callable[[int], bool]:
    """The same as a check for any number of groups: the grants are read once."""
    if not actor.read_only and is_site_admin(actor):
        return lambda _group_id: True
    return administered_groups(actor).__contains__


def administered_groups(actor: Actor) -> frozenset[int]:
    """The groups of which a user is an admin by a grant of the group, or of all of them; none of a narrowed key."""
    if actor.type != "user" or not actor.id or actor.narrowed is not None or actor.read_only:
        return frozenset()
    ours = Grant.select(Grant.group).where(Grant.who_type == "user", Grant.who_id == int(actor.id))
    granted = {row.group_id for row in ours.where(Grant.role == "admin", Grant.project.is_null())}
    groups = Group.select(Group.id).where(Group.code != UNKNOWN_GROUP)
    if granted and None not in granted:
        groups = groups.where(Group.id.in_(granted))
    return frozenset(row.id for row in groups) if granted else frozenset()


def require_delete(actor: Actor, project_id: int, *, original: bool) -> None:
    """Raise NotAllowed unless the actor may delete in this project.

    Whoever may store there deletes what users made; what came from elsewhere (`original`) needs an admin of the project
    (docs/decisions/0098).
    """
    require_may_write(actor)
    found = scope(actor)
    if project_id in found.manages:
        return
    if not found.writes(project_id):
        raise NotAllowed(permissions.DELETE.refusal)
    if original:
        raise NotAllowed(permissions.DELETE_ORIGINAL.refusal)


def _narrowed(full: Scope, to: Narrowing) -> Scope:
    """The data of one group or project: a narrowed key manages none (docs/decisions/0098)."""
    is_inside = Project.id == to.project_id if to.project_id is not None else Project.group == to.group_id
    inside = {row.id for row in Project.select(Project.id).where(is_inside)}
    limited = full.limited_to(inside.__contains__)
    return Scope(projects=limited.projects, stores=limited.stores)


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
    manages: set[int] = set()
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
            if grant.role == "admin" and actor.type == "user":
                manages.add(project.id)
    return Scope(projects=tuple(reads), stores=frozenset(stores), manages=frozenset(manages))
