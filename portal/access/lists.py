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
    heads=(
        *("Event", "Time", "Actor type", "Actor number", "Actor", "Via", "Address"),
        *("Action", "Target type", "Target", "Detail"),
    ),
    cells=lambda entry: (
        *(entry.row.id, entry.row.at, entry.who.type, entry.who.id, entry.who.name, entry.row.via, entry.row.address),
        *(entry.row.action, entry.row.target_type, entry.row.target_id, entry.row.detail),
    ),
)
