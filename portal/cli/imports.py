"""`portal import`: objects of an external storage, copied into a project."""

from typing import Any

import click

from portal.access.actors import operator
from portal.cli.context import ROW_ID, on_site
from portal.cli.paging import all_rows
from portal.cli.printing import Answer
from portal.cli.waiting import wait_for_job
from portal.imports import imports, request
from portal.imports.request import ImportRequest
from portal.jobs import jobs
from portal.jobs.kinds import KINDS


@click.group("import")
def import_() -> None:
    """Import objects from an external storage into a project."""


@import_.command("start")
@click.argument("storage", metavar="LABEL")
@click.option("--to", required=True, metavar="GROUP/PROJECT", help="The project.")
@click.option("--prefix", default="", metavar="P", help="The folder to import. Default: everything.")
@click.option(
    "--by",
    type=click.Choice(request.PLACEMENT_SOURCES),
    default="headers",
    help="What decides where an object belongs: its DICOM header, the manifest of an export, or its path.",
)
@click.option("--path", default="", metavar="TEMPLATE", help="With --by path: {subject}/{session}/{acquisition}/{file}")
@click.option("--include", multiple=True, metavar="PATTERN", help="Include if any matches, such as *.dcm")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Exclude if any matches.")
@click.option("--dry-run", is_flag=True, help="Show what it would do, without importing anything.")
@click.option("--wait", is_flag=True, help="Wait for the end; exit code 1 if any object failed.")
@on_site
def start(storage: str, dry_run: bool, wait: bool, **given: Any) -> Answer:
    """Start an import."""
    begin = imports.dry_run if dry_run else imports.start
    job = begin(ImportRequest(of=storage, **given), actor=operator())
    if wait:
        job = wait_for_job(job.id)
    title = f"{KINDS[job.kind].label} {job.id}"
    failure = f"{title} ended {job.state}: {job.message or 'see portal import show'}"
    return Answer(
        view=imports.view(job),
        message=f"{title}: {job.state}. {job.message}".strip(),
        failure=failure if wait and job.state != "done" else "",
    )


@import_.command("list")
@on_site
def list_() -> Answer:
    """List the imports, newest first."""
    return Answer(
        view=[imports.view(job) for job in all_rows(imports.list_all)],
        columns=("id", "storage", "prefix", "project", "by", "state", "items", "created"),
        empty="No imports yet. Start one with: portal import start",
    )


@import_.command("show")
@click.argument("job_id", metavar="ID", type=ROW_ID)
@on_site
def show(job_id: int) -> Answer:
    """Show one import or dry run."""
    return Answer(view=imports.view(imports.get(job_id)))


@import_.command("cancel")
@click.argument("job_id", metavar="ID", type=ROW_ID)
@on_site
def cancel(job_id: int) -> Answer:
    """Cancel an import after its current object. Objects already imported remain."""
    imports.get(job_id)
    jobs.cancel(job_id, actor=operator())
    job = imports.get(job_id)
    return Answer(view=imports.view(job), message=f"Import {job_id}: {job.state}.")


commands = (import_,)
