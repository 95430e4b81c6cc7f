"""`portal export`: copies of a project to an external storage."""

import click

from portal import exports, jobs
from portal.cli.door import NotAvailable, on_site
from portal.cli.later import export_verify
from portal.cli.paging import whole
from portal.cli.printing import Answer
from portal.cli.waiting import until_over
from portal.models import Job
from portal.provenance import operator

ID = click.IntRange(1, 2**63 - 1)


@click.group("export")
def export() -> None:
    """Copy a project to an external storage, with a manifest."""


@export.command("start")
@click.argument("project", metavar="GROUP/PROJECT")
@click.option("--to", required=True, metavar="LABEL", help="The storage.")
@click.option("--dry-run", is_flag=True, help="Not available yet.")
@click.option("--wait", is_flag=True, help="Return when it is over.")
@on_site
def start(project: str, to: str, dry_run: bool, wait: bool) -> Answer:
    """Start an export of everything that the project holds at this moment."""
    if dry_run:
        raise NotAvailable("Not available yet: --dry-run.")
    job = exports.start(project, to=to, actor=operator())
    if wait:
        job = until_over(job.id)
    view = exports.view(job)
    sentence = f"Export {job.id} of {view['items']} objects: {job.state}. {job.sentence}".strip()
    return Answer(view=view, sentence=sentence, failure=_failure(job) if wait else "")


@export.command("list")
@on_site
def list_() -> Answer:
    """List the exports, the latest first."""
    return Answer(
        view=[exports.view(job) for job in whole(exports.every)],
        columns=("id", "project", "storage", "state", "items", "bytes", "created"),
        empty="No export yet. Start one with: portal export start",
    )


@export.command("show")
@click.argument("job_id", metavar="ID", type=ID)
@on_site
def show(job_id: int) -> Answer:
    """Show one export."""
    return Answer(view=exports.view(exports.get(job_id)))


@export.command("cancel")
@click.argument("job_id", metavar="ID", type=ID)
@on_site
def cancel(job_id: int) -> Answer:
    """Stop an export after the object that it is at; what was sent stays."""
    exports.get(job_id)
    jobs.cancel(job_id, actor=operator())
    job = exports.get(job_id)
    return Answer(view=exports.view(job), sentence=f"Export {job_id}: {job.state}.")


export.add_command(export_verify)


def _failure(job: Job) -> str:
    if job.state == "done":
        return ""
    return f"Export {job.id} ended {job.state}: {job.sentence or 'see portal export show'}"


commands = (export,)
