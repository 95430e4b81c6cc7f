"""A verification continues where it was stopped, ends in a sentence, is started each week, and tells what it found."""

import json
import os
import signal
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from portal import models, settings, site_settings
from portal.access import audit_anchors
from portal.access.actors import Actor
from portal.dashboard import alerts
from portal.jobs import jobs, runs
from portal.models import AuditAnchor, Blob, Job, JobItem, Project, now, writing
from portal.processes import health
from portal.settings import Settings
from portal.verification import recorder, schedule, verification
from tests.fixtures.archive import an_object, store
from tests.fixtures.cli import Portal
from tests.fixtures.work import Process, add_file, until
from tests.verification.sites import Edit, Verify, edit, run, verify_here


@pytest.fixture
def files(project: Project, admin: Actor) -> int:
    for number in range(100):
        add_file(project, f"{number}.txt", f"content {number}".encode(), admin)
    return 100


def position(job: Job) -> dict[str, Any]:
    return dict(jobs.get(job.id).result.get("verification", {}).get("position", {}))


def test_after_a_kill_it_goes_on_where_it_was(
    files: int, admin: Actor, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = verify().job
    monkeypatch.setattr(recorder, "WRITE_SECONDS", 0.0)
    job = verification.start(actor=admin, enqueue=False)
    models.database.close()
    child = os.fork()
    if not child:
        models.database.connect()
        runs.perform(job.id, run)
        os._exit(0)
    models.database.connect()
    try:
        until(lambda: position(job).get("offset", 0) > Blob.get_by_id(20).offset)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    stopped = jobs.get(job.id)
    assert (stopped.state, position(job)["offset"] < Blob.get_by_id(99).offset) == ("running", True)

    Job.update(lease=0).execute()
    runs.perform(job.id, run)
    ended = jobs.get(job.id)
    assert (ended.state, ended.done, ended.bytes) == ("done", ended.total, whole.bytes)
    checked, checked_whole = (one.result["verification"]["checked"] for one in (ended, whole))
    assert checked | {"entries": 0, "anchors": 0} == checked_whole | {"entries": 0, "anchors": 0}


def test_it_is_cancelled_between_two_records_and_run_again_from_there(
    files: int, admin: Actor, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "WRITE_SECONDS", 0.0)
    job = verification.start(actor=admin, enqueue=False)

    def run_and_cancel(this: runs.Run) -> runs.RunEnd:
        jobs.cancel(job.id, actor=admin)
        return run(this)

    runs.perform(job.id, run_and_cancel, beat=0.01)
    assert jobs.get(job.id).state == "cancelled"
    assert alerts.list_all() == []
    jobs.retry(job.id, actor=admin)
    runs.perform(job.id, run)
    assert jobs.get(job.id).state == "done"


def test_it_lets_another_long_job_go_first_and_continues_after_it(
    files: int, admin: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "WRITE_SECONDS", 0.0)
    monkeypatch.setattr(runs, "TURN_SECONDS", 0.0)
    job = verification.start(actor=admin, enqueue=False)
    with writing():
        export = jobs.create("export", actor=admin, params={}, what="waits")
    runs.perform(job.id, run, beat=0.01)
    waiting = jobs.get(job.id)
    assert (waiting.state, waiting.attempts, waiting.result["verification"]["area"] != "") == ("waiting", 0, True)
    jobs.finish(export, "done", "")
    runs.perform(job.id, run, beat=0.01)
    assert jobs.get(job.id).state == "done"


def test_a_worker_verifies_the_site(files: int, worker: Process, admin: Actor) -> None:
    job = verification.start(actor=admin)
    until(lambda: jobs.get(job.id).state == "done", process=worker)
    assert jobs.get(job.id).message.startswith("Nothing is wrong. Checked: ")


def test_one_that_has_ended_is_run_again_from_the_beginning(
    files: int, verify: Verify, database: Edit, admin: Actor
) -> None:
    database("UPDATE blob SET digest = '00' WHERE id = 5")
    job = verify().job
    assert (job.state, job.failed) == ("errors", 1)
    assert job.message.startswith("1 problem found: 1 in the archive. The first: archive/")
    jobs.retry(job.id, actor=admin)
    runs.perform(job.id, run)
    again = jobs.get(job.id)
    assert (again.state, again.failed, JobItem.select().where(JobItem.job == job).count()) == ("errors", 1, 1)


def test_a_second_one_is_not_started_beside_the_first(site: Settings, admin: Actor) -> None:
    first = verification.start(actor=admin, enqueue=False)
    assert verification.start(actor=admin, enqueue=False).id == first.id
    assert Job.select().count() == 1


def test_an_alert_names_what_was_found_until_a_later_one_finds_nothing(
    files: int, verify: Verify, database: Edit, admin: Actor
) -> None:
    database("UPDATE blob SET digest = digest || '0' WHERE id IN (5, 6)")
    assert verify().job.state == "errors"
    [alert] = alerts.list_all()
    assert (alert.kind, alert.message, alert.urgent) == (
        "verification",
        "The verification of the site found 2 problems",
        True,
    )
    assert "found 2 problems" in health.report()["verification"]["problem"]
    database("UPDATE blob SET digest = substr(digest, 1, 64)")
    assert verify().job.state == "done"
    assert alerts.list_all() == []
    assert health.report()["verification"]["problem"] == ""


def test_more_findings_than_are_listed_are_counted(
    files: int, verify: Verify, database: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "MAX_LISTED", 10)
    database("UPDATE blob SET digest = digest || '0'")
    verified = verify()
    assert (verified.job.failed, len(verified.found)) == (100, 10)


def test_it_is_started_each_week_once(site: Settings, admin: Actor) -> None:
    audit_anchors.add("start")
    assert not schedule.sweep()  # a new site has nothing that is a week old
    AuditAnchor.update(began=now() - timedelta(days=8)).execute()
    assert schedule.sweep()
    [job] = Job.select()
    assert (job.kind, job.started_by) == ("site_verification", "Portico")
    assert not schedule.sweep()
    Job.update(state="done", created=now() - timedelta(days=8)).execute()
    assert schedule.sweep()


def test_it_is_not_started_where_the_schedule_is_off(site: Settings, admin: Actor) -> None:
    audit_anchors.add("start")
    AuditAnchor.update(began=now() - timedelta(days=8)).execute()
    site_settings.change({"verification.enabled": False}, actor=admin)
    assert (schedule.sweep(), schedule.next_due()) == (False, None)


@pytest.mark.parametrize(
    ("moment", "due"),
    [
        ("2027-03-28 00:30", "2027-03-21 01:00"),  # the hour that is left out when summer time begins
        ("2027-03-28 01:00", "2027-03-28 01:00"),
        ("2027-01-03 00:59", "2026-12-27 01:00"),
        ("2027-01-09 12:00", "2027-01-03 01:00"),
        ("2027-07-04 00:00", "2027-07-04 00:00"),
    ],
)
def test_the_hour_is_that_of_the_site(site: Settings, admin: Actor, moment: str, due: str) -> None:
    site_settings.change({"site.time_zone": "Europe/Zurich"}, actor=admin)
    found = schedule.last_due(datetime.fromisoformat(moment).replace(tzinfo=UTC))
    assert found == datetime.fromisoformat(due).replace(tzinfo=UTC)


def test_the_command_verifies_a_site_that_does_not_run(portal: Portal) -> None:
    view = portal.ok("verify")
    assert (view["state"], view["findings"], view["problems"]) == ("done", 0, [])
    ended = portal("verify")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("Nothing is wrong. Checked: ")


def test_the_command_ends_with_1_and_names_each_finding(portal: Portal) -> None:
    portal.ok("group", "add", "lab")
    portal.ok("project", "add", "lab/One")
    chosen = settings.load(portal.data)
    edit(chosen, "UPDATE audit SET detail = '{}' WHERE id = 2")
    ended = portal("verify", "--wait")
    assert ended.code == 1
    assert "entry 2: Entry 2 was changed. Restore the database from a backup" in ended.out
    assert ended.err.startswith("1 problem found: 1 in the audit log.")
    view = portal("verify", "--json")
    assert view.code == 1
    assert view.view["problems"][0]["subject"] == "entry 2"


def test_the_command_accepts_a_restore(portal: Portal) -> None:
    portal.ok("group", "add", "lab")
    portal.ok("verify")
    (portal.data / "audit-anchors.jsonl").unlink()
    assert portal("verify").code == 1
    assert portal("verify", "--accept-restore", "New server, the file was not copied").code == 0


def test_the_command_compares_the_log_with_an_anchor_from_elsewhere(portal: Portal) -> None:
    portal.ok("group", "add", "lab")
    portal.ok("verify")
    anchor = json.loads((portal.data / "audit-anchors.jsonl").read_text().splitlines()[-1])
    assert portal("verify", "--anchor", f"{anchor['number']}:{anchor['hash']}").code == 0
    ended = portal("verify", "--anchor", f"{anchor['number'] + 7}:{anchor['hash']}")
    assert (ended.code, "the database was exchanged" in ended.err) == (1, True)


def test_an_object_that_arrives_meanwhile_is_no_finding(
    files: int, project: Project, admin: Actor, verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = 0

    def store_some(self: recorder.Recorder) -> None:
        nonlocal number
        number += 1
        if number % 50 == 0:
            store(an_object(SOPInstanceUID=f"1.2.3.{number}"), project)

    monkeypatch.setattr(recorder.Recorder, "rest", store_some)
    assert verify_here(admin).found == []
    assert number > 200
