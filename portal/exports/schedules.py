"""Schedules: exports that are repeated. The sweep of any worker starts what is due, once."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from peewee import fn

from portal import timestamps
from portal.access import audit, rights
from portal.access.actors import Actor
from portal.errors import BadValue, Busy, Missing, NotAllowed, PortalError
from portal.exports import cron, exports, request, selection
from portal.exports.params import ExportParams
from portal.exports.request import ExportRequest
from portal.jobs import jobs
from portal.jobs.progress import ACTIVE_STATES
from portal.models import Group, Job, Project, Schedule, ScheduleRun, now, writing
from portal.storage import storages
from portal.tree import labels

log = logging.getLogger(__name__)

CLOCK_TOLERANCE = timedelta(hours=1)
"""How far ahead the next time may be: one later than the next after that was written before the clock was set back."""
MAX_STARTED_SCHEDULES = 100
"""Schedules that one sweep starts; the next one takes the next."""


@dataclass(frozen=True, kw_only=True)
class LastRun:
    """The last time that a schedule was due; `job` is None where nothing was started, or its row is gone."""

    due: datetime
    job: Job | None
    message: str


def add(job_id: int, line: str, *, confirmed: bool, label: str = "", actor: Actor) -> Schedule:
    """Repeat an export, or the export of a dry run, at the times of a line of cron (UTC).

    Later objects are exported too, so somebody has to confirm that patients may leave. Raises Missing, NotAllowed,
    and BadValue with the field of the form.
    """
    rights.require_admin(actor)
    params = ExportParams.load(exports.get(job_id).params)
    if params.is_to_peer:
        raise BadValue("An export to a peer is not repeated: a peer does not tell which objects it has already.")
    line = cron.parse(line)
    if not confirmed:
        message = "Identifiable patients may leave the site each time: confirm that this is authorised."
        raise BadValue(message, field="confirmed")
    if label.strip():
        name = labels.clean(label)
    else:  # lab/Trial, session S-01/Visit 1 to mirror
        name = f"{', '.join(filter(None, (params.path, selection.in_words(params))))} to {params.to}"
    _at_present(params)  # raises where an export cannot go there
    with writing():
        row = Schedule.create(
            label=name,
            cron=line,
            params=params.dump_for_schedule(),
            due=cron.next_time(line, now()),
            confirmed_by=actor.name or actor.type,
            **actor.origin.fields,
        )
        audit.record(actor, "schedule:added", "schedule", row.id, label=name, cron=line, confirmed=True, export=job_id)
    return row


def pause(schedule_id: int, *, actor: Actor) -> Schedule:
    """Start nothing until `resume`; a running export goes on. Repeating it is harmless. Raises Missing."""
    rights.require_admin(actor)
    with writing():
        row = get(schedule_id)
        if row.state == "on":
            Schedule.update(state="paused", due=None, message="", modified=now()).where(Schedule.id == row.id).execute()
            audit.record(actor, "schedule:paused", "schedule", row.id, label=row.label)
    return get(schedule_id)


def resume(schedule_id: int, *, actor: Actor) -> Schedule:
    """Continue with the next time. Raises Missing or NotAllowed where its project or storage is gone or closed."""
    rights.require_admin(actor)
    with writing():
        row = get(schedule_id)
        _at_present(ExportParams.load(row.params))
        if row.state != "on":
            due = cron.next_time(row.cron, now())
            changed = {"state": "on", "due": due, "message": "", "modified": now()}
            Schedule.update(**changed).where(Schedule.id == row.id).execute()
            audit.record(actor, "schedule:resumed", "schedule", row.id, label=row.label)
    return get(schedule_id)


def run_now(schedule_id: int, *, actor: Actor) -> Job:
    """Start its export out of turn, also while it is paused. Raises Busy while the last one is still running."""
    rights.require_admin(actor)
    row = get(schedule_id)
    checked = _check(row)
    size = exports.measure(checked.params)
    with writing():
        row = get(schedule_id)
        if running := _running(row):
            raise Busy(f"Export {running.id} of this schedule is still running. Wait for its end, or cancel it.")
        job = exports.create_job("export", checked, size, actor=actor)
        ScheduleRun.create(schedule=row, due=now(), job=job)
        audit.record(actor, "schedule:run", "schedule", row.id, label=row.label, job=job.id)
    jobs.enqueue(job)
    return job


def remove(schedule_id: int, *, actor: Actor) -> Schedule:
    """Delete a schedule; its exports stay. Raises Missing."""
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
    # Schedules that were put off while the clock was ahead come back, but to no time that they had already.
    ahead = moment + CLOCK_TOLERANCE
    for row in Schedule.select().where(Schedule.state == "on", Schedule.due > ahead):
        if row.due <= cron.next_time(row.cron, ahead):
            continue
        later_runs = ScheduleRun.select().where(ScheduleRun.schedule == row, ScheduleRun.due > moment)
        past = {run.due for run in later_runs}
        due = next(time for time in cron.times(row.cron, moment) if time not in past)
        with writing():
            unchanged = (Schedule.id == row.id) & (Schedule.state == "on") & (Schedule.due == row.due)
            Schedule.update(due=due).where(unchanged).execute()
        log.warning("schedule %d waited for %s, as if the clock had been set back; now for %s", row.id, row.due, due)

    wanted = Schedule.select(Schedule.id).where(Schedule.state == "on", Schedule.due <= moment)
    started = 0
    for row in list(wanted.order_by(Schedule.due).limit(MAX_STARTED_SCHEDULES)):
        job = _start_due(row.id, moment)
        if job is not None:
            jobs.enqueue(job)
            started += 1
    return started


def last_runs(rows: Iterable[Schedule]) -> dict[int, LastRun]:
    """The last run of each schedule, by the schedules' numbers; by one statement."""
    newest = (
        ScheduleRun.select(fn.MAX(ScheduleRun.id))
        .where(ScheduleRun.schedule.in_([row.id for row in rows]))
        .group_by(ScheduleRun.schedule)
    )
    found = ScheduleRun.select(ScheduleRun, Job).left_outer_join(Job).where(ScheduleRun.id.in_(newest))
    return {run.schedule_id: LastRun(due=run.due, job=run.job, message=run.message) for run in found}


def view(row: Schedule, last: LastRun | None, only: str | None = None) -> dict[str, Any]:
    """The schedule as pages and `--json` show it; `only` is the part in words, where that is known already."""
    params = ExportParams.load(row.params)
    return {
        "id": row.id,
        "label": row.label,
        "project": params.path,
        "only": selection.in_words(params) if only is None else only,
        "storage": params.to,
        "existing": params.existing,
        "cron": row.cron,
        "when": cron.in_words(row.cron),
        "state": row.state,
        "message": row.message,
        "next": row.due,
        "next_site": timestamps.in_site_zone(row.due),
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
    last = last_runs(rows)
    words = selection.all_in_words([ExportParams.load(row.params) for row in rows])
    return [view(row, last.get(row.id), only) for row, only in zip(rows, words, strict=True)]


def can_continue(row: Schedule) -> bool:
    """Whether its project and storage still exist, so that it can go on."""
    try:
        _at_present(ExportParams.load(row.params))
    except PortalError as error:
        return not isinstance(error, Missing)
    return True


def _start_due(schedule_id: int, moment: datetime) -> Job | None:
    """Start the export of one schedule, unless another worker has; its rows say why, where it cannot start."""
    row = Schedule.get_or_none(Schedule.id == schedule_id)
    if row is None:
        return None
    checked, error = None, None
    try:
        checked = _check(row)
        size = exports.measure(checked.params)
    except PortalError as refusal:
        error = refusal
    with writing():
        row = Schedule.get_or_none(Schedule.id == schedule_id)
        if row is None or row.state != "on" or row.due is None or row.due > moment:
            return None
        due, row.due = row.due, cron.next_time(row.cron, moment)
        if error is not None and error.field != "only":  # its project or storage is gone or closed
            row.state, row.due, row.message = "stopped", None, f"Stopped automatically: {error.message}"
            row.save(only=[Schedule.state, Schedule.due, Schedule.message])
            ScheduleRun.create(schedule=row, due=due, message=row.message)
            audit.record(_actor(row), "schedule:stopped", "schedule", row.id, label=row.label, why=error.message)
            log.warning("schedule %d has stopped automatically", row.id)
            return None
        if checked is None:  # a search that finds nothing this time may find something the next time
            _skip(row, due, f"Skipped: {error.message if error else ''}")
            return None
        if running := _running(row):
            _skip(row, due, f"Skipped: export {running.id} of the time before was still running.")
            return None
        row.message = ""
        row.save(only=[Schedule.due, Schedule.message])
        job = exports.create_job("export", checked, size, actor=_actor(row))
        ScheduleRun.create(schedule=row, due=due, job=job)
    return job


def _skip(row: Schedule, due: datetime, message: str) -> None:
    row.message = message
    row.save(only=[Schedule.due, Schedule.message])
    ScheduleRun.create(schedule=row, due=due, message=message)


def _running(row: Schedule) -> Job | None:
    started = ScheduleRun.select(ScheduleRun.job).where(ScheduleRun.schedule == row, ScheduleRun.job.is_null(False))
    running: Job | None = Job.select().where(Job.id.in_(started), Job.state.in_(ACTIVE_STATES)).first()
    return running


def _check(row: Schedule) -> ExportRequest:
    """What is to be exported at this moment. Raises Missing or NotAllowed where that is no longer possible."""
    params = _at_present(ExportParams.load(row.params))
    if params.search:
        params = replace(params, part=selection.resolve(params.project_id, "search", params.search))
    params = replace(params, last_file_id=request.last_file_id(), schedule_id=row.id)
    return ExportRequest(params=params, what=row.label)


def _at_present(params: ExportParams) -> ExportParams:
    """With the present names of project and storage. Raises Missing or NotAllowed where an export cannot go there."""
    project = Project.select(Project, Group).join(Group).where(Project.id == params.project_id).get_or_none()
    if project is None:
        raise Missing(f"The project {params.path} no longer exists.")
    try:
        storage = storages.by_id(params.storage_id)
    except Missing as error:
        raise Missing(f"The storage {params.to} has been removed.") from error
    try:
        storages.require_export(storage, project.group.code, project.label)
    except NotAllowed as error:
        raise NotAllowed(error.message) from error
    return replace(params, path=f"{project.group.code}/{project.label}", to=storage.label)


def _actor(row: Schedule) -> Actor:
    return Actor(type="system", name=f"Schedule {row.label}", via=f"schedule {row.id}", is_admin=True)
