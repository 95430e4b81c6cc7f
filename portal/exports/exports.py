"""Exports: copies of a project to an external storage, item by item, each proved, and a manifest last."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from portal.access import audit, rights
from portal.access.actors import Actor
from portal.errors import Missing
from portal.exports import copier, plan, request, rules, selection, sidecars
from portal.exports import dry_run as export_dry_run
from portal.exports import manifest as export_manifest
from portal.exports.request import DEFAULT_OPTIONS, ExportRequest, Options
from portal.jobs import item_runner, jobs
from portal.jobs.runs import Run, RunEnd
from portal.models import Job, JobItem, writing
from portal.storage import connection_test, storages, unfinished_uploads

if TYPE_CHECKING:
    from portal.storage_drivers.destination import Destination


EXPORT_KINDS = ("export", "send")
"""Kinds of jobs that are exports: to a storage, and to a peer."""


def start(path: str, *, to: str, actor: Actor, options: Options = DEFAULT_OPTIONS) -> Job:
    """Export what of the project `GROUP/PROJECT` is there at this moment, to a storage or to `peer/LABEL`.

    Raises Missing, NotAllowed or BadValue.
    """
    rights.require_admin(actor)
    order = request.check(path, to, options)
    return _create(_kind(order.params), order, actor=actor)


def dry_run(path: str, *, to: str, actor: Actor, options: Options = DEFAULT_OPTIONS) -> Job:
    """Find out what `start` would do, without writing anything there. Raises as `start` does."""
    rights.require_admin(actor)
    order = request.check(path, to, options)
    return _create("dry_run", order, actor=actor)


def start_after_dry_run(dry_run_id: int, *, confirmed: bool, actor: Actor) -> Job:
    """Start the very export that a dry run was of: the objects of its moment, so that nobody leaves unconfirmed.

    Raises Missing; BadValue where it found what must not be, or where patients leave and nobody has confirmed that;
    NotAllowed where the storage may no longer be used.
    """
    rights.require_admin(actor)
    tried = export_dry_run.get(dry_run_id)
    export_dry_run.require_startable(tried, confirmed=confirmed)
    request.require_target(tried.params)
    order = ExportRequest(part=request.part(tried), params={**tried.params, "dry_run": tried.id}, what=tried.what)
    return _create(_kind(order.params), order, actor=actor)


def _create(kind: str, order: ExportRequest, *, actor: Actor) -> Job:
    size = measure(order)
    with writing():
        job = create_job(kind, order, size, actor=actor)
    jobs.enqueue(job)
    return job


def measure(order: ExportRequest) -> tuple[int, int]:
    """Number and bytes of what is to be exported, where that is known before it is planned; else zeros."""
    usual = not order.params["rules"] or rules.parse(order.params["rules"]).are_usual
    return (plan.count_objects(order.part) if usual else None) or (0, 0)


def create_job(kind: str, order: ExportRequest, size: tuple[int, int], *, actor: Actor) -> Job:
    """Write the row of an export, inside a write block; ring for it after the commit. Raises Missing."""
    target = "peer" if "peer" in order.params else "storage"
    if target == "storage":
        storages.by_id(order.params["storage"])
    job = jobs.create(kind, actor=actor, params=order.params, what=order.what, total=size[0])
    job.result = {"bytes": size[1]}
    job.save()
    act = "export:tried" if kind == "dry_run" else "export:started"
    named = {"project": order.params["path"], target: order.params["to"], "only": order.params["only"]}
    audit.record(actor, act, "job", job.id, **named)
    return job


def _kind(params: dict[str, Any]) -> str:
    return "send" if "peer" in params else "export"


def run(this: Run, *, destination: "Destination") -> RunEnd:
    """Do what of an export is not done yet: plan it, send and verify each item, write the manifest."""
    storage = storages.by_id(this.job.params["storage"])
    connection_test.require_passed(this, storage)
    destination.expect(
        this.job.total or plan.MAX_COUNTED_OBJECTS
    )  # what is not counted yet is more than that, or by rules
    plan.plan(this)
    plan.mark_collisions(this, "failed")
    storages.lock_place(storage)
    if this.job.result.get("tries"):
        connection_test.require_reachable(destination)
        unfinished_uploads.abort_of_job(this.job, storage, destination)
    copier.copy_items(this, destination, threads=storages.threads(storage))
    failed, total = this.job.failed, this.job.total
    why = item_runner.first_reason(this.job, ("failed",))
    if failed and failed == total:
        return RunEnd(state="failed", message=f"{objects_in_words(total)} did not arrive. {why}")
    written = export_manifest.write(this, destination, storage)
    if failed:
        message = f"{total - failed:,} of {objects_in_words(total)} arrived whole. {failed:,} did not. {why}"
        return RunEnd(state="errors", message=message, result=written)
    sidecars.delete_contents(this)
    return RunEnd(message=_well(this.job), result=written)


def get(job_id: int) -> Job:
    """An export, or the dry run of one. Raises Missing."""
    job = jobs.get(job_id)
    if job.kind not in ("export", "send", "dry_run"):
        raise Missing(f"There is no export {job_id}; job {job_id} is another kind of job.")
    return job


def list_recent(limit: int = 100, before: int | None = None, search: str = "", state: str = "") -> Sequence[Job]:
    """Exports, newest first; see `jobs.every`."""
    return jobs.list_recent(limit, before, search, state, kinds=EXPORT_KINDS)


def items(job_id: int, state: str = "", limit: int = 100, after: int = 0) -> Sequence[JobItem]:
    """Objects of an export in their order; `after` is the number of the last one seen."""
    rows = JobItem.select().where(JobItem.job == job_id, JobItem.id > after)
    if state:
        rows = rows.where(JobItem.state == state)
    return list(rows.order_by(JobItem.id).limit(limit))


def view(job: Job, only: str | None = None) -> dict[str, Any]:
    """The export as pages and `--json` show it: `items` objects of `bytes`, of which `verified` are there, proved.

    A peer proves nothing: what it took has `arrived`. `only` is what it is of, in words, where that is known already.
    """
    return {
        **jobs.view(job),
        "project": job.params["path"],
        "to": job.params["to"],
        "storage": None if "peer" in job.params else job.params["to"],
        "peer": job.params["to"] if "peer" in job.params else None,
        "items": job.total,
        "arrived": 0 if job.kind == "dry_run" else job.done,
        "verified": job.done if job.kind == "export" else 0,
        "only": selection.in_words(job.params) if only is None else only,
        "existing": job.params.get("existing", "never"),
        "unmatched": job.result.get("unmatched", 0),
        "patients": job.result.get("patients", 0),
        "found": {state: number for state, (number, _size) in job.result.get("found", {}).items()},
        "sidecars": job.result.get("sidecars", 0),
        "held_back": job.result.get("held_back", 0),
        "manifest": _manifest_view(job),
    }


def views(rows: Sequence[Job]) -> list[dict[str, Any]]:
    """The same of several, by a few statements."""
    words = selection.all_in_words([job.params for job in rows])
    return [view(job, only) for job, only in zip(rows, words, strict=True)]


def _manifest_view(job: Job) -> dict[str, Any] | None:
    manifest: dict[str, Any] = job.result.get("manifest") or {}
    return manifest if manifest.get("sha256") else None


def _well(job: Job) -> str:
    held = job.result.get("held_back", 0)
    stayed = f" {held:,} that conflict with another object, or gave way to one, stayed here." if held else ""
    if unmatched := job.result.get("unmatched", 0):
        stayed = f" {unmatched:,} that no rule takes stayed here.{stayed}"
    if not job.total:
        return f"The {_scope(job)} nothing to export.{stayed}"
    if beside := job.result.get("sidecars", 0):
        return f"{objects_in_words(job.total - beside)} arrived whole, each with its sidecar.{stayed}"
    return f"{objects_in_words(job.total)} arrived whole.{stayed}"


def _scope(job: Job) -> str:
    return "chosen part of the project holds" if job.params.get("only") else "project holds"


def objects_in_words(number: int) -> str:
    """A number of objects, as sentences say it."""
    return "1 object" if number == 1 else f"{number:,} objects"
