"""Retry 3 failed of a C-MOVE or C-GET: those three go to the same destination, if the peer may still have them."""

from collections.abc import Iterator
from typing import Any

import pytest

from dimse_worker import destinations
from portal import models
from portal.access.actors import Actor, operator
from portal.errors import BadValue, NotAllowed
from portal.jobs import jobs, runs
from portal.models import Job, JobItem
from portal.peers import peers
from portal.retrievals import retries
from tests.dimse_worker.test_retrieval import EXPLICIT, get, keys, move, study, study_uid_of
from tests.fixtures.dimse import Encoded, Listener, destination, register, store, until
from tests.fixtures.web import Visitor

FULL = 0xA700


@pytest.fixture
def objects(listener: Listener) -> list[Encoded]:
    """Five objects of one study in neuro/TRIAL1, sent by SCANNER."""
    register(moves_to=("any",))
    sent = study(5)
    assert {one.status for one in store(listener.port, sent)} == {0}
    return sent


class Viewer:
    """VIEWER, which takes all but the first `refuses` objects of a study as long as it is full."""

    def __init__(self, refused: list[str]) -> None:
        self.refused, self.is_full = refused, True
        self.asked: list[str] = []

    def answer(self, event: Any) -> int:
        uid = str(event.request.AffectedSOPInstanceUID)
        self.asked.append(uid)
        return FULL if self.is_full and uid in self.refused else 0


@pytest.fixture
def viewer(objects: list[Encoded]) -> Iterator[Viewer]:
    behaviour = Viewer([one.sop_instance for one in objects[:3]])
    with destination("VIEWER", answer=behaviour.answer) as running:
        register("VIEWER", host="127.0.0.1", port=running.port, services=("echo",), projects=(), store_to=None)
        yield behaviour


@pytest.fixture
def moved(listener: Listener, objects: list[Encoded], viewer: Viewer) -> Job:
    """The row of a C-MOVE of SCANNER to VIEWER, of which three of five failed; VIEWER has room again."""
    status, _ = move(listener.port, keys("STUDY", StudyInstanceUID=study_uid_of(objects[0])), "VIEWER")
    assert (status.Status, status.NumberOfFailedSuboperations) == (0xB000, 3)
    viewer.is_full, viewer.asked = False, []
    return until(lambda: Job.get_or_none(Job.kind == "move", Job.state == "errors"), "the row of the move")


def run(job: Job) -> Job:
    """What the worker does with it, in this process."""
    jobs.try_now(job.id, actor=operator())
    runs.perform(job.id, lambda this: retries.run(this, destination=destinations.peer_for(this.job)))
    return jobs.get(job.id)


def states(job: Job) -> dict[str, str]:
    return {item.key: item.state for item in JobItem.select().where(JobItem.job == job)}


def test_only_what_failed_is_sent_again_to_the_same_destination(moved: Job, viewer: Viewer) -> None:
    job = run(retries.retry(moved.id, actor=operator()))
    assert (job.kind, job.state, job.message) == ("send", "done", "VIEWER took 3 instances.")
    assert (job.total, job.done, job.failed, job.parent_id) == (3, 3, 0, moved.id)
    assert viewer.asked == viewer.refused
    assert states(job) == dict.fromkeys(viewer.refused, "stored")
    assert (jobs.get(moved.id).state, jobs.get(moved.id).failed) == ("errors", 3)


def test_a_second_press_starts_no_second_send(moved: Job, viewer: Viewer) -> None:
    first = retries.retry(moved.id, actor=operator())
    assert retries.retry(moved.id, actor=operator()).id == first.id

    viewer.is_full, viewer.refused = True, viewer.refused[:1]
    ended = run(first)
    while ended.state == "waiting":
        ended = run(ended)
    assert (ended.state, ended.done, ended.failed) == ("errors", 2, 1)
    viewer.is_full, viewer.asked = False, []
    again = retries.retry(moved.id, actor=operator())
    assert again.id == first.id
    assert (run(again).state, viewer.asked) == ("done", viewer.refused)

    with pytest.raises(BadValue, match=f"Job {first.id} has sent all that failed in job {moved.id}"):
        retries.retry(moved.id, actor=operator())
    assert Job.select().where(Job.kind == "send").count() == 1


def test_what_the_peer_lost_its_grant_for_is_not_sent(moved: Job, viewer: Viewer) -> None:
    job = retries.retry(moved.id, actor=operator())
    peers.edit("SCANNER", projects=(("neuro/TRIAL2", "rw"),), store_to=None, actor=operator())
    job = run(job)
    assert (job.state, job.failed, viewer.asked) == ("failed", 3, [])
    assert all("SCANNER can no longer retrieve it" in item.message for item in job.items)


def test_what_the_peer_was_never_granted_is_not_sent(moved: Job, viewer: Viewer) -> None:
    """It called a project's own title: a grant for another project counts neither then nor now."""
    other = models.Project.get(models.Project.ae_title == "TRIAL2").id
    with models.writing():
        Job.update(params={**moved.params, "called_project": other}).where(Job.id == moved.id).execute()
    job = run(retries.retry(moved.id, actor=operator()))
    assert (job.state, job.failed, viewer.asked) == ("failed", 3, [])


def test_what_was_deleted_since_fails_alone(moved: Job, viewer: Viewer) -> None:
    gone, *left = viewer.refused
    with models.writing():
        models.Instance.delete().where(models.Instance.sop_uid == gone).execute()
    job = run(retries.retry(moved.id, actor=operator()))
    assert (job.state, viewer.asked) == ("errors", left)
    assert states(job) == {gone: "failed", **dict.fromkeys(left, "stored")}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"moves_to": ()}, "SCANNER may not move to VIEWER any more"),
        ({"services": ("echo", "get")}, "SCANNER may not move any more"),
    ],
)
def test_a_peer_that_may_not_move_there_now_has_nothing_retried(
    moved: Job, viewer: Viewer, change: dict[str, Any], words: str
) -> None:
    begun = retries.retry(moved.id, actor=operator())
    peers.edit("SCANNER", actor=operator(), **change)
    job = run(begun)
    assert (job.state, viewer.asked) == ("failed", [])
    assert words in job.message
    with models.writing():
        Job.delete().where(Job.id == job.id).execute()
    with pytest.raises(NotAllowed, match=words):
        retries.retry(moved.id, actor=operator())


def test_a_removed_peer_has_nothing_retried(moved: Job) -> None:
    peers.remove("SCANNER", actor=operator())
    with pytest.raises(NotAllowed, match="SCANNER, which asked for these instances, has been removed"):
        retries.retry(moved.id, actor=operator())


def test_what_failed_in_a_get_goes_to_the_peer_that_asked(listener: Listener, objects: list[Encoded]) -> None:
    bad = objects[0].sop_instance
    with models.writing():
        models.Instance.update(transfer_syntax="1.2.840.10008.1.2.4.102").where(
            models.Instance.sop_uid == bad
        ).execute()
    _came, status, _ = get(listener.port, keys("STUDY", StudyInstanceUID=study_uid_of(objects[0])))
    assert (status.Status, status.NumberOfFailedSuboperations) == (0xB000, 1)
    got = until(lambda: Job.get_or_none(Job.kind == "get", Job.state == "errors"), "the row of the get")
    with pytest.raises(NotAllowed, match="SCANNER has no host and port to call"):
        retries.retry(got.id, actor=operator())

    with models.writing():
        models.Instance.update(transfer_syntax=EXPLICIT).where(models.Instance.sop_uid == bad).execute()
    with destination("SCANNER") as own:
        peers.edit("SCANNER", host="127.0.0.1", port=own.port, actor=operator())
        assert run(retries.retry(got.id, actor=operator())).state == "done"
        assert set(own.digests) == {bad}


def test_the_page_of_a_retrieval_offers_it_and_shows_the_send(moved: Job, viewer: Viewer, visitor: Visitor) -> None:
    assert "Retry 3 failed" in visitor.get(f"/jobs/{moved.id}").text
    answer = visitor.post(f"/jobs/{moved.id}/retry")
    job = Job.get(Job.kind == "send")
    assert (answer.status_code, answer.headers["Location"]) == (303, f"/jobs/{job.id}")
    page = visitor.get(f"/jobs/{run(job).id}").text
    assert "VIEWER took 3 instances" in page
    assert f"/jobs/{moved.id}" in page
    assert f"3 failed of job {moved.id}" in page


def test_a_retrieval_that_runs_or_has_no_failure_is_not_retried(moved: Job, admin: Actor) -> None:
    for changes in ({"state": "running"}, {"state": "done", "failed": 0}):
        with models.writing():
            Job.update(**changes).where(Job.id == moved.id).execute()
        with pytest.raises(BadValue, match="of its instances have failed"):
            retries.retry(moved.id, actor=admin)
