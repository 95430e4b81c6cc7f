"""The decisions that were taken on a conflict, as the audit log has them."""

from dataclasses import dataclass
from datetime import datetime

from portal.access import origins
from portal.ingest.conflicts import OPEN
from portal.models import Audit, Conflict


@dataclass(frozen=True, kw_only=True)
class PastDecision:
    """One decision that was taken: when, by whom, and what it was before."""

    at: datetime
    who: origins.NamedOrigin
    choice: str
    before: str


def decisions(conflict: Conflict) -> list[PastDecision]:
    """The decisions of a conflict, the last one first."""
    acts = Audit.select().where(
        Audit.target_type == "conflict", Audit.target_id == str(conflict.id), Audit.action == "conflict:resolved"
    )
    rows = list(acts.order_by(Audit.id.desc()))
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
