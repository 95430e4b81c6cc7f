"""A job's page: its items in pages, how each attempt ended, and the whole as a report."""

import ast
import csv
import io
import json
import re

import pytest

from portal.access.actors import Actor
from portal.errors import Outage, Unreachable
from portal.jobs import claims, jobs, runs
from portal.jobs.runs import Run, RunEnd
from portal.models import Job, JobItem, database, now, writing
from tests.fixtures.web import HTMX, Visitor, statements, text_of


@pytest.fixture
def export(app: object, admin: Actor) -> Job:
    """An export of 120 objects, of which two failed, one with a hostile reason."""
    with writing():
        job = jobs.create("export", actor=admin, params={"path": "g/p", "to": "x"}, what="g/p to x", total=120)
        for number in range(120):
            failed = number in (3, 90)
            JobItem.create(
                job=job,
                key=f"p/object-{number:03}.dcm",
                size=1000 + number,
                digest="ab" * 32,
                state="failed" if failed else "verified",
                message="=1+1 <b>refused</b>" if failed else "",
                attempts=int(failed),
            )
        Job.update(state="errors", ended=now(), done=118, failed=2, message="118 of 120.").where(
            Job.id == job.id
        ).execute()
    return jobs.get(job.id)


def test_the_failed_items_are_one_press_away_with_their_reasons(visitor: Visitor, export: Job) -> None:
    page = visitor.get(f"/jobs/{export.id}").text
    assert "120 items" in text_of(page)
    assert "All 120 Failed 2 Verified 118" in text_of(page)
    assert "1 to 50 of 120." in text_of(page)
    assert "Retry 2 failed" in page

    failed = visitor.get(f"/jobs/{export.id}?only=failed", headers=HTMX).text
    assert "1 to 2 of 2." in text_of(failed)
    assert "object-003" in failed
    assert "object-004" not in failed
    assert "<b>refused" not in failed


def test_a_report_has_every_item_that_the_page_was_narrowed_to(visitor: Visitor, export: Job) -> None:
    table = visitor.get(f"/jobs/{export.id}?format=csv&only=failed")
    rows = list(csv.reader(io.StringIO(table.data.decode("utf-8-sig"), newline="")))
    assert rows[0] == ["Object", "State", "Bytes", "SHA-256", "Attempts", "What happened"]
    assert [row[0] for row in rows[1:]] == ["p/object-003.dcm", "p/object-090.dcm"]
    assert rows[1][5] == "'=1+1 <b>refused</b>"

    lines = visitor.get(f"/jobs/{export.id}/report.jsonl")
    assert lines.mimetype == "application/jsonl"
    assert f"job-{export.id}-" in lines.headers["Content-Disposition"]
    items = [json.loads(line) for line in lines.data.splitlines()]
    assert len(items) == 120
    assert items[4]["attempts"] == 1, "the attempt that succeeded counts"
    assert items[3] == {
        "object": "p/object-003.dcm",
        "state": "failed",
        "bytes": 1003,
        "sha256": "ab" * 32,
        "attempts": 1,
        "message": "=1+1 <b>refused</b>",
    }
    assert visitor.get("/jobs/999/report.jsonl").status_code == 404


def test_each_attempt_says_when_it_was_and_how_it_ended(visitor: Visitor, admin: Actor) -> None:
    with writing():
        job = jobs.create("export", actor=admin, params={"path": "g/p", "to": "x"}, what="g/p to x")

    def fails(_run: Run) -> RunEnd:
        raise Unreachable("The storage does not answer.")

    runs.perform(job.id, fails)
    Job.update(due=now()).where(Job.id == job.id).execute()
    runs.perform(job.id, lambda _run: RunEnd(message="All arrived."))

    page = text_of(visitor.get(f"/jobs/{job.id}").text)
    assert (
        page.index("All arrived.") < page.index("Attempts") < page.index("The storage does not answer. Attempt 1 of 8")
    )
    assert [set(one) for one in jobs.get(job.id).result["tries"]] == [{"began", "ended", "message"}] * 2


def test_a_job_that_waits_says_why_and_until_when_and_is_tried_now(visitor: Visitor, admin: Actor) -> None:
    with writing():
        job = jobs.create("export", actor=admin, params={"path": "g/p", "to": "x"}, what="g/p to x")

    def finds_nobody(_run: Run) -> RunEnd:
        raise Outage("The NAS refuses connections.")

    runs.perform(job.id, finds_nobody)
    page = text_of(visitor.get(f"/jobs/{job.id}").text)
    assert "The NAS refuses connections. No progress since" in page
    assert re.search(r"Next attempt (in \d+ s|just now) ?; final attempt in 23 h", page)
    assert "Cancel export" in page

    answer = visitor.post(f"/jobs/{job.id}/hasten")
    assert answer.headers["Location"] == f"/jobs/{job.id}"
    assert jobs.get(job.id).due <= now()


def test_a_worker_that_died_is_an_attempt_too(visitor: Visitor, admin: Actor) -> None:
    with writing():
        job = jobs.create("export", actor=admin, params={"path": "g/p", "to": "x"}, what="g/p to x")
    claims.claim(job.id)
    Job.update(lease=0).where(Job.id == job.id).execute()

    runs.perform(job.id, lambda _run: RunEnd(message="All arrived."))

    said = [one["message"] for one in jobs.get(job.id).result["tries"]]
    assert said == ["The worker that ran it died.", "All arrived."]


def put(kind: str, admin: Actor, what: str, **changes: object) -> Job:
    with writing():
        job = jobs.create(kind, actor=admin, params={"path": "g/p", "to": "x"}, what=what)
        Job.update(**{"state": "done", "ended": now(), **changes}).where(Job.id == job.id).execute()
    return jobs.get(job.id)


def test_what_peers_retrieve_does_not_hide_what_people_started(visitor: Visitor, admin: Actor) -> None:
    put("echo", admin, "Scanner")
    for number in range(60):
        put("move", admin, f"CT Thorax, P{number:03} to Sample workstation")
    put("get", admin, "MR Head, P1 to Sample workstation", state="failed")

    page = text_of(visitor.get("/jobs/").text)
    assert "1 job " in page
    assert "All 1 Done 1" in page
    assert "Sample workstation" not in page

    retrieved = visitor.get("/jobs/?kind=retrieval").text
    assert "61 jobs found" in text_of(retrieved)
    assert "All 61 Failed 1 Done 60" in text_of(retrieved)
    assert "/jobs/?only=failed&amp;kind=retrieval" in retrieved
    assert "/jobs/?kind=retrieval&amp;page=2" in retrieved
    assert "1 job found" in text_of(visitor.get("/jobs/?kind=retrieval&only=failed").text)
    assert visitor.get("/jobs/?kind=retrieval&format=csv").text.count("Sample workstation") == 61


def test_jobs_are_narrowed_to_a_kind_with_search_and_state(visitor: Visitor, admin: Actor) -> None:
    put("export", admin, "lab/Trial to mirror")
    put("export", admin, "lab/Other to mirror", state="failed")
    put("import", admin, "lab/Trial from inbox")

    assert "2 jobs found" in text_of(visitor.get("/jobs/?kind=export").text)
    assert "1 job found" in text_of(visitor.get("/jobs/?kind=export&q=trial", headers=HTMX).text)
    assert "1 job found" in text_of(visitor.get("/jobs/?kind=export&only=failed").text)
    assert '<option value="export" selected>Export</option>' in visitor.get("/jobs/?kind=export").text
    assert "3 jobs " in text_of(visitor.get("/jobs/?kind=nonsense").text)
    assert "0 jobs found" in text_of(visitor.get("/jobs/?kind=echo").text)


@pytest.mark.parametrize("path", ["/jobs/", "/exports/", "/imports/"])
def test_a_list_asks_for_itself_while_something_in_it_goes_on(visitor: Visitor, admin: Actor, path: str) -> None:
    for kind in ("export", "import"):
        with writing():
            params = {"path": "g/p", "to": "x", "of": "x", "prefix": "", "by": "path"}
            jobs.create(kind, actor=admin, params=params, what="g/p to x")
    asks = re.compile(
        rf'<span id="poll-\d+" hidden hx-get="{path}\?q=g" hx-trigger="load delay:3s, again" hx-target="#list"'
    )
    assert asks.search(visitor.get(f"{path}?q=g").text)
    assert asks.search(visitor.get(f"{path}?q=g", headers=HTMX).text)
    Job.update(state="done", ended=now()).execute()
    assert "poll-" not in visitor.get(path).text


def test_the_list_of_jobs_is_counted_from_an_index_alone(visitor: Visitor, admin: Actor) -> None:
    put("echo", admin, "Scanner")
    with statements() as sent:
        visitor.get("/jobs/")
    counts = [ast.literal_eval(one) for one in sent if "COUNT" in one and '"kind"' in one]
    plans = [row[3] for sql, values in counts for row in database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", values)]
    assert any("USING COVERING INDEX job_kind_state" in line for line in plans), plans
