"""The list of conflicts: those of one object together, with patient and study, and several decided at once."""

import re

import pytest

from portal.access.actors import Actor
from portal.ingest import conflicts
from portal.models import Audit, Conflict, Instance, Project, database
from portal.settings import Settings
from tests.fixtures.archive import a_project, an_object, store
from tests.fixtures.web import Visitor, text_of

LIST = "/data/conflicts/"


@pytest.fixture
def project(site: Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


@pytest.fixture
def held(project: Project) -> list[int]:
    """Two objects in conflict, the first of them three times, the last of these after the other one."""
    first, second = an_object(), an_object(SOPInstanceUID="1.2.3", InstanceNumber="7")
    for ds in (first, second):
        store(ds, project)
    for ds in (
        an_object(ImageComments="scanned again", KVP="90"),
        an_object(ImageComments="and again"),
        an_object(SOPInstanceUID="1.2.3", InstanceNumber="7", PatientName="Other^Name"),
        an_object(PixelData=bytes(32768)),
    ):
        assert store(ds, project).outcome == "conflict"
    return [row.id for row in Conflict.select().order_by(Conflict.id)]


def rows_of(page: str) -> list[str]:
    return [text_of(row) for row in re.findall(r"<tr role=\"row\"[^>]*><td.*?</tr>", page, re.DOTALL)]


def states() -> dict[int, str]:
    return {row.id: row.choice for row in Conflict.select()}


def test_conflicts_of_one_object_stand_together_with_its_patient_study_and_what_differs(
    held: list[int], visitor: Visitor
) -> None:
    rows = rows_of(visitor.get(LIST).text)
    assert [re.findall(r"conflict (\d+)", row)[0] for row in rows] == [str(held[n]) for n in (3, 1, 0, 2)]
    assert "CompressedSamples^CT1 1CT1" in rows[0]
    assert "3 conflicts of this object" in rows[0]
    assert "CT 1, object 1" in rows[0]
    assert ["PixelData" in rows[0], "ImageComments" in rows[1], "KVP, ImageComments" in rows[2]] == [True] * 3
    assert ["Same object" in row for row in rows] == [False, True, True, False]
    assert "PatientName" in rows[3]
    assert not re.search(r"\([0-9A-F]{4},[0-9A-F]{4}\)", " ".join(rows))


@pytest.mark.parametrize("search", ["compressedsamples", "1ct1", "e%2B1", "KVP"])
def test_conflicts_are_found_by_patient_study_and_keyword(held: list[int], visitor: Visitor, search: str) -> None:
    number = 1 if search == "KVP" else 4
    assert len(rows_of(visitor.get(f"{LIST}?q={search}").text)) == number


def test_several_are_decided_at_once_and_each_is_taken_back_by_another_decision(
    held: list[int], visitor: Visitor
) -> None:
    marked = [str(held[0]), str(held[2])]
    answer = visitor.post(f"{LIST}?only=open", {"conflict": marked, "choice": "keep"}, follow_redirects=True)
    assert "2 conflicts are resolved: the current objects are kept." in text_of(answer.text)
    assert [states()[number] for number in held] == ["keep", "open", "keep", "open"]
    assert len(rows_of(answer.text)) == 2

    visitor.post(f"{LIST}?only=keep", {"conflict": marked, "choice": "separate"})
    assert [states()[number] for number in held] == ["separate", "open", "separate", "open"]
    acts = Audit.select().where(Audit.action == "conflict:resolved")
    assert [row.detail["before"] for row in acts.order_by(Audit.id)] == ["open", "open", "keep", "keep"]


def test_of_several_that_replace_one_object_the_newest_is_shown(held: list[int], visitor: Visitor) -> None:
    visitor.post(LIST, {"conflict": [str(held[n]) for n in (3, 0, 1)], "choice": "replace"})
    shown = Instance.get(Instance.sop_uid == an_object().SOPInstanceUID, Instance.state == "current")
    assert shown.file_id == Conflict.get_by_id(held[3]).file_id


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"choice": "keep"}, "No conflict is selected."),
        ({"conflict": ["1"], "choice": "burn"}, "is no decision"),
        ({"conflict": ["999", "x"], "choice": "keep"}, "Conflict 999: There is no conflict"),
        ({"conflict": [str(n) for n in range(201)], "choice": "keep"}, "At most 200"),
    ],
)
def test_what_cannot_be_decided_is_said_and_changes_nothing_else(
    held: list[int], visitor: Visitor, form: dict[str, object], says: str
) -> None:
    answer = visitor.post(LIST, form, follow_redirects=True)
    assert says in text_of(answer.text)
    assert set(states().values()) == {"open"}


def test_one_that_cannot_be_decided_keeps_no_other_from_it(held: list[int], visitor: Visitor) -> None:
    answer = visitor.post(LIST, {"conflict": ["999", str(held[1])], "choice": "keep"}, follow_redirects=True)
    assert "1 conflict is resolved" in text_of(answer.text)
    assert "Conflict 999: There is no conflict" in text_of(answer.text)
    assert states()[held[1]] == "keep"


def test_only_an_admin_decides_on_several(held: list[int], visitor: Visitor, reader: Visitor) -> None:
    assert reader.post(LIST, {"conflict": [str(held[0])], "choice": "keep"}).status_code == 403
    assert conflicts.count() == 4


def test_the_newest_conflict_of_an_object_is_found_by_an_index(held: list[int]) -> None:
    sql = "SELECT MAX(id) FROM conflict WHERE sop_uid = '1.2.3' AND project_id = 1"
    plan = " ".join(row[3] for row in database.execute_sql(f"EXPLAIN QUERY PLAN {sql}"))
    assert "conflict_sop_uid_project_id" in plan
