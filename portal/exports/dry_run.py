"""Dry runs: what an export would do, by its own plan and a look at the storage; nothing is written there."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from portal.errors import BadValue, Missing, PortalError
from portal.exports import plan, send_plan, sidecars
from portal.exports.params import ExportParams
from portal.exports.results import DryRunResult, PlanResult
from portal.jobs import item_row, jobs
from portal.jobs.runs import Run, RunEnd
from portal.models import Job, JobItem, writing
from portal.tree.batches import batched

if TYPE_CHECKING:
    from portal.storage_drivers.destination import Destination, Stat

MAX_STAT_REQUESTS = 1000
"""Objects up to which each is asked for; for more, the storage's objects are listed."""
MAX_EARLIER_EXPORTS = 20
"""Exports to one storage that are looked at, the latest ones."""
ITEMS_PER_PAGE = 200
_ALSO_SENT = {"never": (), "different": ("other",), "always": ("other", "same")}
"""States of objects that are there already and would be sent too, by what is written over."""


def run(this: Run, *, destination: "Destination | None", asked_for: int = MAX_STAT_REQUESTS) -> RunEnd:
    """Plan the export, and compare it with what is there already; a second run does only what is left.

    There is no destination for an export to a peer, which cannot be asked.
    """
    params = ExportParams.load(this.job.params)
    plan.plan(this, collision_state="collides" if destination is not None else "")
    if destination is not None and this.job.total:
        if this.job.total <= asked_for:
            _compare(this, destination, _stat_each(this, destination), params.storage_id)
        else:
            this.write(message="Listing what is there already.")
            # A store that takes two names for one lists the other name: only asking for each object would find it.
            _compare(this, destination, destination.list(plan.common_key_prefix(this.job)), params.storage_id)
            this.write(message="")
    found = item_row.sum_by_state(this.job)
    sidecars.delete_contents(this)
    this.write(done=this.job.total)

    result = DryRunResult(
        found=found,
        to_send=sum(found.get(state, (0, 0))[0] for state in ("pending", *_ALSO_SENT[params.existing])),
        sop_classes=send_plan.count_by_class(this.job) if destination is None else None,
    )
    if not this.job.total:
        return RunEnd(message="Nothing would be exported.", result=result.dump())
    nouns = "objects and sidecars" if PlanResult.load(this.job.result).sidecars else "objects"
    message = f"{result.to_send:,} of {this.job.total:,} {nouns} would be sent."
    if collisions := result.count("collides"):
        message += f" {collisions:,} share a path with another one: change the paths."
    return RunEnd(message=message, result=result.dump())


def get(job_id: int) -> Job:
    """Raises Missing."""
    job = jobs.get(job_id)
    if job.kind != "dry_run":
        raise Missing(f"There is no dry run {job_id}; job {job_id} is another kind of job.")
    return job


def require_startable(job: Job, *, confirmed: bool) -> None:
    """Raise BadValue unless the export of a dry run may be started."""
    if job.state != "done":
        raise BadValue(f"The dry run is {job.state}; its export can be started once it is done.")
    if number := DryRunResult.load(job.result).count("collides"):
        raise BadValue(f"{number:,} objects would get a path that another one has. Change the paths, and try again.")
    if PlanResult.load(job.result).patients and not confirmed:
        raise BadValue("Identifiable patients leave the site: confirm that this is authorised.", field="confirmed")


def _stat_each(this: Run, destination: "Destination") -> Iterable["Stat"]:
    after = 0
    while True:
        pending = (JobItem.job == this.job) & (JobItem.state == "pending") & (JobItem.id > after)
        page = list(JobItem.select().where(pending).order_by(JobItem.id).limit(ITEMS_PER_PAGE))
        if not page:
            return
        after = page[-1].id
        for item in page:
            this.check()
            try:
                stat = destination.stat(item.key)
            except PortalError as error:
                if not error.permanent:
                    raise
                with writing():
                    JobItem.update(state="failed", message=error.message).where(JobItem.id == item.id).execute()
                continue
            if stat is not None:
                yield stat


def _compare(this: Run, destination: "Destination", stats: Iterable["Stat"], storage_id: int) -> None:
    """Mark the planned objects that are there already: the same, or with other content."""
    earlier = EarlierExports(storage_id)
    for page in batched(stats, ITEMS_PER_PAGE):
        this.check()
        sizes = {stat.key: stat.size for stat in page}
        is_planned = (JobItem.job == this.job) & (JobItem.state == "pending") & JobItem.key.in_(list(sizes))
        items = list(JobItem.select().where(is_planned))
        digests = earlier.digests([item.key for item in items])
        ids: dict[str, list[int]] = {"same": [], "other": []}
        for item in items:
            this.check()
            is_same = sizes[item.key] == item.size
            if is_same and item.key in digests:  # as an earlier export read it back
                is_same = digests[item.key] == item.digest
            elif is_same:
                try:
                    is_same = destination.digest(item.key) == (item.size, item.digest)
                except Missing:
                    is_same = False
            ids["same" if is_same else "other"].append(item.id)
        with writing():
            for state in ids:
                if ids[state]:
                    JobItem.update(state=state).where(JobItem.id.in_(ids[state])).execute()


class EarlierExports:
    """What the latest exports to one storage have verified there."""

    def __init__(self, storage_id: int) -> None:
        to_storage = (Job.storage == storage_id) & (Job.kind == "export") & (Job.done > 0)
        rows = Job.select(Job.id).where(to_storage).order_by(Job.id.desc()).limit(MAX_EARLIER_EXPORTS)
        self._jobs = [row.id for row in rows]

    def digests(self, keys: Sequence[str]) -> dict[str, str]:
        """The digest of each object as it was last read back; objects that no export of ours wrote are left out."""
        if not self._jobs or not keys:
            return {}
        wanted = JobItem.job.in_(self._jobs), JobItem.key.in_(list(keys)), JobItem.state == "verified"
        rows: Any = JobItem.select(JobItem.key, JobItem.digest).where(*wanted).order_by(JobItem.job)
        return dict(rows.tuples())
