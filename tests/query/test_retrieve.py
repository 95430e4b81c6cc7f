import logging
from dataclasses import replace
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, JPEGBaseline8Bit

from portal import runtime
from portal.access.actors import Actor
from portal.access.rights import NO_ACCESS, Scope
from portal.errors import BadIdentifier, Damaged
from portal.ingest import index
from portal.models import SUPERSEDED, Instance, Project, database, writing
from portal.query import retrieve
from portal.query.identifiers import Root
from portal.query.retrieve import Outgoing, Plan
from portal.settings import Settings
from tests.fixtures.archive import a_project, encode
from tests.fixtures.query import an_image, find, keep, new_uid, over_the_wire, request, store_to


@pytest.fixture
def project(site: Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


@pytest.fixture
def other(project: Project, admin: Actor) -> Project:
    return a_project("other", actor=admin)


@pytest.fixture
def scope(project: Project) -> Scope:
    return Scope(projects=(project.id,), stores=frozenset())


def plan(scope: Scope, level: str, *, root: Root = "study", **keys: Any) -> Plan:
    return retrieve.plan(over_the_wire(request(level, **keys)), scope, root=root)


def uids(planned: Plan) -> list[str]:
    return [outgoing.sop_instance_uid for outgoing in planned]


def content(outgoing: Outgoing) -> bytes:
    with outgoing.open() as file:
        return file.read()


def test_what_is_sent_are_the_bytes_of_the_data_set_that_came_in(scope: Scope, project: Project) -> None:
    ds = keep(project)
    (outgoing,) = plan(scope, "STUDY", StudyInstanceUID=ds.StudyInstanceUID)
    assert content(outgoing) == encode(ds)
    assert outgoing.sop_class_uid == ds.SOPClassUID
    assert outgoing.sop_instance_uid == ds.SOPInstanceUID
    assert outgoing.transfer_syntax_uid == ExplicitVRLittleEndian
    assert outgoing.file_id == Instance.get().file_id


@pytest.mark.parametrize("at", [0, 1, 200, -1])
def test_no_changed_byte_of_a_data_set_is_read_to_be_sent(scope: Scope, project: Project, at: int) -> None:
    ds = keep(project)
    (outgoing,) = plan(scope, "STUDY", StudyInstanceUID=ds.StudyInstanceUID)
    with runtime.archive().reader() as reader:
        assert outgoing.read(reader) == b"".join(outgoing.pieces()) == encode(ds)
        write_over(outgoing, outgoing.place.offset + at % outgoing.length, b"\xee")
        for read in (lambda: outgoing.read(reader), lambda: list(outgoing.pieces()), outgoing.check):
            with pytest.raises(Damaged):
                read()


def test_what_is_changed_around_a_data_set_keeps_nobody_from_its_bytes(scope: Scope, project: Project) -> None:
    ds = keep(project)
    (outgoing,) = plan(scope, "STUDY", StudyInstanceUID=ds.StudyInstanceUID)
    record = outgoing.record
    assert record is not None
    end = record.offset + record.size
    with runtime.archive().reader() as reader:
        for place, changed in ((end + 10, b"\xee"), (end, b"\xff\xff\xff\xff"), (record.offset, b"\xee")):
            write_over(outgoing, place, changed)
            assert reader.read_record(record.segment, record.offset, record.size, outgoing.digest) is None
            assert outgoing.read(reader) == encode(ds)


def test_a_record_of_another_object_is_not_taken_for_the_one_that_the_index_means(
    scope: Scope, project: Project
) -> None:
    study = new_uid()
    for _ in range(2):
        keep(project, study)
    first, second = plan(scope, "STUDY", StudyInstanceUID=study)
    exchanged = replace(first, place=second.place, record=second.record)
    with runtime.archive().reader() as reader, pytest.raises(Damaged):
        exchanged.read(reader)


def write_over(outgoing: Outgoing, place: int, content: bytes) -> None:
    with runtime.archive().path(outgoing.place.segment).open("r+b") as segment:
        segment.seek(place)
        segment.write(content)


def test_each_level_is_retrieved_by_its_unique_keys(scope: Scope, project: Project) -> None:
    study, series = new_uid(), new_uid()
    in_series = [keep(project, study, series) for _ in range(2)]
    keep(project, study)
    keep(project)
    keys: dict[str, Any] = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    assert plan(scope, "PATIENT", root="patient", PatientID="P1").total == 4
    assert plan(scope, "STUDY", root="patient", PatientID="P1", StudyInstanceUID=study).total == 3
    assert plan(scope, "STUDY", root="patient", PatientID="P2", StudyInstanceUID=study).total == 0
    assert plan(scope, "STUDY", StudyInstanceUID=study).total == 3
    assert plan(scope, "SERIES", **keys).total == 2
    assert uids(plan(scope, "IMAGE", **keys, SOPInstanceUID=in_series[1].SOPInstanceUID)) == [
        in_series[1].SOPInstanceUID
    ]


def test_a_list_of_uids_retrieves_each_of_them(scope: Scope, project: Project) -> None:
    study, series = new_uid(), new_uid()
    images = [keep(project, study, series).SOPInstanceUID for _ in range(3)]
    second = keep(project, study)
    alone = keep(project)
    assert plan(scope, "STUDY", StudyInstanceUID=[study, alone.StudyInstanceUID, "1.2.3"]).total == 5
    assert (
        plan(scope, "SERIES", StudyInstanceUID=study, SeriesInstanceUID=[series, second.SeriesInstanceUID]).total == 4
    )
    keys: dict[str, Any] = {"StudyInstanceUID": study, "SeriesInstanceUID": series}
    assert uids(plan(scope, "IMAGE", **keys, SOPInstanceUID=[images[0], images[2]])) == [images[0], images[2]]
    assert plan(scope, "IMAGE", **keys, SOPInstanceUID=alone.SOPInstanceUID).total == 0


@pytest.mark.parametrize(
    ("root", "level", "keys"),
    [
        ("study", "STUDY", {}),
        ("study", "STUDY", {"StudyInstanceUID": ""}),
        ("study", "STUDY", {"StudyInstanceUID": "*"}),
        ("study", "STUDY", {"StudyInstanceUID": "1.2.?"}),
        ("study", "STUDY", {"StudyInstanceUID": ["1.2.3", "1.2.*"]}),
        ("study", "STUDY", {"PatientID": "P1"}),
        ("study", "SERIES", {"SeriesInstanceUID": "1.2.3"}),
        ("study", "SERIES", {"StudyInstanceUID": "1.2.3"}),
        ("study", "SERIES", {"StudyInstanceUID": ["1.2.3", "1.2.4"], "SeriesInstanceUID": "1.2.3"}),
        ("study", "IMAGE", {"StudyInstanceUID": "1.2.3", "SOPInstanceUID": "1.2.3"}),
        ("study", "IMAGE", {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3"}),
        ("study", "PATIENT", {"PatientID": "P1"}),
        ("patient", "PATIENT", {}),
        ("patient", "PATIENT", {"PatientID": ""}),
        ("patient", "PATIENT", {"PatientID": "P*"}),
        ("patient", "PATIENT", {"PatientID": ["P1", "P2"]}),
        ("patient", "STUDY", {"StudyInstanceUID": "1.2.3"}),
        ("study", "", {"StudyInstanceUID": "1.2.3"}),
    ],
)
def test_a_request_with_missing_keys_or_wild_cards_is_refused(
    scope: Scope, root: Root, level: str, keys: dict[str, Any]
) -> None:
    with pytest.raises(BadIdentifier):
        plan(scope, level, root=root, **keys)


def test_other_keys_neither_narrow_nor_break_a_retrieval(scope: Scope, project: Project) -> None:
    ds = keep(project, StudyDate="20200101")
    assert plan(scope, "STUDY", StudyInstanceUID=ds.StudyInstanceUID, StudyDate="19990101", Modality="MR").total == 1


def test_a_patient_of_one_issuer_can_be_named(scope: Scope, project: Project) -> None:
    keep(project, PatientID="P1", IssuerOfPatientID="NORTH")
    south = keep(project, PatientID="P1", IssuerOfPatientID="SOUTH")
    assert plan(scope, "PATIENT", root="patient", PatientID="P1").total == 2
    named = plan(scope, "PATIENT", root="patient", PatientID="P1", IssuerOfPatientID="SOUTH")
    assert uids(named) == [south.SOPInstanceUID]


def test_no_match_is_a_plan_of_nothing(scope: Scope) -> None:
    planned = plan(scope, "STUDY", StudyInstanceUID="1.2.3")
    assert (planned.total, planned.classes, list(planned)) == (0, [], [])


def test_nothing_outside_of_the_scope_is_retrieved(project: Project, other: Project) -> None:
    theirs = keep(other)
    keys: dict[str, Any] = {"StudyInstanceUID": theirs.StudyInstanceUID, "SeriesInstanceUID": theirs.SeriesInstanceUID}
    for scope in (NO_ACCESS, Scope(projects=(project.id,), stores=frozenset())):
        assert plan(scope, "PATIENT", root="patient", PatientID="P1").total == 0
        assert plan(scope, "STUDY", StudyInstanceUID=theirs.StudyInstanceUID).total == 0
        assert plan(scope, "SERIES", **keys).total == 0
        assert uids(plan(scope, "IMAGE", **keys, SOPInstanceUID=theirs.SOPInstanceUID)) == []


def test_a_study_is_sent_whole_from_the_first_project_that_holds_it(project: Project, other: Project) -> None:
    study = new_uid()
    mine = keep(project, study)
    theirs = [keep(other, study) for _ in range(2)]
    first = Scope(projects=(project.id, other.id), stores=frozenset())
    second = Scope(projects=(other.id, project.id), stores=frozenset())
    assert uids(plan(first, "STUDY", StudyInstanceUID=study)) == [mine.SOPInstanceUID]
    assert sorted(uids(plan(second, "STUDY", StudyInstanceUID=study))) == sorted(ds.SOPInstanceUID for ds in theirs)
    assert plan(first, "PATIENT", root="patient", PatientID="P1").total == 1


def test_the_count_of_a_query_is_the_number_of_sub_operations(project: Project, other: Project) -> None:
    study = new_uid()
    for _ in range(3):
        keep(project, study)
    keep(other, study)
    with writing():
        index.change_state(Instance.get(), SUPERSEDED, "")
    for scope in (
        Scope(projects=(project.id, other.id), stores=frozenset()),
        Scope(projects=(other.id, project.id), stores=frozenset()),
    ):
        (answer,) = find(scope, "STUDY", StudyInstanceUID=study, NumberOfStudyRelatedInstances="")
        planned = plan(scope, "STUDY", StudyInstanceUID=study)
        assert answer.NumberOfStudyRelatedInstances == planned.total == len(list(planned))


def test_an_alternate_in_another_transfer_syntax_stays_here(scope: Scope, project: Project) -> None:
    ds = keep(project)
    stored = store_to(
        project, encode(ds), sop_class=ds.SOPClassUID, uid=ds.SOPInstanceUID, syntax=str(JPEGBaseline8Bit)
    )
    assert stored.outcome == "alternate"
    (outgoing,) = plan(scope, "STUDY", StudyInstanceUID=ds.StudyInstanceUID)
    assert outgoing.transfer_syntax_uid == ExplicitVRLittleEndian


def test_a_plan_names_each_class_with_each_transfer_syntax_once(scope: Scope, project: Project) -> None:
    study = new_uid()
    for _ in range(2):
        keep(project, study)
    report = an_image(study, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11", Modality="SR")
    store_to(project, encode(report), sop_class=report.SOPClassUID, uid=report.SOPInstanceUID)
    planned = plan(scope, "STUDY", StudyInstanceUID=study)
    assert planned.classes == [
        ("1.2.840.10008.5.1.4.1.1.2", ExplicitVRLittleEndian),
        ("1.2.840.10008.5.1.4.1.1.88.11", ExplicitVRLittleEndian),
    ]


def test_objects_are_sent_series_by_series_in_the_order_of_their_numbers(scope: Scope, project: Project) -> None:
    study, first, second = new_uid(), new_uid(), new_uid()
    sent = {}
    for series, number in ((first, "10"), (second, "1"), (first, "9"), (first, "-1"), (second, "")):
        sent[keep(project, study, series, InstanceNumber=number).SOPInstanceUID] = (series, number)
    order = [sent[uid] for uid in uids(plan(scope, "STUDY", StudyInstanceUID=study))]
    assert order == [(first, "-1"), (first, "9"), (first, "10"), (second, ""), (second, "1")]


def test_a_large_plan_is_read_in_pages_of_500(scope: Scope, project: Project, caplog: pytest.LogCaptureFixture) -> None:
    ds = keep(project)
    grow(2499)
    planned = plan(scope, "STUDY", StudyInstanceUID=ds.StudyInstanceUID)
    with caplog.at_level(logging.DEBUG, "peewee"):
        found = uids(planned)
    assert len(set(found)) == len(found) == planned.total == 2500
    selects = [record for record in caplog.records if record.name == "peewee" and record.msg[0].startswith("SELECT")]
    assert len(selects) <= 8


def grow(count: int) -> None:
    """Many rows like the one that there is."""
    instance = Instance.get()
    template = {
        name: getattr(instance, name)
        for name in ("project", "series", "sop_class", "transfer_syntax", "dataset_digest", "file")
    }
    with writing():
        Instance.insert_many(
            {**template, "sop_uid": f"1.9.{number}", "number": str(number), "member": f"{number}"}
            for number in range(count)
        ).execute()
        type(instance.series).update(n_instances=count + 1).execute()
        type(instance.series.study).update(n_instances=count + 1).execute()


def test_what_arrives_after_the_plan_is_not_part_of_it(scope: Scope, project: Project) -> None:
    study = new_uid()
    first = keep(project, study)
    planned = plan(scope, "STUDY", StudyInstanceUID=study)
    keep(project, study)
    assert planned.total == 1
    assert uids(planned) == [first.SOPInstanceUID]


def test_no_transaction_is_open_while_an_object_is_on_its_way(scope: Scope, project: Project) -> None:
    ds = keep(project)
    grow(600)
    sending = iter(plan(scope, "STUDY", StudyInstanceUID=ds.StudyInstanceUID))
    next(sending)
    keep(project)
    assert database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    assert len(list(sending)) == 600


def test_an_object_that_is_taken_away_meanwhile_is_left_out_and_named(scope: Scope, project: Project) -> None:
    study = new_uid()
    kept = [keep(project, study) for _ in range(2)]
    planned = plan(scope, "STUDY", StudyInstanceUID=study)
    assert planned.total == 2
    with writing():
        index.change_state(Instance.get(Instance.sop_uid == kept[0].SOPInstanceUID), SUPERSEDED, "")
    assert uids(planned) == [kept[1].SOPInstanceUID]
    assert list(planned.untried.values()) == [kept[0].SOPInstanceUID]


@pytest.mark.parametrize("value", ["../evil", "1.2.3' OR '1'='1", "\\", "1.2.3\x00"])
def test_an_odd_uid_retrieves_nothing(scope: Scope, project: Project, value: str) -> None:
    keep(project)
    ds = Dataset()
    ds.QueryRetrieveLevel = "STUDY"
    ds.StudyInstanceUID = value
    try:
        assert retrieve.plan(ds, scope, root="study").total == 0
    except BadIdentifier:
        assert value == "\\"
