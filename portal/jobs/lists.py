"""The list of jobs, and what the lists of exports and imports have in common with it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from peewee import Case

from portal.access import origins
from portal.jobs import jobs, lanes
from portal.jobs.kinds import KINDS, RETRIEVAL_KINDS
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
"""For jobs that copy objects: exports and imports."""
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
    """Why it waits, where only busy workers hold it up."""


def state_expression() -> Any:
    return Case(None, [(Job.state.in_(ACTIVE_STATES), "active")], Job.state)


def with_wait_reasons(
    views: Callable[[Sequence[Job]], list[dict[str, Any]]], rows: Sequence[Job]
) -> list[dict[str, Any]]:
    """Views of exports or imports, each with what it waits for."""
    reasons = lanes.wait_reasons(rows)
    return [{**view, "waits_for": reasons.get(view["id"], "")} for view in views(rows)]


KIND_FILTERS = (
    ("", "All but what peers retrieve"),
    *((name, kind.label) for name, kind in KINDS.items() if kind.runner),
    ("retrieval", "Retrievals by peers"),
)
"""What the list of jobs may be narrowed to: the word in the address, and what people read."""


def _is_one_of(kinds: Sequence[str]) -> Callable[[], Any]:
    return lambda: Job.kind.in_(kinds)


def _rows(rows: Sequence[Job]) -> list[JobRow]:
    names = origins.names((row.origin_type, row.origin_id) for row in rows)
    reasons = lanes.wait_reasons(rows)
    return [
        JobRow(view=jobs.view(row), who=names[row.origin_type, row.origin_id], waits_for=reasons.get(row.id, ""))
        for row in rows
    ]


JOBS = LongList(
    table=Job,
    rows=Job.select,
    views=_rows,
    state=state_expression,
    kinds={
        "": _is_one_of([name for name, kind in KINDS.items() if kind.runner]),
        **{name: _is_one_of([name]) for name, kind in KINDS.items() if kind.runner},
        "retrieval": _is_one_of(RETRIEVAL_KINDS),
    },
    searched=(*SEARCHED_COLUMNS, Job.kind),
    sorts={
        **JOB_SORTS,
        "by": lambda: Job.started_by.collate("NOCASE"),
        "began": lambda: Job.started,
    },
    usual="-number",
    heads=(
        *("Job", "Kind", "What", "State", "Message", "Done", "Failed", "Total", "Started by", "Requested", "Began"),
        *("Ended", "Attempts"),
    ),
    cells=lambda row: tuple(row.view[name] for name in JOB_CELLS),
)
