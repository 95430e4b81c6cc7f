"""The latest entries of the audit log about one thing or one user, with the names of the actors."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from peewee import JOIN, fn

from portal.access import origins
from portal.access.origins import NamedOrigin
from portal.models import ApiKey, Audit, Device, Peer, User

MAX_ENTRIES = 8
"""Entries that the page of a thing shows."""
_NO_CHANGE = (
    *("peer:echoed", "storage:tested"),
    *(f"association:{outcome}" for outcome in ("released", "aborted", "rejected", "failed", "lost")),
)


_WORDS = {
    "all_ended": "ended for all users",
    "echoed": "tested by C-ECHO",
    "given": "added",
    "mended": "repaired",
    "noted": "acknowledged",
    "taken": "removed",
    "tried": "dry run started",
}
"""What people read for actions whose stored names, which stay, are not plain."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A field with its values as recorded; `name` is empty where the event changed only one value."""

    name: str
    before: Any
    after: Any


@dataclass(frozen=True, kw_only=True)
class AuditEntry:
    """One row of the audit log, and its actor by the current name."""

    row: Audit
    who: NamedOrigin

    @property
    def noun(self) -> str:
        return str(self.row.action).partition(":")[0]

    @property
    def verb(self) -> str:
        """Edited, Signed in."""
        recorded = str(self.row.action).partition(":")[2]
        words = _WORDS.get(recorded, recorded.replace("_", " "))
        if self.noun == "storage" and self.row.detail.get("secret"):
            words += ", with new credentials"
        return words.capitalize()

    @property
    def what(self) -> str:
        """Key revoked, Grant added."""
        return f"{self.noun} {self.verb}".replace("_", " ").capitalize()

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changed fields; empty where the event changed no values."""
        before, after = self.row.detail.get("before"), self.row.detail.get("after")
        if isinstance(before, dict) and isinstance(after, dict):
            removed = dict.fromkeys(before.get("config") or {}) if "config" in after else {}
            before, after = _flat(before), removed | _flat(after)
            fields = [name for name in after if before.get(name) != after[name]]
            return tuple(Change(name=name, before=before.get(name), after=after[name]) for name in fields)
        return () if before is None and after is None else (Change(name="", before=before, after=after),)


def for_target(target_type: str, target_id: object, *, limit: int = MAX_ENTRIES) -> list[AuditEntry]:
    """The changes of one thing, the latest first, of a device its keys too; by one statement."""
    actor_id = Audit.actor_id.cast("INTEGER")
    query: Any = Audit.select(Audit, fn.COALESCE(User.email, origins.device_name(), Peer.label, "").alias("name"))
    for kind, table in (("user", User), ("device", Device), ("peer", Peer)):
        query = query.join_from(Audit, table, JOIN.LEFT_OUTER, on=(Audit.actor_type == kind) & (table.id == actor_id))
    query = query.where(concerns(target_type, target_id), Audit.action.not_in(_NO_CHANGE))
    rows = query.order_by(Audit.id.desc()).limit(limit).objects()
    return [AuditEntry(row=row, who=NamedOrigin(type=row.actor_type, id=row.actor_id, name=row.name)) for row in rows]


def for_user(user_id: int, *, limit: int) -> list[AuditEntry]:
    """What was done to a user and what the user did, the latest first."""
    by = Audit.select(Audit.id).where(Audit.actor_type == "user", Audit.actor_id == str(user_id))
    to = Audit.select(Audit.id).where(concerns("user", user_id))
    latest = [query.order_by(Audit.id.desc()).limit(limit) for query in (by, to)]
    rows = Audit.select().where(Audit.id.in_(latest[0]) | Audit.id.in_(latest[1]))
    return with_names(rows.order_by(Audit.id.desc()).limit(limit))


def with_names(rows: Iterable[Audit]) -> list[AuditEntry]:
    """Rows of the audit log with the names of their actors, by one more statement."""
    rows = list(rows)
    names = origins.names({(row.actor_type, row.actor_id) for row in rows})
    return [AuditEntry(row=row, who=names[row.actor_type, row.actor_id]) for row in rows]


def concerns(target_type: str, target_id: object) -> Any:
    """Whether an event has this target, for an index; API keys count as the device or user that has them."""
    condition: Any = (Audit.target_type == target_type) & (Audit.target_id == str(target_id))
    if target_type in ("device", "user"):
        keys = ApiKey.select(ApiKey.key_id).where(ApiKey.owner_type == target_type, ApiKey.owner_id == target_id)
        condition = condition | ((Audit.target_type == "key") & Audit.target_id.in_(keys))
    return condition


def search_conditions(search: str) -> Sequence[Any]:
    """More conditions for a search for `peer 7`, `device 7`, `storage 7` or `user 7`: the entries about it."""
    reference = origins.parse_reference(search)
    return (concerns(reference[0], int(reference[1])),) if reference else ()


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """The values with the fields of a storage's configuration, which may be missing, among them."""
    config = values.get("config")
    return {name: value for name, value in values.items() if name != "config"} | (config or {})
