"""Whose an object is: each lands under its own patient's subject, and one patient is one subject."""

import io

import pytest

from portal.access.actors import Actor
from portal.dicom import header
from portal.dicom.header import Header
from portal.imports import duplicates, targets
from portal.models import Acquisition, Conflict, File, Project, Session, Study, Subject
from portal.settings import Settings
from portal.trash import trash
from tests.fixtures.archive import a_project, an_object, store


@pytest.fixture
def project(site: Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


def patient_in_the_tree(file_id: int) -> str:
    file = File.get_by_id(file_id)
    patient_id: str = Acquisition.get_by_id(file.parent_id).session.subject.patient_id
    return patient_id


def test_a_study_that_comes_again_with_the_right_patient_lands_under_that_patient(
    project: Project, admin: Actor
) -> None:
    wrong = store(an_object(PatientID="wrong"), project)
    trash.move_to_trash("session", Session.get().id, actor=admin)
    right = store(an_object(PatientID="right"), project)
    assert right.outcome == "stored"
    assert (patient_in_the_tree(wrong.file_id), patient_in_the_tree(right.file_id)) == ("wrong", "right")
    assert Study.get().session.subject.patient_id == "right"
    again = store(an_object(PatientID="right", SOPInstanceUID="1.2.3"), project)
    assert (again.outcome, patient_in_the_tree(again.file_id)) == ("stored", "right")


def test_a_held_object_of_another_patient_lands_under_that_patient_and_is_hidden(project: Project) -> None:
    store(an_object(), project)
    held = store(an_object(SOPInstanceUID="1.2.3", PatientID="other"), project)
    assert (held.outcome, patient_in_the_tree(held.file_id)) == ("conflict", "other")
    study = Study.get()
    assert (study.patient_id, study.n_instances) == ("1CT1", 1)


@pytest.mark.parametrize(
    ("issuers", "outcomes", "kept"),
    [
        (["", "HOSPITAL"], ["stored", "stored"], "HOSPITAL"),
        (["HOSPITAL", ""], ["stored", "stored"], "HOSPITAL"),
        (["HOSPITAL", "CLINIC"], ["stored", "conflict"], "HOSPITAL"),
        (["", "HOSPITAL", "CLINIC", ""], ["stored", "stored", "conflict", "stored"], "HOSPITAL"),
    ],
)
def test_an_issuer_that_some_objects_leave_out_is_no_contradiction_and_a_changed_one_is(
    project: Project, issuers: list[str], outcomes: list[str], kept: str
) -> None:
    objects = [
        an_object(SOPInstanceUID=f"1.2.3.{number}", IssuerOfPatientID=issuer) for number, issuer in enumerate(issuers)
    ]
    assert [store(ds, project).outcome for ds in objects] == outcomes
    assert Conflict.select().count() == outcomes.count("conflict")
    assert Study.get().issuer == kept
    assert sorted({issuer for issuer in issuers if issuer}) == sorted(row.issuer for row in Subject.select())


def test_one_patient_with_two_studies_is_one_subject_however_often_the_issuer_is_said(project: Project) -> None:
    for number, issuer in enumerate(["", "HOSPITAL", ""]):
        uids = {"StudyInstanceUID": f"1.2.4.{number}", "SeriesInstanceUID": f"1.2.5.{number}"}
        store(an_object(SOPInstanceUID=f"1.2.3.{number}", IssuerOfPatientID=issuer, **uids), project)
    assert [(row.patient_id, row.issuer) for row in Subject.select()] == [("1CT1", "HOSPITAL")]


def test_a_patient_of_no_issuer_is_none_of_two_hospitals(project: Project) -> None:
    for number, issuer in enumerate(["HOSPITAL", "CLINIC", ""]):
        uids = {"StudyInstanceUID": f"1.2.4.{number}", "SeriesInstanceUID": f"1.2.5.{number}"}
        store(an_object(SOPInstanceUID=f"1.2.3.{number}", IssuerOfPatientID=issuer, **uids), project)
    assert [row.issuer for row in Subject.select().order_by(Subject.id)] == ["HOSPITAL", "CLINIC", ""]


def test_a_dry_run_of_an_import_judges_issuers_the_same_way() -> None:
    twins = duplicates.DuplicateTracker()
    assert [bool(twins.disagreement(_header(issuer))) for issuer in ("", "A", "", "A", "B")] == [*[False] * 4, True]


def _header(issuer: str) -> Header:
    written = io.BytesIO()
    an_object(IssuerOfPatientID=issuer).save_as(written)
    return header.read_file(written, written.tell())[0]


def test_an_import_by_a_sidecar_without_the_issuer_finds_the_patients_subject(project: Project) -> None:
    store(an_object(IssuerOfPatientID="HOSPITAL"), project)
    told = {"label": "1CT1", "patient_id": "1CT1", "issuer": ""}
    assert targets.find_or_create(project.id, [("subject", told)]) == ("subject", Subject.get().id)
    other = targets.find_or_create(project.id, [("subject", {**told, "issuer": "CLINIC"})])
    assert other == ("subject", Subject.get(Subject.issuer == "CLINIC").id)
