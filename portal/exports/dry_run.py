"""Dry runs: what an export would do, found out by its own plan and a look at the storage; nothing is written there."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from peewee import fn

from portal.errors import BadValue, Missing, PortalError
from portal.exports import earlier_exports, plan, send_plan, sidecars
from portal.jobs import jobs
from portal.jobs.runs import Run, RunEnd
from portal.models import Job, JobItem, writing
from portal.tree.batches import batched

if TYPE_CHECKING:
    from portal.storage_drivers.destination import Destination, Stat

MAX_STAT_REQUESTS = 1000
"""Objects that are asked for one by one; of more, what lies there is listed."""
ITEMS_PER_PAGE = 200


def run(this: Run, *, destination: "Destination | None", asked_for: int = MAX_STAT_REQUESTS) -> RunEnd:
    """Plan the export, and look at what is there already; run twice it goes on with what is left.

    No destination: what goes to a peer, which cannot be asked.
    """
    plan.plan(this)
    if destination is not None:
        plan.mark_collisions(this, "collides")
        _look(this, destination, asked_for)
    found = _sums(this.job.id)
    sidecars.delete_contents(this)
    this.write(done=this.job.total)
    sends = _sends(this.job, found)
    result: dict[str, Any] = {"found": found, "sends": sends}
    if destination is None:
        result["classes"] = send_plan.count_by_class(this.job)
    return RunEnd(message=_in_words(this.job, found, sends), result=result)


def get(job_id: int) -> Job:
    """Raises Missing."""
    job = jobs.get(job_id)
    if job.kind != "dry_run":
        raise Missing(f"There is no dry run {job_id}; job {job_id} is another kind of job.")
    return job


def require_startable(job: Job, *, confirmed: bool) -> None:
    """Raise BadValue unless the export that was tried may be started."""
    if job.state != "done":
        raise BadValue(f"The dry run is {job.state}; only after one that is done can its export be started.")
    if number := count_items(job, "collides"):
        raise BadValue(f"{number:,} objects would get a path that another one has. Change the paths, and try again.")
    if job.result.get("patients") and not confirmed:
        raise BadValue("Identifiable patients leave the site: tick that this is allowed.", field="confirmed")


def count_items(job: Job, state: str) -> int:
    """How many objects of a dry run came out like that."""
    return int(job.result.get("found", {}).get(state, [0, 0])[0])


def _sums(job_id: int) -> dict[str, list[int]]:
    """Number and bytes of the objects of each state."""
    rows: Any = JobItem.select(JobItem.state, fn.COUNT(JobItem.id), fn.SUM(JobItem.size)).where(JobItem.job == job_id)
    return {state: [number, size or 0] for state, number, size in rows.group_by(JobItem.state).tuples()}


def _look(this: Run, destination: "Destination", asked_for: int) -> None:
    """Compare what is planned with what is there."""
    if not this.job.total:
        return
    if this.job.total <= asked_for:
        _compare(this, destination, _asked(this, destination))
        return
    this.write(message="Lists what is there already.")
    # A store that takes two names for one has what another name lists: only a look at each would find it.
    _compare(this, destination, destination.list(plan.common_key_prefix(this.job)))
    this.write(message="")


def _asked(this: Run, destination: "Destination") -> Iterable["Stat"]:
    after = 0
    while page := _open(this.job.id, after):
        after = page[-1].id
        for item in page:
            this.check()
            try:
                found = destination.stat(item.key)
            except PortalError as error:
                if not error.permanent:
                    raise
                _mark(item, "failed", error.message)
                continue
            if found is not None:
                yield found


def _open(job_id: int, after: int) -> list[JobItem]:
    wanted = (JobItem.job == job_id) & (JobItem.state == "pending") & (JobItem.id > after)
    return list(JobItem.select().where(wanted).order_by(JobItem.id).limit(ITEMS_PER_PAGE))


def _compare(this: Run, destination: "Destination", stats: Iterable["Stat"]) -> None:
    known = earlier_exports.EarlierExports(this.job.params["storage"])
    for some in batched(stats, ITEMS_PER_PAGE):
        this.check()
        sizes = {stat.key: stat.size for stat in some}
        wanted = (JobItem.job == this.job) & (JobItem.state == "pending") & JobItem.key.in_(list(sizes))
        items = list(JobItem.select().where(wanted))
        digests = known.digests([item.key for item in items])
        changed = []
        for item in items:
            this.check()
            same = sizes[item.key] == item.size and _is_same(destination, item, digests.get(item.key))
            item.state = "same" if same else "other"
            changed.append(item)
        _write(changed)


def _is_same(destination: "Destination", item: JobItem, known: str | None) -> bool:
    """By what an earlier export read back; else by reading it back now."""
    if known is not None:
        return known == item.digest
    try:
        return destination.digest(item.key) == (item.size, item.digest)
    except Missing:
        return False


def _write(items: list[JobItem]) -> None:
    with writing():
        for state in ("same", "other"):
            ids = [item.id for item in items if item.state == state]
            if ids:
                JobItem.update(state=state).where(JobItem.id.in_(ids)).execute()


def _mark(item: JobItem, state: str, message: str) -> None:
    with writing():
        JobItem.update(state=state, message=message).where(JobItem.id == item.id).execute()


def _sends(job: Job, found: dict[str, list[int]]) -> int:
    """How many objects the export would send, by what it does with those that are there already."""
    also = {"never": (), "different": ("other",), "always": ("other", "same")}[job.params.get("existing", "never")]
    return sum(found.get(state, [0, 0])[0] for state in ("pending", *also))


def _in_words(job: Job, found: dict[str, list[int]], sends: int) -> str:
    if not job.total:
        return "Nothing would be exported."
    what = "objects and sidecars" if job.result.get("sidecars") else "objects"
    words = [f"{sends:,} of {job.total:,} {what} would be sent."]
    if collide := found.get("collides", [0, 0])[0]:
        words.append(f"{collide:,} share a path with another one: change the paths.")
    return " ".join(words)
