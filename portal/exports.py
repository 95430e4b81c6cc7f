"""Exports: copies of a project to an external storage, item by item, each proved, and a manifest last."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from peewee import fn

from portal import audit, containers, copying, export_items, jobs, manifests, rights
from portal.errors import Missing
from portal.models import File, Job, JobItem, writing
from portal.provenance import Actor
from portal.runs import End, Run
from portal.storage import ladder, storages

if TYPE_CHECKING:
    from portal.storage.destination import Destination


def start(path: str, *, to: str, actor: Actor) -> Job:
    """Export what the project `GROUP/PROJECT` holds at this moment. Raises Missing, NotAllowed or BadValue."""
    rights.require_admin(actor)
    project = containers.project(path)
    group, label = project.group.code, project.label
    storage = storages.get(to)
    storages.require_export(storage, group, label)
    number, size = export_items.count(project.id)
    with writing():
        storage = storages.by_id(storage.id)
        params = {
            "project": project.id,
            "storage": storage.id,
            "path": f"{group}/{label}",
            "to": storage.label,
            "last_file": File.select(fn.MAX(File.id)).scalar() or 0,
        }
        what = f"{group}/{label} to {storage.label}"
        job = jobs.create("export", actor=actor, params=params, what=what, total=number)
        job.result = {"bytes": size}
        job.save()
        audit.record(actor, "export:started", "job", job.id, project=params["path"], storage=storage.label)
    jobs.ring(job)
    return job


def run(this: Run, *, destination: "Destination") -> End:
    """Do what of an export is not done yet: plan it, send and verify each item, write the manifest."""
    storage = storages.by_id(this.job.params["storage"])
    ladder.require(this, storage)
    export_items.plan(this)
    storages.lock_place(storage)
    copying.send(this, destination)
    failed, total = this.job.failed, this.job.total
    why = copying.example(this.job)
    if failed and failed == total:
        return End(state="failed", sentence=f"{_in_words(total)} did not arrive. {why}")
    written = manifests.write(this, destination, storage)
    if failed:
        sentence = f"{total - failed:,} of {_in_words(total)} arrived whole. {failed:,} did not. {why}"
        return End(state="errors", sentence=sentence, result=written)
    return End(sentence=_well(this.job), result=written)


def get(job_id: int) -> Job:
    """Raises Missing."""
    job = jobs.get(job_id)
    if job.kind != "export":
        raise Missing(f"There is no export {job_id}; job {job_id} is another kind of job.")
    return job


def every(limit: int = 100, before: int | None = None, search: str = "", state: str = "") -> Sequence[Job]:
    """Exports, newest first; see `jobs.every`."""
    return jobs.every(limit, before, search, state, kind="export")


def items(job_id: int, state: str = "", limit: int = 100, after: int = 0) -> Sequence[JobItem]:
    """Objects of an export in their order; `after` is the number of the last one seen."""
    rows = JobItem.select().where(JobItem.job == job_id, JobItem.id > after)
    if state:
        rows = rows.where(JobItem.state == state)
    return list(rows.order_by(JobItem.id).limit(limit))


def view(job: Job) -> dict[str, Any]:
    """The export as pages and `--json` show it: `items` objects of `bytes`, of which `verified` are there, proved."""
    return {
        **jobs.view(job),
        "project": job.params["path"],
        "storage": job.params["to"],
        "items": job.total,
        "verified": job.done,
        "held_back": job.result.get("held_back", 0),
        "manifest": _manifest_view(job),
    }


def _manifest_view(job: Job) -> dict[str, Any] | None:
    manifest: dict[str, Any] = job.result.get("manifest") or {}
    return manifest if manifest.get("sha256") else None


def _well(job: Job) -> str:
    held = job.result.get("held_back", 0)
    stayed = f" {held:,} that conflict with another object, or gave way to one, stayed here." if held else ""
    if not job.total:
        return f"The project holds nothing to export.{stayed}"
    return f"{_in_words(job.total)} arrived whole.{stayed}"


def _in_words(number: int) -> str:
    return "1 object" if number == 1 else f"{number:,} objects"
