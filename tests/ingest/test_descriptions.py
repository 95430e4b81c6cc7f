"""What peers are told of a study comes from an object that they see, whatever was trashed, replaced or restored."""

import pytest
from pydicom import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from portal import models, runtime
from portal import site_settings as options
from portal.access import rights
from portal.access.actors import Actor
from portal.ingest import conflicts, descriptions
from portal.maintenance import reindex
from portal.models import Audit, Conflict, File, Instance, Project, Series, Study, database
from portal.models.index import needs_refresh
from portal.settings import Settings
from portal.trash import move, trash
from tests.fixtures.archive import a_project, an_object, begin, dump, encode, store
from tests.fixtures.query import matches

NEW = {"PatientName": "New^Name", "AccessionNumber": "NEW", "SeriesDescription": "new series", "Modality": "MR"}


@pytest.fixture
def project(site: Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


def the_old(**changes: str) -> Dataset:
    return an_object(PatientName="Old^Name", AccessionNumber="OLD", SeriesDescription="old series", **changes)


def told(admin: Actor, **keys: str) -> list[tuple[str, str, str]]:
    """Name, accession number and modalities of the studies that a peer finds."""
    request = Dataset()
    request.QueryRetrieveLevel = "STUDY"
    for keyword in ("PatientName", "AccessionNumber", "ModalitiesInStudy"):
        setattr(request, keyword, keys.get(keyword, ""))
    found = [match.identifier for match in matches(request, rights.scope(admin))]
    return [(str(each.PatientName), each.AccessionNumber, each.ModalitiesInStudy) for each in found]


def series_told(admin: Actor) -> list[str]:
    request = Dataset()
    request.QueryRetrieveLevel, request.StudyInstanceUID = "SERIES", Study.get().study_uid
    request.SeriesDescription = ""
    return [match.identifier.SeriesDescription for match in matches(request, rights.scope(admin))]


def test_after_replace_the_new_accession_is_found_and_the_old_one_no_more(project: Project, admin: Actor) -> None:
    store(the_old(), project)
    store(an_object(**NEW), project)
    conflicts.resolve(Conflict.get().id, "replace", actor=admin)
    assert (told(admin), series_told(admin)) == ([("New^Name", "NEW", "MR")], ["new series"])
    assert (len(told(admin, AccessionNumber="NEW")), told(admin, AccessionNumber="OLD")) == (1, [])
    conflicts.resolve(Conflict.get().id, "keep", actor=admin)
    assert (told(admin), series_told(admin)) == ([("Old^Name", "OLD", "CT")], ["old series"])
    conflicts.resolve(Conflict.get().id, "separate", actor=admin)
    rows = [(row.project.label, row.accession) for row in Study.select().where(Study.n_instances > 0)]
    assert sorted(rows) == [("trial", "OLD"), ("trial~separate", "NEW")]


def test_a_site_that_replaces_at_once_tells_what_came_last(project: Project, admin: Actor) -> None:
    store(the_old(), project)
    options.change({"archive.duplicates": "replace"}, actor=admin)
    store(an_object(**NEW), project)
    assert (told(admin), series_told(admin)) == ([("New^Name", "NEW", "MR")], ["new series"])


def test_a_replaced_object_beside_others_is_what_the_study_says(project: Project, admin: Actor) -> None:
    store(the_old(), project)
    store(the_old(SOPInstanceUID="1.2.3"), project)
    store(an_object(SOPInstanceUID="1.2.3", **NEW), project)
    conflicts.resolve(Conflict.get().id, "replace", actor=admin)
    assert told(admin, AccessionNumber="NEW") == [("New^Name", "NEW", "MR")]


def test_when_the_object_that_a_study_was_taken_from_is_trashed_another_one_is_asked(
    project: Project, admin: Actor
) -> None:
    first = store(the_old(), project)
    store(an_object(SOPInstanceUID="1.2.3", **NEW), project)
    assert told(admin) == [("Old^Name", "OLD", "CT")]
    thrown = trash.move_to_trash("file", first.file_id, actor=admin)
    assert (told(admin), series_told(admin)) == ([("New^Name", "NEW", "MR")], ["new series"])
    trash.restore(thrown.id, actor=admin)
    assert told(admin) == [("New^Name", "NEW", "MR")]
    trash.move_to_trash("file", File.get(File.name.startswith("1.2.3")).id, actor=admin)
    assert (told(admin), series_told(admin)) == ([("Old^Name", "OLD", "CT")], ["old series"])


def test_a_study_that_loses_a_whole_series_is_taken_from_another_series(project: Project, admin: Actor) -> None:
    first = store(the_old(), project)
    store(an_object(SOPInstanceUID="1.2.3", SeriesInstanceUID="1.2.4", **NEW), project)
    trash.move_to_trash("acquisition", File.get_by_id(first.file_id).parent_id, actor=admin)
    assert (told(admin), series_told(admin)) == ([("New^Name", "NEW", "MR")], ["new series"])


def test_what_a_kill_left_marked_is_taken_anew_by_the_next_sweep(project: Project, admin: Actor) -> None:
    first = store(the_old(), project)
    store(an_object(SOPInstanceUID="1.2.3", **NEW), project)
    thrown = models.Trash.create(
        kind="file", target=first.file_id, project=project, label="x", files=0, size=0, **admin.origin.fields
    )
    with models.writing():
        move.hide_files(thrown, [first.file_id])  # and killed here
    assert descriptions.refresh() == 2
    assert told(admin) == [("New^Name", "NEW", "MR")]
    assert descriptions.refresh() == 0


def test_where_no_object_can_be_read_the_row_stays_and_is_not_asked_for_ever(project: Project, admin: Actor) -> None:
    first, second = store(the_old(), project), store(an_object(SOPInstanceUID="1.2.3", **NEW), project)
    blob = File.get_by_id(second.file_id).blob
    with runtime.archive().path(blob.segment).open("r+b") as segment:
        segment.seek(blob.offset)
        segment.write(bytes(blob.size))
    trash.move_to_trash("file", first.file_id, actor=admin)
    assert told(admin) == [("Old^Name", "OLD", "CT")]
    assert not Study.select().where(*needs_refresh(Study)).exists()


@pytest.mark.parametrize("table", [Study, Series])
def test_the_sweep_finds_marked_rows_by_an_index(project: Project, table: type[Study] | type[Series]) -> None:
    sql, values = table.select(table.id).where(*needs_refresh(table)).sql()
    plan = " ".join(row[3] for row in database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", values))
    assert f"{table._meta.table_name}_next_source" in plan


def test_an_index_made_anew_says_the_same(project: Project, admin: Actor) -> None:
    store(the_old(), project)
    store(an_object(**NEW), project)
    conflicts.resolve(Conflict.get().id, "replace", actor=admin)
    before = dump()
    with models.writing():
        for rows in (Instance, Series, Study):
            rows.delete().execute()
    reindex.run()
    assert dump() == before


def an_alternate(project: Project) -> int:
    ds = the_old()
    with begin(project, uid=ds.SOPInstanceUID, syntax=ImplicitVRLittleEndian) as incoming:
        incoming.write(encode(ds, syntax=ImplicitVRLittleEndian))
        return incoming.commit().file_id


def states() -> dict[int, str]:
    return {row.file_id: row.state for row in Instance.select()}


def test_when_the_object_that_peers_see_is_trashed_its_alternate_takes_its_place(
    project: Project, admin: Actor
) -> None:
    first, alternate = store(the_old(), project).file_id, an_alternate(project)
    thrown = trash.move_to_trash("file", first, actor=admin)
    assert (states(), len(told(admin))) == ({alternate: "current"}, 1)
    assert trash.restore(thrown.id, actor=admin).held == 0
    assert states() == {alternate: "current", first: "alternate"}


def test_a_whole_series_in_the_trash_leaves_no_alternate_behind(project: Project, admin: Actor) -> None:
    first = store(the_old(), project).file_id
    an_alternate(project)
    trash.move_to_trash("acquisition", File.get_by_id(first).parent_id, actor=admin)
    assert (states(), told(admin)) == ({}, [])


@pytest.mark.parametrize("choice", ["keep", "replace", "open"])
def test_an_object_that_is_hidden_and_comes_again_when_nothing_else_is_shown_is_shown(
    project: Project, admin: Actor, choice: str
) -> None:
    first, second = store(the_old(), project), store(an_object(**NEW), project)
    if choice != "open":
        conflicts.resolve(Conflict.get().id, choice, actor=admin)
    shown, hidden = (second, first) if choice == "replace" else (first, second)
    trash.move_to_trash("file", shown.file_id, actor=admin)
    assert told(admin) == []

    again = store(the_old() if choice == "replace" else an_object(**NEW), project)

    assert (again.outcome, again.file_id) == ("same", hidden.file_id)
    assert states() == {hidden.file_id: "current"}
    assert told(admin) == [("Old^Name", "OLD", "CT") if choice == "replace" else ("New^Name", "NEW", "MR")]
    assert conflicts.count() == 0
    decided = Audit.select().where(Audit.action == "conflict:resolved").count()
    assert decided == {"keep": 2, "replace": 1, "open": 1}[choice]


def test_an_object_of_another_patient_stays_held_however_often_it_comes(project: Project, admin: Actor) -> None:
    store(the_old(), project)
    store(the_old(SOPInstanceUID="1.2.3", PatientID="other"), project)
    again = store(the_old(SOPInstanceUID="1.2.3", PatientID="other"), project)
    assert (again.outcome, conflicts.count(), Study.get().n_instances) == ("same", 1, 1)
