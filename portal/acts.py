"""What was done to one thing, and by one person: the last rows of the audit log about it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from portal import origins
from portal.models import Audit
from portal.origins import Named


@dataclass(frozen=True, kw_only=True)
class Act:
    """One row of the audit log, and who did it by name."""

    row: Audit
    who: Named

    @property
    def changes(self) -> list[tuple[str, Any, Any]]:
        """What changed: name, before, after; empty where the act is no change of values."""
        before, after = self.row.detail.get("before"), self.row.detail.get("after")
        if isinstance(before, dict) and isinstance(after, dict):
            return [(name, before.get(name), value) for name, value in after.items()]
        return [] if before is None and after is None else [("", before, after)]


def of(target_type: str, target_id: object, *, most: int) -> list[Act]:
    """What was done to one thing, the latest first."""
    rows = Audit.select().where(Audit.target_type == target_type, Audit.target_id == str(target_id))
    return named(rows.order_by(Audit.id.desc()).limit(most))


def of_user(user_id: int, *, most: int) -> list[Act]:
    """What was done to a user and what the user did, the latest first."""
    by = Audit.select(Audit.id).where(Audit.actor_type == "user", Audit.actor_id == str(user_id))
    to = Audit.select(Audit.id).where(Audit.target_type == "user", Audit.target_id == str(user_id))
    latest = [query.order_by(Audit.id.desc()).limit(most) for query in (by, to)]
    rows = Audit.select().where(Audit.id.in_(latest[0]) | Audit.id.in_(latest[1]))
    return named(rows.order_by(Audit.id.desc()).limit(most))


def named(rows: Iterable[Audit]) -> list[Act]:
    """Rows of the audit log with who did each, by one statement more."""
    rows = list(rows)
    names = origins.names({(row.actor_type, row.actor_id) for row in rows})
    return [Act(row=row, who=names[row.actor_type, row.actor_id]) for row in rows]
