"""Why a job waits that only busy workers hold up, in words."""

from collections.abc import Iterable, Sequence
from typing import Any

from portal.jobs import jobs, leases, queue
from portal.jobs.kinds import KINDS
from portal.jobs.queue import LANES, Lane
from portal.models import Job, now

MAX_NAMED_JOBS = 3
MAX_QUEUE_PLACES = 1000
"""Jobs of a lane for which it is known how many are ahead of each."""
NO_WORKER = "No worker for {lane} jobs is running. Is `portal up` running?"
SILENT_QUEUE = "The queue (Valkey) does not answer. Is `portal up` running?"
WORKER_FREE = "A worker takes it within seconds."


def wait_reason(job: Job) -> str:
    """What a job waits for; empty where it does not wait, or waits for its time."""
    return wait_reasons([job]).get(job.id, "")


def wait_reasons(rows: Iterable[Job]) -> dict[int, str]:
    """The same of several, by the numbers of those that wait; two statements a lane."""
    waiting = [row for row in rows if row.state == "waiting" and jobs.is_due(row.due, now())]
    reasons: dict[int, str] = {}
    for lane in LANES:
        if numbers := [row.id for row in waiting if KINDS[row.kind].lane == lane]:
            reasons |= _reasons_in_lane(lane, numbers)
    return reasons


def others_wait(job: Job) -> bool:
    """Whether another job of its lane waits for a worker."""
    waits = (Job.state == "waiting") & jobs.is_due(Job.due, now()) & (Job.id != job.id)
    return Job.select().where(_is_in(KINDS[job.kind].lane), waits).exists()


def _reasons_in_lane(lane: Lane, numbers: Sequence[int]) -> dict[int, str]:
    is_running = Job.state.in_(("running", "cancelling")) & leases.live()
    busy = list(Job.select(Job.id, Job.kind).where(_is_in(lane), is_running).order_by(Job.id))
    workers = queue.count_lane_workers(lane)
    if workers is None:
        return dict.fromkeys(numbers, SILENT_QUEUE)
    if not workers:
        return dict.fromkeys(numbers, NO_WORKER.format(lane=lane))
    if len(busy) < workers:
        return dict.fromkeys(numbers, WORKER_FREE)

    names = [f"{KINDS[job.kind].label.partition(' (')[0].lower()} {job.id}" for job in busy]
    named = " or ".join(names) if len(busy) <= MAX_NAMED_JOBS else f"one of {len(busy)} jobs"
    at_work = f"{min(len(busy), workers)} of {workers} {lane} workers {'is' if workers == 1 else 'are'} busy"

    waits = (Job.state == "waiting") & jobs.is_due(Job.due, now())
    rows: Any = Job.select(Job.id).where(_is_in(lane), waits).order_by(Job.due, Job.id).limit(MAX_QUEUE_PLACES)
    place = {number: place for place, (number,) in enumerate(rows.tuples())}
    reasons = {}
    for number in numbers:
        ahead = place.get(number, MAX_QUEUE_PLACES)
        others = f" {ahead:,} other {'job is' if ahead == 1 else 'jobs are'} ahead of it." if ahead else ""
        reasons[number] = f"Waits for {named} to finish ({at_work}).{others}"
    return reasons


def _is_in(lane: Lane) -> Any:
    """The condition of the jobs that the workers of a lane run."""
    kinds = [name for name, kind in KINDS.items() if kind.runner and kind.lane == lane]
    return (Job.runner == "worker") & Job.kind.in_(kinds)
