"""Schedules: exports that are repeated. The worker's sweep starts what is due, once, whoever else looks."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from peewee import fn

from portal import site_settings
from portal.access import audit, rights
from portal.access.actors import Actor
from portal.errors import BadValue, Busy, Missing, NotAllowed, PortalError
from portal.exports import cron, exports, selection
from portal.exports.request import ExportRequest
from portal.jobs import jobs
from portal.jobs.progress import ACTIVE_STATES
from portal.models import File, Group, Job, Project, Schedule, ScheduleRun, now, writing
from portal.storage import storages
from portal.tree import labels
from portal.tree.project_part import ProjectPart

log = logging.getLogger(__name__)

CLOCK_TOLERANCE = timedelta(hours=1)
"""A time that lies farther ahead than the next one after this was written before the clock was set back."""
MAX_STARTED_SCHEDULES = 100
"""Schedules that one sweep starts; the next one takes the next."""
ONE_TIME_PARAMS = ("last_file", "dry_run", "schedule")
"""Parameters of an export that its repetition does not have, or has anew."""


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """What a schedule was due for last; `job` is None where nothing was started, or its row is gone."""

    due: datetime
    job: Job | None
    message: str


def add(job_id: int, line: str, *, confirmed: bool, label: str = "", actor: Actor) -> Schedule:
    """Repeat an export, or what a dry run was of, at the times of a line of cron (UTC).

    What comes later is exported too, so somebody has to confirm that patients may leave. Raises Missing, NotAllowed,
    and BadValue with the field of the form.
    """
    rights.require_admin(actor)
    params = exports.get(job_id).params
    if "storage" not in params:
        raise BadValue("What goes to a peer is not repeated: a peer does not say what it has already.")
    line = cron.parse(line)
    if not confirmed:
        raise BadValue(
            "Identifiable patients may leave the site each time: tick that this is allowed.", field="confirmed"
        )
    kept = {name: value for name, value in params.items() if name not in ONE_TIME_PARAMS}
    if _searched(kept):
        kept.pop("part", None)
    name = labels.clean(label) if label.strip() else _named(kept)
    _require_place(kept)
    with writing():
        row = Schedule.create(
            label=name,
            cron=line,
            params=kept,
            due=cron.next_time(line, now()),
            confirmed_by=actor.name or actor.type,
            **actor.origin.fields,
        )
        audit.record(actor, "schedule:added", "schedule", row.id, label=name, cron=line, confirmed=True, export=job_id)
    return row


def pause(schedule_id: int, *, actor: Actor) -> Schedule:
    """Start nothing more until `resume`; what runs goes on. Twice is once. Raises Missing."""
    rights.require_admin(actor)
    with writing():
        row = get(schedule_id)
        if row.state == "on":
            Schedule.update(state="paused", due=None, message="", modified=now()).where(Schedule.id == row.id).execute()
            audit.record(actor, "schedule:paused", "schedule", row.id, label=row.label)
    return get(schedule_id)


def resume(schedule_id: int, *, actor: Actor) -> Schedule:
    """Go on with the next time. Raises Missing or NotAllowed where its project or storage is gone or closed."""
    rights.require_admin(actor)
    with writing():
        row = get(schedule_id)
        _require_place(row.params)
        if row.state != "on":
            due = cron.next_time(row.cron, now())
            changed = {"state": "on", "due": due, "message": "", "modified": now()}
            Schedule.update(**changed).where(Schedule.id == row.id).execute()
            audit.record(actor, "schedule:resumed", "schedule", row.id, label=row.label)
    return get(schedule_id)


def run_now(schedule_id: int, *, actor: Actor) -> Job:
    """Start its export beyond its times, also while it is paused. Raises Busy while the last one still goes."""
    rights.require_admin(actor)
    row = get(schedule_id)
    order = _order(row)
    size = exports.measure(order)
    with writing():
        row = get(schedule_id)
        if running := _running(row):
            raise Busy(f"Export {running.id} of this schedule still goes on. Wait for its end, or cancel it.")
        job = exports.create_job("export", order, size, actor=actor)
        ScheduleRun.create(schedule=row, due=now(), job=job)
        audit.record(actor, "schedule:run", "schedule", row.id, label=row.label, job=job.id)
    jobs.enqueue(job)
    return job


def remove(schedule_id: int, *, actor: Actor) -> Schedule:
    """Forget a schedule; its exports stay. Raises Missing."""
    rights.require_admin(actor)
    with writing():
        row = get(schedule_id)
        row.delete_instance()
        audit.record(actor, "schedule:removed", "schedule", row.id, label=row.label, cron=row.cron)
    return row


def get(schedule_id: int) -> Schedule:
    """Raises Missing."""
    row = Schedule.get_or_none(Schedule.id == schedule_id)
    if row is None:
        raise Missing(f"There is no schedule {schedule_id}.")
    return row


def list_all() -> Sequence[Schedule]:
    """All schedules by their labels."""
    return list(Schedule.select().order_by(Schedule.label, Schedule.id))


def for_storage(storage_id: int) -> Sequence[Schedule]:
    """Those that export to a storage, by their labels."""
    wanted = fn.json_extract(Schedule.params, "$.storage") == storage_id
    return list(Schedule.select().where(wanted).order_by(Schedule.label, Schedule.id))


def sweep() -> int:
    """Start what is due; returns how many exports. After a downtime that is one for each schedule, not many."""
    moment = now()
    _put_right(moment)
    wanted = Schedule.select(Schedule.id).where(Schedule.state == "on", Schedule.due <= moment)
    started = 0
    for row in list(wanted.order_by(Schedule.due).limit(MAX_STARTED_SCHEDULES)):
        job = _begin(row.id, moment)
        if job is not None:
            jobs.enqueue(job)
            started += 1
    return started


def last_runs(rows: Iterable[Schedule]) -> dict[int, LastRun]:
    """What some schedules were due for last, by their numbers; by one statement."""
    newest = (
        ScheduleRun.select(fn.MAX(ScheduleRun.id))
        .where(ScheduleRun.schedule.in_([row.id for row in rows]))
        .group_by(ScheduleRun.schedule)
    )
    found = ScheduleRun.select(ScheduleRun, Job).left_outer_join(Job).where(ScheduleRun.id.in_(newest))
    return {run.schedule_id: LastRun(due=run.due, job=run.job, message=run.message) for run in found}


def view(row: Schedule, last: LastRun | None, only: str | None = None) -> dict[str, Any]:
    """The schedule as pages and `--json` show it; `only` is what it is of, in words, where that is known already."""
    return {
        "id": row.id,
        "label": row.label,
        "project": row.params["path"],
        "only": selection.in_words(row.params) if only is None else only,
        "storage": row.params["to"],
        "existing": row.params.get("existing", "never"),
        "cron": row.cron,
        "when": cron.in_words(row.cron),
        "state": row.state,
        "message": row.message,
        "next": row.due,
        "next_site": in_site_time(row.due),
        "last": last.due if last else None,
        "last_job": last.job.id if last and last.job else None,
        "last_state": last.job.state if last and last.job else "",
        "last_message": (last.job.message if last.job else last.message) if last else "",
        "confirmed": row.confirmed,
        "confirmed_by": row.confirmed_by,
        "created": row.created,
    }


def views(rows: Sequence[Schedule]) -> list[dict[str, Any]]:
    """The same of several, by a few statements."""
    last, words = last_runs(rows), selection.all_in_words([row.params for row in rows])
    return [view(row, last.get(row.id), only) for row, only in zip(rows, words, strict=True)]


def can_continue(row: Schedule) -> bool:
    """Whether its project and storage are still there, so that it can go on."""
    try:
        _require_place(row.params)
    except PortalError as error:
        return not isinstance(error, Missing)
    return True


def in_site_time(moment: datetime | None) -> str:
    """2026-11-25 03:00 Europe/Zurich; empty for none."""
    if moment is None:
        return ""
    zone = site_settings.get("site.time_zone")
    return f"{moment.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M} {zone}"


def _put_right(moment: datetime) -> None:
    """What was put off while the clock was ahead waits for its next time again, but for none that it had already."""
    ahead = moment + CLOCK_TOLERANCE
    for row in Schedule.select().where(Schedule.state == "on", Schedule.due > ahead):
        if row.due <= cron.next_time(row.cron, ahead):
            continue
        had = {run.due for run in ScheduleRun.select().where(ScheduleRun.schedule == row, ScheduleRun.due > moment)}
        due = next(time for time in cron.times(row.cron, moment) if time not in had)
        with writing():
            unchanged = (Schedule.id == row.id) & (Schedule.state == "on") & (Schedule.due == row.due)
            Schedule.update(due=due).where(unchanged).execute()
        log.warning("schedule %d waited for %s, as if the clock had been set back; now for %s", row.id, row.due, due)


def _named(params: dict[str, Any]) -> str:
    """lab/Trial, session S-01/Visit 1 to mirror."""
    return f"{', '.join(filter(None, (params['path'], selection.in_words(params))))} to {params['to']}"


def _begin(schedule_id: int, moment: datetime) -> Job | None:
    """Start one schedule's export, unless another worker has; what hinders it is said on its rows."""
    row = Schedule.get_or_none(Schedule.id == schedule_id)
    if row is None:
        return None
    order, hindrance = None, None
    try:
        order = _order(row)
        size = exports.measure(order)
    except PortalError as error:
        hindrance = error
    with writing():
        row = Schedule.get_or_none(Schedule.id == schedule_id)
        if row is None or row.state != "on" or row.due is None or row.due > moment:
            return None
        due, row.due = row.due, cron.next_time(row.cron, moment)
        if order is None:
            _hindered(row, due, hindrance)
            return None
        if running := _running(row):
            _leave_out(row, due, f"Left out: export {running.id} of the time before was still going on.")
            return None
        row.message = ""
        row.save(only=[Schedule.due, Schedule.message])
        job = exports.create_job("export", order, size, actor=_actor(row))
        ScheduleRun.create(schedule=row, due=due, job=job)
    return job


def _hindered(row: Schedule, due: datetime, error: PortalError | None) -> None:
    """A place that is gone or closed ends the schedule; what a search did not find this time may come."""
    message = error.message if error else ""
    if error is None or error.field == "only":
        _leave_out(row, due, f"Left out: {message}")
        return
    row.state, row.due, row.message = "stopped", None, f"Stopped by itself: {message}"
    row.save(only=[Schedule.state, Schedule.due, Schedule.message])
    ScheduleRun.create(schedule=row, due=due, message=row.message)
    audit.record(_actor(row), "schedule:stopped", "schedule", row.id, label=row.label, why=message)
    log.warning("schedule %d has stopped by itself", row.id)


def _leave_out(row: Schedule, due: datetime, message: str) -> None:
    row.message = message
    row.save(only=[Schedule.due, Schedule.message])
    ScheduleRun.create(schedule=row, due=due, message=message)


def _running(row: Schedule) -> Job | None:
    mine = ScheduleRun.select(ScheduleRun.job).where(ScheduleRun.schedule == row, ScheduleRun.job.is_null(False))
    found: Job | None = Job.select().where(Job.id.in_(mine), Job.state.in_(ACTIVE_STATES)).first()
    return found


def _order(row: Schedule) -> ExportRequest:
    """What is to be exported at this moment. Raises Missing or NotAllowed where that cannot be done any more."""
    names = _require_place(row.params)
    part = _part(row.params)
    anew = {
        "part": {"level": part.level, "ids": list(part.ids)},
        "last_file": File.select(fn.MAX(File.id)).scalar() or 0,
        "schedule": row.id,
    }
    return ExportRequest(part=part, params={**row.params, **names, **anew}, what=row.label)


def _part(params: dict[str, Any]) -> ProjectPart:
    """A search is made anew each time; a subject or session stays the one that it was."""
    if text := _searched(params):
        return selection.resolve(params["project"], "search", text)
    chosen = params.get("part") or {"level": "project", "ids": ()}
    return ProjectPart(project=params["project"], level=chosen["level"], ids=tuple(chosen["ids"]))


def _searched(params: dict[str, Any]) -> str:
    level, _space, text = params.get("only", "").partition(" ")
    return str(text) if level == "search" else ""


def _require_place(params: dict[str, Any]) -> dict[str, str]:
    """What project and storage are called now. Raises Missing or NotAllowed where an export cannot go there."""
    project = Project.select(Project, Group).join(Group).where(Project.id == params["project"]).get_or_none()
    if project is None:
        raise Missing(f"The project {params['path']} is not there any more.")
    try:
        storage = storages.by_id(params["storage"])
    except Missing as error:
        raise Missing(f"The storage {params['to']} has been removed.") from error
    try:
        storages.require_export(storage, project.group.code, project.label)
    except NotAllowed as error:
        raise NotAllowed(error.message) from error
    return {"path": f"{project.group.code}/{project.label}", "to": storage.label}


def _actor(row: Schedule) -> Actor:
    return Actor(type="system", name=f"Schedule {row.label}", via=f"schedule {row.id}", is_admin=True)
