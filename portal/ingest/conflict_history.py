"""The decisions on a conflict, from the audit log."""

from dataclasses import dataclass
from datetime import datetime

from portal.access import origins
from portal.ingest.conflicts import OPEN
from portal.models import Audit, Conflict


@dataclass(frozen=True, kw_only=True)
class PastDecision:
    """One decision: when, by whom, and the choice before it."""

    at: datetime
    who: origins.NamedOrigin
    choice: str
    before: str


def decisions(conflict: Conflict) -> list[PastDecision]:
    """The decisions on a conflict, the last one first."""
    events = Audit.select().where(
        Audit.target_type == "conflict", Audit.target_id == str(conflict.id), Audit.action == "conflict:resolved"
    )
    rows = list(events.order_by(Audit.id.desc()))
    names = origins.names((row.actor_type, row.actor_id) for row in rows)
    return [
        PastDecision(
            at=row.at,
            who=names[row.actor_type, row.actor_id],
            choice=row.detail.get("choice", ""),
            before=row.detail.get("before", OPEN),
        )
        for row in rows
    ]
