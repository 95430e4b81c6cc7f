"""Schedules: exports that are repeated."""

from typing import Any

from flask import Blueprint, flash, redirect, url_for
from werkzeug.wrappers import Response

from portal.errors import Missing
from portal.exports import cron, exports, schedules
from portal.exports.params import ExportParams
from portal.exports.schedule_lists import SCHEDULES, times_for
from portal.web.forms import Form, checkbox, choice, text
from portal.web.render import as_csv, list_page, query_row, render, wants_csv
from portal.web.sign_in import current_actor, site_admin_required

bp = Blueprint("schedules", __name__, url_prefix="/exports/schedules")

STATES = (("on", "On"), ("paused", "Paused"), ("stopped", "Stopped"))
RUN_STATES = (
    ("active", "Running or waiting"),
    ("done", "Done"),
    ("errors", "With errors"),
    ("failed", "Failed"),
    ("cancelled", "Cancelled"),
    ("out", "Skipped"),
)
FREQUENCIES = (("day", "Every day"), ("week", "Every week"), ("month", "Every month"), ("cron", "Cron expression"))
WEEKDAYS = tuple((str(number), name) for number, name in enumerate(cron.WEEKDAYS, 1))
DAYS = (*((str(number), str(number)) for number in range(1, 29)), (cron.LAST_DAY, "Last day"))
DEFAULT_TIME = "02:00"


class ScheduleForm(Form):
    label = text("Label")
    every = choice("How often", FREQUENCIES)
    at = text("At (UTC)")
    weekday = choice("Day of the week", WEEKDAYS)
    day = choice("Day of the month", DAYS)
    line = text("Cron expression")
    confirmed = checkbox("I confirm that this disclosure is authorised")


@bp.get("/")
@site_admin_required
def index() -> Response:
    if wants_csv():
        return as_csv(SCHEDULES, "schedules")
    return render("schedules/list.html", partial="schedules/_list.html", listing=list_page(SCHEDULES), states=STATES)


@bp.get("/new")
@site_admin_required
def new() -> Response:
    job = _export()
    return render("schedules/new.html", form=ScheduleForm(at=DEFAULT_TIME, every="day"), job=exports.view(job))


@bp.post("/new")
@site_admin_required
def add() -> Response:
    job = _export()
    form = ScheduleForm()

    def create() -> Any:
        times = cron.from_form(**{name: form[name].data or "" for name in ("every", "at", "weekday", "day", "line")})
        label, confirmed = form.label.data or "", bool(form.confirmed.data)
        return schedules.add(job.id, times, confirmed=confirmed, label=label, actor=current_actor())

    row = form.attempt(create)
    if row is None:
        return render("schedules/new.html", form=form, job=exports.view(job), status=422)
    flash(f"{row.label} is created.")
    return redirect(url_for(".show", schedule_id=row.id), 303)


@bp.get("/<row:schedule_id>")
@site_admin_required
def show(schedule_id: int) -> Response:
    row = schedules.get(schedule_id)
    times = times_for(row)
    if wants_csv():
        return as_csv(times, f"schedule-{schedule_id}")
    return render(
        "schedules/show.html",
        partial="schedules/_times.html",
        schedule=_view(row),
        listing=list_page(times),
        states=RUN_STATES,
    )


@bp.post("/<row:schedule_id>/pause")
@site_admin_required
def pause(schedule_id: int) -> Response:
    row = schedules.pause(schedule_id, actor=current_actor())
    flash(f"{row.label} is paused. A running export continues.")
    return redirect(url_for(".show", schedule_id=schedule_id), 303)


@bp.post("/<row:schedule_id>/resume")
@site_admin_required
def resume(schedule_id: int) -> Response:
    row = schedules.resume(schedule_id, actor=current_actor())
    flash(f"{row.label} is resumed.")
    return redirect(url_for(".show", schedule_id=schedule_id), 303)


@bp.post("/<row:schedule_id>/run")
@site_admin_required
def run(schedule_id: int) -> Response:
    job = schedules.run_now(schedule_id, actor=current_actor())
    return redirect(url_for("jobs.show", job_id=job.id), 303)


@bp.get("/<row:schedule_id>/remove")
@site_admin_required
def ask_remove(schedule_id: int) -> Response:
    return render("schedules/remove.html", schedule=_view(schedules.get(schedule_id)))


@bp.post("/<row:schedule_id>/remove")
@site_admin_required
def remove(schedule_id: int) -> Response:
    row = schedules.remove(schedule_id, actor=current_actor())
    flash(f"{row.label} is deleted. Its exports are kept.")
    return redirect(url_for(".index"), 303)


def _export() -> Any:
    """The export that the query string names. Raises Missing."""
    number = query_row("job")
    if number is None:
        raise Missing("There is no such export.")
    return exports.get(number)


def _view(row: Any) -> dict[str, Any]:
    project_id = ExportParams.load(row.params).project_id
    places = {"project_id": project_id, "is_lasting": schedules.can_continue(row)}
    return {**schedules.view(row, schedules.last_runs([row]).get(row.id)), **places}
