"""Jobs: all background work, its progress and its result."""

from typing import Any

from flask import Blueprint, flash, redirect, url_for
from werkzeug.wrappers import Response

from portal.access import origins
from portal.commitments import confirmations
from portal.dashboard import last_24_hours
from portal.exports import selection, verify
from portal.exports.params import ExportParams
from portal.exports.results import DryRunResult, ManifestRecord, PlanResult
from portal.imports.params import ImportParams, ImportPlan, ImportResult
from portal.jobs import item_list, jobs, lanes, throughput
from portal.jobs.kinds import KINDS
from portal.jobs.lists import JOBS, KIND_FILTERS
from portal.jobs.records import JobResult
from portal.retrievals import retries
from portal.routes.export_forms import StartForm
from portal.web.render import as_csv, as_json_lines, list_page, query_value, render, wants_csv
from portal.web.sign_in import current_actor, signed_in_required, site_admin_required

bp = Blueprint("jobs", __name__, url_prefix="/jobs")

STATES = (
    ("active", "Running or waiting"),
    ("errors", "With errors"),
    ("failed", "Failed"),
    ("done", "Done"),
    ("cancelled", "Cancelled"),
)


@bp.get("/")
@site_admin_required
def index() -> Response:
    if wants_csv():
        return as_csv(JOBS, "jobs")
    return render(
        "jobs/list.html",
        partial="jobs/_list.html",
        listing=list_page(JOBS),
        states=STATES,
        kinds=KIND_FILTERS,
        any_job=jobs.any_exist(),
        day=last_24_hours.jobs(),
    )


@bp.get("/<row:job_id>")
@signed_in_required
def show(job_id: int) -> Response:
    if wants_csv():
        jobs.get_own(job_id, actor=current_actor())
        return as_csv(item_list.complete_list(jobs.get(job_id), query_value("q", 200)), f"job-{job_id}")
    return job_page(job_id, form=StartForm())


def job_page(job_id: int, *, form: StartForm, status: int = 200) -> Response:
    """The page of a job; `form` starts the export of a dry run."""
    job = jobs.get_own(job_id, actor=current_actor())
    items = item_list.for_job(job, query_value("q", 200))
    return render(
        "jobs/show.html",
        partial="jobs/_items.html",
        status=status,
        **_progress(job),
        form=form,
        listing=list_page(items),
        sorts=items.sorts,
        states=KINDS[job.kind].item_states,
        confirmations=[jobs.view(row) for row in confirmations.of_send(job)] if job.kind == "send" else (),
        verifications=[jobs.view(row) for row in verify.for_export(job_id)] if job.kind == "export" else (),
    )


def _progress(job: Any) -> dict[str, Any]:
    """The context of jobs/_progress.html."""
    kind, result = KINDS[job.kind], JobResult.load(job.result)
    params: Any = ImportParams.load(job.params) if kind.family == "import" else None
    if kind.family == "export":
        params = ExportParams.load(job.params)
    return {
        "job": jobs.view(job),
        "kind": kind,
        "params": params,
        "only": selection.in_words(params) if kind.family == "export" else "",
        "is_planned": result.is_planned,
        "planned": PlanResult.load(job.result),
        "dry_run": DryRunResult.load(job.result),
        "imported": ImportResult.load(job.result),
        "import_plan": ImportPlan.load(job.result),
        "manifest": ManifestRecord.load(job.result),
        "ended_runs": result.ended_runs,
        "who": origins.name(job),
        "throughput": throughput.from_samples(job.samples),
        "waits_for": lanes.wait_reason(job),
    }


@bp.get("/<row:job_id>/report.jsonl")
@signed_in_required
def report(job_id: int) -> Response:
    """The items that match the query string, one JSON object per line."""
    job = jobs.get_own(job_id, actor=current_actor())
    item_list.complete_list(job)
    return as_json_lines(lambda asked: item_list.json_lines(job, asked), f"job-{job_id}")


@bp.get("/<row:job_id>/progress")
@signed_in_required
def progress(job_id: int) -> Response:
    job = jobs.get_own(job_id, actor=current_actor())
    response = render("jobs/_progress.html", **_progress(job))
    if jobs.view(job)["is_over"]:
        response.headers["HX-Refresh"] = "true"  # to show the final state of the items
    return response


@bp.post("/<row:job_id>/cancel")
@signed_in_required
def cancel(job_id: int) -> Response:
    job = jobs.cancel(job_id, actor=current_actor())
    flash("The job is cancelled." if job.state == "cancelled" else "The job is being cancelled.")
    return redirect(url_for(".show", job_id=job_id), 303)


@bp.post("/<row:job_id>/hasten")
@signed_in_required
def try_now(job_id: int) -> Response:
    jobs.try_now(job_id, actor=current_actor())
    flash("The job is retried now.")
    return redirect(url_for(".show", job_id=job_id), 303)


@bp.post("/<row:job_id>/retry")
@signed_in_required
def retry(job_id: int) -> Response:
    job = retries.retry(job_id, actor=current_actor())
    flash("The job runs again. Completed objects are kept." if job.id == job_id else "Only what failed is sent again.")
    return redirect(url_for(".show", job_id=job.id), 303)
