"""The list of exports."""

from portal.exports import exports
from portal.jobs.lists import OBJECT_SORTS, SEARCHED, job_state, with_reasons
from portal.listing import LongList
from portal.models import Job

EXPORTS = LongList(
    table=Job,
    rows=lambda: Job.select().where(Job.kind.in_(exports.KINDS)),
    views=lambda rows: with_reasons(exports.views, rows),
    state=job_state,
    searched=SEARCHED,
    sorts=OBJECT_SORTS,
    usual="-number",
    heads=(
        *("Export", "Project", "To", "State", "What happened", "Objects", "Arrived", "Failed", "Bytes"),
        *("Started by", "Asked for", "Ended", "Manifest SHA-256"),
    ),
    cells=lambda row: (
        *(row["id"], row["project"], row["to"], row["state"], row["sentence"], row["items"], row["arrived"]),
        *(row["failed"], row["bytes"], row["started_by"], row["created"], row["ended"]),
        (row["manifest"] or {}).get("sha256"),
    ),
)
