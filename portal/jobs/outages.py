"""Absences: a storage or peer that is away is waited for, a day from when its job last got something done."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from portal.models import Job

MAX_OUTAGE = timedelta(hours=24)
FIRST_WAIT = timedelta(seconds=10)
MAX_WAIT = timedelta(minutes=10)


@dataclass(frozen=True, kw_only=True)
class Outage:
    """Kept on a job from the first run that found the place away; what a later run gets done begins another one."""

    since: datetime
    tries: int
    """Runs that found it away."""
    done: int
    """How far the job was."""
    message: str
    """What the last of them was told."""

    @property
    def until(self) -> datetime:
        """When it is tried for the last time."""
        return self.since + MAX_OUTAGE

    def next_try(self, moment: datetime) -> datetime:
        """After as long again as it has lasted, within bounds."""
        wait = min(max(moment - self.since, FIRST_WAIT), MAX_WAIT)
        return min(moment + wait, self.until)

    def as_row(self) -> dict[str, Any]:
        """What the job's result keeps of it."""
        return {**vars(self), "since": self.since.isoformat()}


def for_job(job: Job) -> Outage | None:
    """The one that a job has met and not got over."""
    kept = job.result.get("away")
    if kept is None or kept["done"] < job.done:
        return None
    return Outage(**{**kept, "since": datetime.fromisoformat(kept["since"])})


def extend(job: Job, message: str, moment: datetime) -> Outage:
    """The one that a run has met just now: the same one still, or the first. The clock may have been set back."""
    before = for_job(job)
    since, tries = (min(before.since, moment), before.tries) if before else (moment, 0)
    return Outage(since=since, tries=tries + 1, done=job.done, message=message)
