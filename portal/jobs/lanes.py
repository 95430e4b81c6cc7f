"""What a job that nothing but a busy worker holds up waits for, in words."""

from collections.abc import Iterable, Sequence
from typing import Any

from portal.jobs import jobs, leases, queue
from portal.jobs.queue import LANES, Lane
from portal.models import Job, now

MAX_NAMED_JOBS = 3
MAX_QUEUE_PLACES = 1000
"""Jobs of a lane of which it is known how many are ahead of each."""
NO_WORKER = "No worker for {lane} jobs is running. Is `portal up` running?"
SILENT_QUEUE = "The queue (Valkey) does not answer. Is `portal up` running?"
WORKER_FREE = "A worker takes it within seconds."


def wait_reason(job: Job) -> str:
    """What a job waits for; empty where it does not wait, or waits for its time."""
    return wait_reasons([job]).get(job.id, "")


def wait_reasons(rows: Iterable[Job]) -> dict[int, str]:
    """The same of several, by the numbers of those that wait; two statements a lane."""
    waiting = [row for row in rows if row.state == "waiting" and jobs.is_due(row.due, now())]
    found: dict[int, str] = {}
    for lane in LANES:
        if mine := [row.id for row in waiting if jobs.KINDS[row.kind].lane == lane]:
            found |= _of_lane(lane, mine)
    return found


def others_wait(job: Job) -> bool:
    """Whether another job of its lane waits for a worker."""
    waits = (Job.state == "waiting") & jobs.is_due(Job.due, now()) & (Job.id != job.id)
    return Job.select().where(_of(jobs.KINDS[job.kind].lane), waits).exists()


def _of_lane(lane: Lane, numbers: Sequence[int]) -> dict[int, str]:
    busy = _busy(lane)
    message, is_full = _message(lane, busy)
    if not is_full:
        return dict.fromkeys(numbers, message)
    place = {number: place for place, number in enumerate(_line(lane))}
    return {number: message + _ahead(place.get(number, MAX_QUEUE_PLACES)) for number in numbers}


def _message(lane: Lane, busy: Sequence[Job]) -> tuple[str, bool]:
    """What the jobs of a lane wait for, and whether that is the end of others."""
    workers = queue.count_lane_workers(lane)
    if workers is None:
        return SILENT_QUEUE, False
    if not workers:
        return NO_WORKER.format(lane=lane), False
    if len(busy) < workers:
        return WORKER_FREE, False
    named = " or ".join(map(_named, busy)) if len(busy) <= MAX_NAMED_JOBS else f"one of {len(busy)} jobs"
    at_work = f"{min(len(busy), workers)} of {workers} {lane} workers {'is' if workers == 1 else 'are'} busy"
    return f"Waits for {named} to finish ({at_work}).", True


def _ahead(number: int) -> str:
    if not number:
        return ""
    return " 1 other job is ahead of it." if number == 1 else f" {number:,} other jobs are ahead of it."


def _named(job: Job) -> str:
    """export 12."""
    return f"{jobs.KINDS[job.kind].label.partition(' (')[0].lower()} {job.id}"


def _busy(lane: Lane) -> list[Job]:
    at_work = Job.state.in_(("running", "cancelling")) & leases.live()
    return list(Job.select(Job.id, Job.kind).where(_of(lane), at_work).order_by(Job.id))


def _line(lane: Lane) -> list[int]:
    """The jobs that wait for a worker of this lane, the next one first."""
    waits = (Job.state == "waiting") & jobs.is_due(Job.due, now())
    rows: Any = Job.select(Job.id).where(_of(lane), waits).order_by(Job.due, Job.id).limit(MAX_QUEUE_PLACES).tuples()
    return [number for (number,) in rows]


def _of(lane: Lane) -> Any:
    kinds = [name for name, kind in jobs.KINDS.items() if kind.run is not None and kind.lane == lane]
    return (Job.runner == "worker") & Job.kind.in_(kinds)
