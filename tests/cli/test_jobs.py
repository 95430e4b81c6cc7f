from portal import models
from portal.access.actors import operator
from portal.jobs import jobs
from portal.models import Job, now
from tests.fixtures.cli import Portal


def put(kind: str, what: str, **changes: object) -> int:
    with models.connection(), models.writing():
        job = jobs.create(kind, actor=operator(), params={}, what=what)
        Job.update(**{"state": "done", "ended": now(), **changes}).where(Job.id == job.id).execute()
    return job.id


def test_jobs_are_listed_without_what_peers_retrieve_unless_that_is_asked_for(portal: Portal) -> None:
    echo, move = put("echo", "Scanner"), put("move", "CT Thorax, P001 to Sample workstation")
    export = put("export", "lab/Trial to mirror", state="failed", message="The disk is full.")
    assert [one["id"] for one in portal.ok("job", "list")] == [export, echo]
    assert [one["id"] for one in portal.ok("job", "list", "--limit", "1")] == [export]
    assert [one["id"] for one in portal.ok("job", "list", "--kind", "retrieval")] == [move]
    assert [one["id"] for one in portal.ok("job", "list", "--kind", "echo")] == [echo]
    assert [one["id"] for one in portal.ok("job", "list", "--state", "failed")] == [export]
    table = portal("job", "list").out.splitlines()
    assert table[0].split() == ["ID", "LABEL", "WHAT", "STATE", "DONE", "TOTAL", "STARTED", "BY", "CREATED"]
    assert "lab/Trial to mirror" in table[1]
    assert portal("job", "list", "--state", "cancelled").out == "No jobs found.\n"


def test_a_job_is_shown_with_what_it_waits_for_and_cancelled(portal: Portal) -> None:
    number = put("export", "lab/Trial to mirror", state="waiting", ended=None)
    shown = portal.ok("job", "show", str(number))
    assert (shown["label"], shown["state"]) == ("Export", "waiting")
    assert shown["waits_for"] == "The queue (Valkey) does not answer. Is `portal up` running?"
    ended = portal("job", "cancel", str(number))
    assert (ended.code, ended.out) == (0, f"Export {number}: cancelled.\n")
    again = portal("job", "cancel", str(number))
    assert (again.code, again.err) == (1, f"Job {number} has ended already (cancelled).\n")
    assert portal.ok("job", "list", "--state", "active") == []
