"""The trash: hidden everywhere at once, restored as it was, and nothing lost when something came meanwhile."""

import re
from functools import partial

import pytest
from pydicom import Dataset

from portal import listing
from portal.access import rights
from portal.access.actors import Actor
from portal.dashboard import search
from portal.errors import BadValue, Missing
from portal.exports import plan
from portal.ingest import conflicts
from portal.listing import ListRequest
from portal.maintenance import reindex
from portal.models import Acquisition, Audit, Blob, File, Instance, Project, Session, Study, Subject
from portal.query import retrieve
from portal.settings import Settings
from portal.trash import trash
from portal.tree import container_page, containers, files
from portal.tree import lists as tree_lists
from portal.tree.project_part import ProjectPart
from tests.fixtures.archive import a_project, an_object, dump, store, upload
from tests.fixtures.query import matches
from tests.fixtures.web import Visitor, text_of


@pytest.fixture
def project(site: Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


@pytest.fixture
def study(project: Project, admin: Actor) -> Session:
    """Two series of two objects, and a plain file beside them."""
    for number in range(4):
        store(
            an_object(
                SOPInstanceUID=f"1.2.3.{number}", SeriesInstanceUID=f"1.2.4.{number % 2}", SeriesNumber=str(number % 2)
            ),
            project,
        )
    upload(b"notes", Acquisition.get().id, "notes.txt", actor=admin)
    return Session.get()


def found(admin: Actor) -> int:
    """How many instances a peer that sees everything is told of."""
    request = Dataset()
    request.QueryRetrieveLevel, request.StudyInstanceUID = "STUDY", Study.get().study_uid
    request.NumberOfStudyRelatedInstances = ""
    told = [match.identifier for match in matches(request, rights.scope(admin))]
    return int(told[0].NumberOfStudyRelatedInstances) if told else 0


def sent(admin: Actor) -> int:
    request = Dataset()
    request.QueryRetrieveLevel, request.StudyInstanceUID = "STUDY", Study.get().study_uid
    return retrieve.plan(request, rights.scope(admin), root="study").total


def counted() -> list[tuple[int, int, str]]:
    return [(row.n_series, row.n_instances, row.modalities) for row in Study.select().order_by(Study.id)]


def target(kind: str) -> int:
    table = {"file": File, "acquisition": Acquisition, "session": Session, "subject": Subject}[kind]
    return int(table.select().order_by(table.id).first().id)


@pytest.mark.parametrize(("kind", "left"), [("file", 3), ("acquisition", 2), ("session", 0), ("subject", 0)])
def test_what_is_thrown_is_hidden_everywhere_and_comes_back_as_it_was(
    study: Session, admin: Actor, kind: str, left: int
) -> None:
    scope = rights.scope(admin)
    before = (counted(), File.select().count(), [row.name for row in File.select().order_by(File.id)])

    thrown = trash.move_to_trash(kind, target(kind), actor=admin)

    assert (found(admin), sent(admin), Instance.select().count()) == (left, left, left)
    look = files.get if kind == "file" else partial(containers.get, kind)
    with pytest.raises(Missing):
        look(target(kind), scope)
    lying, _size = plan.count_objects(ProjectPart(project=study.subject.project_id)) or (0, 0)
    assert lying == File.select().where(File.deleted_at.is_null()).count()
    assert Blob.select().count() == 5

    outcome = trash.restore(thrown.id, actor=admin)

    assert (outcome.back, outcome.held, outcome.stayed) == (thrown.files, 0, 0)
    assert (found(admin), sent(admin)) == (4, 4)
    assert (counted(), File.select().count(), [row.name for row in File.select().order_by(File.id)]) == before
    assert trash.list_newest() == []
    assert [row.action for row in Audit.select().where(Audit.target_type == kind)][-2:] == [
        f"{kind}:trashed",
        f"{kind}:restored",
    ]


def test_a_thrown_subject_is_in_no_list_and_no_search(study: Session, admin: Actor) -> None:
    scope = rights.scope(admin)
    project = container_page.get("project", study.subject.project_id, scope)
    label = study.subject.label
    assert listing.find(tree_lists.children(project), ListRequest()).total == 1
    trash.move_to_trash("subject", study.subject_id, actor=admin)
    assert listing.find(tree_lists.children(project), ListRequest()).total == 0
    assert listing.find(tree_lists.projects(scope), ListRequest()).rows[0].inside == 0
    assert containers.list_all("session", scope).rows == []
    assert containers.list_all("acquisition", scope).rows == []
    assert list(search.find(label, scope, is_admin=True)) == []


def test_what_arrives_for_a_thrown_session_makes_it_seen_again_without_what_was_in_it(
    study: Session, admin: Actor
) -> None:
    thrown = trash.move_to_trash("subject", study.subject_id, actor=admin)
    store(an_object(SOPInstanceUID="1.2.9", SeriesInstanceUID="1.2.4.0"), study.subject.project)
    assert (Session.select().count(), found(admin)) == (1, 1)
    assert containers.get("session", study.id, rights.scope(admin)).label == study.label

    outcome = trash.restore(thrown.id, actor=admin)

    assert (outcome.back, outcome.stayed, found(admin)) == (5, 0, 5)


def test_an_object_that_came_again_stays_in_the_trash_once_restored(study: Session, admin: Actor) -> None:
    thrown = trash.move_to_trash("session", study.id, actor=admin)
    store(an_object(SOPInstanceUID="1.2.3.0", SeriesInstanceUID="1.2.4.0", SeriesNumber="0"), study.subject.project)

    outcome = trash.restore(thrown.id, actor=admin)

    assert (outcome.back, outcome.stayed, found(admin)) == (4, 1, 4)
    assert "stays in the trash: the same object has arrived again" in outcome.message
    assert [row.files for row in trash.list_newest()] == [1]
    again = trash.restore(thrown.id, actor=admin)
    assert (again.back, again.stayed) == (0, 1)


def test_other_content_that_came_meanwhile_makes_the_restored_one_a_conflict(study: Session, admin: Actor) -> None:
    thrown = trash.move_to_trash("session", study.id, actor=admin)
    store(an_object(SOPInstanceUID="1.2.3.0", SeriesInstanceUID="1.2.4.0", ImageComments="new"), study.subject.project)

    outcome = trash.restore(thrown.id, actor=admin)

    assert (outcome.back, outcome.held, outcome.stayed) == (5, 1, 0)
    assert (conflicts.count(), found(admin)) == (1, 4)


def test_another_patient_under_the_uid_meanwhile_makes_the_restored_ones_conflicts(
    study: Session, admin: Actor
) -> None:
    thrown = trash.move_to_trash("subject", study.subject_id, actor=admin)
    store(an_object(SOPInstanceUID="1.2.9", PatientID="another"), study.subject.project)
    outcome = trash.restore(thrown.id, actor=admin)
    assert (outcome.back, outcome.held, found(admin)) == (5, 4, 1)


def test_an_open_conflict_waits_in_the_trash_and_comes_back_open(project: Project, admin: Actor) -> None:
    store(an_object(), project)
    store(an_object(ImageComments="other"), project)
    conflict = conflicts.list_newest()[0]
    thrown = trash.move_to_trash("subject", Subject.get().id, actor=admin)
    assert (conflicts.count(), conflicts.list_newest(), conflicts.list_newest(None)) == (0, [], [])
    with pytest.raises(BadValue, match="in the trash"):
        conflicts.resolve(conflict.id, "replace", actor=admin)
    trash.restore(thrown.id, actor=admin)
    assert [row.id for row in conflicts.list_newest()] == [conflict.id]


@pytest.mark.parametrize("choice", ["keep", "replace"])
def test_a_decision_survives_the_trash(project: Project, admin: Actor, choice: str) -> None:
    store(an_object(), project)
    store(an_object(ImageComments="other"), project)
    conflicts.resolve(conflicts.list_newest()[0].id, choice, actor=admin)
    before = [(row.file_id, row.state) for row in Instance.select().order_by(Instance.file)]
    thrown = trash.move_to_trash("subject", Subject.get().id, actor=admin)
    trash.restore(thrown.id, actor=admin)
    assert [(row.file_id, row.state) for row in Instance.select().order_by(Instance.file)] == before


def test_restoring_says_what_became_of_an_object_by_its_decision(project: Project, admin: Actor) -> None:
    store(an_object(), project)
    store(an_object(ImageComments="other"), project)
    conflict = conflicts.list_newest()[0]
    conflicts.resolve(conflict.id, "replace", actor=admin)
    thrown = trash.move_to_trash("file", conflict.file_id, actor=admin)
    store(an_object(), project)
    outcome = trash.restore(thrown.id, actor=admin)
    assert (outcome.back, outcome.held, outcome.replaced) == (1, 0, 1)
    assert "shown in place of what arrived meanwhile" in outcome.message
    assert Instance.get(Instance.state == "current").file_id == conflict.file_id
    conflicts.resolve(conflict.id, "keep", actor=admin)
    outcome = trash.restore(trash.move_to_trash("file", conflict.file_id, actor=admin).id, actor=admin)
    assert (outcome.held, outcome.hidden) == (0, 1)
    assert "is hidden, as decided" in outcome.message


def test_things_thrown_one_by_one_are_restored_one_by_one(study: Session, admin: Actor) -> None:
    one = trash.move_to_trash("file", File.get().id, actor=admin)
    whole = trash.move_to_trash("subject", study.subject_id, actor=admin)
    assert (one.files, whole.files) == (1, 4)
    trash.restore(one.id, actor=admin)
    assert found(admin) == 1
    assert containers.get("session", study.id, rights.scope(admin))
    trash.restore(whole.id, actor=admin)
    assert found(admin) == 4


def test_a_new_index_leaves_out_what_is_in_the_trash(study: Session, admin: Actor) -> None:
    thrown = trash.move_to_trash("acquisition", Acquisition.get().id, actor=admin)
    before = dump()
    reindex.run()
    assert dump() == before
    trash.restore(thrown.id, actor=admin)
    assert found(admin) == 4


def test_what_is_not_there_or_no_thing_is_refused_with_a_sentence(study: Session, admin: Actor) -> None:
    somebody = Actor(type="user", id="2", name="reader@site.example")
    with pytest.raises(Missing):
        trash.move_to_trash("session", study.id, actor=somebody)
    thrown = trash.move_to_trash("session", study.id, actor=admin)
    with pytest.raises(Missing):
        trash.restore(thrown.id, actor=somebody)
    with pytest.raises(Missing, match="number 99"):
        trash.restore(99, actor=admin)
    with pytest.raises(BadValue):
        trash.move_to_trash("project", study.subject.project_id, actor=admin)


def test_the_sentence_about_the_trash_has_a_button_that_takes_it_back(visitor: Visitor, study: Session) -> None:
    address = f"/data/session/{target('session')}/trash"
    answer = visitor.post(address, follow_redirects=True)
    undo = re.search(r'action="(/data/trash/\d+/restore\?back=[^"]+)"', answer.text)
    assert undo

    back = visitor.post(undo[1].replace("&amp;", "&"))

    assert (back.status_code, back.headers["Location"]) == (303, answer.request.path)
    assert visitor.get(address.removesuffix("/trash")).status_code == 200
    assert visitor.post(undo[1].partition("?")[0] + "?back=//evil.example").headers.get("Location", "")[:2] != "//"


@pytest.mark.parametrize("kind", trash.KINDS)
def test_each_level_is_thrown_and_restored_from_its_pages(
    visitor: Visitor, reader: Visitor, study: Session, kind: str
) -> None:
    address = f"/data/{kind}/{target(kind)}/trash"
    assert f'href="{address}"' in visitor.get(address.removesuffix("/trash")).text
    assert "No data is deleted" in visitor.get(address).text
    assert reader.get(address).status_code == 404
    assert reader.post(address).status_code == 404

    answer = visitor.post(address, follow_redirects=True)

    assert answer.status_code == 200
    assert "is moved to trash" in text_of(answer.text)
    assert visitor.get(address).status_code == 404
    assert "1 item" in visitor.get("/data/trash").text
    thrown = trash.list_newest()[0]
    answer = visitor.post(f"/data/trash/{thrown.id}/restore", follow_redirects=True)
    assert "restored." in text_of(answer.text)
    assert "The trash is empty" in answer.text
    assert visitor.get(address.removesuffix("/trash")).status_code == 200
    assert Audit.select().where(Audit.action == f"{kind}:restored").count() == 1
    assert Blob.select().count() == 5
