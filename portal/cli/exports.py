"""`portal export`: copies of a project to an external storage."""

import json
from collections.abc import Sequence
from typing import IO, Any

import click

from portal.access.actors import operator
from portal.cli.context import on_site
from portal.cli.paging import all_rows
from portal.cli.printing import Answer
from portal.cli.waiting import wait_for_job
from portal.errors import BadValue
from portal.exports import exports, request
from portal.exports import verify as export_verify
from portal.exports.request import Options
from portal.jobs import jobs
from portal.models import Job

SELECTION_LEVELS = ("subject", "session", "search")
MAX_RULES_BYTES = 100_000
ID = click.IntRange(1, 2**63 - 1)


@click.group("export")
def export() -> None:
    """Copy a project to an external storage, with a manifest."""


@export.command("start")
@click.argument("project", metavar="GROUP/PROJECT")
@click.option("--to", required=True, metavar="LABEL", help="The storage.")
@click.option("--subject", metavar="LABEL", help="Only this subject.")
@click.option("--session", metavar="SUBJECT/SESSION", help="Only this session.")
@click.option("--search", metavar="TEXT", help="Only the studies that this finds, such as a patient ID.")
@click.option("--path", metavar="TEMPLATE", help="Where each object goes, such as {subject}/{modality|OT}/{file}.")
@click.option("--include", multiple=True, metavar="CONDITION", help="Take what meets this, such as: modality is MR.")
@click.option("--exclude", multiple=True, metavar="CONDITION", help="Leave out what meets this.")
@click.option("--rules", type=click.File("rb"), metavar="FILE", help="Several rules, as JSON.")
@click.option("--existing", type=click.Choice(request.EXISTING), default="never", help="What is written over.")
@click.option(
    "--bandwidth",
    default="",
    metavar="SIZE",
    help="The most that is sent in a second, and that is read back, such as 10MB.",
)
@click.option(
    "--sidecars/--no-sidecars",
    default=True,
    show_default=True,
    help="A document beside each object, enough to import it with nothing lost.",
)
@click.option("--label", default="", help="What the export is called.")
@click.option("--dry-run", is_flag=True, help="Find out what it would do; nothing is written there.")
@click.option("--wait", is_flag=True, help="Return when it is over.")
@on_site
def start(project: str, to: str, dry_run: bool, wait: bool, **given: Any) -> Answer:
    """Start an export of what the project holds at this moment."""
    begin = exports.dry_run if dry_run else exports.start
    job = begin(project, to=to, actor=operator(), options=_options(**given))
    if wait:
        job = wait_for_job(job.id)
    view = exports.view(job)
    what = "Dry run" if dry_run else "Export"
    is_counted = view["items"] or job.result.get("planned")
    of = exports.objects_in_words(view["items"]) if is_counted else "objects that are not counted yet"
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
        raise click.UsageError("Choose one of --subject, --session and --search.")
    if rules is not None and (path or include or exclude):
        raise click.UsageError("--rules has all rules; leave out --path, --include and --exclude.")
    level, text = only[0] if only else ("project", "")
    one = [{"include": list(include), "exclude": list(exclude), "path": path}] if path or include or exclude else []
    return Options(level=level, only=text, rules=one if rules is None else _read(rules), **rest)


def _read(file: IO[bytes]) -> list[dict[str, Any]]:
    try:
        rules = json.loads(file.read(MAX_RULES_BYTES))
    except ValueError as error:
        raise BadValue("The rules are no JSON; write a list of rules, as docs/guide/exports.md shows.") from error
    if not isinstance(rules, list) or not all(isinstance(rule, dict) for rule in rules):
        raise BadValue("The rules are not a list of objects; docs/guide/exports.md shows one.")
    return rules


@export.command("list")
@on_site
def list_() -> Answer:
    """List the exports, the latest first."""
    return Answer(
        view=exports.views(all_rows(exports.list_recent)),
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
    """Stop an export or dry run after what it is at; what was sent stays."""
    exports.get(job_id)
    jobs.cancel(job_id, actor=operator())
    job = exports.get(job_id)
    return Answer(view=exports.view(job), message=f"Export {job_id}: {job.state}.")


@export.command("verify")
@click.argument("job_id", metavar="ID", type=ID)
@click.option("--wait", is_flag=True, help="Return when it is over; exit code 1 where anything differs.")
@on_site
def verify(job_id: int, wait: bool) -> Answer:
    """Read everything back that an export has sent, and compare it with its manifest."""
    job = export_verify.start(job_id, actor=operator())
    if wait:
        job = wait_for_job(job.id)
    message = f"Verification {job.id} of export {job_id}: {job.state}. {job.message}".strip()
    return Answer(view=export_verify.view(job), message=message, failure=_failure(job) if wait else "")


def _failure(job: Job) -> str:
    if job.state == "done":
        return ""
    return f"{jobs.KINDS[job.kind].label} {job.id} ended {job.state}: {job.message or 'see portal export show'}"


commands = (export,)
