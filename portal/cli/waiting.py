"""Waiting for a job's end on the command line."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from portal.cli.printing import print_error, printable
from portal.errors import Unreachable
from portal.jobs import jobs, lanes, progress
from portal.models import Job

POLL_SECONDS = 0.1
NOTICE_SECONDS = 1.0
"""Seconds between two looks at what it waits for."""


def wait_for_job(job_id: int, *, patience: float | None = None) -> Job:
    """The job's row once it is over. Raises Unreachable if it is not after `patience` seconds; None: however long.

    On a terminal a line of stderr shows how far it is; a pipe gets nothing of that.
    """
    begun = looked = time.monotonic()
    told = ""
    with _progress() as show:
        while (job := jobs.get(job_id)).state not in progress.ENDED_STATES:
            show(job)
            moment = time.monotonic()
            if patience is not None and moment - begun > patience:
                still = f"Job {job_id} is still {job.state} after {patience:.0f} s."
                raise Unreachable(f"{still} {lanes.wait_reason(job)}".strip())
            if moment - looked > NOTICE_SECONDS:
                told, looked = _tell(job, told), moment
            time.sleep(POLL_SECONDS)
    return job


def _tell(job: Job, told: str) -> str:
    """Say on stderr what it waits for, where that is not what was told last; returns what has been told."""
    reason = lanes.wait_reason(job)
    if reason and reason not in (told, lanes.WORKER_FREE):
        print_error(f"Job {job.id}: {reason}")
    return reason or told


@contextmanager
def _progress() -> Iterator[Callable[[Job], None]]:
    if not sys.stderr.isatty():
        yield lambda _job: None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")

        def show(job: Job) -> None:
            label = f"{jobs.KINDS[job.kind].label} {job.id}, {job.state}"
            bar.update(task, description=printable(label), total=job.total or None, completed=job.done + job.failed)

        yield show
