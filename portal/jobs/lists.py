"""The list of jobs, and what the lists of exports and imports have in common with it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from peewee import Case

from portal.access import origins
from portal.jobs import jobs, lanes
from portal.jobs.jobs import RETRIEVAL_KINDS
from portal.jobs.progress import ACTIVE_STATES
from portal.listing import LongList
from portal.models import Job

SEARCHED_COLUMNS = (Job.what, Job.message, Job.started_by)
JOB_SORTS: dict[str, Callable[[], Any]] = {
    "number": lambda: Job.id,
    "what": lambda: Job.what.collate("NOCASE"),
    "state": lambda: Job.state,
}
OBJECT_JOB_SORTS = {**JOB_SORTS, "objects": lambda: Job.total}
"""Of jobs that copy objects: exports and imports."""
JOB_CELLS = (
    *("id", "label", "what", "state", "message", "done", "failed", "total", "started_by", "created", "started"),
    *("ended", "attempts"),
)


@dataclass(frozen=True, kw_only=True)
class JobRow:
    """A job as its page shows it, and who asked for it."""

    view: dict[str, Any]
    who: origins.NamedOrigin
    waits_for: str
    """What holds it up where only busy workers do."""


def state_expression() -> Any:
    return Case(None, [(Job.state.in_(ACTIVE_STATES), "active")], Job.state)


def _job_rows(rows: Sequence[Job]) -> list[JobRow]:
    names = origins.names((row.origin_type, row.origin_id) for row in rows)
    reasons = lanes.wait_reasons(rows)
    return [
        JobRow(view=jobs.view(row), who=names[row.origin_type, row.origin_id], waits_for=reasons.get(row.id, ""))
        for row in rows
    ]


def with_wait_reasons(
    views: Callable[[Sequence[Job]], list[dict[str, Any]]], rows: Sequence[Job]
) -> list[dict[str, Any]]:
    """Views of exports or imports, each with what it waits for."""
    reasons = lanes.wait_reasons(rows)
    return [{**view, "waits_for": reasons.get(view["id"], "")} for view in views(rows)]


KIND_FILTERS = (
    ("", "All but what peers retrieve"),
    *((name, kind.label) for name, kind in jobs.KINDS.items() if kind.run is not None),
    ("retrieval", "Retrievals by peers"),
)
"""What the list of jobs may be narrowed to: the word in the address, and what people read."""


def _kind(name: str) -> Callable[[], Any]:
    if name == "retrieval":
        return lambda: Job.kind.in_(RETRIEVAL_KINDS)
    if name:
        return lambda: Job.kind == name
    return lambda: Job.kind.in_([one for one in jobs.KINDS if one not in RETRIEVAL_KINDS])


JOBS = LongList(
    table=Job,
    rows=Job.select,
    views=_job_rows,
    state=state_expression,
    kinds={name: _kind(name) for name, _words in KIND_FILTERS},
    searched=(*SEARCHED_COLUMNS, Job.kind),
    sorts={
        **JOB_SORTS,
        "by": lambda: Job.started_by.collate("NOCASE"),
        "began": lambda: Job.started,
    },
    usual="-number",
    heads=(
        *("Job", "Kind", "What", "State", "What happened", "Done", "Failed", "Of", "Started by", "Asked for", "Began"),
        *("Ended", "Attempts"),
    ),
    cells=lambda row: tuple(row.view[name] for name in JOB_CELLS),
)
