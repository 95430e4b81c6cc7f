"""The same object in two acquisitions of a project: each has its file, peers see it once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from portal import runtime
from portal.access.actors import Actor
from portal.exports import send_plan
from portal.ingest import conflicts, index
from portal.maintenance import reindex
from portal.models import (
    ALTERNATE,
    CURRENT,
    HELD,
    SUPERSEDED,
    Acquisition,
    Blob,
    File,
    Instance,
    Project,
    Series,
    Study,
)
from portal.settings import Settings
from portal.trash import trash
from portal.tree import containers
from portal.tree.project_part import ProjectPart
from portal.tree.walk import Walk
from tests.fixtures.archive import a_project, an_object, store, upload, vendor_file, with_another_pixel

CT = vendor_file("CT_small.dcm").read_bytes()


@pytest.fixture
def project(site: Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


@pytest.fixture
def places(project: Project, admin: Actor) -> tuple[int, int]:
    """The numbers of two acquisitions."""
    subject = containers.add_subject(project.id, "sub-01", actor=admin)
    session = containers.add_session(subject.id, "ses-01", actor=admin)
    return tuple(containers.add_acquisition(session.id, label, actor=admin).id for label in ("T1", "T2"))


@pytest.fixture
def twice(places: tuple[int, int], admin: Actor) -> tuple[int, int]:
    """The numbers of the two files."""
    first, second = (upload(CT, place, "ct.dcm", actor=admin) for place in places)
    assert (first.outcome, second.outcome, second.message) == ("stored", "stored", index.IN_TWO_PLACES)
    return first.file_id, second.file_id


def states() -> dict[int, tuple[str, str]]:
    return {row.file_id: (row.state, row.reason) for row in Instance.select()}


def test_what_is_left_is_shown_where_the_other_goes_into_the_trash_and_comes_back(
    twice: tuple[int, int], admin: Actor
) -> None:
    first, second = twice
    thrown = trash.move_to_trash("file", first, actor=admin)
    assert states() == {second: (CURRENT, "")}

    assert trash.restore(thrown.id, actor=admin).back == 1

    assert states() == {second: (CURRENT, ""), first: (ALTERNATE, index.IN_TWO_PLACES)}
    assert Study.get().n_instances == 1


def test_an_object_that_is_held_in_one_place_is_held_in_the_other(
    twice: tuple[int, int], places: tuple[int, int], admin: Actor
) -> None:
    other = with_another_pixel(CT)
    for place in places:
        assert upload(other, place, "ct.dcm", actor=admin).outcome == "conflict"
    assert sorted(state for state, _reason in states().values()) == [ALTERNATE, CURRENT, HELD, HELD]


def test_where_other_content_replaces_it_it_gives_way_in_both_places_and_comes_back_in_both(
    twice: tuple[int, int], places: tuple[int, int], admin: Actor
) -> None:
    before = states()
    other = upload(with_another_pixel(CT), places[0], "ct.dcm", actor=admin).file_id
    conflict = conflicts.list_newest()[0].id

    conflicts.resolve(conflict, "replace", actor=admin)
    assert {file: state for file, (state, _reason) in states().items()} == {
        twice[0]: SUPERSEDED,
        twice[1]: SUPERSEDED,
        other: CURRENT,
    }

    conflicts.resolve(conflict, "keep", actor=admin)
    assert {file: states()[file] for file in twice} == before


def test_a_c_store_of_it_is_the_same_object(twice: tuple[int, int], project: Project) -> None:
    again = store(an_object(), project)
    assert (again.outcome, again.file_id) == ("same", twice[0])


def test_it_is_exported_in_each_place_and_both_are_single_objects_for_a_peer(
    twice: tuple[int, int], project: Project
) -> None:
    found = list(Walk(ProjectPart(project=project.id), max(twice)).files())
    assert [each.id for each in found] == list(twice)
    assert [why_not for _found, why_not in send_plan.with_refusals(found)] == ["", ""]


def test_both_places_come_back_where_the_index_is_made_anew(twice: tuple[int, int]) -> None:
    before = states()
    for table in (Instance, Series, Study):
        table.delete().execute()

    report = reindex.run()

    assert (report.indexed, report.not_restored) == (2, [])
    assert states() == before


def test_both_places_come_back_from_the_archive_alone(
    twice: tuple[int, int], site: Settings, make_site: Callable[[Path], Settings]
) -> None:
    runtime.archive().close()
    make_site(site.archive)

    report = reindex.run()

    assert report.recovered == 2
    rows = File.select(File.name, Acquisition.label, Instance.state).join(
        Acquisition, on=File.parent_id == Acquisition.id
    )
    found = rows.join(Instance, on=Instance.file == File.id).order_by(File.id).tuples()
    assert list(found) == [("ct.dcm", "T1", CURRENT), ("ct.dcm", "T2", ALTERNATE)]


def test_each_place_has_a_record_of_its_own(twice: tuple[int, int]) -> None:
    first, second = Blob.select()
    assert (first.digest, first.size) == (second.digest, second.size)
    assert (first.segment, first.offset) != (second.segment, second.offset)


def test_the_same_object_stands_in_both_also_where_it_is_encoded_otherwise(
    places: tuple[int, int], admin: Actor
) -> None:
    first = upload(CT, places[0], "ct.dcm", actor=admin)
    padded = CT + b"\xfc\xff\xfc\xffOB\x00\x00\x08\x00\x00\x00" + bytes(8)
    second = upload(padded, places[1], "ct.dcm", actor=admin)
    again = upload(padded + bytes(0), places[1], "ct.dcm", actor=admin)
    assert [stored.outcome for stored in (first, second, again)] == ["stored", "alternate", "same"]
    assert File.get_by_id(second.file_id).parent_id == places[1]
    assert conflicts.count() == 0
