"""Waiting for the end of a job, with its progress on a terminal."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from portal.cli.printing import print_error, printable
from portal.errors import Unreachable
from portal.jobs import jobs, lanes, progress
from portal.jobs.kinds import KINDS
from portal.models import Job

POLL_SECONDS = 0.1
NOTICE_SECONDS = 1.0
"""How often the reason for waiting is checked."""


def wait_for_job(job_id: int, *, patience: float | None = None) -> Job:
    """Wait for a job and return its row. Raises Unreachable after `patience` seconds; None waits without limit.

    Progress is shown on stderr if that is a terminal.
    """
    begun = checked = time.monotonic()
    last_reason = ""
    with _progress() as show:
        while (job := jobs.get(job_id)).state not in progress.ENDED_STATES:
            show(job)
            moment = time.monotonic()
            if patience is not None and moment - begun > patience:
                still = f"Job {job_id} is still {job.state} after {patience:.0f} s."
                raise Unreachable(f"{still} {lanes.wait_reason(job)}".strip())
            if moment - checked > NOTICE_SECONDS:
                reason, checked = lanes.wait_reason(job), moment
                if reason and reason not in (last_reason, lanes.WORKER_FREE):
                    print_error(f"Job {job.id}: {reason}")
                last_reason = reason or last_reason
            time.sleep(POLL_SECONDS)
    return job


@contextmanager
def _progress() -> Iterator[Callable[[Job], None]]:
    if not sys.stderr.isatty():
        yield lambda _job: None
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")

        def show(job: Job) -> None:
            label = f"{KINDS[job.kind].label} {job.id}, {job.state}"
            bar.update(task, description=printable(label), total=job.total or None, completed=job.done + job.failed)

        yield show
