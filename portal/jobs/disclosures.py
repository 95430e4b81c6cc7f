"""The audit entry of an export or a send when it ends: what left the site, with the sessions that it was of."""

from typing import cast

from portal.access import readings
from portal.access.actors import Actor, ActorType
from portal.models import Audit, File, Job, JobItem
from portal.models.compiled import raw_rows

ITEMS_PER_PAGE = 500
LEFT_STATES = ("sent", "verified", "stored", "warned")
"""States of an item whose object is at the destination."""


def record(job_id: int) -> None:
    """Record the end of a job, once, also of one that failed or was cancelled after some objects."""
    job = Job.get_or_none(Job.id == job_id)
    if job is None or job.ended is None:
        return
    action = f"{job.kind}:ended"
    same = (Audit.target_type == "job") & (Audit.target_id == str(job_id)) & (Audit.action == action)
    if Audit.select().where(same, Audit.at >= job.ended).exists():
        return
    figures = {"state": job.state, "done": job.done, "failed": job.failed, "bytes": job.bytes}
    by = Actor(type=cast(ActorType, job.origin_type), id=job.origin_id, name=job.started_by, via=job.origin_via)
    # Not `job.what`: it may name a subject, whose label may be a patient's name.
    of = {name: str(job.params.get(name, "")) for name in ("path", "to")}
    readings.record_disclosure(by, action, "job", job_id, _sessions(job), **of, **figures)


def _sessions(job: Job) -> list[int]:
    """The sessions of the objects that have left, by pages of the list."""
    found: dict[tuple[str, int], int | None] = {}
    left = JobItem.select(JobItem.id, JobItem.file).where(JobItem.job == job, JobItem.state.in_(LEFT_STATES))
    after = 0
    while page := raw_rows(left.where(JobItem.id > after).order_by(JobItem.id).limit(ITEMS_PER_PAGE)):
        after = page[-1][0]
        numbers = [file_id for _, file_id in page if file_id is not None]
        places = raw_rows(File.select(File.parent_type, File.parent_id).where(File.id.in_(numbers)).distinct())
        for kind, number in places:
            if (kind, number) not in found:
                found[kind, number] = readings.session_of(kind, number)
    return sorted({session for session in found.values() if session is not None})
