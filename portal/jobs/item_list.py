"""The items of one job: as a list in pages, and whole as a report."""

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from portal import listing
from portal.errors import Missing
from portal.listing import ListRequest, LongList, starts_with
from portal.models import Job, JobItem
from portal.models.compiled import raw_rows

LARGE_JOB_ITEMS = 20_000
"""Items of a job of which not all are looked at for one page."""
MAX_ITEMS_FOUND = 10_000
"""Items that a search in a large job finds at most."""
REPORT_KEYS = ("object", "state", "bytes", "sha256", "attempts", "message")


def complete_list(job: Job, search: str = "") -> LongList:
    """The same for who wants the list itself. Raises Missing where it was dropped by its age."""
    if job.items_kept != "all":
        raise Missing(f"The list of the objects of job {job.id} was dropped by its age (Settings, History).")
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
        cells=_cells,
    )


def _counts(job: Job, search: str) -> dict[str, int]:
    """How many items of each state a large job has: as its row says, or of the first that the search finds."""
    if search:
        mine = JobItem.select(JobItem.state).where(JobItem.job == job, starts_with(JobItem.key, search))
        return dict(Counter(state for (state,) in raw_rows(mine.limit(MAX_ITEMS_FOUND))))
    known: dict[str, list[int]] = job.result.get("found") or {}
    if known:
        return {state: number for state, (number, _size) in known.items()}
    rest = {"verified": job.done, "failed": job.failed, "unmatched": job.result.get("unmatched", 0)}
    if job.kind == "send":
        warned = JobItem.select().where(JobItem.job == job, JobItem.state == "warned").count()
        rest |= {"verified": 0, "stored": job.done - warned, "warned": warned}
    if job.kind == "dry_run":
        rest["verified"] = 0
    if job.kind == "verification":
        rest = {"ok": job.done, "failed": job.failed}
    if job.kind in ("import", "import_dry_run"):
        rest = {"stored" if job.kind == "import" else "new": job.done, "failed": job.failed}
    left = job.total - (0 if job.kind == "dry_run" else job.done) - rest["failed"]
    counts = {**rest, "pending": left}
    return {state: number for state, number in counts.items() if number > 0}


def json_lines(job: Job, asked: ListRequest) -> Iterator[bytes]:
    """One JSON object a line for each item that meets search and filter; opens a connection for each chunk."""
    rows = listing.iter_cells(complete_list(job, asked.search), asked)
    next(rows)  # the heads
    for cells in rows:
        yield json.dumps(dict(zip(REPORT_KEYS, cells, strict=True)), ensure_ascii=False).encode() + b"\n"


def _cells(item: JobItem) -> tuple[Any, ...]:
    return item.key, item.state, item.size, item.digest, item.tries, item.message
