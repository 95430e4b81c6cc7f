"""`portal verify`: the verification of the whole site."""

import threading
import time

import click

from portal import runtime
from portal.access.actors import operator
from portal.cli.context import on_site
from portal.cli.printing import Answer
from portal.cli.waiting import wait_for_job
from portal.jobs import jobs, runs
from portal.jobs.progress import ENDED_STATES
from portal.jobs.records import JobParams
from portal.models import Job
from portal.processes import startup
from portal.storage import storages
from portal.storage_drivers.destination import Destination
from portal.verification import verification

RETRY_SECONDS = 0.5


@click.command("verify")
@click.option("--wait", is_flag=True, help="Wait for the end; exit code 1 if a problem is found.")
@click.option("--all-headers", is_flag=True, help="Compare each object with the index; otherwise a sample of 2,000.")
@click.option(
    "--accept-restore",
    metavar="REASON",
    help="First accept that the database was restored or rebuilt on purpose; the reason is kept in the audit log.",
)
@click.option(
    "--anchor",
    metavar="NUMBER:HASH",
    help="First compare the audit log with an anchor that syslog received: its entries= and hash=.",
)
@on_site
def verify_(wait: bool, all_headers: bool, accept_restore: str | None, anchor: str | None) -> Answer:
    """Verify the site: audit log, archive, files, index and manifests. While the site is stopped, it runs here."""
    if anchor is not None:
        verification.require_anchor(anchor)
    if accept_restore is not None:
        verification.accept_restore(accept_restore, actor=operator())
    runs_here = startup.holder(runtime.current()) is None
    job = verification.start(actor=operator(), all_headers=all_headers, enqueue=not runs_here)
    if runs_here:
        job = _run_here(job.id)
    elif wait:
        job = wait_for_job(job.id)
    else:
        message = (
            f"Verification {job.id} is {job.state}. For its result: portal verify --wait, or Activity, Verification."
        )
        return Answer(view=verification.view(job), message=message)
    view = verification.view(job)
    problems = [f"{problem['subject']}: {problem['message']}" for problem in view["problems"]]
    message = job.message if job.state in ("done", "errors") else f"Verification {job.id}: {job.state}. {job.message}"
    failure = "" if job.state == "done" else message
    return Answer(view=view, message=message, report="\n".join(problems), failure=failure)


def _run_here(job_id: int) -> Job:
    """Run it in this process, since no worker does. After Ctrl-C the next call continues."""
    shown = threading.Thread(target=_show_progress, args=(job_id,), daemon=True)
    shown.start()
    while True:
        runs.perform(job_id, lambda run: verification.run(run, open_storage=_open_storage))
        job = jobs.get(job_id)
        if job.state in ENDED_STATES:
            shown.join()
            return job
        time.sleep(RETRY_SECONDS)  # a run that was killed a moment ago still holds it


def _show_progress(job_id: int) -> None:
    with runtime.connection():
        wait_for_job(job_id)


def _open_storage(job: Job) -> Destination:
    return storages.open(storages.by_id(JobParams.load(job.params).storage_id))


commands = (verify_,)
