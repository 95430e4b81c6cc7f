"""Jobs: everything that runs in the background, who started it and how it ended."""

from flask import Blueprint, flash, redirect, url_for
from werkzeug.wrappers import Response

from portal import activity, jobs, origins
from portal.routes.guard import current_actor, site_admin_required
from portal.routes.pages import as_csv, listed, listing, render, wants_csv
from portal.work_lists import JOBS

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
    return render("jobs/list.html", partial="jobs/_list.html", listing=listed(JOBS), states=STATES)


@bp.get("/<row:job_id>")
@site_admin_required
def show(job_id: int) -> Response:
    job = jobs.get(job_id)
    items = listing(lambda search, state, limit, skip: activity.job_items(job_id, search, state, limit, skip))
    return render(
        "jobs/show.html", partial="jobs/_progress.html", job=jobs.view(job), who=origins.name(job), listing=items
    )


@bp.post("/<row:job_id>/cancel")
@site_admin_required
def cancel(job_id: int) -> Response:
    job = jobs.cancel(job_id, actor=current_actor())
    flash("The job is cancelled." if job.state == "cancelled" else "The job stops as soon as it can.")
    return redirect(url_for(".show", job_id=job_id), 303)


@bp.post("/<row:job_id>/retry")
@site_admin_required
def retry(job_id: int) -> Response:
    jobs.retry(job_id, actor=current_actor())
    flash("The job runs again. What was done stays done.")
    return redirect(url_for(".show", job_id=job_id), 303)
