"""Who may see a project: users and peers by their grants, site admins, and devices by their keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from peewee import Case, fn

from portal.access import audit_entries, origins, permissions, rights
from portal.access.actors import Actor
from portal.access.audit_entries import AuditEntry
from portal.access.origins import NamedOrigin
from portal.access.rights import UNKNOWN_GROUP
from portal.devices import api_keys
from portal.errors import Missing
from portal.listing import LongList, ignoring_case
from portal.models import ApiKey, Audit, Device, Grant, Peer, Project, User
from portal.users import grants, users

MAX_SHOWN = 20
"""Site admins and narrowed keys that the page names."""
PEER_ROLES = {"ro": "Find and retrieve", "rw": "Find, retrieve and store", "store": "Store"}
HOW = {"project": "this project", "group": "its group", "site": "the whole site"}


@dataclass(frozen=True, kw_only=True)
class ProjectGrant:
    """One grant by which somebody may see the project."""

    row: Grant
    who: NamedOrigin
    how: str
    """project | group | site: what was granted."""
    removable: bool

    @property
    def role(self) -> str:
        words = permissions.USER_ROLES if self.row.who_type == "user" else PEER_ROLES
        return words.get(str(self.row.role), str(self.row.role))


@dataclass(frozen=True, kw_only=True)
class NarrowedKey:
    """A live key that is limited to the project or to its group."""

    row: ApiKey
    owner: NamedOrigin


@dataclass(frozen=True, kw_only=True)
class AccessSummary:
    """How many may see a project. `users` have a grant; a peer or device counts while it is not disabled."""

    users: int
    peers: int
    site_admins: int
    devices: int
    """With a live key that reaches the whole site."""
    admin_names: tuple[str, ...]
    keys: tuple[NarrowedKey, ...]
    """Live keys that are limited to this project or its group, the newest first."""

    @property
    def more_admins(self) -> int:
        return self.site_admins - len(self.admin_names)


def summary(project: Project) -> AccessSummary:
    def granted(who_type: str, table: Any, is_on: Any) -> int:
        of_type = Grant.select(Grant.who_id).where(Grant.who_type == who_type, _reaches(project))
        return int(table.select().where(table.id.in_(of_type), is_on).count())

    admins = User.select(User.email).where(User.is_admin, ~User.disabled)
    live = ApiKey.select(ApiKey.owner_id).where(ApiKey.owner_type == "device", api_keys.is_live())
    unlimited = live.where(ApiKey.group_id.is_null(), ApiKey.project_id.is_null())
    return AccessSummary(
        users=granted("user", User, ~User.disabled & ~User.is_admin),
        peers=granted("peer", Peer, Peer.enabled),
        site_admins=admins.count(),
        devices=Device.select().where(Device.id.in_(unlimited), ~Device.disabled, Device.removed.is_null()).count(),
        admin_names=tuple(row.email for row in admins.order_by(User.email).limit(MAX_SHOWN)),
        keys=_narrowed_keys(project),
    )


def grants_of(project: Project, *, actor: Actor) -> LongList:
    """The grants by which users and peers may see a project: its own, those of its group, and those of the site."""
    manages = project.id in rights.scope(actor).manages
    removable = {
        "project": manages,
        "group": rights.is_site_admin(actor) or project.group_id in rights.administered_groups(actor),
        "site": rights.is_site_admin(actor),
    }

    def views(rows: Sequence[Grant]) -> list[ProjectGrant]:
        names = origins.names((row.who_type, str(row.who_id)) for row in rows)
        return [
            ProjectGrant(
                row=row,
                who=names[row.who_type, str(row.who_id)],
                how=_how(row),
                removable=row.who_type == "user" and removable[_how(row)],
            )
            for row in rows
        ]

    return LongList(
        table=Grant,
        rows=lambda: Grant.select().where(_reaches(project)),
        views=views,
        state=lambda: Grant.who_type,
        searched=(_name(),),
        sorts={
            "name": lambda: ignoring_case(_name()),
            "role": lambda: Grant.role,
            "how": lambda: Case(None, [(Grant.project.is_null(False), 0), (Grant.group.is_null(False), 1)], 2),
        },
        usual="name",
        heads=("Kind", "Number", "Name", "Access", "Granted"),
        cells=lambda one: (one.who.type, one.who.id, one.who.name, one.role, HOW[one.how]),
    )


@dataclass(frozen=True, kw_only=True)
class RemovedGrant:
    email: str
    in_words: str


def remove(project: Project, grant_id: int, *, actor: Actor) -> RemovedGrant:
    """Remove a grant by which a user may see the project. Raises Missing, NotAllowed."""
    row = Grant.get_or_none(Grant.id == grant_id, Grant.who_type == "user", _reaches(project))
    if row is None:
        raise Missing("This access has already been removed.")
    removed = grants.remove(row.who_id, grant_id, actor=actor)
    return RemovedGrant(email=users.get(row.who_id).email, in_words=removed.in_words)


@dataclass(frozen=True, kw_only=True)
class AccessChange:
    """One entry of the audit log about the project or the access to it; `whom` has the user of a grant."""

    entry: AuditEntry
    whom: NamedOrigin | None


def changes(project: Project) -> list[AccessChange]:
    """The latest changes of the project, and of grants for it or its group by their row numbers, for its admins."""
    here = fn.json_extract(Audit.detail, "$.project_id") == project.id
    whole_group = fn.json_extract(Audit.detail, "$.group_id") == project.group_id
    of_grants = Audit.action.in_(("grant:given", "grant:changed", "grant:taken")) & (here | whole_group)
    of_project = (Audit.target_type == "project") & (Audit.target_id == str(project.id))
    latest = Audit.select().where(of_project | of_grants).order_by(Audit.id.desc()).limit(MAX_SHOWN)
    found = audit_entries.with_names(latest)
    names = origins.names(("user", entry.row.target_id) for entry in found if entry.row.target_type == "user")
    return [AccessChange(entry=entry, whom=names.get(("user", entry.row.target_id))) for entry in found]


def _reaches(project: Project) -> Any:
    """The condition that a grant reaches this project; no grant reaches what could not be placed."""
    if project.group.code == UNKNOWN_GROUP:
        return Grant.id.is_null()
    whole = Grant.project.is_null() & Grant.group.is_null()
    return (Grant.project == project.id) | (Grant.group == project.group_id) | whole


def _how(row: Grant) -> str:
    if row.project_id is not None:
        return "project"
    return "site" if row.group_id is None else "group"


def _name() -> Any:
    """The SQL expression of the name of a grant's user or peer."""
    user = User.select(User.email).where(Grant.who_type == "user", User.id == Grant.who_id)
    peer = Peer.select(Peer.label).where(Grant.who_type == "peer", Peer.id == Grant.who_id)
    return fn.COALESCE(user, peer, "")


def _narrowed_keys(project: Project) -> tuple[NarrowedKey, ...]:
    here = (ApiKey.project_id == project.id) | (ApiKey.group_id == project.group_id)
    rows = list(ApiKey.select().where(here, api_keys.is_live()).order_by(ApiKey.id.desc()).limit(MAX_SHOWN))
    names = origins.names((row.owner_type, str(row.owner_id)) for row in rows)
    return tuple(NarrowedKey(row=row, owner=names[row.owner_type, str(row.owner_id)]) for row in rows)
