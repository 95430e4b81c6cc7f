"""What has happened is dropped by its age, a little at a time, and nothing that a page needs goes with it."""

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from portal import site_settings
from portal.access.actors import Actor
from portal.errors import BadValue, Missing
from portal.exports import exports, schedules, verify
from portal.jobs import jobs
from portal.maintenance import retention
from portal.maintenance.retention import Retention
from portal.models import (
    Acquisition,
    Association,
    AssociationDay,
    Audit,
    Caller,
    Hourly,
    Job,
    JobItem,
    Peer,
    Schedule,
    ScheduleRun,
    Storage,
    batched_writes,
    now,
    writing,
)
from portal.storage import history
from tests.exports.test_verify import run
from tests.fixtures.web import Visitor, text_of
from tests.fixtures.work import add_files
from tests.jobs.test_jobs import a_job

OLD = timedelta(days=-91)


def drop() -> None:
    """What the sweeps of a worker come to."""
    for _write in retention.steps():
        pass


def age(job: Job, days: int = 91) -> Job:
    Job.update(ended=now() - timedelta(days=days)).where(Job.id == job.id).execute()
    return jobs.get(job.id)


def a_call(days: int, **columns: Any) -> Association:
    began = now() - timedelta(days=days)
    named = {"calling": "CT1", "called": "PORTICO", "address": "10.0.0.1", "role": "acceptor"}
    return Association.create(started=began, **named | {"ended": began, "outcome": "released"} | columns)


def items(job: Job) -> list[str]:
    return [item.key for item in JobItem.select().where(JobItem.job == job).order_by(JobItem.key)]


@pytest.mark.usefixtures("site")
def test_associations_become_sums_of_their_day_and_peer_once() -> None:
    peer = Peer.create(label="CT1", ae_title="CT1")
    counts = {"store": {"done": 3, "failed": 1}}
    for _ in range(2):
        a_call(91, peer=peer, counts=counts, failures=1, bytes=1000)
    a_call(91, role="requestor", outcome="aborted")
    kept = [a_call(89), a_call(91, ended=None, outcome="open")]
    for _ in range(2):
        drop()
    assert [row.id for row in Association.select().order_by(Association.id)] == [row.id for row in kept]
    day = f"{now() - timedelta(days=91):%Y-%m-%d}"
    rows = AssociationDay.select().order_by(AssociationDay.id)
    assert [(row.day, row.peer_id, row.outcome, row.number, row.failures, row.stored, row.bytes) for row in rows] == [
        (day, peer.id, "released", 2, 2, 6, 2000),
        (day, None, "aborted", 1, 0, 0, 0),
    ]
    a_call(91, peer=peer, bytes=5)
    drop()
    assert AssociationDay.get_by_id(1).bytes == 2005


@pytest.mark.usefixtures("site")
def test_a_sum_that_another_process_has_made_meanwhile_is_not_made_again() -> None:
    row = a_call(91)
    sums = {("2026-01-01", None, "acceptor", "released"): [1, 0, 0, 0]}
    retention.add_to_days([row.id], sums)
    with pytest.raises(retention.AlreadyDeleted):
        retention.add_to_days([row.id], sums)
    assert [row.number for row in AssociationDay.select()] == [1]


def test_the_sums_of_days_have_a_page(visitor: Visitor) -> None:
    assert "No daily totals yet" in text_of(visitor.get("/activity/days").text)
    a_call(91, peer=Peer.create(label="Scanner 1", ae_title="CT1"), bytes=5_000_000)
    drop()
    assert "Scanner 1 Incoming Released 1 0 5.0 MB" in text_of(visitor.get("/activity/days").text)
    assert '"Scanner 1","incoming","released",1,0,0,5000000' in visitor.get("/activity/days?format=csv").text


@pytest.mark.usefixtures("site")
def test_callers_and_hours_go_by_the_ages_of_the_settings(admin: Actor) -> None:
    for days in (10, 40):
        moment = now() - timedelta(days=days)
        named = {"called": "X", "address": "10.0.0.1", "reason": "unknown", "message": ""}
        Caller.create(calling=f"C{days}", last=moment, **named)
        Hourly.create(kind="refused", hour=moment, number=days)
    drop()
    assert (Caller.select().count(), Hourly.select().count()) == (2, 2)
    site_settings.change({"history.callers": 30, "history.hourly": 20}, actor=admin)
    drop()
    assert [row.calling for row in Caller.select()] == ["C10"]
    assert [row.number for row in Hourly.select()] == [10]


@pytest.mark.usefixtures("site")
def test_old_jobs_go_with_their_items_and_no_others_do() -> None:
    old, young = (a_job("move", state="done", ended=timedelta(days=-days)) for days in (91, 89))
    for job in (old, young):
        JobItem.create(job=job, key="1.2.3", state="failed")
    others = [a_job("echo", state=state) for state in ("waiting", "running", "cancelling")]
    Job.update(created=now() + OLD, due=now() + OLD).execute()
    drop()
    assert [job.id for job in jobs.list_recent()] == [job.id for job in reversed([young, *others])]
    assert [item.job_id for item in JobItem.select()] == [young.id]


def test_the_last_test_of_a_storage_stays_for_its_page(mirror: Storage) -> None:
    tests = [a_job("storage_test", state="done", ended=OLD, storage=mirror.id) for _ in range(3)]
    drop()
    assert [job.id for job in jobs.list_recent()] == [tests[-1].id]
    found = history.last_test(mirror.id)
    assert found is not None
    assert found.id == tests[-1].id


def test_an_old_export_stays_as_a_record_without_its_list(
    visitor: Visitor, acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    add_files(acquisition, 3, 100, admin)
    export = exports.start("lab/Trial", to="mirror", actor=admin)
    run(export)
    failed = a_job("export", state="failed", storage=mirror.id, params={"path": "lab/Trial", "to": "mirror"})
    JobItem.create(job=failed, key="x", state="failed")
    age(export)
    age(failed)
    Storage.update(state="ok").execute()
    drop()

    page = text_of(visitor.get(f"/jobs/{export.id}").text)
    assert "3 objects exported and verified." in page
    assert "The list of its 3 objects was deleted because of its age" in page
    assert visitor.get(f"/jobs/{export.id}/report.jsonl").status_code == 404
    assert visitor.get(f"/jobs/{export.id}?format=csv").status_code == 404
    assert items(failed) == []
    with pytest.raises(BadValue, match="deleted because of its age"):
        jobs.retry(failed.id, actor=admin)
    assert history.job_totals([mirror.id])[mirror.id].objects == 3


def test_after_years_the_record_of_an_export_goes_too_and_the_audit_log_never(site: Any, admin: Actor) -> None:
    export = a_job("send", state="done", ended=timedelta(days=-3651))
    with patch("portal.access.audit.now", lambda: datetime(2001, 1, 1, tzinfo=UTC)):
        jobs.cancel(a_job().id, actor=admin)
    drop()
    with pytest.raises(Missing, match="kept for as long as Settings say"):
        jobs.get(export.id)
    assert Audit.select().count() == 1


def test_of_an_export_stays_what_lies_there_by_it_alone(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    add_files(acquisition, 3, 100, admin)
    first = exports.start("lab/Trial", to="mirror", actor=admin)
    run(first)
    lost = JobItem.select().where(JobItem.job == first).order_by(JobItem.key).first()
    second = a_job("export", state="done", storage=mirror.id, params=first.params)
    for item in JobItem.select().where(JobItem.job == first, JobItem.id != lost.id):
        JobItem.create(job=second, key=item.key, state="verified", digest=item.digest)
    age(first)
    drop()
    assert items(first) == [lost.key]

    check = verify.start(first.id, actor=admin)
    run(check)
    assert jobs.get(check.id).message == "3 objects are as sent, and so is the manifest; nothing was added."
    mirror.delete_instance()
    drop()
    assert items(first) == []


def test_without_its_list_and_its_manifest_an_export_cannot_be_verified_and_says_so(
    acquisition: Acquisition, mirror: Storage, folder: Path, admin: Actor
) -> None:
    add_files(acquisition, 1, 100, admin)
    export = exports.start("lab/Trial", to="mirror", actor=admin)
    run(export)
    age(export)
    drop()
    (folder / jobs.get(export.id).result["manifest"]["name"]).unlink()
    check = verify.start(export.id, actor=admin)
    run(check)
    assert jobs.get(check.id).message == (
        "The manifest is missing or changed, and this site's own list was deleted because of its age."
    )


def test_a_schedule_keeps_the_last_time_that_it_was_due(
    acquisition: Acquisition, mirror: Storage, admin: Actor
) -> None:
    tried = exports.dry_run("lab/Trial", to="mirror", actor=admin)
    schedule: Schedule = schedules.add(tried.id, "0 2 * * *", confirmed=True, actor=admin)
    for days in (200, 100, 95):
        ScheduleRun.create(schedule=schedule, due=now() - timedelta(days=days), message="Left out.")
    going_on = a_job("export", state="running")
    ScheduleRun.create(schedule=schedule, due=now() - timedelta(days=150), job=going_on)
    ScheduleRun.create(schedule=schedule, due=now() - timedelta(days=92), message="The last one.")
    drop()
    rows = ScheduleRun.select().order_by(ScheduleRun.id)
    assert [(row.job_id, row.message) for row in rows] == [(going_on.id, ""), (None, "The last one.")]
    assert schedules.last_runs([schedule])[schedule.id].message == "The last one."


@pytest.mark.usefixtures("site")
def test_a_sweep_stops_after_its_time_and_the_next_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    job = a_job("move", state="done", ended=OLD)
    with writing():
        JobItem.add((job.id, None, f"1.2.{number}", 0, "", "failed", "", False, 0) for number in range(2000))
    mine = JobItem.select().where(JobItem.job == job)
    ticks = itertools.count(step=2 * retention.SWEEP_SECONDS)
    monkeypatch.setattr("portal.maintenance.retention.time.monotonic", lambda: next(ticks))
    worker, left = Retention(), [2000]
    while jobs.list_recent():
        worker.sweep()
        left.append(mine.count())
    gone = [before - after for before, after in itertools.pairwise(left)]
    assert 0 < max(gone) <= batched_writes.MAX_BATCH_SIZE
    assert sum(map(bool, gone)) > 2, "it all went in one write"
