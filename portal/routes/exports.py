"""Exports: copies of a project on an external storage."""

from flask import Blueprint, redirect, request, url_for
from werkzeug.wrappers import Response

from portal import browse, days, exports
from portal.routes.forms import Form, choice, offered
from portal.routes.guard import current_actor, current_scope, site_admin_required
from portal.routes.pages import as_csv, listed, render, wants_csv
from portal.storage import storages
from portal.work_lists import EXPORTS

bp = Blueprint("exports", __name__, url_prefix="/exports")

STATES = (
    ("active", "Running or waiting"),
    ("done", "Done"),
    ("errors", "With errors"),
    ("failed", "Failed"),
    ("cancelled", "Cancelled"),
)


class ExportForm(Form):
    project = choice("Project")
    to = choice("To")


@bp.get("/")
@site_admin_required
def index() -> Response:
    if wants_csv():
        return as_csv(EXPORTS, "exports")
    return render(
        "exports/list.html",
        partial="exports/_list.html",
        listing=listed(EXPORTS),
        states=STATES,
        storages=storages.every(),
        day=days.exported(),
    )


@bp.get("/new")
@site_admin_required
def new() -> Response:
    form = _form(ExportForm(project=request.args.get("project"), to=request.args.get("to")))
    return render("exports/new.html", form=form)


@bp.post("/new")
@site_admin_required
def start() -> Response:
    form = _form(ExportForm())
    job = form.attempt(lambda: exports.start(form.project.data or "", to=form.to.data or "", actor=current_actor()))
    if job is None:
        return render("exports/new.html", form=form, status=422)
    return redirect(url_for("jobs.show", job_id=job.id), 303)


def _form(form: ExportForm) -> ExportForm:
    form.project.choices = offered((path, path) for path in browse.paths(current_scope()))
    form.to.choices = offered((row.label, row.label) for row in storages.every())
    return form
