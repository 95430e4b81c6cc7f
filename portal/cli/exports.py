"""`portal export`: copies of a project to an external storage."""

import json
from collections.abc import Sequence
from typing import IO, Any

import click

from portal.access.actors import operator
from portal.cli.context import ROW_ID, on_site
from portal.cli.paging import all_rows
from portal.cli.printing import Answer
from portal.cli.waiting import wait_for_job
from portal.errors import BadValue
from portal.exports import exports, request
from portal.exports import verify as export_verify
from portal.exports.request import Options
from portal.jobs import jobs
from portal.jobs.kinds import KINDS
from portal.jobs.records import JobResult
from portal.models import Job

SELECTION_LEVELS = ("subject", "session", "search")
MAX_RULES_BYTES = 100_000


@click.group("export")
def export() -> None:
    """Copies of projects in external storage, each with a manifest."""


@export.command("start")
@click.argument("project", metavar="GROUP/PROJECT")
@click.option("--to", required=True, metavar="LABEL", help="The label of the storage.")
@click.option("--subject", metavar="LABEL", help="Only this subject.")
@click.option("--session", metavar="SUBJECT/SESSION", help="Only this session.")
@click.option("--search", metavar="TEXT", help="Only studies found by this text, such as a patient ID.")
@click.option("--path", metavar="TEMPLATE", help="The path of each object, such as {subject}/{modality|OT}/{file}.")
@click.option("--include", multiple=True, metavar="CONDITION", help="Include if this matches, such as: modality is MR.")
@click.option("--exclude", multiple=True, metavar="CONDITION", help="Exclude if this matches.")
@click.option("--rules", type=click.File("rb"), metavar="FILE", help="A JSON file with several rules.")
@click.option(
    "--existing", type=click.Choice(request.EXISTING), default="never", help="Which existing objects are overwritten."
)
@click.option(
    "--bandwidth",
    default="",
    metavar="SIZE",
    help="Bandwidth limit per second for sending, and for reading back, such as 10MB.",
)
@click.option(
    "--sidecars/--no-sidecars",
    default=True,
    show_default=True,
    help="A sidecar beside each object, so that an import loses no metadata.",
)
@click.option("--label", default="", help="The name of the export.")
@click.option("--dry-run", is_flag=True, help="Show what it would do, without writing anything.")
@click.option("--wait", is_flag=True, help="Wait until the job has ended.")
@on_site
def start(project: str, to: str, dry_run: bool, wait: bool, **given: Any) -> Answer:
    """Export what the project holds now."""
    begin = exports.dry_run if dry_run else exports.start
    job = begin(project, to=to, actor=operator(), options=_options(**given))
    if wait:
        job = wait_for_job(job.id)
    view = exports.view(job)
    what = "Dry run" if dry_run else "Export"
    is_counted = view["items"] or JobResult.load(job.result).is_planned
    of = exports.objects_in_words(view["items"]) if is_counted else "objects not counted yet"
    message = f"{what} {job.id} of {of}: {job.state}. {job.message}".strip()
    return Answer(view=view, message=message, failure=_failure(job) if wait else "")


def _options(
    *,
    subject: str | None,
    session: str | None,
    search: str | None,
    path: str | None,
    include: Sequence[str],
    exclude: Sequence[str],
    rules: IO[bytes] | None,
    **rest: Any,
) -> Options:
    only = [
        (level, text)
        for level, text in zip(SELECTION_LEVELS, (subject, session, search), strict=True)
        if text is not None
    ]
    if len(only) > 1:
        raise click.UsageError("Use only one of --subject, --session and --search")
    if rules is not None and (path or include or exclude):
        raise click.UsageError("--rules replaces --path, --include and --exclude")
    level, text = only[0] if only else ("project", "")
    one = [{"include": list(include), "exclude": list(exclude), "path": path}] if path or include or exclude else []
    return Options(level=level, only=text, rules=one if rules is None else _read(rules), **rest)


def _read(file: IO[bytes]) -> list[dict[str, Any]]:
    try:
        rules = json.loads(file.read(MAX_RULES_BYTES))
    except ValueError as error:
        raise BadValue(
            "The rules are not valid JSON. Write a list of rules as shown in docs/guide/exports.md."
        ) from error
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise BadValue("The rules are not a list of objects. See docs/guide/exports.md for an example.")
    return rules


@export.command("list")
@on_site
def list_() -> Answer:
    """List the exports, newest first."""
    return Answer(
        view=exports.views(all_rows(exports.list_recent)),
        columns=("id", "project", "storage", "state", "items", "bytes", "created"),
        empty="No exports yet. Start one with: portal export start",
    )


@export.command("show")
@click.argument("job_id", metavar="ID", type=ROW_ID)
@on_site
def show(job_id: int) -> Answer:
    """Show one export."""
    return Answer(view=exports.view(exports.get(job_id)))


@export.command("cancel")
@click.argument("job_id", metavar="ID", type=ROW_ID)
@on_site
def cancel(job_id: int) -> Answer:
    """Cancel an export or dry run after its current object. Objects already sent remain."""
    exports.get(job_id)
    jobs.cancel(job_id, actor=operator())
    job = exports.get(job_id)
    return Answer(view=exports.view(job), message=f"Export {job_id}: {job.state}.")


@export.command("verify")
@click.argument("job_id", metavar="ID", type=ROW_ID)
@click.option("--wait", is_flag=True, help="Wait for the end; exit code 1 if anything differs.")
@on_site
def verify(job_id: int, wait: bool) -> Answer:
    """Read back every object of an export and compare it with the manifest."""
    job = export_verify.start(job_id, actor=operator())
    if wait:
        job = wait_for_job(job.id)
    message = f"Verification {job.id} of export {job_id}: {job.state}. {job.message}".strip()
    return Answer(view=export_verify.view(job), message=message, failure=_failure(job) if wait else "")


def _failure(job: Job) -> str:
    if job.state == "done":
        return ""
    return f"{KINDS[job.kind].label} {job.id} ended {job.state}: {job.message or 'see portal export show'}"


commands = (export,)
