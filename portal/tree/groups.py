"""Groups of projects: created, relabelled, listed."""

import re

from peewee import ModelSelect

from portal import listing
from portal.access import audit, permissions, rights
from portal.access.actors import Actor
from portal.access.rights import UNKNOWN_GROUP
from portal.errors import BadValue, Missing, NotAllowed, Taken
from portal.listing import WHOLE_LIST, PageRequest, RowPage
from portal.models import Group, Project, now, writing
from portal.tree import containers, labels

RESERVED = f"The group {UNKNOWN_GROUP} is reserved for what could not be placed."
_CODE = re.compile(r"[a-z0-9._-]{2,32}")


def add(code: str, label: str | None = None, *, actor: Actor) -> Group:
    """Create a group; its label is the code where none is given."""
    rights.require_admin(actor)
    if not _CODE.fullmatch(code) or not code[0].isalnum():
        message = "A group's code has 2 to 32 of the characters a-z 0-9 . _ - and begins with a letter or a digit."
        raise BadValue(message, field="code")
    if code == UNKNOWN_GROUP:
        raise Taken(RESERVED, field="code")
    group = Group(code=code, label=labels.clean(code if label is None else label), **actor.origin.fields)
    with writing():
        if Group.select().where(Group.code == code).exists():
            raise Taken(f"There is a group {code} already.", field="code", existing=code)
        containers.insert(group, "group", actor, code=code)
    return group


def edit(code: str, *, label: str, actor: Actor) -> Group:
    """Give a group another label; its code stays, since peers and programs use it. Raises as `projects.edit`."""
    label = labels.clean(label, field="group_label")
    with writing():
        group = get(code, actor=actor)
        rights.require_group_admin(actor, group.id)
        if code == UNKNOWN_GROUP:
            raise NotAllowed(RESERVED, field="group_label")
        if label != group.label:
            before, after = {"label": group.label}, {"label": label}
            audit.record(actor, "group:changed", "group", group.id, before=before, after=after, code=code)
            group.label = label
            group.modified = now()
            group.save()
    return group


def get(code: str, *, actor: Actor) -> Group:
    """The group with this code. Raises Missing if there is none, or none that the actor may see."""
    group: Group | None = _readable(actor).where(Group.code == code).get_or_none()
    if group is None:
        raise Missing(f"There is no group {code[:64]!r}.", field="group")
    return group


def is_readable(group: Group, *, actor: Actor) -> bool:
    """Whether the actor may know that there is this group."""
    return bool(_readable(actor).where(Group.id == group.id).exists())


def list_all(page: PageRequest = WHOLE_LIST, *, actor: Actor) -> RowPage[Group]:
    """All groups for an admin; for anybody else those with a project to read, and those that they are admins of."""
    return listing.fetch_page(_readable(actor), Group, page)


def where_projects_are_created(*, actor: Actor) -> list[Group]:
    """The groups in which the actor may create projects, by their code. Raises NotAllowed where there are none."""
    if rights.is_site_admin(actor):
        rows = Group.select().where(Group.code != UNKNOWN_GROUP)
    else:
        rows = Group.select().where(Group.id.in_(rights.administered_groups(actor)))
        if not rows.exists():
            raise NotAllowed(permissions.CREATE_PROJECT.refusal)
    return list(rows.order_by(Group.code))


def _readable(actor: Actor) -> "ModelSelect[Group]":
    if rights.is_site_admin(actor):
        return Group.select()
    readable = Project.select(Project.group).where(Project.id.in_(rights.scope(actor).projects))
    own = set(rights.administered_groups(actor))
    if actor.type == "device" and actor.narrowed and actor.narrowed.group_id is not None:
        own.add(actor.narrowed.group_id)  # a device has no grants: the key is what it may read
    return Group.select().where(Group.id.in_(readable) | Group.id.in_(own))
