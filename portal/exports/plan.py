"""The plan of an export: each object that is to be copied, as an item with key, size and digest."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from peewee import fn

from portal.exports import rules as export_rules
from portal.exports import send_plan, sidecars
from portal.exports.params import ExportParams
from portal.exports.results import PlanResult
from portal.jobs.item_runner import add_items
from portal.jobs.records import JobResult
from portal.jobs.runs import Run
from portal.models import Job, JobItem, batched_writes, writing
from portal.models.compiled import raw_rows
from portal.tree.project_part import ProjectPart, container_queries, live_files, older_versions
from portal.tree.walk import Walk, WalkedFile

ITEMS_PER_PAGE = 500
SHARED_KEY = "Another object would get this path too. Change the path, so that each has one of its own."
MAX_COUNTED_OBJECTS = 10_000
"""Objects that are counted while somebody waits for the start of an export; more are counted by the plan."""


@dataclass(kw_only=True)
class PlanCounts:
    """Counts of the objects that the plan has written so far."""

    objects: int = 0
    size: int = 0
    unmatched: int = 0
    patients: int = 0
    """Subjects with at least one planned object that identifies the patient."""
    _last_subject: int = field(default=0, repr=False)

    def add(self, subject: int, size: int, *, identified: bool) -> None:
        self.objects += 1
        self.size += size
        if identified and subject != self._last_subject:
            self.patients += 1
            self._last_subject = subject


def count_objects(part: ProjectPart) -> tuple[int, int] | None:
    """How many objects of how many bytes the part holds now; None if they are too many to count at once."""
    number = size = 0
    queries = (query(kind, ids) for kind, ids in container_queries(part) for query in (live_files, older_versions))
    for query in queries:
        sizes = [row[1] for row in query.limit(MAX_COUNTED_OBJECTS + 1 - number).tuples()]
        number, size = number + len(sizes), size + sum(sizes)
        if number > MAX_COUNTED_OBJECTS:
            return None
    return number, size


def plan(run: Run, *, collision_state: str = "") -> None:
    """Write the items, unless that is done; restarted if a run was killed while planning, since nothing is sent yet.

    Files that came after the start are left out, and objects held for a conflict or superseded. Items of which several
    have one key, also where a store ignores case, get `collision_state`, where one is given.
    """
    params = ExportParams.load(run.job.params)
    rules = export_rules.parse(params.rules)
    if not JobResult.load(run.job.result).is_planned:
        _write_items(run, params, rules)
    if not collision_state or not rules.may_collide:
        return
    # Before each run that sends something: a retry of the failed items must not send one of two.
    folded: Any = fn.folded(JobItem.key)
    pending = (JobItem.job == run.job) & (JobItem.state == "pending")
    twice = JobItem.select(folded).where(pending).group_by(folded).having(fn.COUNT(JobItem.id) > 1).tuples()
    shared = {hash(row[0]) for row in twice.iterator()}
    after = 0
    items = JobItem.select(JobItem.id, JobItem.key).order_by(JobItem.id).limit(ITEMS_PER_PAGE)
    while shared and (page := raw_rows(items.where(pending & (JobItem.id > after)))):
        run.check()
        after = page[-1][0]
        ids = [number for number, key in page if hash(key.casefold()) in shared]
        if ids:
            with writing():
                JobItem.update(state=collision_state, message=SHARED_KEY, permanent=True).where(
                    JobItem.id.in_(ids)
                ).execute()


def _write_items(run: Run, params: ExportParams, rules: export_rules.Rules) -> None:
    delete_items(run)
    to_peer = params.is_to_peer
    walk = Walk(params.part, params.last_file_id, with_versions=not to_peer, to_peer=to_peer)  # DICOM has no versions
    counts = PlanCounts()

    def rows() -> Iterator[tuple[Any, ...]]:
        """With the version of each file; also of those that no rule or no peer takes."""
        files: Iterator[tuple[WalkedFile, str]] = ((file, "") for file in walk.files())
        if params.is_to_peer:
            files = send_plan.with_refusals(walk.files(), params.study_instance_uid)
        for file, refusal in files:
            key, message = ("", refusal) if refusal else rules.place(file)
            if key:
                counts.add(file.folder.subject, file.size, identified=file.folder.identified)
                state = "pending"
            else:
                counts.unmatched += 1
                key, state = file.path, "unmatched"
            place = run.job.id, file.id, key, file.size, file.digest
            yield *place, state, message, False, 0, file.version, file.member

    message = "Listing the objects; nothing has been sent yet."
    progress = {"message": message}
    add_items(run, rows(), "version", "member", progress=lambda _number: {"total": counts.objects, **progress})
    number, size = sidecars.plan(run) if params.sidecars else (0, 0)
    result = PlanResult(
        size=counts.size + size,
        sidecars=number,
        held_back=walk.hidden,
        unmatched=counts.unmatched,
        patients=counts.patients,
    )
    run.write(total=counts.objects + number, result={**run.job.result, **result.dump()}, message="")


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
    """Delete what a killed run has planned."""
    batched_writes.delete(JobItem, JobItem.job == run.job, check=run.check)
