"""How much lies where, who sent it by which way, and what it costs to say so."""

import pytest

from portal.access.actors import Actor
from portal.models import Acquisition, Blob, Project, Session, Subject, Usage
from portal.settings import Settings
from portal.trash import trash
from portal.tree import container_sizes, containers, file_sources
from tests.fixtures.archive import a_project, an_object, store, upload
from tests.fixtures.web import MOST_STATEMENTS, Visitor, statements, text_of

LEVELS = {"project": Project, "subject": Subject, "session": Session, "acquisition": Acquisition}


@pytest.fixture
def project(site: Settings, admin: Actor) -> Project:
    """Two subjects, three studies, six objects and a file that is none."""
    project = a_project(actor=admin)
    for number in range(6):
        store(
            an_object(
                PatientID=f"P{number % 2}",
                StudyInstanceUID=f"1.2.{number % 2}.{number // 4}",
                SeriesInstanceUID=f"1.2.{number % 2}.{number // 4}.1",
                SOPInstanceUID=f"1.2.3.{number}",
            ),
            project,
        )
    upload(b"notes", Acquisition.get().id, "notes.txt", actor=admin)
    return project


@pytest.mark.parametrize("level", LEVELS)
def test_each_level_counts_what_lies_in_it_at_whatever_depth(project: Project, level: str) -> None:
    ids = [row.id for row in LEVELS[level].select()]
    with statements() as sent:
        found = container_sizes.for_containers(level, ids)
    assert sum(amount.files for amount in found.values()) == 7
    assert sum(amount.size for amount in found.values()) == sum(blob.size for blob in Blob.select())
    assert len(sent) <= 2


def test_what_is_in_the_trash_is_not_counted(project: Project, admin: Actor) -> None:
    before = container_sizes.for_containers("project", [project.id])[project.id]
    thrown = trash.move_to_trash("session", Session.get().id, actor=admin)
    after = container_sizes.for_containers("project", [project.id])[project.id]
    assert (before.files - after.files, before.size - after.size) == (thrown.files, thrown.size)


def test_a_large_site_is_counted_beforehand(project: Project, admin: Actor) -> None:
    assert container_sizes.refresh() is False
    live = container_sizes.for_containers("project", [project.id])
    assert container_sizes.for_containers("project", [project.id], at_once=1) == {}
    assert container_sizes.refresh(at_once=1) is True
    assert container_sizes.for_containers("project", [project.id], at_once=1) == live
    assert container_sizes.refresh(at_once=1) is False
    assert Usage.select().count() == Project.select().count()
    for at_once in (1, 100):
        by = container_sizes.size_columns("project", at_once=at_once)
        assert Project.select(by.files, by.size).where(Project.id == project.id).tuples().get() == live[project.id]


def test_the_ways_into_a_session_are_named_with_their_counts(project: Project, admin: Actor) -> None:
    found = file_sources.for_container("session", Session.get().id)
    assert (found.total, found.files) == (2, 3)
    assert [(way.origin.type, way.files) for way in found.shown] == [("peer", 2), ("user", 1)]
    assert all(way.first <= way.last and way.first.tzinfo for way in found.shown)


def test_the_pages_of_data_cost_few_statements_and_say_how_much_there_is(visitor: Visitor, project: Project) -> None:
    session = Session.get()
    pages = {
        "/data/": "7",
        f"/data/project/{project.id}": "2 subjects",
        f"/data/subject/{session.subject_id}": "2 sessions",
        f"/data/session/{session.id}": "3 files",
        f"/data/acquisition/{Acquisition.get().id}": "3 files",
        "/data/trash": "trash",
    }
    for path, words in pages.items():
        visitor.get(path)  # the first view of a session in an hour is written into the audit log
        with statements() as sent:
            page = visitor.get(path)
        assert words in text_of(page.text), path
        assert len(sent) <= MOST_STATEMENTS, (path, len(sent), sent)


def test_an_empty_project_holds_nothing(site: Settings, admin: Actor) -> None:
    project = a_project(actor=admin)
    containers.add_subject(project.id, "S", actor=admin)
    assert container_sizes.for_containers("project", [project.id]) == {}
    assert container_sizes.for_containers("subject", []) == {}
