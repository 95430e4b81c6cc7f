"""The table of rights: which role has which right, in words. `rights` decides by it, and a test holds both together."""

from dataclasses import dataclass

READ = "Read"
WRITE = "Read and write"
PROJECT_ADMIN = "Admin of the project"
GROUP_ADMIN = "Admin of the group"
SITE_ADMIN = "Site admin"
DEVICE_KEY = "Device key"
GROUP_KEY = "Device key for the group"
PROJECT_KEY = "Device key for the project"
ROLES = (READ, WRITE, PROJECT_ADMIN, GROUP_ADMIN, SITE_ADMIN, DEVICE_KEY, GROUP_KEY, PROJECT_KEY)
"""Who acts. A key of a user has the rights of its user; limited to a group or project, what both allow.

A read-only key of any of them has the first right alone."""

USER_ROLES = {"ro": READ, "rw": WRITE, "admin": "Admin"}
"""The role of a user's grant → its name on pages."""


@dataclass(frozen=True, kw_only=True)
class Right:
    """One right on a project, its group or the site: in words, who has it, and what everybody else is told."""

    words: str
    held_by: tuple[str, ...]
    refusal: str


SEE = Right(
    words="See, search, view and download the data of a project",
    held_by=ROLES,
    refusal="There is no such data, or you do not have access to it.",
)
STORE = Right(
    words="Add data to it, change labels, notes and tags; see by name who has access, and who has seen or fetched what",
    held_by=(WRITE, PROJECT_ADMIN, GROUP_ADMIN, SITE_ADMIN, DEVICE_KEY, GROUP_KEY, PROJECT_KEY),
    refusal="You may read this project, but not change it. Ask an admin of the project.",
)
DELETE = Right(
    words="Move to trash what users created, and restore it",
    held_by=STORE.held_by,
    refusal="You may read this project, but delete nothing in it. Ask an admin of the project.",
)
DELETE_ORIGINAL = Right(
    words="Move to trash what came from a device or a peer, and restore it",
    held_by=(PROJECT_ADMIN, GROUP_ADMIN, SITE_ADMIN, DEVICE_KEY),
    refusal="This came from a device or a peer: only an admin of the project may delete it.",
)
MANAGE = Right(
    words="Edit the project, grant and remove access to it, export it, purge its trash",
    held_by=(PROJECT_ADMIN, GROUP_ADMIN, SITE_ADMIN, DEVICE_KEY),
    refusal="Only an admin of the project may do this. Ask one of them, or a site admin.",
)
CREATE_PROJECT = Right(
    words="Create projects in the group",
    held_by=(GROUP_ADMIN, SITE_ADMIN, DEVICE_KEY, GROUP_KEY),
    refusal="Only an admin of the group may do this. Ask one of them, or a site admin.",
)
MANAGE_GROUP = Right(
    words="Edit the group, grant and remove access to it",
    held_by=(GROUP_ADMIN, SITE_ADMIN, DEVICE_KEY),
    refusal=CREATE_PROJECT.refusal,
)
ADMINISTER = Right(
    words="Interfaces, Users, Settings, Jobs, Activity, conflicts and data that could not be placed",
    held_by=(SITE_ADMIN, DEVICE_KEY),
    refusal="Only a site admin may do this. Ask one of your site admins.",
)
RIGHTS = (SEE, STORE, DELETE, DELETE_ORIGINAL, MANAGE, CREATE_PROJECT, MANAGE_GROUP, ADMINISTER)

READ_ONLY_KEY = "This API key is read-only. Use one that may write."
NARROWED_KEY = "This API key is limited to one group or project. Use one that is not."


def as_markdown() -> str:
    """The table as the guide shows it."""
    rows = (f"| {right.words} | {', '.join(right.held_by)} |" for right in RIGHTS)
    return "\n".join(("| right | who has it |", "|---|---|", *rows))
