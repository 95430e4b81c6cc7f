"""The snapshot of an export: each object that is to be copied, as a row with key, size and digest."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from peewee import fn

from portal.exports import request, send_plan, sidecars
from portal.exports import rules as export_rules
from portal.jobs.runs import Run
from portal.models import Job, JobItem, batched_writes, writing
from portal.tree.project_part import ProjectPart, container_queries, live_files, older_versions
from portal.tree.walk import Walk, WalkedFile

ITEMS_PER_PAGE = 500
SHARED_KEY = "Another object would get this path too. Change the path, so that each has one of its own."
MAX_COUNTED_OBJECTS = 10_000
"""Objects that are counted while somebody waits for the start of an export; more are counted by the plan."""


@dataclass(kw_only=True)
class PlanCounts:
    """What a plan came to."""

    objects: int = 0
    size: int = 0
    unmatched: int = 0
    patients: int = 0
    """Subjects of which something is taken that names them."""
    _last: int = field(default=0, repr=False)

    def add(self, subject: int, size: int, *, identified: bool) -> None:
        self.objects += 1
        self.size += size
        if identified and subject != self._last:
            self.patients += 1
            self._last = subject


def count_objects(part: ProjectPart) -> tuple[int, int] | None:
    """How many objects of how many bytes lie there now; None if there are too many to count at once."""
    number = size = 0
    queries = (query(kind, ids) for kind, ids in container_queries(part) for query in (live_files, older_versions))
    for query in queries:
        sizes = [row[1] for row in query.limit(MAX_COUNTED_OBJECTS + 1 - number).tuples()]
        number, size = number + len(sizes), size + sum(sizes)
        if number > MAX_COUNTED_OBJECTS:
            return None
    return number, size


def plan(run: Run) -> None:
    """Write the items, unless that is done; begun anew where a run was killed in the middle, for no byte has moved yet.

    Files that came after the start (`last_file`) are not among them, nor what is held for a conflict or superseded.
    """
    if run.job.result.get("planned"):
        return
    delete_items(run)
    rules = request.rules(run.job)
    # A peer takes DICOM objects, which have no versions.
    walk = Walk(request.part(run.job), run.job.params["last_file"], with_versions="peer" not in run.job.params)
    tally = PlanCounts()
    spell = batched_writes.BatchWriter()
    for chunk in spell.chunks(_rows(run.job, walk, rules, tally)):
        run.check()
        with spell.writing():
            JobItem.add(chunk, "version")
            run.write_within(total=tally.objects, message="Lists the objects; nothing has been sent yet.")
    beside, size = sidecars.plan(run) if run.job.params.get("sidecars") else (0, 0)
    result = {
        **run.job.result,
        "planned": True,
        "bytes": tally.size + size,
        "sidecars": beside,
        "held_back": walk.hidden,
        "unmatched": tally.unmatched,
        "patients": tally.patients,
    }
    run.write(total=tally.objects + beside, result=result, message="")


def _rows(job: Job, walk: Walk, rules: export_rules.Rules, tally: PlanCounts) -> Iterator[tuple[Any, ...]]:
    """Rows as `JobItem.add` takes them, with the version; also what no rule or no peer takes, with the reason."""
    for found, why_not in _sifted(job, walk):
        key, message = ("", why_not) if why_not else rules.place(found)
        if key:
            tally.add(found.folder.subject, found.size, identified=found.folder.identified)
            yield job.id, found.id, key, found.size, found.digest, "pending", "", False, 0, found.version
        else:
            tally.unmatched += 1
            yield job.id, found.id, found.path, found.size, found.digest, "unmatched", message, False, 0, found.version


def _sifted(job: Job, walk: Walk) -> Iterator[tuple[WalkedFile, str]]:
    if "peer" in job.params:
        return send_plan.with_refusals(walk.files(), job.params.get("study", ""))
    return ((found, "") for found in walk.files())


def mark_collisions(run: Run, state: str) -> None:
    """Give a state of their own to objects of which two have one key, also where a store ignores case.

    Before each run that sends something: who tries the failed ones again must not send one of two.
    """
    if not request.rules(run.job).may_collide:
        return
    folded: Any = fn.folded(JobItem.key)
    mine = (JobItem.job == run.job) & (JobItem.state == "pending")
    twice = JobItem.select(folded).where(mine).group_by(folded).having(fn.COUNT(JobItem.id) > 1).tuples()
    shared = {hash(row[0]) for row in twice.iterator()}
    after = 0
    while shared and (page := _page(mine & (JobItem.id > after))):
        run.check()
        after = page[-1][0]
        ids = [number for number, key in page if hash(key.casefold()) in shared]
        if ids:
            with writing():
                JobItem.update(state=state, message=SHARED_KEY, permanent=True).where(JobItem.id.in_(ids)).execute()


def _page(condition: Any) -> list[tuple[int, str]]:
    rows: Any = JobItem.select(JobItem.id, JobItem.key).where(condition)
    return list(rows.order_by(JobItem.id).limit(ITEMS_PER_PAGE).tuples())


def common_key_prefix(job: Job) -> str:
    """What all keys of a job begin with."""
    keys: Any = JobItem.select(fn.MIN(JobItem.key), fn.MAX(JobItem.key)).where(JobItem.job == job)
    first, last = keys.tuples()[0]
    return common_prefix(first or "", last or "")


def common_prefix(first: str, last: str) -> str:
    """What the first and the last key in their order, and so all, begin with."""
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))
    return "".join(one for one, _other in same)


def delete_items(run: Run) -> None:
    """Take away what a killed run has planned."""
    batched_writes.delete(JobItem, JobItem.job == run.job, check=run.check)
