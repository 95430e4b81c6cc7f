"""Exports: copies of a project on an external storage."""

from collections.abc import Mapping

from flask import Blueprint, redirect, url_for
from flask import request as http_request
from werkzeug.wrappers import Response

from portal.dashboard import last_24_hours
from portal.exports import exports, fields, request, selection
from portal.exports import preview as export_preview
from portal.exports import rules as export_rules
from portal.exports import verify as export_verify
from portal.exports.lists import exports_of
from portal.exports.params import ExportParams
from portal.jobs import jobs
from portal.routes.export_forms import (
    ExportForm,
    StartForm,
    empty_rule,
    filled,
    form_values,
    options_of,
    rules_of,
    submitted,
    values_of,
)
from portal.routes.jobs import job_page
from portal.tree import container_page
from portal.web.forms import select_choices
from portal.web.render import as_csv, list_page, query_row, query_value, render, wants_csv
from portal.web.sign_in import current_actor, current_scope, is_admin, signed_in_required

bp = Blueprint("exports", __name__, url_prefix="/exports")

STATES = (
    ("active", "Running or waiting"),
    ("done", "Done"),
    ("errors", "With errors"),
    ("failed", "Failed"),
    ("cancelled", "Cancelled"),
)


@bp.get("/")
@signed_in_required
def index() -> Response:
    whole = exports_of(current_actor())
    if wants_csv():
        return as_csv(whole, "exports")
    return render(
        "exports/list.html",
        partial="exports/_list.html",
        listing=list_page(whole),
        states=STATES,
        targets=request.targets(current_actor()),
        day=last_24_hours.exported_objects() if is_admin() else None,
    )


@bp.get("/new")
@signed_in_required
def new() -> Response:
    like = query_row("like")
    if like is not None:
        jobs.get_own(like, actor=current_actor())
        values, rules = form_values(ExportParams.load(exports.get(like).params))
    else:
        values, rules = {name: query_value(name, 300) for name in ("project", "to", "level", "only")}, [empty_rule()]
        values["only"] = selection.with_label(values["project"], values["level"], values["only"])
        values["sidecars"] = "y"
    return _page(filled(values, rules))


@bp.post("/new")
@signed_in_required
def dry_run() -> Response:
    """Start a dry run of the form, or add or remove a rule."""
    act = http_request.form.get("act", "")
    if act.startswith(("add", "remove-")):
        return _page(_with_changed_rules(act))
    form, options = submitted(http_request.form), options_of(http_request.form)
    project, to = form.project.data or "", form.to.data or ""
    job = form.attempt(lambda: exports.dry_run(project, to=to, actor=current_actor(), options=options))
    if job is None:
        return _page(form, status=422)
    return redirect(url_for("jobs.show", job_id=job.id), 303)


@bp.post("/preview")
@signed_in_required
def preview() -> Response:
    """The preview of the form as it is at the moment."""
    request.require_any_project(current_actor())
    return render("exports/_preview.html", preview=_preview(http_request.form))


@bp.post("/<row:job_id>/start")
@signed_in_required
def start(job_id: int) -> Response:
    """Start the export of a dry run."""
    form = StartForm()
    confirmed = bool(form.confirmed.data)
    job = form.attempt(lambda: exports.start_after_dry_run(job_id, confirmed=confirmed, actor=current_actor()))
    if job is None:
        return job_page(job_id, form=form, status=422)
    return redirect(url_for("jobs.show", job_id=job.id), 303)


@bp.post("/<row:job_id>/verify")
@signed_in_required
def verify(job_id: int) -> Response:
    """Start a verification of an export against its manifest."""
    job = export_verify.start(job_id, actor=current_actor())
    return redirect(url_for("jobs.show", job_id=job.id), 303)


def _page(form: ExportForm, status: int = 200) -> Response:
    scope = current_scope()
    request.require_any_project(current_actor())
    managed = scope.limited_to(scope.manages.__contains__)
    form.project.choices = select_choices((path, path) for path in container_page.project_paths(managed))
    form.to.choices = select_choices(request.targets(current_actor()))

    values = {name: field.data or "" for name, field in form._fields.items()}
    for name in ("project", "to"):
        values[name] = values[name] or next((one.value for one in form[name].choices), "")
    rules = rules_of(values)
    return render(
        "exports/new.html",
        form=form,
        status=status,
        numbers=range(1, len(rules) + 1),
        most=export_rules.MAX_RULES,
        fields=fields.FIELDS,
        preview=_preview(values),
    )


def _preview(form: Mapping[str, str]) -> export_preview.Preview:
    return export_preview.build(form.get("project", ""), form.get("to", ""), options_of(form), actor=current_actor())


def _with_changed_rules(act: str) -> ExportForm:
    """The submitted form with another rule at its end, or without one."""
    rules = rules_of(http_request.form)
    if act == "add" and len(rules) < export_rules.MAX_RULES:
        rules.append(empty_rule())
    number = act.removeprefix("remove-")
    if len(rules) > 1 and number.isdecimal() and 1 <= int(number[:3]) <= len(rules):
        del rules[int(number[:3]) - 1]
    form = filled(values_of(http_request.form), rules)
    form[f"level_{len(rules)}"].flags.focus = True
    return form
