"""Data: down the tree to the bytes, no further than one may see, and the conflicts."""

import pytest

from portal import runtime
from portal.access import rights
from portal.access.actors import Actor
from portal.devices import api_keys, devices, key_authentication
from portal.ingest import conflicts
from portal.models import Audit, File, Grant, writing
from portal.tree import containers, files
from portal.users import users
from tests.fixtures.archive import a_project, an_object, store, store_vendor_file, upload
from tests.fixtures.web import Visitor, text_of
from tests.fixtures.work import add_file


def test_who_is_no_admin_sees_only_granted_projects(visitor: Visitor, reader: Visitor, admin: Actor) -> None:
    seen, hidden = a_project("seen", actor=admin), a_project("hidden", actor=admin)
    shown, kept = store_vendor_file("CT_small.dcm", seen), store_vendor_file("MR_small.dcm", hidden)
    assert "You do not have access to a project yet." in reader.get("/data/").text

    number = next(user.id for user in users.list_all() if user.email == reader.email)
    with writing():
        Grant.create(who_type="user", who_id=number, project=seen, role="ro")

    page = reader.get("/data/").text
    assert "neuro/seen" in page
    assert "neuro/hidden" not in page
    assert reader.get(f"/data/project/{seen.id}").status_code == 200
    assert reader.get(f"/data/file/{shown.file_id}/download").status_code == 200
    for path in (f"/data/project/{hidden.id}", f"/data/file/{kept.file_id}", f"/data/file/{kept.file_id}/download"):
        assert reader.get(path).status_code == 404


def test_data_leads_from_a_project_down_to_the_bytes(visitor: Visitor, admin: Actor) -> None:
    project = a_project("trial", actor=admin)
    stored = store_vendor_file("CT_small.dcm", project)
    file = files.get(stored.file_id, rights.scope(admin))
    acquisition = containers.get("acquisition", file.parent_id, rights.scope(admin))
    session = containers.parent_of(acquisition)

    assert f'href="/data/project/{project.id}"' in visitor.get("/data/").text
    assert f'href="/data/session/{session.id}"' in visitor.get(f"/data/subject/{containers.parent_of(session).id}").text
    assert "CompressedSamples^CT1" in visitor.get(f"/data/session/{session.id}").text
    assert f'href="/data/file/{file.id}"' in visitor.get(f"/data/acquisition/{acquisition.id}").text
    assert "CT1 127.0.0.1" in visitor.get(f"/data/file/{file.id}").text
    assert "PatientID" in visitor.get(f"/data/file/{file.id}/header").text
    answer = visitor.get(f"/data/file/{file.id}/download")
    assert len(answer.data) == file.blob.size == answer.content_length
    assert answer.mimetype == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment; filename=")
    assert "file:downloaded" in visitor.get("/activity/audit").text


@pytest.mark.parametrize(
    ("search", "found", "left_out"),
    [
        ("patientid", "PatientID", "StudyDate"),
        ("0010,0020", "PatientID", "StudyDate"),
        ("(0010,0020)", "PatientID", "StudyDate"),
        ("00100020", "PatientID", "StudyDate"),
        ("1CT1", "PatientID", "StudyDate"),
        ("sq", "OtherPatientIDsSequence", "StudyDate"),
    ],
)
def test_a_header_is_searched_by_name_tag_and_value(
    visitor: Visitor, admin: Actor, search: str, found: str, left_out: str
) -> None:
    file_id = store_vendor_file("CT_small.dcm", a_project("trial", actor=admin)).file_id
    page = text_of(visitor.get(f"/data/file/{file_id}/header", query_string={"q": search}).text)
    assert found in page
    assert left_out not in page


def test_a_search_that_no_element_holds_says_so(visitor: Visitor, admin: Actor) -> None:
    file_id = store_vendor_file("CT_small.dcm", a_project("trial", actor=admin)).file_id
    page = visitor.get(f"/data/file/{file_id}/header?q=<script>").text
    assert "No element contains “&lt;script&gt;”." in page


def test_a_file_that_is_no_dicom_has_a_page_and_no_header(visitor: Visitor, admin: Actor) -> None:
    file_id = add_file(a_project("trial", actor=admin), "söme <b>file.html", b"<script>alert(1)</script>", admin)

    assert visitor.get(f"/data/file/{file_id}").status_code == 200
    assert visitor.get(f"/data/file/{file_id}/header").status_code == 422
    answer = visitor.get(f"/data/file/{file_id}/download")
    assert answer.mimetype == "application/octet-stream"
    assert "attachment" in answer.headers["Content-Disposition"]


@pytest.mark.parametrize(("choice", "state"), [("keep", "Kept"), ("replace", "Replaced"), ("separate", "Separated")])
def test_a_conflict_is_shown_decided_and_decided_otherwise_on_one_page(
    visitor: Visitor, admin: Actor, choice: str, state: str
) -> None:
    project = a_project("trial", actor=admin)
    store(an_object(), project)
    store(an_object(ImageComments="scanned again"), project)
    number = conflicts.list_newest()[0].id
    assert "1 conflict waits for a decision" in visitor.get("/").text

    page = text_of(visitor.get(f"/data/conflicts/{number}").text)
    assert "ImageComments (0020,4000) Uncompressed scanned again" in page
    assert "1 of 260 elements differs" in page
    assert "They are the same, byte for byte." in page
    assert "PatientName" not in page
    assert "PatientName" in visitor.get(f"/data/conflicts/{number}?only=all").text

    answer = visitor.post(f"/data/conflicts/{number}", {"choice": choice}, follow_redirects=True)
    assert conflicts.DECISION_MESSAGES[choice] in text_of(answer.text)
    assert "1 decision" in answer.text
    assert "No open conflicts" in visitor.get("/data/conflicts/?only=open").text
    assert state in visitor.get(f"/data/conflicts/?only={choice}").text

    other = "keep" if choice != "keep" else "replace"
    answer = visitor.post(f"/data/conflicts/{number}", {"choice": other}, follow_redirects=True)
    assert conflicts.DECISION_MESSAGES[other] in text_of(answer.text)
    assert "2 decisions" in answer.text


def test_an_object_of_another_patient_is_compared_with_the_study_that_is_here(visitor: Visitor, admin: Actor) -> None:
    project = a_project("trial", actor=admin)
    store(an_object(), project)
    store(an_object(SOPInstanceUID="1.2.3", PatientID="<b>other</b>"), project)

    page = text_of(visitor.get(f"/data/conflicts/{conflicts.list_newest()[0].id}").text)

    assert "Current: another object of the study" in page
    assert "PatientID (0010,0020) 1CT1 <b>other</b>" in page
    assert "SOPInstanceUID" not in page


def test_a_decision_that_is_none_changes_nothing(visitor: Visitor, admin: Actor) -> None:
    project = a_project("trial", actor=admin)
    store(an_object(), project)
    store(an_object(PatientID="other"), project)

    answer = visitor.post(f"/data/conflicts/{conflicts.list_newest()[0].id}", {"choice": "burn"})

    assert answer.status_code == 422
    assert "Choose keep, replace or separate." in answer.text
    assert conflicts.count() == 1


def test_an_older_version_is_a_download_of_its_own_and_written_down_as_such(visitor: Visitor, admin: Actor) -> None:
    project = a_project(actor=admin)
    file_id = {add_file(project, "notes.txt", content, admin) for content in (b"one", b"two")}.pop()
    assert f"/data/file/{file_id}/download?version=1" in visitor.get(f"/data/file/{file_id}").text

    path = f"/data/file/{file_id}/download"
    assert [visitor.get(f"{path}{query}").data for query in ("?version=1", "?version=2", "")] == [
        b"one",
        b"two",
        b"two",
    ]

    for odd in ("0", "3", "x", "", "9" * 400):
        assert visitor.get(f"{path}?version={odd}").status_code == 404
    acts = Audit.select().where(Audit.action == "file:downloaded").order_by(Audit.id)
    assert [act.detail["version"] for act in acts] == [1, 2, 2]


@pytest.mark.parametrize("damage", ["lost", "cut", "flipped"])
def test_damaged_bytes_are_told_as_such_and_not_as_a_mistake_of_ours(
    visitor: Visitor, admin: Actor, damage: str
) -> None:
    blob = File.get_by_id(store(an_object(), a_project(actor=admin)).file_id).blob
    path = runtime.archive().path(blob.segment)
    content = path.read_bytes()
    middle = blob.offset + blob.size // 2
    path.write_bytes(
        content[:middle] + (b"" if damage == "cut" else bytes([content[middle] ^ 1]) + content[middle + 1 :])
    )
    if damage == "lost":
        path.unlink()
    answer = visitor.get(f"/data/file/{File.get().id}/download")
    assert answer.status_code == 503
    assert "Damaged data" in answer.text
    assert "from a backup" in answer.text
    assert visitor.get(f"/data/file/{File.get().id}/header").status_code in (200, 503)


def test_each_page_says_who_created_what_it_shows_and_with_which_key(visitor: Visitor, admin: Actor) -> None:
    project = a_project("trial", actor=admin)
    device = devices.add("CT Connector", actor=admin)
    issued = api_keys.issue(device, name="first", actor=admin)
    program = key_authentication.authenticate(issued.secret, address="10.0.0.5", program="importer/1")
    subject = containers.add_subject(project.id, "sub-01", actor=program)
    session = containers.add_session(subject.id, "ses-01", actor=admin)
    acquisition = containers.add_acquisition(session.id, "acq-01", actor=program)
    upload(b"one", acquisition.id, "raw.dat", actor=program)

    by_device = f"created by device CT Connector with key {issued.key_id}"
    for level, number in (("subject", subject.id), ("acquisition", acquisition.id)):
        assert by_device in text_of(visitor.get(f"/data/{level}/{number}").text)
    assert f"created by user {visitor.email}" in text_of(visitor.get(f"/data/session/{session.id}").text)
    file = File.get(File.name == "raw.dat")
    assert f"device CT Connector with key {issued.key_id}" in text_of(visitor.get(f"/data/file/{file.id}").text)


def test_a_new_version_says_who_sent_it_and_who_sent_the_one_before(visitor: Visitor, admin: Actor) -> None:
    project = a_project("trial", actor=admin)
    device = devices.add("CT Connector", actor=admin)
    issued = api_keys.issue(device, name="first", actor=admin)
    program = key_authentication.authenticate(issued.secret, address="10.0.0.5", program="importer/1")
    session = containers.add_session(containers.add_subject(project.id, "s", actor=admin).id, "s", actor=admin)
    acquisition = containers.add_acquisition(session.id, "a", actor=admin)
    for content, actor in ((b"one", program), (b"two", admin), (b"three", program)):
        upload(content, acquisition.id, "raw.dat", actor=actor)

    page = text_of(visitor.get(f"/data/file/{File.get(File.name == 'raw.dat').id}").text)

    with_key = f"device CT Connector with key {issued.key_id}"
    assert "2 older versions" in page
    second, first = page.partition("Replaced by 2 ")[2].partition(" 1 3 ")[::2]
    assert second.index(f"user {visitor.email}") < second.index(with_key)
    assert first.index(with_key) < first.index(f"user {visitor.email}"), page
