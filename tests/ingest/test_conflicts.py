import pytest

from portal import runtime, settings
from portal.access.actors import Actor
from portal.errors import BadValue, Missing, NotAllowed, PortalError
from portal.ingest import conflicts
from portal.models import Audit, Blob, Conflict, File, Instance, Project, Series, Study
from tests.fixtures.archive import a_project, an_object, store


@pytest.fixture
def project(site: settings.Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


@pytest.fixture
def conflict(project: Project) -> Conflict:
    """Different content, same SOP Instance UID."""
    store(an_object(), project)
    store(an_object(ImageComments="other"), project)
    return Conflict.get()


def states() -> list[tuple[str, str]]:
    return [(row.project.label, row.state) for row in Instance.select().order_by(Instance.file)]


def counts() -> list[tuple[str, int, int]]:
    return [(row.project.label, row.n_series, row.n_instances) for row in Study.select().order_by(Study.id)]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("keep", [("trial", "current"), ("trial", "superseded")]),
        ("replace", [("trial", "superseded"), ("trial", "current")]),
        ("separate", [("trial", "current"), ("trial~separate", "current")]),
    ],
)
def test_each_decision_does_what_it_says_and_deletes_nothing(
    conflict: Conflict, admin: Actor, choice: str, expected: list[tuple[str, str]]
) -> None:
    conflicts.resolve(conflict.id, choice, actor=admin)
    assert states() == expected
    assert (File.select().count(), Blob.select().count()) == (2, 2)
    assert Audit.select().where(Audit.action == "conflict:resolved").count() == 1
    assert conflicts.list_newest() == []


@pytest.mark.parametrize("first", ["keep", "replace", "separate"])
@pytest.mark.parametrize("second", ["keep", "replace", "separate"])
def test_a_decision_is_taken_back_by_the_next_one(conflict: Conflict, admin: Actor, first: str, second: str) -> None:
    conflicts.resolve(conflict.id, second, actor=admin)
    expected = (states(), [count for count in counts() if count[2]])
    conflicts.resolve(conflict.id, first, actor=admin)
    conflicts.resolve(conflict.id, second, actor=admin)
    assert (states(), [count for count in counts() if count[2]]) == expected
    assert (
        Study.select().where(Study.n_instances < 0).count() + Series.select().where(Series.n_instances < 0).count() == 0
    )


def test_the_same_decision_twice_is_one_decision(conflict: Conflict, admin: Actor) -> None:
    conflicts.resolve(conflict.id, "replace", actor=admin)
    conflicts.resolve(conflict.id, "replace", actor=admin)
    assert Audit.select().where(Audit.action == "conflict:resolved").count() == 1
    assert states() == [("trial", "superseded"), ("trial", "current")]


def test_an_object_of_another_patient_is_shown_in_the_study_only_after_replace(project: Project, admin: Actor) -> None:
    store(an_object(), project)
    store(an_object(SOPInstanceUID="1.2.3", PatientID="other"), project)
    assert counts() == [("trial", 1, 1)]
    conflicts.resolve(Conflict.get().id, "replace", actor=admin)
    assert counts() == [("trial", 1, 2)]
    conflicts.resolve(Conflict.get().id, "keep", actor=admin)
    assert counts() == [("trial", 1, 1)]


def test_a_second_separate_object_of_one_uid_gets_a_project_of_its_own(conflict: Conflict, admin: Actor) -> None:
    store(an_object(ImageComments="third"), conflict.project)
    for row in Conflict.select():
        conflicts.resolve(row.id, "separate", actor=admin)
    assert states() == [("trial", "current"), ("trial~separate", "current"), ("trial~separate-2", "current")]


def test_a_conflict_shows_both_sides_in_plain_values(conflict: Conflict) -> None:
    shown = conflicts.view(conflict)
    assert (shown["kind"], shown["state"], shown["project"]) == ("content", "open", "neuro/trial")
    assert shown["arrived"]["digest"] != shown["here"]["digest"]


@pytest.mark.parametrize("choice", ["", "delete", "KEEP"])
def test_another_choice_is_refused_and_changes_nothing(conflict: Conflict, admin: Actor, choice: str) -> None:
    with pytest.raises(BadValue, match="Choose keep, replace or separate"):
        conflicts.resolve(conflict.id, choice, actor=admin)
    assert conflicts.get(conflict.id).choice == "open"


@pytest.mark.parametrize("number", ["0", "999", "-1", "x", "9" * 30, "²"])
def test_a_number_that_no_conflict_has_is_refused(conflict: Conflict, admin: Actor, number: str) -> None:
    with pytest.raises(Missing, match="no conflict"):
        conflicts.resolve(number, "keep", actor=admin)


def test_one_whose_bytes_are_damaged_is_kept_out_and_goes_nowhere_else(conflict: Conflict, admin: Actor) -> None:
    blob = conflict.file.blob
    with runtime.archive().path(blob.segment).open("r+b") as segment:
        segment.seek(blob.offset)
        segment.write(bytes(blob.size))
    with pytest.raises(PortalError):
        conflicts.resolve(conflict.id, "separate", actor=admin)
    assert conflicts.get(conflict.id).choice == "open"
    conflicts.resolve(conflict.id, "keep", actor=admin)
    assert states() == [("trial", "current"), ("trial", "superseded")]


def test_only_an_admin_decides(conflict: Conflict) -> None:
    with pytest.raises(NotAllowed):
        conflicts.resolve(conflict.id, "keep", actor=Actor(type="user", id="2", name="reader@site.example"))
    assert conflicts.count() == 1
