"""What a query may use after extended negotiation; the clause of PS3.4 is in each name."""

import pytest

from portal import models
from portal.access.actors import Actor
from portal.access.rights import Scope
from portal.errors import BadIdentifier, TooManyAnswers
from portal.models import Project
from portal.query import find as query
from portal.query import retrieve
from portal.query.identifiers import Root
from portal.query.options import BASELINE, QueryOptions
from portal.settings import Settings
from tests.fixtures.archive import a_project
from tests.fixtures.query import encoded_identifier, keep, matches, new_uid, request

FUZZY, MOMENTS = QueryOptions(fuzzy_names=True), QueryOptions(date_time=True)
RELATIONAL, MULTIPLE, EMPTY = (
    QueryOptions(relational=True),
    QueryOptions(multiple_values=True),
    QueryOptions(empty_values=True),
)


@pytest.fixture
def project(site: Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


@pytest.fixture
def scope(project: Project) -> Scope:
    return Scope(projects=(project.id,), stores=frozenset())


def by(
    scope: Scope,
    options: QueryOptions = BASELINE,
    *,
    level: str = "STUDY",
    root: Root = "study",
    answer: str = "PatientID",
    **keys: object,
) -> list[str]:
    keys.setdefault(answer, "")
    found = matches(request(level, **keys), scope, root, options=options)
    return sorted(str(match.identifier[answer].value or "") for match in found)


def test_c_4_1_2_2_2_a_relational_query_needs_no_key_of_a_level_above(scope: Scope, project: Project) -> None:
    keep(project, PatientID="P1", SeriesDescription="Scout")
    keep(project, PatientID="P2", SeriesDescription="Axial")
    keys = {"level": "SERIES", "SeriesDescription": "Ax*"}
    with pytest.raises(BadIdentifier):
        by(scope, **keys)
    assert by(scope, RELATIONAL, **keys) == ["P2"]
    assert by(scope, RELATIONAL, level="IMAGE", StudyInstanceUID="") == ["P1", "P2"]
    assert by(scope, RELATIONAL, level="IMAGE", root="patient", PatientID="P*") == ["P1", "P2"]


def test_c_4_1_2_2_2_a_key_of_a_level_below_matches_one_entity_there_in_a_relational_query(
    scope: Scope, project: Project
) -> None:
    study = new_uid()
    first = keep(project, study, PatientID="P1", Modality="CT", SeriesDescription="Scout", InstanceNumber=7)
    keep(project, study, PatientID="P1", Modality="MR", SeriesDescription="Axial")
    keep(project, PatientID="P2", Modality="MR", SeriesDescription="Scout", Rows=512)
    assert by(scope, RELATIONAL, Modality="CT") == ["P1"]
    assert by(scope, RELATIONAL, Modality="MR") == ["P1", "P2"]
    assert by(scope, RELATIONAL, Modality="MR", SeriesDescription="Scout") == ["P2"]
    assert by(scope, RELATIONAL, SOPInstanceUID=first.SOPInstanceUID) == ["P1"]
    assert by(scope, RELATIONAL, SeriesInstanceUID=first.SeriesInstanceUID, InstanceNumber="7") == ["P1"]
    assert by(scope, RELATIONAL, level="SERIES", Rows=512) == ["P2"]
    assert by(scope, RELATIONAL, level="PATIENT", root="patient", StudyInstanceUID=study, Modality="CT") == ["P1"]
    assert by(scope, RELATIONAL, level="PATIENT", root="patient", ModalitiesInStudy="CT") == ["P1"]
    assert by(scope, Modality="CT") == ["P1", "P2"]


def test_c_4_1_2_2_2_a_relational_query_never_leaves_its_scope(scope: Scope, project: Project, admin: Actor) -> None:
    other = a_project(new_uid(), actor=admin)
    hidden = keep(other, PatientID="P9", Modality="CT")
    for level in ("STUDY", "SERIES", "IMAGE"):
        assert by(scope, RELATIONAL, level=level, Modality="CT", SOPInstanceUID=hidden.SOPInstanceUID) == []


def test_c_4_1_2_2_2_a_key_that_is_used_below_is_not_reported_as_unmatched(scope: Scope, project: Project) -> None:
    keep(project, Modality="CT")
    for options, expected in ((RELATIONAL, False), (QueryOptions(), True)):
        (match,) = matches(request("STUDY", StudyInstanceUID="", Modality="CT"), scope, options=options)
        assert match.unmatched_keys is expected


def test_c_4_2_2_2_a_relational_retrieval_needs_no_key_of_a_level_above(scope: Scope, project: Project) -> None:
    kept = keep(project)
    identifier = request("IMAGE", SOPInstanceUID=kept.SOPInstanceUID)
    with pytest.raises(BadIdentifier):
        retrieve.plan(identifier, scope, root="study")
    assert retrieve.plan(identifier, scope, root="study", relational=True).total == 1
    identifier.StudyInstanceUID = "1.2.3"
    assert retrieve.plan(identifier, scope, root="study", relational=True).total == 0
    identifier.StudyInstanceUID = "*"
    with pytest.raises(BadIdentifier):
        retrieve.plan(identifier, scope, root="study", relational=True)


def test_c_2_2_2_5_ranges_of_date_and_time_are_one_range_where_combined(scope: Scope, project: Project) -> None:
    for number, (date, time) in enumerate(
        [("20260101", "0700"), ("20260101", "1200"), ("20260102", "0100"), ("20260103", "1700"), ("20260103", "1801")],
        1,
    ):
        keep(project, PatientID=f"P{number}", StudyDate=date, StudyTime=time)
    keep(project, PatientID="P6", StudyDate="20260102", StudyTime="")
    keys = {"StudyDate": "20260101-20260103", "StudyTime": "1000-1800"}
    assert by(scope, **keys) == ["P2", "P4"]
    assert by(scope, MOMENTS, **keys) == ["P2", "P3", "P4"]
    assert by(scope, MOMENTS, StudyDate="20260102-", StudyTime="0000-") == ["P3", "P4", "P5"]
    assert by(scope, MOMENTS, StudyDate="-20260101", StudyTime="-0700") == ["P1"]
    assert by(scope, MOMENTS, StudyDate="20260101", StudyTime="0800-1800") == ["P2"]


def test_c_2_2_2_7_two_quotation_marks_match_what_has_no_value_where_negotiated(scope: Scope, project: Project) -> None:
    keep(project, PatientID="P1", AccessionNumber="A1", PatientName="Doe", StudyDate="20260101", NumberOfFrames=2)
    keep(project, PatientID="P2")
    keep(project, PatientID="P3", AccessionNumber='""')
    for keyword in ("AccessionNumber", "PatientName", "StudyDate"):
        assert "P1" not in by(scope, EMPTY, **{keyword: '""'})
        assert "P2" in by(scope, EMPTY, **{keyword: '""'})
    assert by(scope, AccessionNumber='""') == ["P3"]
    options = QueryOptions(relational=True, empty_values=True)
    assert by(scope, options, level="IMAGE", NumberOfFrames='""') == ["P2", "P3"]


def test_c_2_2_2_8_all_values_of_a_key_have_to_match_where_negotiated(scope: Scope, project: Project) -> None:
    study = new_uid()
    keep(project, study, PatientID="P1", Modality="CT")
    keep(project, study, PatientID="P1", Modality="PT")
    keep(project, PatientID="P2", Modality="CT")
    assert by(scope, ModalitiesInStudy=["CT", "PT"]) == ["P1", "P2"]
    assert by(scope, MULTIPLE, ModalitiesInStudy=["CT", "PT"]) == ["P1"]
    assert by(scope, MULTIPLE, ModalitiesInStudy=["CT", "CT"]) == ["P1", "P2"]
    assert by(scope, MULTIPLE, ModalitiesInStudy="CT") == ["P1", "P2"]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("muller", ["P1"]),
        ("Müller", ["P1"]),
        ("Anna Muller", ["P1"]),
        ("Muller^Anna", ["P1"]),
        ("mul*", ["P1"]),
        ("lodz", ["P2"]),
        ("OBrien", []),
        ("brien", ["P3"]),
        ("strasse", ["P4"]),
        ("山田", ["P5"]),
        ("*", ["P1", "P2", "P3", "P4", "P5"]),
    ],
)
def test_c_2_2_2_1_names_match_by_words_without_accents_where_fuzzy(
    scope: Scope, project: Project, key: str, expected: list[str]
) -> None:
    names = ("Müller-Meier^Änna", "Łódź^Ewa", "O'Brien^Jo", "Straße", "Yamada^Tarou=山田^太郎")
    for number, name in enumerate(names, 1):
        keep(project, PatientID=f"P{number}", SpecificCharacterSet="ISO_IR 192", PatientName=name)
    if key == "Anna Muller":
        expected_literal: list[str] = []
        assert by(scope, PatientName=key) == expected_literal
    ds = {"SpecificCharacterSet": "ISO_IR 192", "PatientName": key}
    assert by(scope, FUZZY, **ds) == expected
    assert set(by(scope, **ds)) <= set(by(scope, FUZZY, **ds))


def test_c_6_2_1_2_sop_classes_in_study_are_filled_and_matched(scope: Scope, project: Project) -> None:
    study, other = new_uid(), "1.2.840.10008.5.1.4.1.1.4"
    keep(project, study, PatientID="P1")
    keep(project, study, PatientID="P1", SOPClassUID=other)
    keep(project, PatientID="P2")
    assert by(scope, SOPClassesInStudy=other) == ["P1"]
    assert by(scope, SOPClassesInStudy=[other, "1.2.840.10008.5.1.4.1.1.2"]) == ["P1", "P2"]
    assert by(scope, SOPClassesInStudy="1.2.3") == []
    (match,) = matches(request("STUDY", StudyInstanceUID=study, SOPClassesInStudy=""), scope)
    assert sorted(match.identifier.SOPClassesInStudy) == ["1.2.840.10008.5.1.4.1.1.2", other]
    assert by(scope, RELATIONAL, level="PATIENT", root="patient", SOPClassesInStudy=other) == ["P1"]


def test_c_4_1_1_4_a_query_with_more_answers_than_the_limit_gives_so_many_and_then_fails(
    scope: Scope, project: Project
) -> None:
    for number in range(3):
        keep(project, PatientID=f"P{number}")
    assert len(by(scope, QueryOptions(max_answers=3))) == 3
    encoded = encoded_identifier(request("STUDY", StudyInstanceUID=""))
    limited = QueryOptions(max_answers=2)
    answers = query.find(encoded, "1.2.840.10008.1.2.1", scope, root="study", options=limited)
    assert len([next(answers), next(answers)]) == 2
    with pytest.raises(TooManyAnswers, match="More than 2 answers"):
        next(answers)


@pytest.mark.parametrize(
    ("options", "keys", "index"),
    [
        (RELATIONAL, {"SOPInstanceUID": "1.2.3"}, "USING INDEX instance_sop_uid"),
        (RELATIONAL, {"SeriesInstanceUID": "1.2.3"}, "USING INDEX series_series_uid"),
        (MOMENTS, {"StudyDate": "20260101-20260102", "StudyTime": "08-18"}, "USING INDEX study_date"),
        (EMPTY, {"AccessionNumber": '""'}, "USING INDEX study_accession"),
        (RELATIONAL, {"PatientID": "P1", "Modality": "CT"}, "USING INDEX study_patient_id"),
    ],
)
def test_a_negotiated_key_is_searched_by_its_index(
    scope: Scope, project: Project, options: QueryOptions, keys: dict[str, str], index: str
) -> None:
    statements: list[str] = []
    connection = models.database.connection()
    connection.set_trace_callback(statements.append)
    by(scope, options, **keys)
    connection.set_trace_callback(None)
    (select,) = [each for each in statements if each.startswith("SELECT") and "LIMIT 500" in each]
    plan = " | ".join(str(row[3]) for row in connection.execute(f"EXPLAIN QUERY PLAN {select}"))
    assert index in plan, plan
