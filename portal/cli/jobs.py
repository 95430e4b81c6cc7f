"""`portal job`: what runs in the background, of every kind."""

from typing import Any

import click

from portal.access.actors import operator
from portal.cli.context import on_site
from portal.cli.printing import Answer
from portal.jobs import jobs, lanes
from portal.jobs.jobs import RETRIEVAL_KINDS
from portal.jobs.progress import ACTIVE_STATES, ENDED_STATES
from portal.models import Job

ID = click.IntRange(1, 2**63 - 1)
DEFAULT_KINDS = tuple(kind for kind in jobs.KINDS if kind not in RETRIEVAL_KINDS)


@click.group("job")
def job() -> None:
    """What runs in the background: exports, imports, sends, tests, echoes, and what peers retrieve."""


@job.command("list")
@click.option(
    "--kind", type=click.Choice((*DEFAULT_KINDS, "retrieval")), help="Only these; retrieval is what peers move and get."
)
@click.option(
    "--state",
    type=click.Choice(("active", *ACTIVE_STATES, *ENDED_STATES)),
    help="Only these; active is what is not over.",
)
@click.option("--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="At most so many.")
@on_site
def list_(kind: str | None, state: str | None, limit: int) -> Answer:
    """List jobs, the latest first; what peers retrieve is left out unless it is asked for."""
    kinds = RETRIEVAL_KINDS if kind == "retrieval" else (kind,) if kind else DEFAULT_KINDS
    rows = jobs.list_recent(limit, state=state or "", kinds=kinds)
    reasons = lanes.wait_reasons(rows)
    return Answer(
        view=[_view(row, reasons.get(row.id, "")) for row in rows],
        columns=("id", "label", "what", "state", "done", "total", "started_by", "created"),
        empty="No such job.",
    )


@job.command("show")
@click.argument("job_id", metavar="ID", type=ID)
@on_site
def show(job_id: int) -> Answer:
    """Show one job."""
    row = jobs.get(job_id)
    return Answer(view=_view(row, lanes.wait_reason(row)))


@job.command("cancel")
@click.argument("job_id", metavar="ID", type=ID)
@on_site
def cancel(job_id: int) -> Answer:
    """Stop a job after what it is at; what it has done stays."""
    row = jobs.cancel(job_id, actor=operator())
    return Answer(view=_view(row, ""), message=f"{jobs.KINDS[row.kind].label} {job_id}: {row.state}.")


def _view(row: Job, waits_for: str) -> dict[str, Any]:
    return {**jobs.view(row), "waits_for": waits_for or None}


commands = (job,)
