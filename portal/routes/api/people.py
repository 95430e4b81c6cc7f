"""/api/users and /api/roles: who somebody is, and what the roles of a project allow."""

from typing import Any

from werkzeug.exceptions import BadRequest

from portal.access import rights
from portal.access.permissions import USER_ROLES
from portal.errors import Missing
from portal.routes.api import authentication
from portal.routes.api.noun import Noun
from portal.routes.api.schemas.people import RolePath, Roles, RoleShown, UserPath, Users, UserShown
from portal.tree import rest_ids
from portal.users import users

bp = Noun("users", __name__, "Users and their roles.")

READ = ("containers_view_metadata", "files_view_metadata", "files_view_contents", "files_download")
WRITE = (
    *("containers_create_hierarchy", "containers_modify_metadata", "containers_delete_hierarchy"),
    *("files_create_upload", "files_create_bulk", "files_create_single", "files_modify_metadata"),
    *("files_delete_non_device_data", "tags_manage", "notes_manage"),
)
MANAGE = ("containers_delete_project", "files_delete_device_data", "project_permissions_manage")
ACTIONS = {"ro": READ, "rw": READ + WRITE, "admin": READ + WRITE + MANAGE}
"""What each role allows, in the words that clients look for before they import."""


@bp.get("/users", responses={200: Users})
def list_all() -> Users:
    """List the users"""
    actor = authentication.actor()
    if rights.is_site_admin(actor) and not actor.read_only:
        return Users([_shape(row) for row in users.list_all()])
    return Users([_shape(users.get(int(actor.id)))] if actor.type == "user" else [])


@bp.get("/users/self", responses={200: UserShown})
def show_self() -> UserShown:
    """Show the user whose key this is"""
    actor = authentication.actor()
    if actor.type != "user":
        raise BadRequest("This is the key of a device, not of a user. Ask /api/devices/self.")
    return _shape(users.get(int(actor.id)))


@bp.get("/users/<user_id>", responses={200: UserShown})
def show(path: UserPath) -> UserShown:
    """Show a user, by id or e-mail address"""
    known: list[UserShown] = list_all().root
    for row in known:
        if path.user_id in (row.id, row.email):
            return row
    raise Missing("There is no such user, or you may not see it.")


@bp.get("/roles", responses={200: Roles})
def list_roles() -> Roles:
    """List the roles that a user may have in a project"""
    return Roles([_role(name) for name in USER_ROLES])


@bp.get("/roles/<role_id>", responses={200: RoleShown})
def show_role(path: RolePath) -> RoleShown:
    """Show what a role allows"""
    if path.role_id not in USER_ROLES:
        raise Missing(f"There is no role {path.role_id[:64]!r}. The roles are {', '.join(USER_ROLES)}.")
    return _role(path.role_id)


def _role(name: str) -> RoleShown:
    return RoleShown(id=name, label=USER_ROLES[name], actions=list(ACTIONS[name]))


def _shape(row: Any) -> UserShown:
    return UserShown(
        id=rest_ids.encode("user", row.id),
        user_id=row.email,
        email=row.email,
        firstname=row.email.partition("@")[0],
        lastname="",
        roles=["user", *(["site_admin"] if row.is_admin else [])],
        root=row.is_admin,
        disabled=row.disabled,
        created=row.created,
        modified=row.created,
    )
