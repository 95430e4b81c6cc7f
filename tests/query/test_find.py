import io
import itertools
import re
import struct
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_charset_files
from pydicom.datadict import dictionary_VR
from pydicom.tag import Tag
from pydicom.uid import ExplicitVRLittleEndian

from portal.access.actors import Actor
from portal.access.rights import NO_ACCESS, Scope
from portal.dicom import element_heads
from portal.dicom.little_endian import DatasetWriter
from portal.errors import BadIdentifier
from portal.ingest import index
from portal.models import (
    CURRENT,
    SUPERSEDED,
    Acquisition,
    Blob,
    File,
    Instance,
    Project,
    Series,
    Study,
    database,
    find_queries,
    writing,
)
from portal.query import find as query
from portal.settings import Settings
from tests.fixtures.archive import a_project, an_object, store, store_vendor_file, vendor_file
from tests.fixtures.query import an_image, encoded_identifier, find, found, keep, matches, new_uid, request, store_to


@pytest.fixture
def project(site: Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


@pytest.fixture
def other(project: Project, admin: Actor) -> Project:
    return a_project("other", actor=admin)


@pytest.fixture
def scope(project: Project) -> Scope:
    return Scope(projects=(project.id,), stores=frozenset())


def both(*projects: Project) -> Scope:
    return Scope(projects=tuple(project.id for project in projects), stores=frozenset())


# Levels and counts


def test_each_level_gives_one_answer_an_entity(scope: Scope, project: Project) -> None:
    study, series = new_uid(), new_uid()
    images = [keep(project, study, series, PatientID="P1") for _ in range(3)]
    keep(project, study, PatientID="P1")
    keep(project, PatientID="P1")
    assert len(find(scope, "PATIENT", root="patient", PatientID="")) == 1
    assert len(find(scope, "STUDY", root="patient", PatientID="P1", StudyInstanceUID="")) == 2
    assert len(find(scope, "SERIES", StudyInstanceUID=study, SeriesInstanceUID="")) == 2
    keys = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    assert found(scope, level="IMAGE", **keys) == sorted(ds.SOPInstanceUID for ds in images)
    assert found(scope, level="IMAGE", root="patient", PatientID="P1", **keys) == found(scope, level="IMAGE", **keys)
    assert found(scope, level="IMAGE", root="patient", PatientID="P2", **keys) == []


def test_counts_are_true_at_each_level(scope: Scope, project: Project) -> None:
    study, series = new_uid(), new_uid()
    for _ in range(3):
        keep(project, study, series)
    keep(project, study)
    keep(project)
    of_patient = {
        "NumberOfPatientRelatedStudies": "2",
        "NumberOfPatientRelatedSeries": "3",
        "NumberOfPatientRelatedInstances": "5",
    }
    of_study = {"NumberOfStudyRelatedSeries": "2", "NumberOfStudyRelatedInstances": "4"}
    asked = dict.fromkeys([*of_patient, *of_study], "")
    (patient,) = find(scope, "PATIENT", root="patient", PatientID="P1", **dict.fromkeys(of_patient, ""))
    assert {name: str(patient[name].value) for name in of_patient} == of_patient
    (answer,) = find(scope, "STUDY", StudyInstanceUID=study, **asked)
    assert {name: str(answer[name].value) for name in asked} == of_patient | of_study
    (answer,) = find(
        scope, "SERIES", StudyInstanceUID=study, SeriesInstanceUID=series, NumberOfSeriesRelatedInstances=""
    )
    assert answer.NumberOfSeriesRelatedInstances == 3


def test_only_current_instances_count_and_what_has_none_is_invisible(scope: Scope, project: Project) -> None:
    study, series = new_uid(), new_uid()
    first = keep(project, study, series)
    keep(project, study)
    with writing():
        gone = Instance.get(Instance.sop_uid == first.SOPInstanceUID)
        index.change_state(gone, SUPERSEDED, "")
    (answer,) = find(scope, "STUDY", StudyInstanceUID=study, NumberOfStudyRelatedInstances="")
    assert answer.NumberOfStudyRelatedInstances == 1
    assert series not in found(scope, level="SERIES", StudyInstanceUID=study)
    assert found(scope, level="IMAGE", StudyInstanceUID=study, SeriesInstanceUID=series) == []


def test_the_modalities_of_a_study_are_those_of_its_series(scope: Scope, project: Project) -> None:
    study = new_uid()
    for modality in ("SR", "CT", "CT"):
        keep(project, study, Modality=modality)
    (answer,) = find(scope, "STUDY", StudyInstanceUID=study, ModalitiesInStudy="")
    assert sorted(answer.ModalitiesInStudy) == ["CT", "SR"]


def test_the_same_patient_id_of_two_issuers_is_two_patients(scope: Scope, project: Project) -> None:
    keep(project, PatientID="P1", IssuerOfPatientID="NORTH", PatientName="Doe^John")
    keep(project, PatientID="P1", IssuerOfPatientID="SOUTH", PatientName="Roe^Jane")
    answers = find(scope, "PATIENT", root="patient", PatientID="P1", IssuerOfPatientID="", PatientName="")
    assert sorted((str(ds.PatientName), ds.IssuerOfPatientID) for ds in answers) == [
        ("Doe^John", "NORTH"),
        ("Roe^Jane", "SOUTH"),
    ]


def test_studies_without_a_patient_id_are_patients_of_their_own(scope: Scope, project: Project) -> None:
    keep(project, PatientID="", PatientName="Doe^John")
    keep(project, PatientID="", PatientName="Roe^Jane")
    answers = find(scope, "PATIENT", root="patient", PatientID="", PatientName="", NumberOfPatientRelatedStudies="")
    assert sorted(str(ds.PatientName) for ds in answers) == ["Doe^John", "Roe^Jane"]
    assert {ds.NumberOfPatientRelatedStudies for ds in answers} == {1}


# Keys


def test_every_answer_says_its_level_where_to_retrieve_it_and_that_it_is_online(scope: Scope, project: Project) -> None:
    keep(project)
    (match,) = matches(request("STUDY", StudyInstanceUID=""), scope, retrieve_ae_title="PORTICO")
    assert match.identifier.QueryRetrieveLevel == "STUDY"
    assert match.identifier.RetrieveAETitle == "PORTICO"
    assert match.identifier.InstanceAvailability == "ONLINE"


def test_a_key_that_the_object_lacks_comes_back_empty(scope: Scope, project: Project) -> None:
    keep(project)
    (answer,) = find(scope, "STUDY", StudyID="", StudyDate="", AccessionNumber="", InstitutionName="", PatientAge="")
    for keyword in ("StudyID", "StudyDate", "AccessionNumber", "InstitutionName", "PatientAge"):
        assert keyword in answer
        assert not answer[keyword].value


def test_a_key_that_is_not_listed_is_answered_but_not_matched_and_the_status_says_so(
    scope: Scope, project: Project
) -> None:
    keep(project, InstitutionName="North", StudyID="7")
    (match,) = matches(request("STUDY", StudyInstanceUID="", InstitutionName="South"), scope)
    assert match.unmatched_keys
    assert match.identifier.InstitutionName == "North"
    (match,) = matches(request("STUDY", StudyInstanceUID="", StudyID="7"), scope)
    assert not match.unmatched_keys


def test_a_key_of_a_level_below_is_universal_and_comes_back_empty(scope: Scope, project: Project) -> None:
    keep(project, Modality="CT")
    (match,) = matches(request("STUDY", StudyInstanceUID="", Modality="MR", SeriesInstanceUID="1.2"), scope)
    assert match.unmatched_keys
    assert match.identifier.Modality == ""
    assert match.identifier.SeriesInstanceUID == ""


def test_counts_are_answered_and_never_matched_by(scope: Scope, project: Project) -> None:
    keep(project)
    (match,) = matches(request("STUDY", NumberOfStudyRelatedInstances=""), scope)
    assert not match.unmatched_keys
    (match,) = matches(request("STUDY", NumberOfStudyRelatedInstances="99"), scope)
    assert match.unmatched_keys
    assert match.identifier.NumberOfStudyRelatedInstances == "1"


def test_group_lengths_are_ignored(scope: Scope, project: Project) -> None:
    keep(project)
    encoded = encoded_identifier(request("STUDY", StudyInstanceUID=""))
    study_key = encoded.index(b"\x20\x00\x0d\x00")
    lengths = [struct.pack("<HH2sHI", group, 0, b"UL", 4, 12) for group in (0x0008, 0x0020)]
    encoded = lengths[0] + encoded[:study_key] + lengths[1] + encoded[study_key:]
    (match,) = query.find(encoded, ExplicitVRLittleEndian, scope, root="study")
    assert not match.unmatched_keys
    assert b"UL" not in match.identifier


def test_a_sequence_comes_back_whole_or_by_the_keys_of_its_item(scope: Scope, project: Project) -> None:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "123", "DCM", "Schädel"
    keep(project, SpecificCharacterSet="ISO_IR 100", ProcedureCodeSequence=[code])
    (answer,) = find(scope, "STUDY", SpecificCharacterSet="ISO_IR 192", ProcedureCodeSequence=[])
    assert answer.ProcedureCodeSequence[0].CodeMeaning == "Schädel"
    assert answer.ProcedureCodeSequence[0].CodeValue == "123"
    item = Dataset()
    item.CodeMeaning = item.MappingResource = ""
    (answer,) = find(scope, "STUDY", SpecificCharacterSet="ISO_IR 192", ProcedureCodeSequence=[item])
    assert sorted(element.keyword for element in answer.ProcedureCodeSequence[0]) == ["CodeMeaning", "MappingResource"]
    assert answer.ProcedureCodeSequence[0].CodeMeaning == "Schädel"


def private_request(level: str, creator: str | None, tag: int, vr: str, **keys: Any) -> Dataset:
    ds = request(level, **keys)
    if creator:
        ds.add_new(tag & 0xFFFF0000 | tag >> 8 & 0xFF, "LO", creator)
    ds.add_new(tag, vr, None)
    return ds


def test_a_private_element_comes_back_from_whichever_block_its_creator_has(scope: Scope, project: Project) -> None:
    ds = an_object(PatientID="P1")
    ds.private_block(0x0011, "PORTICO TEST", create=True).add_new(0x01, "LO", "secret of the vendor")
    store(ds, project)
    (match,) = matches(private_request("STUDY", "PORTICO TEST", 0x00115501, "LO", PatientID="P1"), scope)
    assert match.identifier[0x00115501].value == "secret of the vendor"
    assert match.identifier[0x00110055].value == "PORTICO TEST"
    (match,) = matches(private_request("STUDY", "SOMEBODY ELSE", 0x00111001, "LO", PatientID="P1"), scope)
    assert not match.identifier[0x00111001].value


def test_a_private_element_without_its_creator_comes_back_with_it(scope: Scope, project: Project) -> None:
    ds = an_object(PatientID="P1")
    block = ds.private_block(0x0011, "PORTICO TEST", create=True)
    block.add_new(0x01, "LO", "of the vendor")
    store(ds, project)
    tag = block.get_tag(0x01)
    (match,) = matches(private_request("STUDY", None, tag, "LO", PatientID="P1"), scope)
    assert match.identifier[tag].value == "of the vendor"
    assert match.identifier[tag & 0xFFFF0000 | tag >> 8 & 0xFF].value == "PORTICO TEST"


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm", "image_dfl.dcm", "SC_rgb_rle.dcm"]
)
def test_an_image_answers_from_its_own_header_in_any_syntax(scope: Scope, project: Project, name: str) -> None:
    store_vendor_file(name, project)
    instance = Instance.get()
    keys = {"StudyInstanceUID": instance.series.study.study_uid, "SeriesInstanceUID": instance.series.series_uid}
    original = dcmread(vendor_file(name))
    (answer,) = find(scope, "IMAGE", **keys, BitsAllocated=None, PixelSpacing=None, ImageType="", Rows=None)
    assert answer.BitsAllocated == original.BitsAllocated
    assert answer.Rows == original.Rows
    assert answer.get("PixelSpacing") == original.get("PixelSpacing")
    assert (answer.ImageType or None) == original.get("ImageType")


def test_two_images_of_a_series_each_answer_for_themselves(scope: Scope, project: Project) -> None:
    study, series = new_uid(), new_uid()
    for position in ("1", "2"):
        keep(project, study, series, SliceLocation=position)
    answers = find(scope, "IMAGE", StudyInstanceUID=study, SeriesInstanceUID=series, SliceLocation="")
    assert sorted(float(ds.SliceLocation) for ds in answers) == [1.0, 2.0]


def test_an_image_whose_bytes_are_gone_still_answers_from_the_index(
    scope: Scope, project: Project, site: Settings
) -> None:
    ds = keep(project, InstanceNumber="5", SliceLocation="1")
    for segment in site.archive.glob("*.seg"):
        segment.unlink()
    keys = {"StudyInstanceUID": ds.StudyInstanceUID, "SeriesInstanceUID": ds.SeriesInstanceUID}
    (answer,) = find(scope, "IMAGE", **keys, InstanceNumber="", SliceLocation="")
    assert answer.InstanceNumber == 5
    assert answer.SliceLocation is None


# Scope


def test_a_scope_without_projects_finds_nothing(project: Project) -> None:
    ds = keep(project)
    for level, root in (("PATIENT", "patient"), ("STUDY", "study")):
        assert matches(request(level, PatientID=""), NO_ACCESS, root) == []  # type: ignore[arg-type]
    assert found(NO_ACCESS, level="SERIES", StudyInstanceUID=ds.StudyInstanceUID) == []


def test_rows_come_only_from_the_projects_of_the_scope(scope: Scope, project: Project, other: Project) -> None:
    mine, theirs = keep(project), keep(other)
    assert found(scope) == [mine.StudyInstanceUID]
    assert found(scope, StudyInstanceUID=theirs.StudyInstanceUID) == []
    assert found(scope, level="SERIES", StudyInstanceUID=theirs.StudyInstanceUID) == []
    keys = {"StudyInstanceUID": theirs.StudyInstanceUID, "SeriesInstanceUID": theirs.SeriesInstanceUID}
    assert found(scope, level="IMAGE", **keys) == []


def test_the_first_project_that_holds_a_study_hides_it_in_the_others_at_every_level(
    project: Project, other: Project
) -> None:
    study, series = new_uid(), new_uid()
    mine = keep(project, study, series, PatientName="First")
    theirs = [keep(other, study, series, PatientName="Second") for _ in range(2)]
    keep(other, study, PatientName="Second")
    alone = keep(other, PatientName="Second")
    scope = both(project, other)
    keys = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    assert found(scope) == sorted([study, alone.StudyInstanceUID])
    assert found(scope, PatientName="Second") == [alone.StudyInstanceUID]
    assert found(scope, level="SERIES", StudyInstanceUID=study) == [series]
    assert found(scope, level="IMAGE", **keys) == [mine.SOPInstanceUID]
    assert found(both(other, project), level="IMAGE", **keys) == sorted(ds.SOPInstanceUID for ds in theirs)
    counts = {"NumberOfPatientRelatedStudies": "", "NumberOfPatientRelatedInstances": ""}
    (patient,) = find(scope, "PATIENT", root="patient", PatientID="P1", **counts)
    assert (patient.NumberOfPatientRelatedStudies, patient.NumberOfPatientRelatedInstances) == (2, 2)
    (patient,) = find(both(other, project), "PATIENT", root="patient", PatientID="P1", **counts)
    assert (patient.NumberOfPatientRelatedStudies, patient.NumberOfPatientRelatedInstances) == (2, 4)


def test_a_study_of_which_nothing_is_left_hides_nothing(project: Project, other: Project) -> None:
    study = new_uid()
    gone = keep(project, study)
    kept = keep(other, study)
    with writing():
        index.change_state(Instance.get(Instance.sop_uid == gone.SOPInstanceUID), SUPERSEDED, "")
    assert found(both(project, other), level="SERIES", StudyInstanceUID=study) == [kept.SeriesInstanceUID]


def test_a_project_outside_of_the_scope_hides_nothing(project: Project, other: Project) -> None:
    study = new_uid()
    keep(project, study)
    kept = keep(other, study)
    assert found(both(other), level="SERIES", StudyInstanceUID=study) == [kept.SeriesInstanceUID]


# Character sets


@pytest.mark.parametrize("asked", ["ISO_IR 192", "GB18030"])
def test_a_request_in_one_set_finds_data_in_every_other(scope: Scope, project: Project, asked: str) -> None:
    names = {}
    for file in map(Path, get_charset_files("chr*.dcm")):
        original = dcmread(file)
        if "PatientName" in original:
            image = an_image(PatientID=file.stem)
            for tag in set(original.keys()) & {0x00080005, 0x00100010}:
                image[tag] = original.get_item(tag)
            names[file.stem] = str(original.PatientName).strip("= ")
            store_to(project, encode_raw(image), sop_class=image.SOPClassUID, uid=image.SOPInstanceUID)
    assert len(names) >= 14
    for patient, name in names.items():
        answers = find(scope, "STUDY", SpecificCharacterSet=asked, PatientName=name, PatientID="")
        assert {str(ds.PatientName) for ds in answers if ds.PatientID == patient} == {name}


def encode_raw(ds: Dataset) -> bytes:
    """Explicit VR Little Endian with the values as they are, whatever the character set says."""
    target = io.BytesIO()
    DatasetWriter(target, io.BytesIO(), implicit=False).write(ds)
    return target.getvalue()


def test_the_answer_is_in_the_requests_set_if_it_has_all_letters(scope: Scope, project: Project) -> None:
    keep(project, PatientName="Jérôme", SpecificCharacterSet="ISO_IR 192")
    (answer,) = find(scope, "STUDY", PatientName="", SpecificCharacterSet="ISO_IR 100")
    assert answer.SpecificCharacterSet == "ISO_IR 100"
    assert answer.get_item("PatientName").value == b"J\xe9r\xf4me"


def test_else_the_answer_is_in_the_objects_set(scope: Scope, project: Project) -> None:
    keep(project, PatientName="Люкceмбypг", StudyDescription="Ли", SpecificCharacterSet="ISO_IR 144")
    for asked in ({}, {"SpecificCharacterSet": "ISO_IR 100"}):
        (answer,) = find(scope, "STUDY", PatientName="", StudyDescription="", **asked)
        assert answer.SpecificCharacterSet == "ISO_IR 144"
        assert str(answer.PatientName) == "Люкceмбypг"
        assert answer.get_item("StudyDescription").value == b"\xbb\xd8"


def test_else_the_answer_is_in_utf_8(scope: Scope, project: Project) -> None:
    study = new_uid()
    keep(project, study, PatientName="Люкc", SpecificCharacterSet="ISO_IR 144")
    keep(project, study, SeriesDescription="Schädel", SpecificCharacterSet="ISO_IR 100", PatientName="Luks")
    answers = find(scope, "SERIES", StudyInstanceUID=study, PatientName="", SeriesDescription="")
    (mixed,) = [ds for ds in answers if ds.SeriesDescription]
    assert mixed.SpecificCharacterSet == "ISO_IR 192"
    assert (str(mixed.PatientName), mixed.SeriesDescription) == ("Люкc", "Schädel")


def test_an_answer_in_ascii_declares_no_set(scope: Scope, project: Project) -> None:
    keep(project, PatientName="Doe^John", SpecificCharacterSet="ISO_IR 144")
    (answer,) = find(scope, "STUDY", PatientName="", SpecificCharacterSet="ISO_IR 100")
    assert "SpecificCharacterSet" not in answer


def test_latin_9_which_pydicom_does_not_know_is_read_and_answered(scope: Scope, project: Project) -> None:
    keep(project, PatientName="Œuvre^Zoë", SpecificCharacterSet="ISO_IR 203")
    assert found(scope, PatientName="œuvre*", SpecificCharacterSet="ISO_IR 192", answer="PatientName") == ["Œuvre^Zoë"]
    (answer,) = find(scope, "STUDY", PatientName="")
    assert answer.SpecificCharacterSet == "ISO_IR 203"
    assert answer.get_item("PatientName").value == b"\xbcuvre^Zo\xeb "


def test_code_extensions_go_both_ways(scope: Scope, project: Project) -> None:
    sets = ["", "ISO 2022 IR 87"]
    keep(project, PatientName="Yamada^Tarou=山田^太郎", StudyDescription="頭部", SpecificCharacterSet="ISO_IR 192")
    (answer,) = find(scope, "STUDY", PatientName="=山田*", StudyDescription="頭*", SpecificCharacterSet=sets)
    assert list(answer.SpecificCharacterSet) == sets
    assert str(answer.PatientName) == "Yamada^Tarou=山田^太郎"
    assert answer.StudyDescription == "頭部"


def test_the_character_set_itself_is_never_matched(scope: Scope, project: Project) -> None:
    keep(project, SpecificCharacterSet="ISO_IR 144")
    (match,) = matches(request("STUDY", StudyInstanceUID="", SpecificCharacterSet="ISO_IR 126"), scope)
    assert not match.unmatched_keys


# Pages and indexes


def fill(project: Project, count: int) -> tuple[str, str]:
    """Rows for a series of many instances, without their bytes."""
    with writing():
        blob = Blob.create(digest="0", dataset_digest="0", dataset_offset=0, segment="a-1-0.seg", offset=0, size=0)
        study = Study.create(project=project, study_uid="1.2.3", patient_id="P1", n_series=1, n_instances=count)
        series = Series.create(study=study, series_uid="1.2.3.1", modality="CT", n_instances=count)
        for number in range(count):
            file = File.create(parent_type="acquisition", parent_id=1, name=f"{number}.dcm", blob=blob)
            Instance.create(
                project=project,
                series=series,
                file=file,
                sop_uid=f"1.2.3.1.{number}",
                sop_class="1.2",
                transfer_syntax="1.2",
                dataset_digest="0",
                number=str(number),
                state=CURRENT,
            )
    return study.study_uid, series.series_uid


@contextmanager
def statements() -> Iterator[list[str]]:
    """The queries that run during the block, with their values."""
    found: list[str] = []
    connection = database.connection()
    connection.set_trace_callback(lambda sql: found.append(sql) if sql.startswith("SELECT") else None)
    try:
        yield found
    finally:
        connection.set_trace_callback(None)
    assert found


def plan(sql: str) -> list[str]:
    return [row[3] for row in database.execute_sql(f"EXPLAIN QUERY PLAN {sql}")]


def test_a_long_answer_comes_complete_in_pages_of_500(scope: Scope, project: Project) -> None:
    study, series = fill(project, 2500)
    ds = request("IMAGE", StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID="", InstanceNumber="")
    with statements() as asked:
        answers = matches(ds, scope)
    assert len({match.identifier.SOPInstanceUID for match in answers}) == len(answers) == 2500
    assert len(asked) == 6


@pytest.mark.parametrize(
    ("level", "keys", "table"),
    [
        ("STUDY", {"PatientName": "doe*"}, "t1"),
        ("STUDY", {"StudyDescription": "*x*", "StudyDate": "20200101-"}, "t1"),
        ("PATIENT", {"PatientName": "doe*"}, "t1"),
        ("IMAGE", {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.1"}, "t1"),
    ],
)
def test_each_page_after_the_first_is_read_by_its_row_numbers_alone(
    scope: Scope, project: Project, level: str, keys: dict[str, str], table: str
) -> None:
    fill(project, 1200)
    with writing():
        Study.insert_many(
            {
                "project": project,
                "study_uid": f"1.{n}",
                "patient_id": f"P{n}",
                "patient_name_folded": f"doe{n}",
                "description": "xx",
                "date": "20200102",
                "n_instances": 1,
            }
            for n in range(1200)
        ).execute()
    with statements() as asked:
        found(scope, level=level, root="patient" if level == "PATIENT" else "study", **keys)
    pages = [each for each in asked if "json_each" in each]
    assert len(pages) == (3 if level == "PATIENT" else 2)
    for steps in map(plan, pages):
        assert f"SEARCH {table} USING INTEGER PRIMARY KEY (rowid=?)" in steps, steps
    # All matching rows are searched once for their numbers, and not again for each page.
    assert len(asked) == len(pages) + (1 if level == "PATIENT" else 2)


def test_an_answer_of_more_than_is_searched_at_once_is_complete_and_never_held_whole(
    scope: Scope, project: Project
) -> None:
    keep(project, PatientID="P0")
    count = find_queries.NUMBERS_AT_ONCE + 1000
    columns = [field.column_name for field in Study._meta.sorted_fields if field.name != "id"]
    changed = {"study_uid": "'1.' || i", "patient_id": "'P' || i"}
    with writing():
        database.execute_sql(
            f"INSERT INTO study ({', '.join(columns)}) WITH RECURSIVE numbers(i) AS "
            "(SELECT 2 UNION ALL SELECT i + 1 FROM numbers WHERE i < ?) "
            f"SELECT {', '.join(changed.get(column, column) for column in columns)} FROM study, numbers",
            [count],
        )
    for level, root, keyword in (("PATIENT", "patient", "PatientID"), ("STUDY", "study", "StudyInstanceUID")):
        encoded = encoded_identifier(request(level, **{keyword: "", "PatientName": "*"}))
        answers = query.find(encoded, ExplicitVRLittleEndian, scope, root=root)  # type: ignore[arg-type]
        tracemalloc.start()
        found = {hash(match.identifier) for match in itertools.islice(answers, 2000)}
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        found |= {hash(match.identifier) for match in answers}
        assert len(found) == count
        assert held < 4 << 20


def test_a_study_that_goes_away_while_an_answer_is_on_its_way_is_left_out(scope: Scope, project: Project) -> None:
    with writing():
        Study.insert_many(
            {"project": project, "study_uid": f"1.{n}", "patient_id": f"P{n}", "n_instances": 1} for n in range(1200)
        ).execute()
    encoded = encoded_identifier(request("STUDY", StudyInstanceUID=""))
    answers = query.find(encoded, ExplicitVRLittleEndian, scope, root="study")
    next(answers)
    with writing():
        Study.update(n_instances=0).where(Study.study_uid == "1.1199").execute()
    assert b"1.1199" not in b"".join(match.identifier for match in answers)


def test_no_transaction_is_open_while_an_answer_is_on_its_way(scope: Scope, project: Project) -> None:
    study, series = fill(project, 600)
    ds = request("IMAGE", StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID="")
    answers = query.find(encoded_identifier(ds), ExplicitVRLittleEndian, scope, root="study")
    next(answers)
    database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    assert database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    with writing():
        Acquisition.delete().execute()
    assert len(list(answers)) == 599


def test_studies_and_patients_come_in_pages_too(scope: Scope, project: Project) -> None:
    with writing():
        Study.insert_many(
            {"project": project, "study_uid": f"1.{n}", "patient_id": f"P{n // 2}" if n > 600 else "", "n_instances": 1}
            for n in range(1, 2501)
        ).execute()
    assert len(set(found(scope))) == 2500
    patients = found(scope, level="PATIENT", root="patient")
    assert len(patients) == 600 + 951
    assert len(set(patients)) == 952


INDEXED = [
    ("STUDY", {"StudyInstanceUID": "1.2.3"}, "study_study_uid_project_id"),
    ("STUDY", {"StudyInstanceUID": ["1.2.3", "1.2.4"]}, "study_study_uid_project_id"),
    ("STUDY", {"AccessionNumber": "A1"}, "study_accession"),
    ("STUDY", {"StudyDate": "20200101"}, "study_date"),
    ("STUDY", {"StudyDate": "20200101-20200131", "ModalitiesInStudy": "CT"}, "study_date"),
    *[
        (level, keys, name)
        for level in ("STUDY", "PATIENT")
        for keys, name in (
            ({"PatientID": "P1"}, "study_patient_id_issuer"),
            ({"PatientName": "Doe*"}, "study_patient_name_folded"),
            ({"PatientName": "Doe^John"}, "study_patient_name_folded"),
            ({"PatientName": "Doe*=x"}, "study_patient_name_folded"),
        )
    ],
]


@pytest.mark.parametrize(("level", "keys", "index_name"), INDEXED)
def test_what_people_search_for_is_found_by_an_index(
    project: Project,
    other: Project,
    level: str,
    keys: dict[str, Any],
    index_name: str,
) -> None:
    with statements() as asked:
        find(both(project, other), level, root="patient" if level == "PATIENT" else "study", **keys)
    for steps in map(plan, asked):
        assert any(re.search(rf"SEARCH (t1|study) USING (COVERING )?INDEX {index_name} ", step) for step in steps), (
            steps
        )
        assert not [step for step in steps if step.startswith("SCAN") and "json_each" not in step], steps


# Input that must do no harm


def test_a_key_that_is_longer_than_any_value_is_refused(scope: Scope, project: Project) -> None:
    for keyword in ("PatientName", "StudyDescription", "ModalitiesInStudy"):
        with pytest.raises(BadIdentifier, match="more than 2,048 characters"):
            find(scope, "STUDY", **{keyword: "^*" * 1100})


def test_a_long_list_of_modalities_is_answered(scope: Scope, project: Project) -> None:
    keep(project)
    patterns = [f"{first}{second}*" for first in "ABCDEFGHIJKLMNOPQRST" for second in "ABCDEFGHIJKLMNOPQRST"]
    assert len(find(scope, "STUDY", ModalitiesInStudy=patterns)) == 1
    assert len(find(scope, "STUDY", ModalitiesInStudy=[*(each[:2] for each in patterns), "CT"])) == 1


def test_a_code_string_outside_its_repertoire_does_not_stop_an_answer(scope: Scope, project: Project) -> None:
    study = new_uid()
    keep(project, study, BodyPartExamined="HEAD")
    with writing():
        Series.update(body_part="头").execute()
    for keys in ({}, {"InstitutionName": ""}):
        (answer,) = find(scope, "SERIES", StudyInstanceUID=study, BodyPartExamined="", **keys)
        assert not answer.BodyPartExamined


def test_a_number_that_no_vr_can_hold_matches_nothing(scope: Scope, project: Project) -> None:
    ds = keep(project, SeriesNumber="1")
    for number in ("99999999999999999999999", "1e3", "-", "1.5"):
        assert found(scope, level="SERIES", StudyInstanceUID=ds.StudyInstanceUID, SeriesNumber=number) == []


@pytest.mark.parametrize("implicit", [True, False])
def test_a_key_whose_vr_the_dictionary_leaves_open_is_answered(scope: Scope, project: Project, implicit: bool) -> None:
    ds = keep(project, PixelRepresentation=1)
    keys = {"StudyInstanceUID": ds.StudyInstanceUID, "SeriesInstanceUID": ds.SeriesInstanceUID}
    asked = request("IMAGE", **keys)
    asked.add_new("SmallestImagePixelValue", "US", None)
    asked.add_new("RedPaletteColorLookupTableData", "OW", None)
    (match,) = matches(asked, scope, implicit=implicit)
    assert "RedPaletteColorLookupTableData" in match.identifier


def test_a_character_set_that_nobody_knows_is_taken_for_ascii(scope: Scope, project: Project) -> None:
    keep(project, PatientName="Müller", SpecificCharacterSet="ISO_IR 100")
    ds = request("STUDY", PatientName="m*")
    ds.SpecificCharacterSet = "KLINGON"
    (match,) = matches(ds, scope)
    assert match.identifier.SpecificCharacterSet == "ISO_IR 100"


@pytest.mark.parametrize(
    "text", ["' OR 1=1 --", "\x00", "*" * 500, "?" * 64 + "*", "^" * 100, "=" * 10, "\\", "a\\b\\c"]
)
@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "StudyDate", "StudyTime", "StudyInstanceUID"])
def test_odd_values_are_answered_and_break_nothing(scope: Scope, project: Project, keyword: str, text: str) -> None:
    keep(project, PatientName="Doe^John")
    value = text.encode() + b"\0" * (len(text) % 2)
    tag = Tag(keyword)
    odd = element_heads.encode(tag, dictionary_VR(tag), len(value)) + value
    encoded = b"".join(sorted([encoded_identifier(request("STUDY")), odd]))
    assert len(list(query.find(encoded, ExplicitVRLittleEndian, scope, root="study"))) in (0, 1)
