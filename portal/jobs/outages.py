"""Outages: a job waits for a storage or peer that is unreachable, for up to a day after its last finished item."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from portal.models import Job

MAX_OUTAGE = timedelta(hours=24)
FIRST_WAIT = timedelta(seconds=10)
MAX_WAIT = timedelta(minutes=10)


@dataclass(frozen=True, kw_only=True)
class JobOutage:
    """Kept on a job from the first run that could not reach its storage or peer until a later run finishes an item."""

    since: datetime
    tries: int
    """Runs that could not reach it."""
    done: int
    """How many items the job had done by then."""
    message: str
    """The error of the last of these runs."""

    @property
    def until(self) -> datetime:
        """The time of the final attempt."""
        return self.since + MAX_OUTAGE

    def next_try(self, moment: datetime) -> datetime:
        """Wait as long as the outage has lasted, between `FIRST_WAIT` and `MAX_WAIT`."""
        wait = min(max(moment - self.since, FIRST_WAIT), MAX_WAIT)
        return min(moment + wait, self.until)

    def dump(self) -> dict[str, Any]:
        """As the job's result keeps it."""
        return {**vars(self), "since": self.since.isoformat()}


def for_job(job: Job) -> JobOutage | None:
    """The job's outage; None if an item has been finished since it began."""
    kept = job.result.get("away")
    if kept is None or kept["done"] < job.done:
        return None
    return JobOutage(**{**kept, "since": datetime.fromisoformat(kept["since"])})


def extend(job: Job, message: str, moment: datetime) -> JobOutage:
    """The outage after a run that could not reach the storage or peer: the present one continues, or one begins."""
    before = for_job(job)
    if before is None:
        return JobOutage(since=moment, tries=1, done=job.done, message=message)
    since = min(before.since, moment)  # the clock may have been set back
    return JobOutage(since=since, tries=before.tries + 1, done=job.done, message=message)
