"""The grants of users: a group, a project or the whole site, to read, to write or to manage."""

from dataclasses import dataclass
from typing import Any

from peewee import JOIN

from portal.access import audit, permissions, rights
from portal.access.actors import Actor
from portal.access.rights import UNKNOWN_GROUP
from portal.errors import BadValue, Missing, PortalError
from portal.models import Grant, Group, Project, writing
from portal.tree import projects
from portal.users import users

EVERYTHING = "*"
"""Instead of a group or a project: the whole site, including future projects."""
ROLES = tuple(permissions.USER_ROLES)
MAX_PLACES = 500


@dataclass(frozen=True, kw_only=True)
class UserGrant:
    """One grant; `place` is `*`, a group's code or GROUP/PROJECT."""

    id: int
    place: str
    role: str

    @property
    def in_words(self) -> str:
        """Read and write in neuro/Brain."""
        where = "the whole site" if self.place == EVERYTHING else self.place
        if self.role == "admin":
            return f"read, write and manage {where}"
        return f"{permissions.USER_ROLES[self.role].lower()} in {where}"


def for_user(user_id: int) -> list[UserGrant]:
    """The grants of one user in their order of precedence."""
    owner = Group.alias()
    rows: Any = (
        Grant.select(Grant.id, Grant.role, Group.code, owner.code, Project.label)
        .join(Group, JOIN.LEFT_OUTER)
        .switch(Grant)
        .join(Project, JOIN.LEFT_OUTER)
        .join(owner, JOIN.LEFT_OUTER)
        .where(Grant.who_type == "user", Grant.who_id == user_id)
        .order_by(Grant.id)
        .tuples()
    )
    return [
        UserGrant(id=number, place=f"{code}/{label}" if label else group or EVERYTHING, role=role)
        for number, role, group, code, label in rows
    ]


def add(user_id: int, place: str, role: str, *, actor: Actor) -> UserGrant:
    """Grant a user access to a group, a project or everything; for the same place again, change the role.

    Admins of a group grant it and its projects, admins of a project that project. Raises BadValue with its field,
    Missing, NotAllowed.
    """
    name = place.strip()
    _require_granter(name, actor)
    user = users.get(user_id)
    if role not in ROLES:
        raise BadValue(f"{role[:16]!r} is not a role. A role is ro (read), rw (read and write) or admin.", field="role")
    target = _target(name)
    with writing():
        existing = next((grant for grant in for_user(user.id) if grant.place == name), None)
        if existing is None:
            row = Grant.create(who_type="user", who_id=user.id, role=role, **target)
            audit.record(actor, "grant:given", "user", user.id, place=name, role=role, **_numbers(row))
            return UserGrant(id=row.id, place=name, role=role)
        if existing.role != role:
            Grant.update(role=role).where(Grant.id == existing.id).execute()
            numbers = _numbers(Grant.get_by_id(existing.id))
            before, after = ({"place": name, "role": either} for either in (existing.role, role))
            audit.record(actor, "grant:changed", "user", user.id, before=before, after=after, **numbers)
    return UserGrant(id=existing.id, place=name, role=role)


def add_by_email(email: str, place: str, role: str, *, actor: Actor) -> UserGrant:
    """As `add`, for the account with this address. Raises BadValue where there is none."""
    _require_granter(place.strip(), actor)
    user_id = users.find_id(email)
    if user_id is None:
        message = f"{email[:254]!r} has no account. A site admin creates accounts." if email else "Enter an address."
        raise BadValue(message, field="email")
    return add(user_id, place, role, actor=actor)


def remove(user_id: int, grant_id: int, *, actor: Actor) -> UserGrant:
    """Remove one grant, effective from the user's next request. Raises Missing, NotAllowed."""
    with writing():
        existing = next((grant for grant in for_user(user_id) if grant.id == grant_id), None)
        if existing is None:
            raise Missing("This access has already been removed.")
        _require_granter(existing.place, actor)
        numbers = _numbers(Grant.get_by_id(grant_id))
        Grant.delete().where(Grant.id == grant_id).execute()
        audit.record(actor, "grant:taken", "user", user_id, place=existing.place, role=existing.role, **numbers)
    return existing


def remove_by_place(user_id: int, place: str, *, actor: Actor) -> UserGrant:
    """As `remove`, for the grant of a place by its name. Raises Missing."""
    existing = next((grant for grant in for_user(user_id) if grant.place == place.strip()), None)
    if existing is None:
        raise Missing(f"The user has no grant for {place[:130]!r}. `portal user list` shows the grants.")
    return remove(user_id, existing.id, actor=actor)


def grantable_places() -> list[str]:
    """The places to choose from: everything, and each group before its projects; at most 500."""
    rows: Any = (
        Group.select(Group.code, Project.label)
        .join(Project, JOIN.LEFT_OUTER)
        .where(Group.code != UNKNOWN_GROUP)
        .order_by(Group.code, Project.label)
        .limit(MAX_PLACES)
    )
    places = {EVERYTHING: None}
    for code, label in rows.tuples():
        places.setdefault(code)
        if label:
            places[f"{code}/{label}"] = None
    return list(places)[:MAX_PLACES]


def _numbers(row: Grant) -> dict[str, int]:
    """The row numbers of what is granted, by which the audit log names it whatever it is called later."""
    numbers = {"group_id": row.group_id, "project_id": row.project_id}
    return {name: number for name, number in numbers.items() if number is not None}


def _require_granter(place: str, actor: Actor) -> None:
    """Raise NotAllowed unless the actor may grant this place, whether it exists or not."""
    if rights.is_site_admin(actor) or place == EVERYTHING:
        rights.require_admin(actor)
        return
    code, is_project, label = place.partition("/")
    group: Group | None = Group.get_or_none(Group.code == code)
    if not is_project:
        rights.require_group_admin(actor, group.id if group else 0)
        return
    project: Project | None = Project.get_or_none(Project.group == group, Project.label == label) if group else None
    rights.require_manager(actor, project.id if project else 0)


def _target(place: str) -> dict[str, Group | Project]:
    """The columns of a grant. Raises BadValue for a place that does not exist, or is for admins only."""
    if place == EVERYTHING:
        return {}
    if not place:
        raise BadValue("Enter a group, a project as GROUP/PROJECT, or * for everything.", field="place")
    if place.partition("/")[0] == UNKNOWN_GROUP:
        raise BadValue(f"The group {UNKNOWN_GROUP} is for site admins only.", field="place")
    if "/" not in place:
        group: Group | None = Group.get_or_none(Group.code == place)
        if group is None:
            raise BadValue(f"There is no group {place[:64]!r}. A project is written GROUP/PROJECT.", field="place")
        return {"group": group}
    try:
        return {"project": projects.get_by_path(place)}
    except PortalError as error:
        raise BadValue(error.message, field="place") from error
