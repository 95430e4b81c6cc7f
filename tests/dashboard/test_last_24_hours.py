"""The last 24 hours as pictures, the pace of a job, and the keys that expire next."""

import ast
import itertools
import re
from datetime import timedelta
from typing import Any

import pytest

from portal import site_settings
from portal.access.actors import Actor, operator
from portal.dashboard import key_expiries, last_24_hours
from portal.dashboard.last_24_hours import Row
from portal.devices import api_keys, devices
from portal.jobs import jobs, runs, throughput
from portal.jobs.runs import Run, RunEnd
from portal.models import ApiKey, Association, Hourly, Job, database, figures, now, writing
from portal.peers import associations, refused_callers
from tests.fixtures.web import MOST_STATEMENTS, Visitor, statements, text_of


def associated(outcome: str, *, hours_ago: int = 0) -> None:
    row = associations.open(peer_id=None, role="acceptor", calling="A", called="B", address="10.0.0.1", contexts=[])
    started = now() - timedelta(hours=hours_ago)
    Association.update(outcome=outcome, started=started, ended=started).where(Association.id == row).execute()


def refuse(title: str) -> None:
    refused_callers.record(calling=title, called="B", address="10.0.0.1", reason="unknown", message="Not registered.")


def an_export(actor: Actor) -> Job:
    with writing():
        return jobs.create("export", actor=actor, params={"path": "g/p", "to": "x"}, what="g/p to x", total=4)


def row_of(day: last_24_hours.Day, kind: str) -> Row:
    return next(row for row in day.rows if row.kind == kind)


def test_each_outcome_and_the_refused_callers_have_their_hours_by_one_statement(visitor: Visitor, dimse: None) -> None:
    for outcome, hours_ago in (("released", 3), ("released", 3), ("released", 0), ("aborted", 23), ("lost", 30)):
        associated(outcome, hours_ago=hours_ago)
    for title in ("VIEWER3", "VIEWER3", "VIEWER4"):
        refuse(title)
    Hourly.insert(kind="refused", hour=figures.start_of_hour(now() - timedelta(hours=40)), number=9).execute()

    with statements() as sent:
        day = last_24_hours.associations()
    assert len(sent) == 1
    released = row_of(day, "released").counts
    assert (len(released), released[20], released[23], sum(released)) == (24, 2, 1, 3)
    assert row_of(day, "aborted").counts[0] == 1
    assert row_of(day, "refused").counts[23] == 3
    assert [row.kind for row in day.seen] == ["released", "aborted", "refused"]

    page = visitor.get("/activity/").text
    said = text_of(page)
    assert "Released 3 peak at" in said
    assert "Refused 3 peak at" in said
    assert "None in the last 24 h: open, rejected, lost, failed." in said
    assert re.search(r"<th scope=\"row\">\d\d:00</th><td class=\"num\">2</td><td class=\"num\">0</td>", page)
    assert 'style="' not in page


def test_a_silent_day_is_said_in_words(visitor: Visitor, dimse: None) -> None:
    associated("released", hours_ago=30)
    assert "No association in the last 24 h." in text_of(visitor.get("/activity/").text)


@pytest.mark.parametrize("day", [last_24_hours.associations, last_24_hours.jobs, last_24_hours.exported_objects])
def test_the_hours_are_found_by_an_index(dimse: None, day: Any) -> None:
    with statements() as sent:
        day()
    sql, values = ast.literal_eval(sent[0])
    plan = [row[3] for row in database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert [line for line in plan if line.startswith("SCAN")] == []
    assert any("USING" in line and "INDEX" in line for line in plan)


def test_jobs_are_counted_by_how_they_ended(visitor: Visitor, admin: Actor) -> None:
    for state, hours_ago in (("done", 1), ("failed", 1), ("done", 2), ("cancelled", 40)):
        job = an_export(admin)
        Job.update(state=state, ended=now() - timedelta(hours=hours_ago)).where(Job.id == job.id).execute()
    an_export(admin)

    day = last_24_hours.jobs()
    assert [(row.kind, row.all) for row in day.seen] == [("done", 2), ("failed", 1)]
    assert "None in the last 24 h: done with errors, cancelled." in text_of(visitor.get("/jobs/").text)


def test_what_an_export_brings_is_counted_by_the_hour_and_sampled_on_the_way(visitor: Visitor, admin: Actor) -> None:
    job = an_export(admin)

    def work(run: Run) -> RunEnd:
        for number in range(1, 5):
            run.write(done=number, bytes=1000 * number)
        run.write(done=4, bytes=4000)
        return RunEnd(message="4 objects exported and verified.")

    runs.perform(job.id, work)

    objects, data = last_24_hours.exported_objects().rows
    assert (objects.counts[-1], data.counts[-1], data.unit) == (4, 4000, "size")
    samples = jobs.get(job.id).samples
    assert [size for _, size in samples][-1] == 4000
    assert "4.0 kB peak at" in text_of(visitor.get("/exports/").text)

    Job.update(samples=[[1, 1000], [2, 3000], [4, 4000]]).where(Job.id == job.id).execute()
    for path in (f"/jobs/{job.id}", f"/jobs/{job.id}/progress"):
        page = visitor.get(path).text
        assert "Throughput over 4.0 s of activity: 1.0 kB/s on average" in page
        assert page.count('class="part-1"') == 3


def test_a_run_goes_on_sampling_where_the_last_one_left(app: object, admin: Actor) -> None:
    job = an_export(admin)
    Job.update(samples=[[100.0, 5000]], bytes=5000).where(Job.id == job.id).execute()

    def work(run: Run) -> RunEnd:
        run.write(done=1, bytes=6000)
        return RunEnd(message="Done.")

    runs.perform(job.id, work)
    seconds, size = jobs.get(job.id).samples[-1]
    assert seconds >= 100.0
    assert size == 6000


def test_however_long_a_job_runs_its_samples_are_few_even_and_end_with_the_last() -> None:
    samples: list[throughput.Sample] = []
    for number in range(1, 20_001):
        samples = throughput.add_sample(samples, (number * 0.5, number * 100))
        assert len(samples) <= throughput.MAX_SAMPLES
    assert samples[-1] == (10_000.0, 2_000_000)
    steps = {after[0] - before[0] for before, after in itertools.pairwise(samples[:-1])}
    assert len(steps) == 1

    found = throughput.from_samples(samples)
    assert found is not None
    assert len(found.rates) <= throughput.CHART_COLUMNS
    assert set(found.rates) == {200}
    assert (found.average, found.seconds) == (200, 10_000.0)


@pytest.mark.parametrize("samples", [[], [[1.0, 10]], [[1.0, 0], [2.0, 0]], [[0.0, 5], [0.0, 5]]])
def test_too_few_samples_make_no_picture(samples: list[throughput.Sample]) -> None:
    assert throughput.from_samples(samples) is None


def test_the_keys_that_expire_next_come_in_their_order(app: object, admin: Actor) -> None:
    for label, away in (("late", 80), ("soon", 8), ("never", 200), ("off", 20), ("revoked", 30)):
        api_keys.issue(devices.add(label, actor=admin), name="one", expires=now() + timedelta(days=away), actor=admin)
    devices.disable("off", actor=admin)
    ApiKey.update(revoked=now()).where(ApiKey.owner_id == devices.get("revoked").id).execute()

    found = key_expiries.upcoming()
    assert [one.device for one in found.first] == ["soon", "late"]
    assert (found.all, [day for day, _ in found.marks]) == (2, [8, 80])


def test_many_keys_on_one_day_are_one_mark_and_the_rest_a_link(visitor: Visitor, admin: Actor) -> None:
    device = devices.add("importer", actor=admin)
    for number in range(5):
        api_keys.issue(device, name=f"key {number}", expires=now() + timedelta(days=9), actor=admin)
    other = devices.add("other", actor=admin)
    for number in range(3):
        api_keys.issue(other, name=f"key {number}", expires=now() + timedelta(days=40), actor=admin)

    with statements() as sent:
        found = key_expiries.upcoming()
    assert len(sent) == 2
    assert (found.all, found.marks, len(found.first)) == (8, ((9, 5), (40, 3)), key_expiries.KEYS_SHOWN)


def test_home_shows_the_keys_that_expire_or_says_that_none_does(visitor: Visitor, full: None) -> None:
    site_settings.change({"first_steps.hidden": True}, actor=operator())
    ApiKey.update(expires=now() + timedelta(days=200)).execute()
    assert "No API key expires in the next 90 days." in text_of(visitor.get("/").text)

    ApiKey.update(expires=now() + timedelta(days=9, hours=1)).where(ApiKey.id <= 20).execute()
    page = visitor.get("/").text
    assert "20 keys expire in the next 90 days, on 1 day" in page
    assert "device-00 one" in text_of(page)
    assert "in 9 days" in text_of(page)
    assert "14 more in the next 90 days." in text_of(page)
    assert f'href="/interfaces/devices/{devices.get("device-00").id}"' in page


def test_home_and_a_jobs_page_cost_few_statements(visitor: Visitor, full: None, admin: Actor) -> None:
    job = an_export(admin)
    Job.update(samples=[[1, 1000], [2, 3000], [4, 4000]], origin_type="device").where(Job.id == job.id).execute()
    ApiKey.update(expires=now() + timedelta(days=9)).execute()
    for path in ("/", f"/jobs/{job.id}"):
        with statements() as sent:
            assert visitor.get(path).status_code == 200
        assert len(sent) <= MOST_STATEMENTS, "\n".join(sent)
