"""The items of one job: as a list in pages, and complete as a report."""

import json
from collections import Counter
from collections.abc import Iterator

from portal import listing
from portal.errors import Missing
from portal.jobs.kinds import KINDS
from portal.jobs.records import JobResult
from portal.listing import ListRequest, LongList, starts_with
from portal.models import Job, JobItem
from portal.models.compiled import raw_rows

LARGE_JOB_ITEMS = 20_000
"""Items from which on a job is large: its page does not count or sort them all."""
MAX_ITEMS_FOUND = 10_000
"""Items that a search in a large job counts at most."""
REPORT_KEYS = ("object", "state", "bytes", "sha256", "attempts", "message")


def complete_list(job: Job, search: str = "") -> LongList:
    """The items of a job for a report. Raises Missing where retention has deleted some."""
    if job.items_kept != "all":
        raise Missing(f"The list of objects of job {job.id} was deleted because of its age (Settings, History).")
    return for_job(job, search)


def for_job(job: Job, search: str = "") -> LongList:
    """The items of a job in their order; those of a large one are searched by the beginning of their keys."""
    is_large = job.total > LARGE_JOB_ITEMS
    return LongList(
        table=JobItem,
        rows=lambda: JobItem.select().where(JobItem.job == job),
        counts=(lambda text: _counts(job, text)) if is_large else None,
        views=list,
        state=lambda: JobItem.state,
        searched=() if is_large else (JobItem.key, JobItem.message),
        also=(lambda text: (starts_with(JobItem.key, text),)) if is_large else lambda _text: (),
        sorts={
            "number": lambda: JobItem.id,
            "object": lambda: JobItem.key,
            "state": lambda: JobItem.state,
            **({} if is_large else {"size": lambda: JobItem.size}),
        },
        usual="object" if is_large and search else "number",
        heads=("Object", "State", "Bytes", "SHA-256", "Attempts", "What happened"),
        cells=lambda item: (item.key, item.state, item.size, item.digest, item.tries, item.message),
    )


def _counts(job: Job, search: str) -> dict[str, int]:
    """How many items of each state a large job has: as its row says, or of the first ones that the search finds."""
    if search:
        found = JobItem.select(JobItem.state).where(JobItem.job == job, starts_with(JobItem.key, search))
        return dict(Counter(state for (state,) in raw_rows(found.limit(MAX_ITEMS_FOUND))))
    result = JobResult.load(job.result)
    if result.found:
        return {state: number for state, (number, _size) in result.found.items()}

    kind = KINDS[job.kind]
    counts = {"failed": job.failed}
    if kind.done_state:
        counts[kind.done_state] = job.done
    if kind.family == "export":
        counts["unmatched"] = result.unmatched
    if job.kind == "send":  # of which those with a warning have a state of their own
        counts["warned"] = JobItem.select().where(JobItem.job == job, JobItem.state == "warned").count()
        counts["stored"] -= counts["warned"]
    done = job.done if kind.done_state else 0
    counts["pending"] = job.total - done - job.failed
    return {state: number for state, number in counts.items() if number > 0}


def json_lines(job: Job, asked: ListRequest) -> Iterator[bytes]:
    """One JSON object a line for each item that meets search and filter; opens a connection for each chunk."""
    rows = listing.iter_cells(complete_list(job, asked.search), asked)
    next(rows)  # the heads of the columns
    for cells in rows:
        yield json.dumps(dict(zip(REPORT_KEYS, cells, strict=True)), ensure_ascii=False).encode() + b"\n"
