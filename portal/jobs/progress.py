"""How far a job is: what its page, the lists and `--json` show of the row."""

from datetime import timedelta
from typing import Any

from portal.jobs import outages
from portal.jobs.outages import Outage
from portal.models import Job, now

ACTIVE_STATES = ("waiting", "running", "cancelling")
ENDED_STATES = ("done", "errors", "failed", "cancelled")
SHOWN_COLUMNS = (
    *("id", "kind", "what", "state", "message", "total", "done", "failed"),
    *("created", "started", "ended", "started_by", "result"),
)


def view(job: Job, label: str) -> dict[str, Any]:
    """Sizes in bytes, `rate` in bytes a second since the start, moments in UTC; `seconds_left` while it runs."""
    rate = _rate(job)
    size = job.result.get("bytes", 0)
    absence = outages.for_job(job)
    return {name: getattr(job, name) for name in SHOWN_COLUMNS} | {
        "label": label,
        "is_over": job.state in ENDED_STATES,
        "items_kept": job.items_kept == "all",
        "attempts": job.attempts + (absence.tries if absence else 0),
        "away": _told(absence) if absence and job.state == "waiting" else None,
        "existing": job.params.get("existing", "never"),
        "peer": job.params["to"] if "peer" in job.params and "to" in job.params else None,
        "schedule": job.params.get("schedule"),
        "bytes_done": job.bytes,
        "bytes": size,
        "rate": rate,
        "seconds_left": round((size - job.bytes) / rate) if rate and job.state == "running" else None,
        "due": job.due if job.state == "waiting" else None,
        "origin": {"type": job.origin_type, "id": job.origin_id, "via": job.origin_via},
    }


def _told(absence: Outage) -> dict[str, Any]:
    return {"since": absence.since, "until": absence.until, "message": absence.message}


def _rate(job: Job) -> int:
    if job.started is None or not job.bytes:
        return 0
    elapsed: timedelta = (job.ended or now()) - job.started
    return round(job.bytes / max(elapsed.total_seconds(), 0.001))
