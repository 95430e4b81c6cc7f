"""Outages: a job waits for a storage or peer that is away, up to a day from when it last got something done."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from portal.models import Job

MAX_OUTAGE = timedelta(hours=24)
FIRST_WAIT = timedelta(seconds=10)
MAX_WAIT = timedelta(minutes=10)


@dataclass(frozen=True, kw_only=True)
class JobOutage:
    """Kept on a job from the first run that found its storage or peer away until a later run gets something done."""

    since: datetime
    tries: int
    """Runs that found it away."""
    done: int
    """How many items the job had done by then."""
    message: str
    """The error of the last of these runs."""

    @property
    def until(self) -> datetime:
        """When it is tried for the last time."""
        return self.since + MAX_OUTAGE

    def next_try(self, moment: datetime) -> datetime:
        """After as long again as the outage has lasted, within bounds."""
        wait = min(max(moment - self.since, FIRST_WAIT), MAX_WAIT)
        return min(moment + wait, self.until)

    def dump(self) -> dict[str, Any]:
        """As the job's result keeps it."""
        return {**vars(self), "since": self.since.isoformat()}


def for_job(job: Job) -> JobOutage | None:
    """The outage that the job has met, and has got nothing done since."""
    kept = job.result.get("away")
    if kept is None or kept["done"] < job.done:
        return None
    return JobOutage(**{**kept, "since": datetime.fromisoformat(kept["since"])})


def extend(job: Job, message: str, moment: datetime) -> JobOutage:
    """The outage of a run that found the storage or peer away just now: the job's last one goes on, or one begins."""
    before = for_job(job)
    if before is None:
        return JobOutage(since=moment, tries=1, done=job.done, message=message)
    since = min(before.since, moment)  # the clock may have been set back
    return JobOutage(since=since, tries=before.tries + 1, done=job.done, message=message)
