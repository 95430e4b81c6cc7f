"""Much goes into the trash and comes back by a job, some files at a time, while others come and go."""

import pytest

from dimse_worker import destinations
from portal.access.actors import Actor
from portal.errors import Busy
from portal.exports import exports, plan
from portal.jobs import jobs, runs
from portal.jobs.runs import Run, RunEnd
from portal.models import Acquisition, Audit, File, Instance, Job, Project, Session, Storage, Study, Subject
from portal.settings import Settings
from portal.trash import move, restore, trash
from tests.fixtures.archive import a_project, an_object, store, upload
from tests.fixtures.web import Visitor, text_of
from tests.fixtures.work import add_copies

COPIES = move.FILES_PER_BLOCK + 100


@pytest.fixture
def project(site: Settings, admin: Actor) -> Project:
    """Two objects, and more files beside them than one write block hides."""
    found = a_project(actor=admin)
    for number in range(2):
        store(an_object(SOPInstanceUID=f"1.2.3.{number}"), found)
    return found


@pytest.fixture
def much(project: Project, admin: Actor) -> Acquisition:
    acquisition: Acquisition = Acquisition.get()
    add_copies(acquisition, COPIES, admin)
    return acquisition


def live() -> tuple[int, int, int, int]:
    """Files, instances, sessions and subjects that are shown."""
    tables = (Session.select().where(Session.trash.is_null()), Subject.select().where(Subject.trash.is_null()))
    return (
        File.select().where(File.deleted_at.is_null()).count(),
        Study.get().n_instances,
        *(query.count() for query in tables),
    )


def throw(admin: Actor) -> tuple[int, int]:
    """Numbers in the trash and of the job."""
    thrown = trash.move_to_trash("subject", Subject.get().id, actor=admin)
    assert thrown.job is not None
    return thrown.id, thrown.job


def test_much_is_hidden_and_restored_by_jobs_with_progress(much: Acquisition, admin: Actor) -> None:
    before = live()
    number, job_id = throw(admin)
    assert live() == before
    with pytest.raises(Busy, match=f"Job {job_id} works on it"):
        trash.restore(number, actor=admin)

    runs.perform(job_id, move.run)

    job = jobs.get(job_id)
    assert (job.state, job.done, job.total) == ("done", COPIES + 2, COPIES + 2)
    assert job.message == f"{COPIES + 2} files moved to the trash."
    assert live() == (0, 0, 0, 0)
    assert Instance.select().count() == 0
    thrown = trash.get(number)
    assert (thrown.files, bool(trash.active_jobs([thrown]))) == (COPIES + 2, False)

    asked = trash.request_restore(number, actor=admin)
    assert isinstance(asked, Job)
    with pytest.raises(Busy):
        trash.request_restore(number, actor=admin)
    runs.perform(asked.id, restore.run)

    job = jobs.get(asked.id)
    assert (job.state, job.done, job.total, live()) == ("done", COPIES + 2, COPIES + 2, before)
    assert trash.list_newest() == []
    acts = [row.action for row in Audit.select().where(Audit.target_type == "subject")]
    assert acts[-2:] == ["subject:trashed", "subject:restored"]


def test_what_comes_meanwhile_is_seen_with_the_way_to_it(much: Acquisition, admin: Actor) -> None:
    number, job_id = throw(admin)
    upload(b"new", much.id, "new.txt", actor=admin)

    runs.perform(job_id, move.run)

    assert live() == (1, 0, 1, 1)
    assert trash.get(number).files == COPIES + 2


def test_a_cancelled_one_hides_nothing_and_goes_on_when_it_is_asked_again(much: Acquisition, admin: Actor) -> None:
    before = live()
    number, job_id = throw(admin)
    jobs.cancel(job_id, actor=admin)
    runs.perform(job_id, move.run)
    assert live() == before

    jobs.retry(job_id, actor=admin)
    runs.perform(job_id, move.run)
    runs.perform(job_id, move.run)
    assert live() == (0, 0, 0, 0)
    assert trash.get(number).files == COPIES + 2


def test_thrown_twice_at_once_it_is_in_the_trash_once(much: Acquisition, admin: Actor) -> None:
    (_, first), (_, second) = throw(admin), throw(admin)
    for job_id in (first, second):
        runs.perform(job_id, move.run)
    assert [row.files for row in trash.list_newest()] == [COPIES + 2]
    assert jobs.get(second).state == "done"


def test_a_person_is_told_beforehand_and_led_to_the_job(visitor: Visitor, much: Acquisition) -> None:
    address = f"/data/subject/{Subject.get().id}/trash"
    assert "step by step, by a job" in text_of(visitor.get(address).text)
    answer = visitor.post(address)
    job = Job.get(Job.kind == "trash")
    assert answer.headers["Location"] == f"/jobs/{job.id}"
    assert "1 subject" in text_of(visitor.get(f"/data/project/{Project.get().id}").text)
    assert "Moving" in text_of(visitor.get("/data/trash").text)
    runs.perform(job.id, move.run)
    assert visitor.post(f"/data/trash/{trash.list_newest()[0].id}/restore").status_code == 303
    assert "Restoring" in text_of(visitor.get("/data/trash").text)
    assert "Subject of neuro/trial" in text_of(visitor.get(f"/jobs/{Job.get(Job.kind == 'restore').id}").text)


def test_an_export_that_has_begun_sends_what_is_thrown_meanwhile(
    visitor: Visitor, project: Project, mirror: Storage, admin: Actor
) -> None:
    job = exports.start("neuro/trial", to="mirror", actor=admin)

    def begun_then_thrown(this: Run) -> RunEnd:
        plan.plan(this)
        page = text_of(visitor.get(f"/data/subject/{Subject.get().id}/trash").text)
        assert "1 export of this project continues and still sends what it lists" in page
        trash.move_to_trash("subject", Subject.get().id, actor=admin)
        return exports.run(this, destination=destinations.open_storage(this.job))

    runs.perform(job.id, begun_then_thrown)
    assert jobs.get(job.id).message == "2 objects exported and verified."
