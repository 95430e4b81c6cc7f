"""A storage or peer that is away is waited for a day, and an object that is at fault for itself is not."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dimse_worker import destinations
from portal.access.actors import Actor
from portal.errors import BadValue, NotAllowed, Outage
from portal.exports import exports, verify
from portal.imports import imports
from portal.imports.request import ImportRequest
from portal.jobs import claims, item_runner, jobs, runs
from portal.jobs.kinds import KINDS
from portal.jobs.runs import Run, RunEnd
from portal.models import Acquisition, Job, JobItem, Storage, writing
from portal.settings import Settings
from portal.storage import connection_test, storages
from tests.fixtures.stores import ACCESS_KEY, SECRET, Answer, Front, Place
from tests.fixtures.work import add_files

WORK = {"export": exports.run, "verification": verify.run, "import": imports.run}
EVENING = datetime(2026, 3, 2, 20, 0, tzinfo=UTC)
SAID = "The NAS is away."


class Clock:
    """What time it is for runs."""

    def __init__(self) -> None:
        self.moment = EVENING

    def after(self, **lengths: float) -> None:
        self.moment = EVENING + timedelta(**lengths)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in (runs, claims):
        monkeypatch.setattr(module, "now", lambda: made.moment)
    return made


def a_job(kind: str = "export", total: int = 0) -> Job:
    actor = Actor(type="system", name="test", is_admin=True)
    with writing():
        job = jobs.create(kind, actor=actor, params={}, total=total)
        Job.update(due=EVENING).where(Job.id == job.id).execute()
    return jobs.get(job.id)


def away(_run: Run) -> RunEnd:
    raise Outage(SAID)


def attempt(job: Job, work: Callable[[Run], RunEnd], clock: Clock) -> Job:
    """The next run of a job, when it is due."""
    clock.moment = max(clock.moment, jobs.get(job.id).due)
    runs.perform(job.id, work)
    return jobs.get(job.id)


def run(job: Job) -> Job:
    """What the worker does, at once."""
    Job.update(due=runs.now()).where(Job.id == job.id).execute()
    runs.perform(job.id, lambda this: WORK[this.job.kind](this, destination=destinations.open_storage(this.job)))
    return jobs.get(job.id)


def test_a_place_that_is_away_is_tried_less_and_less_often_and_given_up_after_a_day(
    site: Settings, clock: Clock
) -> None:
    job, waits = a_job(), []
    while (job := attempt(job, away, clock)).state == "waiting":
        assert job.message == f"{SAID} Retrying until 2026-03-03 20:00 UTC."
        waits.append(round((job.due - clock.moment).total_seconds()))
    assert waits[:8] == [10, 10, 20, 40, 80, 160, 320, 600]
    assert max(waits) == 600
    assert (job.state, clock.moment) == ("failed", EVENING + timedelta(hours=24))
    assert job.message == f"{SAID} Given up after 24 hours. Run it again once that is fixed."
    assert jobs.view(job)["attempts"] == len(waits) + 1


def test_what_a_run_gets_done_begins_the_day_anew(site: Settings, clock: Clock) -> None:
    def half(this: Run) -> RunEnd:
        this.write(done=5)
        raise Outage(SAID)

    job = attempt(a_job(total=10), away, clock)
    clock.after(hours=23)
    job = attempt(job, half, clock)
    assert jobs.view(job)["away"] == {"since": clock.moment, "until": EVENING + timedelta(hours=47), "message": SAID}
    clock.after(hours=46)
    assert attempt(job, away, clock).state == "waiting"
    clock.after(hours=47)
    assert attempt(job, away, clock).state == "failed"


def test_a_job_that_is_run_again_has_a_day_again(site: Settings, admin: Actor, clock: Clock) -> None:
    job = attempt(a_job(), away, clock)
    clock.after(hours=24)
    assert attempt(job, away, clock).state == "failed"
    job = jobs.retry(job.id, actor=admin)
    Job.update(due=clock.moment).execute()
    assert attempt(job, away, clock).state == "waiting"


def test_a_clock_that_is_set_back_does_not_make_the_wait_longer(site: Settings, clock: Clock) -> None:
    job = attempt(a_job(), away, clock)
    clock.moment = EVENING - timedelta(days=300)
    Job.update(due=clock.moment).execute()
    job = attempt(job, away, clock)
    assert jobs.view(job)["away"]["until"] == clock.moment + timedelta(hours=24)


@pytest.mark.parametrize("kind", ["echo", "storage_test", "dry_run", "import_dry_run"])
def test_what_somebody_looks_on_at_does_not_wait_a_day(kind: str, site: Settings, clock: Clock) -> None:
    job = a_job(kind)
    for _attempt in range(KINDS[kind].attempts):
        job = attempt(job, away, clock)
    assert job.state == "failed"


def test_a_place_that_is_gone_for_good_fails_at_once(site: Settings, clock: Clock) -> None:
    def gone(_run: Run) -> RunEnd:
        raise Outage("There is no such bucket.", permanent=True)

    assert attempt(a_job(), gone, clock).state == "failed"


def test_an_object_that_fails_for_itself_has_its_eight_attempts_and_no_day(site: Settings, clock: Clock) -> None:
    """However often the place was away meanwhile."""
    job = a_job(total=1)
    JobItem.create(job=job, key="a", message="It is not kept.")

    def work(this: Run) -> RunEnd:
        return RunEnd(state="errors", message=f"{item_runner.settle_unfinished(this, 'is left')} failed.")

    for number in range(7):
        job = attempt(attempt(job, away, clock), work, clock)
        assert job.message.startswith(f"1 of 1 is left. a: It is not kept. Attempt {number + 1} of 8")
    assert attempt(job, work, clock).message == "1 failed."
    assert clock.moment < EVENING + timedelta(hours=2)


def test_exports_verifications_and_imports_wait_for_their_storage_and_go_on(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor, clock: Clock
) -> None:
    storages.edit("mirror", mode="both", actor=admin)
    add_files(acquisition, 3, 10, admin)
    export = exports.start("lab/Trial", to="mirror", actor=admin)
    assert patient(export, folder, clock).done == 3
    assert patient(verify.start(export.id, actor=admin), folder, clock).done == 4
    assert patient(imports.start(ImportRequest(of="mirror", to="lab/Trial"), actor=admin), folder, clock).total == 3


def patient(job: Job, folder: Path, clock: Clock) -> Job:
    """A job whose folder is away for a night."""
    clock.after(days=30 * job.id)
    elsewhere = folder.rename(folder.with_name("elsewhere"))
    for hours in (0, 6, 12):
        clock.after(days=30 * job.id, hours=hours)
        waiting = run(job)
        assert (waiting.state, waiting.attempts) == ("waiting", 0)
        assert "does not exist. Mount its disk" in waiting.message
    elsewhere.rename(folder)
    ended = run(job)
    assert ended.state in ("done", "failed"), ended.message
    return ended


def test_a_storage_that_answers_nothing_but_errors_is_away_and_one_that_refuses_is_not(
    make_front: Callable[..., Front],
) -> None:
    config: dict[str, Any] = {"bucket": "b", "endpoint": "http://none", "path_style": True, "access_key": ACCESS_KEY}
    place = Place("s3", "s3", config, {"secret_key": SECRET})
    front = make_front(place)
    destination = place.behind(front).open()
    front.rule = lambda _request: Answer(503)
    with pytest.raises(Outage, match="is temporarily unavailable"):
        connection_test.require_reachable(destination)
    for code in (403, 404):
        front.rule = lambda _request, code=code: Answer(code)  # type: ignore[misc]
        connection_test.require_reachable(destination)


def test_a_job_that_waits_is_tried_at_once_where_somebody_asks(site: Settings, admin: Actor, clock: Clock) -> None:
    job = attempt(a_job(), away, clock)
    with pytest.raises(NotAllowed):
        jobs.try_now(job.id, actor=Actor(type="user", id="2", name="b@site.example"))
    assert jobs.get(job.id).due == job.due
    jobs.try_now(job.id, actor=admin)
    assert jobs.get(job.id).due != job.due
    Job.update(state="done").execute()
    with pytest.raises(BadValue, match="has ended already"):
        jobs.try_now(job.id, actor=admin)
