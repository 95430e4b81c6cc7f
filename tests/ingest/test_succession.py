"""Whatever is decided on several conflicts of one UID, in whatever order: one object is shown, and the counts agree."""

import contextlib
import io
import random

import pytest
from peewee import fn
from pydicom import Dataset

from portal import settings
from portal.access import rights
from portal.access.actors import Actor
from portal.errors import BadValue
from portal.ingest import conflicts
from portal.maintenance import reindex
from portal.models import CURRENT, Conflict, File, Instance, Project, Series, Study
from portal.trash import trash
from portal.tree import containers
from tests.fixtures.archive import a_project, an_object, store, upload
from tests.fixtures.query import matches

CHOICES = ("keep", "replace", "separate")
UID = "1.2.3.4"


@pytest.fixture
def project(site: settings.Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


def of_one_uid(project: Project, number: int) -> list[int]:
    """The first object, and those that contradict it; returns the conflicts' numbers."""
    for one in range(number + 1):
        store(an_object(SOPInstanceUID=UID, InstanceNumber=one), project)
    return [row.id for row in Conflict.select().where(Conflict.project == project).order_by(Conflict.id)]


def as_a_file(one: Dataset) -> bytes:
    target = io.BytesIO()
    one.save_as(target)
    return target.getvalue()


def another_place(project: Project, admin: Actor) -> int:
    """The number of an acquisition that no header leads to."""
    subject = containers.add_subject(project.id, "sub-01", actor=admin)
    session = containers.add_session(subject.id, "ses-01", actor=admin)
    return int(containers.add_acquisition(session.id, "T2", actor=admin).id)


def shown(project: Project) -> list[int]:
    """The instance numbers of what is shown in the project."""
    rows = Instance.select().where(Instance.project == project, Instance.sop_uid == UID, Instance.state == CURRENT)
    return [int(row.number) for row in rows]


def assert_rows_agree(admin: Actor) -> None:
    current: dict[int, int] = {}
    for series in Series.select():
        number = Instance.select().where(Instance.series == series, Instance.state == CURRENT).count()
        assert series.n_instances == number
        current[series.study_id] = current.get(series.study_id, 0) + number
    assert {study.id: study.n_instances for study in Study.select()} == current
    several = Instance.select(Instance.project).where(Instance.state == CURRENT)
    assert not several.group_by(Instance.project, Instance.sop_uid).having(fn.COUNT(Instance.id) > 1).exists()


def assert_peers_find(project: Project, numbers: list[int], admin: Actor) -> None:
    request = Dataset()
    request.QueryRetrieveLevel, request.SOPInstanceUID, request.InstanceNumber = "IMAGE", UID, ""
    request.StudyInstanceUID, request.SeriesInstanceUID = Study.get().study_uid, Series.get().series_uid
    scope = rights.scope(admin, project.id)
    found = [int(match.identifier.InstanceNumber) for match in matches(request, scope)]
    assert found == numbers


@pytest.mark.parametrize("last", ["keep", "separate"])
def test_taking_back_the_first_of_two_that_replaced_leaves_the_second_shown(
    project: Project, admin: Actor, last: str
) -> None:
    first, second = of_one_uid(project, 2)
    conflicts.resolve(first, "replace", actor=admin)
    conflicts.resolve(second, "replace", actor=admin)
    conflicts.resolve(first, last, actor=admin)
    assert shown(project) == [2]
    conflicts.resolve(second, "keep", actor=admin)
    assert shown(project) == [0]


def test_taking_back_the_second_of_two_that_replaced_shows_the_first(project: Project, admin: Actor) -> None:
    first, second = of_one_uid(project, 2)
    conflicts.resolve(first, "replace", actor=admin)
    conflicts.resolve(second, "replace", actor=admin)
    conflicts.resolve(second, "keep", actor=admin)
    assert shown(project) == [1]
    conflicts.resolve(first, "keep", actor=admin)
    assert shown(project) == [0]


def test_an_object_that_came_again_after_it_was_separated_stays_shown(project: Project, admin: Actor) -> None:
    (first,) = of_one_uid(project, 1)
    for choice in ("replace", "separate"):
        conflicts.resolve(first, choice, actor=admin)
    store(an_object(SOPInstanceUID=UID, InstanceNumber=1), project)
    again = conflicts.list_newest()[0].id
    conflicts.resolve(again, "replace", actor=admin)
    conflicts.resolve(first, "keep", actor=admin)
    assert (shown(project), conflicts.view(conflicts.get(again))["here"]["name"]) == ([1], f"{UID}.dcm")
    conflicts.resolve(first, "replace", actor=admin)
    assert shown(project) == [1]
    for number in (again, first):
        conflicts.resolve(number, "keep", actor=admin)
    assert shown(project) == [0]
    assert_rows_agree(admin)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_an_object_in_two_acquisitions_is_shown_until_both_decisions_are_taken_back(
    project: Project, admin: Actor, order: tuple[int, int]
) -> None:
    (first,) = of_one_uid(project, 1)
    upload(as_a_file(an_object(SOPInstanceUID=UID, InstanceNumber=1)), another_place(project, admin), "1", actor=admin)
    numbers = first, conflicts.list_newest()[0].id
    for number in numbers:
        conflicts.resolve(number, "replace", actor=admin)
    conflicts.resolve(numbers[order[0]], "keep", actor=admin)
    assert shown(project) == [1]
    conflicts.resolve(numbers[order[1]], "keep", actor=admin)
    assert shown(project) == [0]
    assert_rows_agree(admin)


def test_a_new_index_repeats_decisions_in_the_order_in_which_they_were_taken(project: Project, admin: Actor) -> None:
    first, second = of_one_uid(project, 2)
    conflicts.resolve(second, "replace", actor=admin)
    conflicts.resolve(first, "replace", actor=admin)
    for table in (Instance, Series, Study):
        table.delete().execute()
    reindex.run()
    assert shown(project) == [1]


def test_an_older_decision_does_not_come_back_from_the_trash_above_a_newer_one(project: Project, admin: Actor) -> None:
    first, second = of_one_uid(project, 2)
    conflicts.resolve(first, "replace", actor=admin)
    thrown = trash.move_to_trash("file", conflicts.get(first).file_id, actor=admin)
    conflicts.resolve(second, "replace", actor=admin)
    trash.restore(thrown.id, actor=admin)
    assert shown(project) == [2]
    conflicts.resolve(second, "keep", actor=admin)
    assert shown(project) == [1]


def test_an_open_conflict_is_held_when_it_comes_back_where_nothing_is_shown(project: Project, admin: Actor) -> None:
    (only,) = of_one_uid(project, 1)
    for file in File.select():
        trash.move_to_trash("file", file.id, actor=admin)
    trash.restore(trash.list_newest()[0].id, actor=admin)
    assert (shown(project), conflicts.get(only).choice, conflicts.count()) == ([], "open", 1)
    conflicts.resolve(only, "replace", actor=admin)
    assert shown(project) == [1]


@pytest.mark.parametrize("seed", range(6))
def test_after_any_decisions_one_object_of_the_uid_is_shown_and_counted(
    project: Project, admin: Actor, seed: int
) -> None:
    chance = random.Random(seed)
    numbers = of_one_uid(project, chance.choice((2, 3)))
    for _ in range(12):
        if chance.random() < 0.2:
            current = Instance.get(Instance.project == project, Instance.state == CURRENT)
            thrown = trash.move_to_trash("file", current.file_id, actor=admin)
            trash.restore(thrown.id, actor=admin)
        else:
            conflicts.resolve(chance.choice(numbers), chance.choice(CHOICES), actor=admin)
        assert_rows_agree(admin)
        assert len(shown(project)) == 1
        assert_peers_find(project, shown(project), admin)
    before = [(row.file_id, row.state) for row in Instance.select().order_by(Instance.file)]
    for table in (Instance, Series, Study):
        table.delete().execute()
    assert reindex.run().not_restored == []
    assert [(row.file_id, row.state) for row in Instance.select().order_by(Instance.file)] == before


@pytest.mark.parametrize("seed", range(6))
def test_whatever_comes_again_or_lies_in_the_trash_meanwhile_no_more_than_one_is_shown(
    project: Project, admin: Actor, seed: int
) -> None:
    chance = random.Random(seed)
    of_one_uid(project, 3)
    place = another_place(project, admin)
    for _ in range(20):
        files = [row.id for row in File.select().where(File.deleted_at.is_null())]
        kind = chance.random()
        if kind < 0.2 and files:
            trash.move_to_trash("file", chance.choice(files), actor=admin)
        elif kind < 0.35 and trash.list_newest():
            trash.restore(chance.choice(trash.list_newest()).id, actor=admin)
        elif kind < 0.42:
            store(an_object(SOPInstanceUID=UID, InstanceNumber=chance.randrange(4)), project)
        elif kind < 0.5:
            one = an_object(SOPInstanceUID=UID, InstanceNumber=chance.randrange(4))
            upload(as_a_file(one), place, "one.dcm", actor=admin)
        else:
            decided = chance.choice(list(Conflict.select()))
            with contextlib.suppress(BadValue):  # it lies in the trash
                conflicts.resolve(decided.id, chance.choice(CHOICES), actor=admin)
        assert_rows_agree(admin)
        for conflict in Conflict.select().where(Conflict.choice == "open"):
            held = Instance.get_or_none(Instance.file == conflict.file_id)
            assert held is None or held.state == "held"


def purge(project: Project, number: int, admin: Actor) -> None:
    """Put the object of this instance number into the trash, and purge it."""
    row = Instance.get(Instance.project == project, Instance.number == number)
    trash.purge(trash.move_to_trash("file", row.file_id, actor=admin).id, actor=admin)


def test_what_was_replaced_is_shown_again_once_its_successor_is_purged(project: Project, admin: Actor) -> None:
    (conflict,) = of_one_uid(project, 1)
    conflicts.resolve(conflict, "replace", actor=admin)
    thrown = trash.move_to_trash("file", Conflict.get().file_id, actor=admin)
    assert shown(project) == []
    trash.purge(thrown.id, actor=admin)
    assert shown(project) == [0]
    assert_rows_agree(admin)


def test_of_a_row_of_successors_the_last_that_is_left_is_shown(project: Project, admin: Actor) -> None:
    for conflict in of_one_uid(project, 2):
        conflicts.resolve(conflict, "replace", actor=admin)
    purge(project, 2, admin)
    assert shown(project) == [1]
    purge(project, 1, admin)
    assert shown(project) == [0]
    assert_rows_agree(admin)


def test_what_came_again_stays_shown_when_its_successor_is_purged(project: Project, admin: Actor) -> None:
    (conflict,) = of_one_uid(project, 1)
    conflicts.resolve(conflict, "replace", actor=admin)
    thrown = trash.move_to_trash("file", Conflict.get().file_id, actor=admin)
    store(an_object(SOPInstanceUID=UID, InstanceNumber=0), project)
    trash.purge(thrown.id, actor=admin)
    assert shown(project) == [0]
    assert_rows_agree(admin)


@pytest.mark.parametrize("before", ["open", "replace"])
def test_the_only_object_of_a_uid_is_not_hidden_by_keep(project: Project, admin: Actor, before: str) -> None:
    (conflict,) = of_one_uid(project, 1)
    purge(project, 0, admin)
    if before == "replace":
        conflicts.resolve(conflict, "replace", actor=admin)
    with pytest.raises(BadValue, match="nothing to keep"):
        conflicts.resolve(conflict, "keep", actor=admin)
    assert Conflict.get().choice == before
    conflicts.resolve(conflict, "replace", actor=admin)
    assert shown(project) == [1]
