"""`portal job`: background jobs of every kind."""

from typing import Any

import click

from portal.access.actors import operator
from portal.cli.context import ROW_ID, on_site
from portal.cli.printing import Answer
from portal.jobs import jobs, lanes
from portal.jobs.kinds import KINDS, RETRIEVAL_KINDS
from portal.jobs.progress import ACTIVE_STATES, ENDED_STATES
from portal.models import Job
from portal.retrievals import retries

DEFAULT_KINDS = tuple(kind for kind in KINDS if kind not in RETRIEVAL_KINDS)


@click.group("job")
def job() -> None:
    """Background jobs: exports, imports, sends, tests, echoes and retrievals by peers."""


@job.command("list")
@click.option(
    "--kind",
    type=click.Choice((*DEFAULT_KINDS, "retrieval")),
    help="Only this kind; retrieval is C-MOVE and C-GET by peers.",
)
@click.option(
    "--state",
    type=click.Choice(("active", *ACTIVE_STATES, *ENDED_STATES)),
    help="Only this state; active is any that has not ended.",
)
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=100, show_default=True, help="The maximum number of jobs."
)
@on_site
def list_(kind: str | None, state: str | None, limit: int) -> Answer:
    """List jobs, newest first. Retrievals by peers are listed only with --kind retrieval."""
    kinds = RETRIEVAL_KINDS if kind == "retrieval" else (kind,) if kind else DEFAULT_KINDS
    rows = jobs.list_recent(limit, state=state or "", kinds=kinds)
    reasons = lanes.wait_reasons(rows)
    return Answer(
        view=[_view(row, reasons.get(row.id, "")) for row in rows],
        columns=("id", "label", "what", "state", "done", "total", "started_by", "created"),
        empty="No jobs found.",
    )


@job.command("show")
@click.argument("job_id", metavar="ID", type=ROW_ID)
@on_site
def show(job_id: int) -> Answer:
    """Show one job."""
    row = jobs.get(job_id)
    return Answer(view=_view(row, lanes.wait_reason(row)))


@job.command("cancel")
@click.argument("job_id", metavar="ID", type=ROW_ID)
@on_site
def cancel(job_id: int) -> Answer:
    """Cancel a job after its current object. Completed objects are kept."""
    row = jobs.cancel(job_id, actor=operator())
    return Answer(view=_view(row, ""), message=f"{KINDS[row.kind].label} {job_id}: {row.state}.")


@job.command("retry")
@click.argument("job_id", metavar="ID", type=ROW_ID)
@on_site
def retry(job_id: int) -> Answer:
    """Retry what failed in an ended job. What failed in a retrieval by a peer is sent by a job of its own."""
    row = retries.retry(job_id, actor=operator())
    return Answer(view=_view(row, ""), message=f"{KINDS[row.kind].label} {row.id}: {row.state}.")


def _view(row: Job, waits_for: str) -> dict[str, Any]:
    return {**jobs.view(row), "waits_for": waits_for or None}


commands = (job,)
