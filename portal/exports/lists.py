"""The list of exports."""

from portal.exports import exports
from portal.jobs.kinds import EXPORT_KINDS
from portal.jobs.lists import OBJECT_JOB_SORTS, SEARCHED_COLUMNS, state_expression, with_wait_reasons
from portal.listing import LongList
from portal.models import Job

EXPORTS = LongList(
    table=Job,
    rows=lambda: Job.select().where(Job.kind.in_(EXPORT_KINDS)),
    views=lambda rows: with_wait_reasons(exports.views, rows),
    state=state_expression,
    searched=SEARCHED_COLUMNS,
    sorts=OBJECT_JOB_SORTS,
    usual="-number",
    heads=(
        *("Export", "Project", "To", "State", "What happened", "Objects", "Arrived", "Failed", "Bytes"),
        *("Started by", "Asked for", "Ended", "Manifest SHA-256"),
    ),
    cells=lambda row: (
        *(row["id"], row["project"], row["to"], row["state"], row["message"], row["items"], row["arrived"]),
        *(row["failed"], row["bytes"], row["started_by"], row["created"], row["ended"]),
        (row["manifest"] or {}).get("sha256"),
    ),
)
