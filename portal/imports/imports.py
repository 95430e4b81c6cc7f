"""Imports: what lies in an external storage, taken in by the one door, each object once, with an account of each."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from portal.access import audit, rights
from portal.access.actors import Actor, ActorType
from portal.errors import BadValue, Missing
from portal.imports import importer as import_importer
from portal.imports import plan, request
from portal.imports.dry_run import DryRun
from portal.imports.duplicates import DuplicateTracker
from portal.imports.importer import Importer
from portal.imports.request import CheckedRequest, ImportRequest
from portal.jobs import item_runner, jobs
from portal.jobs.item_runner import ProgressWriter
from portal.jobs.runs import Run, RunEnd
from portal.models import Job, writing
from portal.storage import connection_test, storages

if TYPE_CHECKING:
    from portal.storage_drivers.destination import Destination

KINDS = ("import", "import_dry_run")
MAX_THREADS = 4
"""Objects at once: each may wait in memory up to `ingest.IN_MEMORY`."""
IMPORTED_STATES = ("stored", "version", "alternate", "conflict", "same")
DRY_RUN_STATES = ("new", "version", "alternate", "conflict", "same")
STATE_TEXTS = {
    "stored": "new",
    "new": "new",
    "same": "here already",
    "alternate": "in another transfer syntax than the one that is here",
    "conflict": "in conflict with what is here",
    "version": "the next version of a file that is here",
}


def start(wanted: ImportRequest, *, actor: Actor) -> Job:
    """Import what lies there. Raises Missing, NotAllowed or BadValue, with the field of the form."""
    rights.require_admin(actor)
    return _create("import", request.check(wanted), actor=actor)


def dry_run(wanted: ImportRequest, *, actor: Actor) -> Job:
    """Find out what `start` would do; nothing is taken in. Raises as `start` does."""
    rights.require_admin(actor)
    return _create("import_dry_run", request.check(wanted), actor=actor)


def start_from_dry_run(dry_run_id: int, *, actor: Actor) -> Job:
    """Start the import that a dry run was of; what lies there is listed anew.

    Raises Missing, BadValue where the dry run is not done, and NotAllowed where the storage may no longer be used.
    """
    rights.require_admin(actor)
    tried = get(dry_run_id)
    if tried.kind != "import_dry_run" or tried.state not in ("done", "errors"):
        raise BadValue(f"Job {dry_run_id} is no dry run that is over; only after one can its import be started.")
    storage = storages.by_id(tried.params["storage"])
    storages.require_import(storage, *tried.params["path"].split("/", 1))
    order = CheckedRequest(params={**tried.params, "dry_run": tried.id}, what=tried.what)
    return _create("import", order, actor=actor)


def _create(kind: str, order: CheckedRequest, *, actor: Actor) -> Job:
    with writing():
        storages.by_id(order.params["storage"])
        job = jobs.create(kind, actor=actor, params=order.params, what=order.what)
        act = "import:started" if kind == "import" else "import:tried"
        named = {name: order.params[name] for name in ("path", "prefix", "by")}
        audit.record(actor, act, "job", job.id, storage=order.params["of"], **named)
    jobs.enqueue(job)
    return job


def run(this: Run, *, destination: "Destination") -> RunEnd:
    """Take in what is not here yet; a second run does only what is left."""
    connection_test.require_reachable(destination)
    plan.create_items(this, destination)
    importer = Importer(this.job, destination)
    _work(this, importer.attempt, IMPORTED_STATES)
    found = plan.count_by_state(this.job)
    _record_end(this.job, found)
    return RunEnd(state=_state(this.job), message=_in_words(this.job, found, IMPORTED_STATES), result={"found": found})


def run_dry_run(this: Run, *, destination: "Destination") -> RunEnd:
    """What an import would do with each object."""
    plan.create_items(this, destination)
    importer = Importer(this.job, destination)
    only_dicom = this.job.params["by"] == "headers"
    twins = DuplicateTracker()
    trial = DryRun(importer, destination, this.job.params["project"], twins, only_dicom=only_dicom)
    goes_on = not plan.count_by_state(this.job).keys().isdisjoint(DRY_RUN_STATES)
    _work(this, trial.attempt, DRY_RUN_STATES)
    found = plan.count_by_state(this.job)
    result = {"found": found, "uncompared": twins.is_full or goes_on}
    return RunEnd(message=_in_words(this.job, found, DRY_RUN_STATES), result=result)


def _work(this: Run, attempt: Any, well: Sequence[str]) -> None:
    _count(this, well)
    threads = min(MAX_THREADS, storages.threads(storages.by_id(this.job.params["storage"])))
    tally = ProgressWriter(this, well=well, more=("digest", "size", "file_id"))
    item_runner.run_items(this, import_importer.tasks(this.job), attempt, tally, at_once=lambda: this.share(threads))
    this.write(failed=this.job.failed + item_runner.settle_unfinished(this, "are left"))


def _count(this: Run, well: Sequence[str]) -> None:
    """Set the counts by the rows, which a retry changed."""
    found = plan.count_by_state(this.job)
    done = [found[state] for state in well if state in found]
    size = sum(size for _number, size in done)
    this.write(done=sum(number for number, _size in done), failed=found.get("failed", [0])[0], bytes=size)


def get(job_id: int) -> Job:
    """An import, or the dry run of one. Raises Missing."""
    job = jobs.get(job_id)
    if job.kind not in KINDS:
        raise Missing(f"There is no import {job_id}; job {job_id} is another kind of job.")
    return job


def list_all(limit: int = 100, before: int | None = None) -> Sequence[Job]:
    """Imports, newest first; see `jobs.every`."""
    return jobs.list_recent(limit, before, kinds=("import",))


def view(job: Job) -> dict[str, Any]:
    """The import as pages and `--json` show it."""
    found = job.result.get("found", {})
    params = job.params
    return {
        **jobs.view(job),
        "storage": params["of"],
        "project": params["path"],
        "prefix": params["prefix"],
        "by": params["by"],
        "items": job.total,
        "unmatched": job.result.get("unmatched", 0),
        "found": {state: number for state, (number, _size) in found.items()},
    }


def _record_end(job: Job, found: dict[str, list[int]]) -> None:
    """The act for the audit: what came in keeps the origin that its sidecar records, and here stands who brought it."""
    kind = cast(ActorType, job.origin_type)
    by = Actor(type=kind, id=job.origin_id, name=job.started_by, via=job.origin_via)
    numbers = {state: number for state, (number, _size) in found.items()}
    manifests = [manifest["sha256"] for manifest in job.result.get("manifests", ())][:20]
    with writing():
        audit.record(by, "import:ended", "job", job.id, project=job.params["path"], found=numbers, manifests=manifests)


def _state(job: Job) -> str:
    if not job.failed:
        return "done"
    return "failed" if job.failed == job.total else "errors"


def _in_words(job: Job, found: dict[str, list[int]], states: Sequence[str]) -> str:
    left = job.result.get("unmatched", 0)
    stayed = f" {left:,} stayed there." if left else ""
    if not job.total:
        return f"Nothing was found to import.{stayed}"
    told = [f"{found[state][0]:,} {STATE_TEXTS[state]}" for state in states if state in found]
    told += [f"{job.failed:,} refused"] if job.failed else []
    words = f"{_objects(job.total)}: {', '.join(told) or 'none taken in'}.{stayed}"
    return f"{words} {item_runner.first_reason(job, ('failed',))}" if job.failed else words


def _objects(number: int) -> str:
    return "1 object" if number == 1 else f"{number:,} objects"
