"""Imports as jobs: started, run through the one ingest, and shown with the outcome of each object."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from portal.access import audit, rights
from portal.access.actors import Actor, ActorType
from portal.errors import BadValue, Missing
from portal.imports import importer as import_importer
from portal.imports import plan, request
from portal.imports.dry_run import DryRun
from portal.imports.duplicates import DuplicateTracker
from portal.imports.importer import Importer
from portal.imports.params import ImportParams, ImportPlan, ImportResult
from portal.imports.request import CheckedRequest, ImportRequest
from portal.jobs import item_row, item_runner, jobs
from portal.jobs.kinds import IMPORT_KINDS, KINDS
from portal.jobs.records import StateSums
from portal.jobs.runs import Run, RunEnd
from portal.models import Job, writing
from portal.storage import connection_test, storages

if TYPE_CHECKING:
    from portal.storage_drivers.destination import Destination

MAX_THREADS = 4
"""Objects at once: each may wait in memory up to `ingest.IN_MEMORY`."""
IMPORTED_STATES = ("stored", "version", "alternate", "conflict", "same")
DRY_RUN_STATES = ("new", "version", "alternate", "conflict", "same")
STATE_TEXTS = {
    "stored": "new",
    "new": "new",
    "same": "already here",
    "alternate": "in another transfer syntax than the object here",
    "conflict": "in conflict with an object here",
    "version": "new versions of files here",
}


def start(requested: ImportRequest, *, actor: Actor) -> Job:
    """Start an import. Raises Missing, NotAllowed or BadValue, with the field of the form."""
    rights.require_admin(actor)
    return _create("import", request.check(requested), actor=actor)


def dry_run(requested: ImportRequest, *, actor: Actor) -> Job:
    """Find out what `start` would do, without importing anything. Raises as `start` does."""
    rights.require_admin(actor)
    return _create("import_dry_run", request.check(requested), actor=actor)


def start_from_dry_run(dry_run_id: int, *, actor: Actor) -> Job:
    """Start the import that a dry run was for; the storage is listed again.

    Raises Missing, BadValue if the dry run has not finished, and NotAllowed if the storage may no longer be used.
    """
    rights.require_admin(actor)
    tried = get(dry_run_id)
    if tried.kind != "import_dry_run" or tried.state not in ("done", "errors"):
        raise BadValue(f"Job {dry_run_id} is not a finished dry run. An import is started from a finished one only.")
    params = ImportParams.load(tried.params)
    storages.require_import(storages.by_id(params.storage_id), *params.path.split("/", 1))
    checked = CheckedRequest(params=replace(params, dry_run_id=tried.id), what=tried.what)
    return _create("import", checked, actor=actor)


def _create(kind: str, checked: CheckedRequest, *, actor: Actor) -> Job:
    params = checked.params
    with writing():
        storages.by_id(params.storage_id)
        job = jobs.create(kind, actor=actor, params=params.dump(), what=checked.what)
        action = "import:started" if kind == "import" else "import:tried"
        named = {"path": params.path, "prefix": params.prefix, "by": params.by}
        audit.record(actor, action, "job", job.id, storage=params.storage_label, **named)
    jobs.enqueue(job)
    return job


def run(this: Run, *, destination: "Destination") -> RunEnd:
    """Import what is not here yet; a second run does only what is left."""
    connection_test.require_reachable(destination)
    plan.create_items(this, destination)
    importer = Importer(this.job, destination)
    _run_items(this, importer.attempt, IMPORTED_STATES)

    job = this.job
    found = item_row.sum_by_state(job)
    # The imported objects keep the origin that their sidecars record, so the audit entry says who imported them.
    by = Actor(type=cast(ActorType, job.origin_type), id=job.origin_id, name=job.started_by, via=job.origin_via)
    numbers = {state: number for state, (number, _size) in found.items()}
    manifests = [manifest.sha256 for manifest in ImportPlan.load(job.result).manifests][:20]
    project = ImportParams.load(job.params).path
    with writing():
        audit.record(by, "import:ended", "job", job.id, project=project, found=numbers, manifests=manifests)

    state = "done" if not job.failed else "failed" if job.failed == job.total else "errors"
    message = _end_message(job, found, IMPORTED_STATES)
    return RunEnd(state=state, message=message, result=ImportResult(found=found).dump())


def run_dry_run(this: Run, *, destination: "Destination") -> RunEnd:
    """Find out what an import would do with each object."""
    plan.create_items(this, destination)
    importer = Importer(this.job, destination)
    params = ImportParams.load(this.job.params)
    duplicates = DuplicateTracker()
    trial = DryRun(importer, destination, params.project_id, duplicates, only_dicom=params.by == "headers")
    is_resumed = not item_row.sum_by_state(this.job).keys().isdisjoint(DRY_RUN_STATES)
    _run_items(this, trial.attempt, DRY_RUN_STATES)

    found = item_row.sum_by_state(this.job)
    result = ImportResult(found=found, is_incomplete=duplicates.is_full or is_resumed)
    return RunEnd(message=_end_message(this.job, found, DRY_RUN_STATES), result=result.dump())


def _run_items(this: Run, attempt: Any, good_states: Sequence[str]) -> None:
    storage = storages.by_id(ImportParams.load(this.job.params).storage_id)
    threads = min(MAX_THREADS, storages.threads(storage))
    item_runner.run_items(
        this,
        import_importer.tasks(this.job),
        attempt,
        done_states=good_states,
        columns=("digest", "size", "file_id"),
        threads=lambda: this.share(threads),
        unfinished="remain",
    )


def get(job_id: int) -> Job:
    """An import, or the dry run of one. Raises Missing."""
    job = jobs.get(job_id)
    if KINDS[job.kind].family != "import":
        raise Missing(f"There is no import {job_id}; job {job_id} is another kind of job.")
    return job


def list_all(limit: int = 100, before: int | None = None) -> Sequence[Job]:
    """Imports, newest first; see `jobs.list_recent`."""
    return jobs.list_recent(limit, before, kinds=IMPORT_KINDS)


def view(job: Job) -> dict[str, Any]:
    """The import as pages and `--json` show it."""
    params = ImportParams.load(job.params)
    return {
        **jobs.view(job),
        "storage": params.storage_label,
        "project": params.path,
        "prefix": params.prefix,
        "by": params.by,
        "items": job.total,
        "unmatched": ImportPlan.load(job.result).unmatched,
        "found": {state: number for state, (number, _size) in ImportResult.load(job.result).found.items()},
    }


def _end_message(job: Job, found: StateSums, states: Sequence[str]) -> str:
    unmatched = ImportPlan.load(job.result).unmatched
    skipped = f" {unmatched:,} skipped." if unmatched else ""
    if not job.total:
        return f"No objects to import were found.{skipped}"
    parts = [f"{found[state][0]:,} {STATE_TEXTS[state]}" for state in states if state in found]
    parts += [f"{job.failed:,} failed"] if job.failed else []
    objects = "1 object" if job.total == 1 else f"{job.total:,} objects"
    message = f"{objects}: {', '.join(parts) or 'none imported'}.{skipped}"
    return f"{message} {item_runner.first_reason(job, ('failed',))}" if job.failed else message
