"""How far a job is: what its page, the lists and `--json` show of the row."""

from datetime import timedelta
from typing import Any

from portal.jobs import outages
from portal.jobs.kinds import KINDS
from portal.jobs.records import JobParams, JobResult
from portal.models import Job, now

ACTIVE_STATES = ("waiting", "running", "cancelling")
ENDED_STATES = ("done", "errors", "failed", "cancelled")
SHOWN_COLUMNS = (
    *("id", "kind", "what", "state", "message", "total", "done", "failed"),
    *("created", "started", "ended", "started_by", "result"),
)


def view(job: Job) -> dict[str, Any]:
    """Sizes in bytes, `rate` in bytes a second since the start, moments in UTC; `seconds_left` while it runs."""
    params, result = JobParams.load(job.params), JobResult.load(job.result)
    outage = outages.for_job(job)
    away = {"since": outage.since, "until": outage.until, "message": outage.message} if outage else None

    rate = 0
    if job.started is not None and job.bytes:
        elapsed: timedelta = (job.ended or now()) - job.started
        rate = round(job.bytes / max(elapsed.total_seconds(), 0.001))

    return {name: getattr(job, name) for name in SHOWN_COLUMNS} | {
        "label": KINDS[job.kind].label,
        "is_over": job.state in ENDED_STATES,
        "items_kept": job.items_kept == "all",
        "attempts": job.attempts + (outage.tries if outage else 0),
        "away": away if job.state == "waiting" else None,
        "existing": params.existing,
        "peer": (params.to or None) if params.peer_id else None,
        "schedule": params.schedule_id or None,
        "bytes_done": job.bytes,
        "bytes": result.size,
        "rate": rate,
        "seconds_left": round((result.size - job.bytes) / rate) if rate and job.state == "running" else None,
        "due": job.due if job.state == "waiting" else None,
        "origin": {"type": job.origin_type, "id": job.origin_id, "via": job.origin_via},
    }
