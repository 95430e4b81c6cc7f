"""The audit log as a list."""

from portal.access import audit_entries
from portal.listing import LongList
from portal.models import Audit

AUDIT = LongList(
    table=Audit,
    rows=Audit.select,
    views=audit_entries.with_names,
    state=lambda: Audit.target_type,
    searched=(Audit.action, Audit.target_id, Audit.address, Audit.via, Audit.actor_id),
    also=audit_entries.search_conditions,
    sorts={
        "at": lambda: Audit.id,
        "action": lambda: Audit.action,
        "by": lambda: Audit.actor_type.concat(" ").concat(Audit.actor_id),
    },
    usual="-at",
    heads=("Act", "When", "Who", "Number", "Name", "By way of", "Address", "What", "On", "Which", "Detail"),
    cells=lambda act: (
        *(act.row.id, act.row.at, act.who.type, act.who.id, act.who.name, act.row.via, act.row.address),
        *(act.row.action, act.row.target_type, act.row.target_id, act.row.detail),
    ),
)
