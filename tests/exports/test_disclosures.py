"""When an export ends, the audit log has what left the site, and each session of it finds that."""

from portal.access import audit_chain, session_readers
from portal.access.actors import Actor
from portal.audit_log import entries, filters
from portal.exports import exports
from portal.jobs import disclosures
from portal.models import Acquisition, Audit, AuditedSession, Job, JobItem, Session, Storage, Subject, now
from portal.tree import containers
from tests.exports.test_exports import run
from tests.fixtures.work import add_files


def test_an_export_that_ended_is_one_entry_that_each_of_its_sessions_finds(
    acquisition: Acquisition, mirror: Storage, admin: Actor
) -> None:
    add_files(acquisition, 2, 10, admin)
    second = containers.add_session(Subject.get().id, "second", actor=admin)
    add_files(containers.add_acquisition(second.id, "a", actor=admin), 1, 10, admin)
    empty = containers.add_session(Subject.get().id, "empty", actor=admin)
    job = run(exports.start("lab/Trial", to="mirror", actor=admin))
    disclosures.record(job.id)
    disclosures.record(job.id)

    [entry] = Audit.select().where(Audit.action == "export:ended")
    assert (entry.target_id, entry.actor_id, entry.detail["to"]) == (str(job.id), admin.id, job.params["to"])
    assert (entry.detail["state"], entry.detail["done"]) == ("done", 3)
    sessions = sorted(row.id for row in Session.select() if row.id != empty.id)
    assert sorted(row.session for row in AuditedSession.select()) == sessions
    for session in sessions:
        assert session_readers.counts(session).by_way == {"exported": 1}
        found = filters.AuditFilter(about=f"session {session}", kind="transfer")
        assert [view.row.id for view in entries.find(found).rows] == [entry.id]
    assert session_readers.counts(empty.id).by_way == {}
    assert list(audit_chain.verify()) == []


def test_a_cancelled_export_names_the_sessions_whose_objects_have_left_and_one_that_runs_none(
    acquisition: Acquisition, mirror: Storage, admin: Actor
) -> None:
    add_files(acquisition, 2, 10, admin)
    job = exports.start("lab/Trial", to="mirror", actor=admin)
    disclosures.record(job.id)
    assert not Audit.select().where(Audit.action == "export:ended").exists()
    run(job)
    JobItem.update(state="pending").execute()
    Job.update(state="cancelled", ended=now()).execute()
    disclosures.record(job.id)
    assert AuditedSession.select().count() == 0
    assert Audit.get(Audit.action == "export:ended").session is None
