"""Exports: copies of a project to an external storage, item by item, each read back, and a manifest at the end."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from portal.access import audit
from portal.access.actors import Actor
from portal.errors import Missing
from portal.exports import copier, plan, request, rules, selection, sidecars
from portal.exports import dry_run as export_dry_run
from portal.exports import manifest as export_manifest
from portal.exports.params import ExportParams
from portal.exports.request import DEFAULT_OPTIONS, ExportRequest, Options
from portal.exports.results import DryRunResult, ManifestRecord, PlanResult
from portal.jobs import jobs
from portal.jobs.kinds import EXPORT_KINDS, KINDS
from portal.jobs.records import JobResult
from portal.jobs.runs import Run, RunEnd
from portal.models import Job, JobItem, writing
from portal.storage import connection_test, storages, unfinished_uploads

if TYPE_CHECKING:
    from portal.storage_drivers.destination import Destination


def start(path: str, *, to: str, actor: Actor, options: Options = DEFAULT_OPTIONS) -> Job:
    """Export what the project `GROUP/PROJECT` contains at this moment, to a storage or to `peer/LABEL`.

    Raises Missing, NotAllowed or BadValue.
    """
    request.require_exporter(path, to, actor)
    checked = request.check(path, to, options)
    return _create("send" if checked.params.is_to_peer else "export", checked, actor=actor)


def dry_run(path: str, *, to: str, actor: Actor, options: Options = DEFAULT_OPTIONS) -> Job:
    """Find out what `start` would do, without writing anything there. Raises as `start` does."""
    request.require_exporter(path, to, actor)
    return _create("dry_run", request.check(path, to, options), actor=actor)


def start_after_dry_run(dry_run_id: int, *, confirmed: bool, actor: Actor) -> Job:
    """Start the export of exactly the objects that the dry run listed, so that only confirmed patients leave the site.

    Raises Missing; BadValue where the dry run found collisions, or where patients leave and nobody has confirmed that;
    NotAllowed where the storage may no longer be used, or to a peer for anybody but site admins.
    """
    jobs.get_startable(dry_run_id, actor=actor)
    tried = export_dry_run.get(dry_run_id)
    export_dry_run.require_startable(tried, confirmed=confirmed)
    params = ExportParams.load(tried.params)
    request.require_target(params)
    checked = ExportRequest(params=replace(params, dry_run_id=tried.id), what=tried.what)
    return _create("send" if params.is_to_peer else "export", checked, actor=actor)


def _create(kind: str, checked: ExportRequest, *, actor: Actor) -> Job:
    size = measure(checked.params)
    with writing():
        job = create_job(kind, checked, size, actor=actor)
    jobs.enqueue(job)
    return job


def measure(params: ExportParams) -> tuple[int, int]:
    """Number and bytes of the objects to export, where they are known before the plan; else zeros."""
    takes_all = not params.rules or rules.parse(params.rules).are_default
    return (plan.count_objects(params.part) if takes_all else None) or (0, 0)


def create_job(kind: str, checked: ExportRequest, size: tuple[int, int], *, actor: Actor) -> Job:
    """Write the row of an export, inside a write block; enqueue it after the commit. Raises Missing."""
    params = checked.params
    if not params.is_to_peer:
        storages.by_id(params.storage_id)
    job = jobs.create(kind, actor=actor, params=params.dump(), what=checked.what, total=size[0])
    job.result = {"bytes": size[1]}
    job.save()
    act = "export:tried" if KINDS[kind].is_dry_run else "export:started"
    target = {"peer" if params.is_to_peer else "storage": params.to}
    audit.record(actor, act, "job", job.id, project=params.path, **target, only=params.only)
    return job


def run(this: Run, *, destination: "Destination") -> RunEnd:
    """Run or continue an export: plan it, copy and verify each item, write the manifest.

    The storage has passed `connection_test.require_passed`.
    """
    params = ExportParams.load(this.job.params)
    # A total of 0 is not counted yet: there are more objects than are counted at once, or rules choose among them.
    destination.expect(this.job.total or plan.MAX_COUNTED_OBJECTS)
    plan.plan(this, collision_state="failed")
    storage = storages.by_id(params.storage_id)
    storages.lock_place(storage)
    if JobResult.load(this.job.result).ended_runs:
        connection_test.require_reachable(destination)
        unfinished_uploads.abort_of_job(this.job, storage, destination)
    why = copier.copy_items(this, params, destination, threads=storages.threads(storage))

    failed, total = this.job.failed, this.job.total
    planned, record = PlanResult.load(this.job.result), ManifestRecord.load(this.job.result)
    if failed and failed == total:
        return RunEnd(state="failed", message=f"{objects_in_words(total)} failed. {why}")
    record = export_manifest.write(this, destination, storage, record, path=params.path, held_back=planned.held_back)
    manifest = record.dump()
    if failed:
        message = f"{total - failed:,} of {objects_in_words(total)} exported and verified. {failed:,} failed. {why}"
        return RunEnd(state="errors", message=message, result=manifest)
    sidecars.delete_contents(this)
    skipped = f" {planned.unmatched:,} skipped by the rules." if planned.unmatched else ""
    skipped += f" {planned.held_back:,} skipped (in conflict or replaced)." if planned.held_back else ""
    if not total:
        scope = "chosen part of the project" if params.only else "project"
        return RunEnd(message=f"The {scope} holds nothing to export.{skipped}", result=manifest)
    beside = ", each with its sidecar" if planned.sidecars else ""
    message = f"{objects_in_words(total - planned.sidecars)} exported and verified{beside}.{skipped}"
    return RunEnd(message=message, result=manifest)


def get(job_id: int) -> Job:
    """An export, or the dry run of one. Raises Missing."""
    job = jobs.get(job_id)
    if KINDS[job.kind].family != "export":
        raise Missing(f"There is no export {job_id}; job {job_id} is another kind of job.")
    return job


def list_recent(limit: int = 100, before: int | None = None, search: str = "", state: str = "") -> Sequence[Job]:
    """Exports, newest first; see `jobs.list_recent`."""
    return jobs.list_recent(limit, before, search, state, kinds=EXPORT_KINDS)


def items(job_id: int, state: str = "", limit: int = 100, after: int = 0) -> Sequence[JobItem]:
    """Objects of an export in their order; `after` is the number of the last one seen."""
    rows = JobItem.select().where(JobItem.job == job_id, JobItem.id > after)
    if state:
        rows = rows.where(JobItem.state == state)
    return list(rows.order_by(JobItem.id).limit(limit))


def view(job: Job, only: str | None = None) -> dict[str, Any]:
    """The export as pages and `--json` show it: `items` objects of `bytes`, of which `verified` were read back.

    What a peer took has `arrived`, and is not read back. `only` is the part in words, where that is known already.
    """
    params, planned, found = ExportParams.load(job.params), PlanResult.load(job.result), DryRunResult.load(job.result)
    manifest = ManifestRecord.load(job.result)
    return {
        **jobs.view(job),
        "project": params.path,
        "to": params.to,
        "storage": None if params.is_to_peer else params.to,
        "peer": params.to if params.is_to_peer else None,
        "items": job.total,
        "arrived": 0 if KINDS[job.kind].is_dry_run else job.done,
        "verified": job.done if job.kind == "export" else 0,
        "only": selection.in_words(params) if only is None else only,
        "existing": params.existing,
        "unmatched": planned.unmatched,
        "patients": planned.patients,
        "found": {state: number for state, (number, _size) in found.found.items()},
        "sidecars": planned.sidecars,
        "held_back": planned.held_back,
        "manifest": manifest.dump()["manifest"] if manifest.sha256 else None,
    }


def views(rows: Sequence[Job]) -> list[dict[str, Any]]:
    """The same of several, by a few statements."""
    words = selection.all_in_words([ExportParams.load(job.params) for job in rows])
    return [view(job, only) for job, only in zip(rows, words, strict=True)]


def objects_in_words(number: int) -> str:
    return "1 object" if number == 1 else f"{number:,} objects"
