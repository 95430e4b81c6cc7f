"""Exports on a schedule: started once when they are due, whoever looks, and stopped in words when they cannot be."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dimse_worker import destinations
from portal import models, site_settings
from portal.access.actors import Actor
from portal.errors import BadValue, Busy, Missing, NotAllowed
from portal.exports import cron, exports, schedules
from portal.exports.request import Options
from portal.jobs import jobs, runs
from portal.models import Acquisition, Audit, Job, Project, Schedule, ScheduleRun, Storage
from portal.storage import storages
from portal.tree import projects
from tests.fixtures.archive import an_object, store
from tests.fixtures.work import Process, add_file, add_files, files_below, until

EVENING = datetime(2026, 3, 2, 22, 0, tzinfo=UTC)
NIGHTLY = "0 2 * * *"

Clock = Callable[[datetime], None]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Sets what time it is for schedules."""

    def turn(moment: datetime) -> None:
        monkeypatch.setattr(schedules, "now", lambda: moment)

    turn(EVENING)
    return turn


@pytest.fixture
def nightly(clock: Clock, acquisition: Acquisition, mirror: Storage, admin: Actor) -> Schedule:
    """Every night at 02:00 UTC, a project with two files."""
    add_files(acquisition, 2, 100, admin)
    tried = exports.dry_run("lab/Trial", to="mirror", actor=admin)
    return schedules.add(tried.id, NIGHTLY, confirmed=True, actor=admin)


def day(number: int, hour: int = 2, minute: int = 0) -> datetime:
    return datetime(2026, 3, number, hour, minute, tzinfo=UTC)


def made() -> list[Job]:
    return list(Job.select().where(Job.kind == "export").order_by(Job.id))


def run(job: Job) -> Job:
    runs.perform(job.id, lambda this: exports.run(this, destination=destinations.open_storage(this.job)))
    return exports.get(job.id)


def test_what_is_due_is_exported_once_and_again_at_the_next_time(
    nightly: Schedule, clock: Clock, acquisition: Acquisition, folder: Path, admin: Actor
) -> None:
    assert nightly.due == day(3)
    clock(day(3) - timedelta(seconds=1))
    assert schedules.sweep() == 0
    clock(day(3) + timedelta(seconds=8))
    assert (schedules.sweep(), schedules.sweep()) == (1, 0)
    first = run(made()[0])
    assert (first.state, first.done, first.started_by) == ("done", 2, "Schedule lab/Trial to mirror")
    for name in ("new.bin", "newer.bin", "newest.bin"):
        add_file(acquisition, name, name.encode(), admin)
    clock(day(4, 3))
    assert schedules.sweep() == 1
    second = run(made()[1])
    assert (second.total, second.done, second.params["schedule"]) == (5, 5, nightly.id)
    assert len([key for key in files_below(folder) if key.startswith("Trial/")]) == 5
    view = schedules.view(schedules.get(nightly.id), schedules.last_runs([nightly])[nightly.id])
    assert (view["next"], view["last"], view["last_job"], view["last_state"]) == (day(5), day(4), second.id, "done")


def test_a_worker_starts_what_is_due_and_does_it(nightly: Schedule, worker: Process, folder: Path) -> None:
    Schedule.update(due=models.now() - timedelta(minutes=1)).execute()
    until(lambda: [job.state for job in made()] == ["done"], process=worker)
    assert len([key for key in files_below(folder) if key.startswith("Trial/")]) == 2
    assert schedules.get(nightly.id).due > models.now()


def test_after_days_without_a_worker_there_is_one_run_and_not_one_a_day(nightly: Schedule, clock: Clock) -> None:
    clock(day(20, 12))
    assert (schedules.sweep(), schedules.sweep()) == (1, 0)
    assert schedules.get(nightly.id).due == day(21)
    assert [row.due for row in ScheduleRun.select()] == [day(3)]


def test_what_was_put_off_while_the_clock_was_ahead_goes_on_and_nothing_runs_twice(
    nightly: Schedule, clock: Clock
) -> None:
    for moment in (day(3), day(3).replace(year=2036)):
        clock(moment)
        assert schedules.sweep() == 1
        run(made()[-1])
    clock(day(3, 1))  # before both of the times that it had
    assert schedules.sweep() == 0
    assert schedules.get(nightly.id).due == day(5)
    clock(day(4, 3))
    assert schedules.sweep() == 0
    clock(day(5))
    assert (schedules.sweep(), schedules.sweep()) == (1, 0)
    assert [row.due for row in ScheduleRun.select()] == [day(3), day(4), day(5)]


def test_a_clock_that_is_set_back_a_little_changes_no_time(nightly: Schedule, clock: Clock) -> None:
    clock(day(5))
    schedules.sweep()  # for the day 3 too
    clock(day(5) - schedules.CLOCK_TOLERANCE)
    assert (schedules.sweep(), schedules.get(nightly.id).due) == (0, day(6))


def test_of_several_workers_that_look_at_once_one_starts_it(nightly: Schedule, clock: Clock) -> None:
    clock(day(3))
    together = threading.Barrier(4)
    started = []

    def look() -> None:
        with models.connection():
            together.wait()
            started.append(schedules.sweep())

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(started) == [0, 0, 0, 1]
    assert len(made()) == 1


def test_a_time_at_which_the_last_run_still_goes_on_is_left_out_and_says_so(nightly: Schedule, clock: Clock) -> None:
    clock(day(3))
    schedules.sweep()
    clock(day(4))
    assert schedules.sweep() == 0
    row = schedules.get(nightly.id)
    assert (row.state, row.due) == ("on", day(5))
    assert row.message == f"Skipped: export {made()[0].id} of the time before was still running."
    run(made()[0])
    clock(day(5))
    assert (schedules.sweep(), schedules.get(nightly.id).message) == (1, "")


def test_it_stops_itself_when_its_storage_is_gone(nightly: Schedule, clock: Clock, admin: Actor) -> None:
    for job in Job.select():
        jobs.cancel(job.id, actor=admin)
    storages.remove("mirror", actor=admin)
    clock(day(3))
    assert (schedules.sweep(), made()) == (0, [])
    row = schedules.get(nightly.id)
    assert (row.state, row.due, row.message) == (
        "stopped",
        None,
        "Stopped automatically: The storage mirror has been removed.",
    )
    with pytest.raises(Missing):
        schedules.resume(nightly.id, actor=admin)
    clock(day(9))
    assert schedules.sweep() == 0
    assert Audit.select().where(Audit.action == "schedule:stopped").count() == 1


def test_it_stops_itself_when_its_storage_is_for_import_only(nightly: Schedule, clock: Clock, admin: Actor) -> None:
    storages.edit("mirror", mode="import", actor=admin)
    clock(day(3))
    schedules.sweep()
    assert schedules.get(nightly.id).message.startswith("Stopped automatically: mirror is for import only.")
    storages.edit("mirror", mode="both", actor=admin)
    assert schedules.resume(nightly.id, actor=admin).due == day(4)


def test_it_goes_on_under_the_names_of_today(nightly: Schedule, clock: Clock, admin: Actor) -> None:
    storages.edit("mirror", label="vault", actor=admin)
    Project.update(label="Renamed").execute()
    clock(day(3))
    assert schedules.sweep() == 1
    assert (made()[0].params["path"], made()[0].params["to"]) == ("lab/Renamed", "vault")


def test_while_it_is_paused_nothing_starts_but_what_somebody_starts(
    nightly: Schedule, clock: Clock, admin: Actor
) -> None:
    schedules.pause(nightly.id, actor=admin)
    clock(day(8))
    assert schedules.sweep() == 0
    job = schedules.run_now(nightly.id, actor=admin)
    with pytest.raises(Busy, match=f"Export {job.id} of this schedule is still running"):
        schedules.run_now(nightly.id, actor=admin)
    assert schedules.resume(nightly.id, actor=admin).due == day(9)


def test_a_search_is_made_anew_each_time(clock: Clock, project: Project, mirror: Storage, admin: Actor) -> None:
    store(an_object(PatientID="P-7", StudyInstanceUID="1.2.7", SOPInstanceUID="1.2.7.1"), project)
    chosen = Options(level="search", only="P-7")
    tried = exports.dry_run("lab/Trial", to="mirror", actor=admin, options=chosen)
    schedules.add(tried.id, NIGHTLY, confirmed=True, actor=admin)
    again = {
        "PatientID": "P-7",
        "StudyInstanceUID": "1.2.8",
        "SeriesInstanceUID": "1.2.8.1",
        "SOPInstanceUID": "1.2.8.2",
    }
    store(an_object(**again), project)
    clock(day(3))
    schedules.sweep()
    assert run(made()[0]).done == 2


def test_somebody_has_to_confirm_that_patients_leave_and_is_named(
    nightly: Schedule, clock: Clock, admin: Actor
) -> None:
    assert (nightly.confirmed_by, nightly.confirmed.date()) == (admin.name, models.now().date())
    tried = Job.get()
    with pytest.raises(BadValue, match="confirm that this is authorised") as refused:
        schedules.add(tried.id, NIGHTLY, confirmed=False, actor=admin)
    assert refused.value.field == "confirmed"
    with pytest.raises(NotAllowed):
        schedules.add(tried.id, NIGHTLY, confirmed=True, actor=Actor(type="user", id="9"))
    assert Schedule.select().count() == 1


def test_what_was_exported_stays_when_a_schedule_is_removed(nightly: Schedule, clock: Clock, admin: Actor) -> None:
    clock(day(3))
    schedules.sweep()
    schedules.remove(nightly.id, actor=admin)
    assert (len(made()), ScheduleRun.select().count()) == (1, 0)
    with pytest.raises(Missing):
        schedules.get(nightly.id)
    acts = [row.action for row in Audit.select().where(Audit.target_type == "schedule").order_by(Audit.id)]
    assert acts == ["schedule:added", "schedule:removed"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 2 * *", "Write five fields"),
        ("* * * * * *", "Write five fields"),
        ("61 2 * * *", "is not a cron expression: bad minute"),
        ("0 2 30 2 *", "is not a cron expression: bad day-of-month"),
        ("*/5 * * * *", "comes too often: leave 10 minutes"),
        ("58 23,0 * * * " + "*" * 90, "Write five fields"),
    ],
)
def test_a_line_of_cron_that_is_none_is_refused(line: str, message: str) -> None:
    with pytest.raises(BadValue, match=message):
        cron.parse(line)


def test_a_time_of_the_day_becomes_a_line_and_words() -> None:
    assert cron.from_form(every="day", at="2:30") == "30 2 * * *"
    assert cron.in_words(cron.from_form(every="week", at="02:00", weekday="7")) == "At 02:00 on Sunday (UTC)"
    assert (
        cron.in_words(cron.from_form(every="month", at="23:05", day="L"))
        == "At 23:05 on the last day of every month (UTC)"
    )
    for wrong in ({"at": "25:00"}, {"at": "2"}, {"every": "hour"}, {"every": "week", "weekday": "12"}):
        with pytest.raises(BadValue):
            cron.from_form(**{"every": "day", "at": "02:00", **wrong})


def test_the_next_time_is_said_in_the_time_of_the_site(nightly: Schedule, admin: Actor) -> None:
    site_settings.change({"site.time_zone": "Europe/Zurich"}, actor=admin)
    assert schedules.view(nightly, None)["next_site"] == "2026-03-03 03:00 Europe/Zurich"
    assert schedules.view(nightly, None)["when"] == "At 02:00 every day (UTC)"


def test_a_schedule_goes_on_for_a_project_that_was_renamed_and_its_storage_alone(
    nightly: Schedule, clock: Clock, project: Project, admin: Actor
) -> None:
    storages.edit("mirror", visible="project:lab/Trial", actor=admin)
    projects.edit(project.id, label="Study", ae_title="", actor=admin)
    projects.add("lab/Trial", actor=admin)
    clock(day(3))

    schedules.sweep()

    assert run(made()[0]).params["path"] == "lab/Study"
    storages.edit("mirror", visible="project:lab/Trial", actor=admin)
    clock(day(4))
    schedules.sweep()
    assert len(made()) == 1
    assert "is visible only to project:lab/Trial" in schedules.get(nightly.id).message
