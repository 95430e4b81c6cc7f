import pytest
from pydicom.uid import generate_uid

from portal.access.actors import Actor
from portal.access.rights import Scope
from portal.errors import BadIdentifier
from portal.models import Project
from portal.query.identifiers import Root
from portal.settings import Settings
from tests.fixtures.archive import a_project
from tests.fixtures.query import find, found, keep, matches, new_uid, request


@pytest.fixture
def project(site: Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


@pytest.fixture
def scope(project: Project) -> Scope:
    return Scope(projects=(project.id,), stores=frozenset())


def by(scope: Scope, **keys: object) -> list[str]:
    """Patient IDs of the studies that match."""
    return found(scope, answer="PatientID", **keys)


def test_a_single_value_matches_itself_and_nothing_else(scope: Scope, project: Project) -> None:
    keep(project, PatientID="P1", AccessionNumber="A10")
    keep(project, PatientID="P2", AccessionNumber="A1")
    keep(project, PatientID="P3", AccessionNumber="")
    assert by(scope, AccessionNumber="A1") == ["P2"]


def test_matching_tells_upper_from_lower_case(scope: Scope, project: Project) -> None:
    keep(project, PatientID="P1", StudyDescription="Thorax")
    assert by(scope, StudyDescription="thorax") == []
    assert by(scope, StudyDescription="Thor*") == ["P1"]
    assert by(scope, StudyDescription="thor*") == []


def test_padding_around_a_key_does_not_count(scope: Scope, project: Project) -> None:
    keep(project, PatientID="P1", AccessionNumber="A1")
    assert by(scope, AccessionNumber=" A1 ") == ["P1"]


def test_a_star_matches_any_letters_or_none_and_a_question_mark_exactly_one(scope: Scope, project: Project) -> None:
    for number, description in enumerate(("Head", "Heads", "Head of femur", "ead"), 1):
        keep(project, PatientID=f"P{number}", StudyDescription=description)
    assert by(scope, StudyDescription="Head*") == ["P1", "P2", "P3"]
    assert by(scope, StudyDescription="?ead") == ["P1"]
    assert by(scope, StudyDescription="*ead*") == ["P1", "P2", "P3", "P4"]
    assert by(scope, StudyDescription="*e?d?") == ["P2"]
    assert by(scope, StudyDescription="H*r") == ["P3"]


def test_a_question_mark_is_one_letter_also_outside_ascii(scope: Scope, project: Project) -> None:
    keep(project, PatientID="P1", SpecificCharacterSet="ISO_IR 192", StudyDescription="Schädel")
    assert by(scope, StudyDescription="Sch?del") == ["P1"]


@pytest.mark.parametrize("sign", ["%", "_", "[", "]", "^", "'", '"', "-", "[a-z]", "[!a]"])
def test_signs_that_databases_know_are_ordinary(scope: Scope, project: Project, sign: str) -> None:
    keep(project, PatientID="P1", StudyDescription=f"x{sign}y")
    keep(project, PatientID="P2", StudyDescription="xay")
    assert by(scope, StudyDescription=f"x{sign}y") == ["P1"]
    assert by(scope, StudyDescription=f"x{sign}*") == ["P1"]
    assert by(scope, StudyDescription=f"*{sign}?") == ["P1"]


@pytest.mark.parametrize("value", ["", "*"])
def test_universal_matching_finds_records_without_a_value_too(scope: Scope, project: Project, value: str) -> None:
    keep(project, PatientID="P1", AccessionNumber="A1", StudyDate="20200101", PatientName="Doe^John")
    keep(project, PatientID="P2", AccessionNumber="", StudyDate="", PatientName="")
    keep(project, PatientID="P3")
    for keyword in ("AccessionNumber", "StudyDate", "PatientName", "ModalitiesInStudy", "StudyTime"):
        assert by(scope, **{keyword: value}) == ["P1", "P2", "P3"]


def test_wild_cards_are_ordinary_signs_in_dates_times_uids_and_numbers(scope: Scope, project: Project) -> None:
    study = new_uid()
    keep(project, study, StudyDate="20200101", StudyTime="103000", SeriesNumber="1")
    assert by(scope, StudyDate="2020*") == []
    assert by(scope, StudyTime="10*") == []
    assert by(scope, StudyInstanceUID=study[:-1] + "*") == []
    assert found(scope, level="SERIES", StudyInstanceUID=study, SeriesNumber="?") == []


def test_a_list_of_uids_matches_each_of_them_however_long_it_is(scope: Scope, project: Project) -> None:
    kept = [keep(project).StudyInstanceUID for _ in range(3)]
    strangers = [generate_uid() for _ in range(900)]
    assert found(scope, StudyInstanceUID=[kept[0], *strangers, kept[2]]) == sorted([kept[0], kept[2]])


def test_a_range_of_dates_includes_both_its_ends(scope: Scope, project: Project) -> None:
    for number, date in enumerate(("20200101", "20200102", "20200103", "20200104", ""), 1):
        keep(project, PatientID=f"P{number}", StudyDate=date)
    assert by(scope, StudyDate="20200102-20200103") == ["P2", "P3"]
    assert by(scope, StudyDate="20200103-") == ["P3", "P4"]
    assert by(scope, StudyDate="-20200102") == ["P1", "P2"]
    assert by(scope, StudyDate="20200102 - 20200103") == ["P2", "P3"]
    assert by(scope, StudyDate="20200104-20200101") == []


def test_a_range_never_matches_an_empty_value(scope: Scope, project: Project) -> None:
    keep(project, PatientID="P1", StudyDate="", StudyTime="", PatientBirthDate="")
    assert by(scope, StudyDate="-20300101") == []
    assert by(scope, StudyDate="00010101-") == []
    assert by(scope, StudyTime="-235959") == []
    assert by(scope, StudyTime="0000-") == []
    assert by(scope, PatientBirthDate="-20300101") == []


@pytest.mark.parametrize("key", ["2230", "223000", "223000.0", "22:30:00", "22:30"])
@pytest.mark.parametrize("stored", ["2230", "223000", "223000.000", "22:30:00"])
def test_times_are_matched_by_what_they_mean(scope: Scope, project: Project, key: str, stored: str) -> None:
    keep(project, PatientID="P1", StudyTime=stored)
    keep(project, PatientID="P2", StudyTime="223001")
    assert by(scope, StudyTime=key) == ["P1"]


def test_midnight_is_no_empty_time(scope: Scope, project: Project) -> None:
    keep(project, PatientID="P1", StudyTime="000000")
    keep(project, PatientID="P2", StudyTime="")
    assert by(scope, StudyTime="00") == ["P1"]
    assert by(scope, StudyTime="000000-000000") == ["P1"]


def test_a_range_of_times_is_within_a_day_and_its_end_counts_in_full(scope: Scope, project: Project) -> None:
    for number, time in enumerate(("0759", "08", "083015.25", "0930", "093059.9", "0931", "235959.5"), 1):
        keep(project, PatientID=f"P{number}", StudyTime=time)
    assert by(scope, StudyTime="0800-0930") == ["P2", "P3", "P4", "P5"]
    assert by(scope, StudyTime="083015.25-083015.25") == ["P3"]
    assert by(scope, StudyTime="0931-") == ["P6", "P7"]
    assert by(scope, StudyTime="-08") == ["P1", "P2", "P3"]
    assert by(scope, StudyTime="000000-235959") == ["P1", "P2", "P3", "P4", "P5", "P6", "P7"]


def test_date_and_time_are_matched_each_for_itself(scope: Scope, project: Project) -> None:
    keep(project, PatientID="P1", StudyDate="20200101", StudyTime="0700")
    keep(project, PatientID="P2", StudyDate="20200101", StudyTime="1000")
    keep(project, PatientID="P3", StudyDate="20200102", StudyTime="1000")
    assert by(scope, StudyDate="20200101-20200102", StudyTime="0900-1100") == ["P2", "P3"]


def test_a_date_with_points_means_the_same_day(scope: Scope, project: Project) -> None:
    keep(project, PatientID="P1", StudyDate="19920301")
    assert by(scope, StudyDate="1992.03.01") == ["P1"]
    assert by(scope, StudyDate="1992.02.01-1992.04.01") == ["P1"]


def test_numbers_are_matched_by_what_they_mean(scope: Scope, project: Project) -> None:
    study = new_uid()
    first = keep(project, study, SeriesNumber="7", Rows=512)
    keep(project, study, SeriesNumber="70")
    uid = first.SeriesInstanceUID
    assert found(scope, level="SERIES", StudyInstanceUID=study, SeriesNumber="07") == [uid]
    images = {"level": "IMAGE", "StudyInstanceUID": study, "SeriesInstanceUID": uid}
    assert found(scope, **images, Rows=512) == [first.SOPInstanceUID]
    assert found(scope, **images, Rows=256) == []


def test_names_match_without_regard_to_case_but_to_accents(scope: Scope, project: Project) -> None:
    keep(project, PatientID="P1", PatientName="Müller^Änne", SpecificCharacterSet="ISO_IR 100")
    keep(project, PatientID="P2", PatientName="Muller^Anne")
    assert by(scope, PatientName="MÜLLER^änne", SpecificCharacterSet="ISO_IR 192") == ["P1"]
    assert by(scope, PatientName="müller*", SpecificCharacterSet="ISO_IR 192") == ["P1"]
    assert by(scope, PatientName="muller*") == ["P2"]


def test_delimiters_and_spaces_that_say_nothing_do_not_count_in_names(scope: Scope, project: Project) -> None:
    keep(project, PatientID="P1", PatientName="Doe^John^^^")
    keep(project, PatientID="P2", PatientName="Doe ^John")
    keep(project, PatientID="P3", PatientName="Doe")
    assert by(scope, PatientName="doe^john") == ["P1", "P2"]
    assert by(scope, PatientName="doe^john^^") == ["P1", "P2"]
    assert by(scope, PatientName="doe^j*^*") == ["P1", "P2"]
    assert by(scope, PatientName="Doe^*") == ["P1", "P2", "P3"]
    assert by(scope, PatientName="Doe") == ["P3"]
    assert by(scope, PatientName="*john") == ["P1", "P2"]


JAPANESE = {"PatientName": "Yamada^Tarou=山田^太郎=やまだ^たろう", "SpecificCharacterSet": "ISO_IR 192"}


@pytest.mark.parametrize(
    "key",
    [
        "yamada*",
        "Yamada^Tarou",
        "山田*",
        "山田^太郎",
        "やまだ^*",
        "*太郎",
        "=山田*",
        "==やまだ*",
        "yamada^*=山田*",
        "*=*=*",
    ],
)
def test_a_name_is_matched_by_its_component_groups(scope: Scope, project: Project, key: str) -> None:
    keep(project, PatientID="P1", **JAPANESE)
    keep(project, PatientID="P2", PatientName="Doe^John")
    assert by(scope, PatientName=key, SpecificCharacterSet="ISO_IR 192") == ["P1"]


@pytest.mark.parametrize("key", ["=yamada*", "山田*=", "yamada*=鈴木*", "yamada*太郎", "Yamada^Tarou=*x*"])
def test_a_pattern_does_not_reach_into_another_component_group(scope: Scope, project: Project, key: str) -> None:
    keep(project, PatientID="P1", **JAPANESE)
    # pydicom drops a delimiter at the end of a name.
    name = f"{key}^" if key.endswith("=") else key
    assert by(scope, PatientName=name, SpecificCharacterSet="ISO_IR 192") == []


def test_star_equals_star_is_a_pattern_and_not_universal(scope: Scope, project: Project) -> None:
    keep(project, PatientID="P1", **JAPANESE)
    keep(project, PatientID="P2", PatientName="Doe^John")
    keep(project, PatientID="P3", PatientName="")
    assert by(scope, PatientName="*=*") == ["P1"]
    assert by(scope, PatientName="*") == ["P1", "P2", "P3"]


def test_a_name_in_decomposed_letters_is_the_same_name(scope: Scope, project: Project) -> None:
    keep(project, PatientID="P1", PatientName="Mu\u0308ller", SpecificCharacterSet="ISO_IR 192")
    assert by(scope, PatientName="M\u00fcller", SpecificCharacterSet="ISO_IR 100") == ["P1"]


def test_referring_physicians_are_matched_as_names_are(scope: Scope, project: Project) -> None:
    keep(project, PatientID="P1", ReferringPhysicianName="House^Gregory")
    assert by(scope, ReferringPhysicianName="HOUSE*") == ["P1"]


def test_modalities_in_study_match_if_any_series_has_one_of_them(scope: Scope, project: Project) -> None:
    for patient, modalities in {"P1": ("CT", "SR"), "P2": ("MR",), "P3": ("PT", "CT"), "P4": ("",)}.items():
        study = new_uid()
        for modality in modalities:
            keep(project, study, PatientID=patient, Modality=modality)
    assert by(scope, ModalitiesInStudy="CT") == ["P1", "P3"]
    assert by(scope, ModalitiesInStudy=["CT", "MR"]) == ["P1", "P2", "P3"]
    assert by(scope, ModalitiesInStudy="?R") == ["P1", "P2"]
    assert by(scope, ModalitiesInStudy="C*R") == []
    assert by(scope, ModalitiesInStudy="US") == []


def test_all_keys_have_to_match(scope: Scope, project: Project) -> None:
    keep(project, PatientID="P1", StudyDate="20200101", AccessionNumber="A1", Modality="CT")
    assert by(scope, StudyDate="20200101-", AccessionNumber="A?", ModalitiesInStudy="CT") == ["P1"]
    assert by(scope, StudyDate="20200101-", AccessionNumber="A?", ModalitiesInStudy="MR") == []


def test_several_values_of_one_key_are_no_list_unless_they_are_uids(scope: Scope, project: Project) -> None:
    keep(project, PatientID="P1", AccessionNumber="A1")
    assert by(scope, AccessionNumber=["A1", "A2"]) == []


def test_matching_attributes_of_a_level_above_narrows_too(scope: Scope, project: Project) -> None:
    ds = keep(project, PatientID="P1", StudyDate="20200101")
    keys = {"level": "SERIES", "StudyInstanceUID": ds.StudyInstanceUID}
    assert found(scope, **keys, PatientID="P1", StudyDate="20200101") == [ds.SeriesInstanceUID]
    assert found(scope, **keys, PatientID="P2") == []
    assert [
        answer.StudyDate for answer in find(scope, "SERIES", StudyInstanceUID=ds.StudyInstanceUID, StudyDate="")
    ] == ["20200101"]


@pytest.mark.parametrize(
    ("root", "level", "keys"),
    [
        ("study", "SERIES", {}),
        ("study", "SERIES", {"StudyInstanceUID": ""}),
        ("study", "SERIES", {"StudyInstanceUID": "*"}),
        ("study", "SERIES", {"StudyInstanceUID": "1.2.*"}),
        ("study", "SERIES", {"StudyInstanceUID": ["1.2.3", "1.2.4"]}),
        ("study", "IMAGE", {"StudyInstanceUID": "1.2.3"}),
        ("study", "IMAGE", {"SeriesInstanceUID": "1.2.3"}),
        ("study", "IMAGE", {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": ["1.2.3", "1.2.4"]}),
        ("patient", "STUDY", {}),
        ("patient", "STUDY", {"PatientID": ""}),
        ("patient", "STUDY", {"PatientID": "P*"}),
        ("patient", "STUDY", {"PatientID": ["P1", "P2"]}),
        ("patient", "SERIES", {"StudyInstanceUID": "1.2.3"}),
        ("patient", "IMAGE", {"PatientID": "P1", "SeriesInstanceUID": "1.2.3"}),
        ("study", "PATIENT", {"PatientID": ""}),
        ("study", "", {}),
        ("study", "WORKLIST", {}),
        ("study", "study", {}),
        ("patient", "FRAME", {"PatientID": "P1"}),
    ],
)
def test_a_request_that_breaks_the_hierarchy_is_refused_at_once(
    scope: Scope, root: Root, level: str, keys: dict[str, object]
) -> None:
    with pytest.raises(BadIdentifier):
        find(scope, level, root=root, **keys)


def test_a_refusal_says_which_key_is_missing(scope: Scope) -> None:
    with pytest.raises(BadIdentifier, match="at SERIES level needs exactly one value of StudyInstanceUID"):
        find(scope, "SERIES", SeriesInstanceUID="")


def test_a_request_without_a_level_is_refused(scope: Scope) -> None:
    ds = request("STUDY")
    del ds.QueryRetrieveLevel
    with pytest.raises(BadIdentifier, match="Query/Retrieve Level"):
        matches(ds, scope)
