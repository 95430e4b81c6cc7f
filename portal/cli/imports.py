"""`portal import`: what lies in an external storage, taken into a project."""

from typing import Any

import click

from portal.access.actors import operator
from portal.cli.context import on_site
from portal.cli.paging import all_rows
from portal.cli.printing import Answer
from portal.cli.waiting import wait_for_job
from portal.imports import imports, request
from portal.imports.request import ImportRequest
from portal.jobs import jobs
from portal.models import Job

ID = click.IntRange(1, 2**63 - 1)


@click.group("import")
def import_() -> None:
    """Take into a project what lies in an external storage."""


@import_.command("start")
@click.argument("storage", metavar="LABEL")
@click.option("--to", required=True, metavar="GROUP/PROJECT", help="The project.")
@click.option("--prefix", default="", metavar="P", help="The folder there; without it, everything.")
@click.option(
    "--by",
    type=click.Choice(request.PLACEMENT_SOURCES),
    default="headers",
    help="What says where an object belongs: its DICOM header, the manifest of an export, or its path.",
)
@click.option("--path", default="", metavar="TEMPLATE", help="With --by path: {subject}/{session}/{acquisition}/{file}")
@click.option("--include", multiple=True, metavar="PATTERN", help="Take only what matches this, such as *.dcm")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave out what matches this.")
@click.option("--dry-run", is_flag=True, help="Find out what it would do; nothing is taken in.")
@click.option("--wait", is_flag=True, help="Return when it is over; exit code 1 where something was refused.")
@on_site
def start(storage: str, dry_run: bool, wait: bool, **given: Any) -> Answer:
    """Start an import."""
    begin = imports.dry_run if dry_run else imports.start
    job = begin(ImportRequest(of=storage, **given), actor=operator())
    if wait:
        job = wait_for_job(job.id)
    label = jobs.KINDS[job.kind].label
    message = f"{label} {job.id}: {job.state}. {job.message}".strip()
    return Answer(view=imports.view(job), message=message, failure=_failure(job) if wait else "")


@import_.command("list")
@on_site
def list_() -> Answer:
    """List the imports, the latest first."""
    return Answer(
        view=[imports.view(job) for job in all_rows(imports.list_all)],
        columns=("id", "storage", "prefix", "project", "by", "state", "items", "created"),
        empty="No import yet. Start one with: portal import start",
    )


@import_.command("show")
@click.argument("job_id", metavar="ID", type=ID)
@on_site
def show(job_id: int) -> Answer:
    """Show one import, or its dry run."""
    return Answer(view=imports.view(imports.get(job_id)))


@import_.command("cancel")
@click.argument("job_id", metavar="ID", type=ID)
@on_site
def cancel(job_id: int) -> Answer:
    """Stop an import after what it is at; what has come in stays."""
    imports.get(job_id)
    jobs.cancel(job_id, actor=operator())
    job = imports.get(job_id)
    return Answer(view=imports.view(job), message=f"Import {job_id}: {job.state}.")


def _failure(job: Job) -> str:
    if job.state == "done":
        return ""
    return f"{jobs.KINDS[job.kind].label} {job.id} ended {job.state}: {job.message or 'see portal import show'}"


commands = (import_,)
