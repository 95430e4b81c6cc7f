"""The search box: what is found by which words, who finds it, and what leads where."""

import html
import re

import pytest

from portal.access.actors import Actor
from portal.devices import api_keys, devices
from portal.jobs import jobs
from portal.models import Study, writing
from portal.peers import peers, refused_callers
from portal.runtime import current
from portal.storage import storages
from portal.users import grants
from tests.fixtures.archive import a_project, an_object, store
from tests.fixtures.web import Visitor, account, text_of

PATIENT = {
    "PatientID": "Pat-4711",
    "AccessionNumber": "ACC0815",
    "PatientName": "Müller^Änne",
    "StudyInstanceUID": "1.2.826.777.1",
    "SeriesInstanceUID": "1.2.826.777.2",
    "SOPInstanceUID": "1.2.826.777.3",
}


@pytest.fixture
def everything(dimse: None, admin: Actor) -> str:
    """One of each thing that can be found; the id of the key, of which the secret begins with it."""
    store(an_object(**PATIENT), a_project("trial-a", actor=admin))
    issued = api_keys.issue(devices.add("importer-east", actor=admin), name="rollout", actor=admin)
    peers.register("Reading room", ae_title="VIEWER3", host="10.7.0.3", port=104, actor=admin)
    storages.add("mirror-b", "fs", path=str(current().storage_roots[0] / "b"), actor=admin)
    refused_callers.record(
        calling="CT9", called="PORTICO", address="10.7.0.9", reason="unknown", message="Not registered."
    )
    with writing():
        jobs.create("export", actor=admin, params={"path": "g/p", "to": "x"}, what="neuro/trial-a to mirror-b")
    return issued.secret


def found(visitor: Visitor, text: str) -> dict[str, list[str]]:
    """Heading of each kind → addresses of its hits."""
    page = visitor.get("/search", query_string={"q": text}).text
    cards = re.findall(r'<section class="card" aria-label="([^"]+)">(.*?)</section>', page, flags=re.DOTALL)
    return {name: re.findall(r'<li><div><a class="t wrap" href="([^"]+)"', body) for name, body in cards}


@pytest.mark.parametrize(
    ("text", "kind", "address"),
    [
        ("Pat-4711", "Studies", "/data/session/1"),
        ("Pat-47", "Subjects", "/data/subject/1"),
        ("pAT-47", "Subjects", "/data/subject/1"),
        ("PAT-4711", "Studies", "/data/session/1"),
        ("ACC0815", "Studies", "/data/session/1"),
        ("aCc08", "Studies", "/data/session/1"),
        ("müller", "Studies", "/data/session/1"),
        ("MÜLLER^ä", "Studies", "/data/session/1"),
        ("1.2.826.777.1", "Studies", "/data/session/1"),
        ("1.2.826.777.2", "Series", "/data/acquisition/1"),
        ("1.2.826.777.3", "Objects", "/data/file/1"),
        ("trial-a", "Projects", "/data/project/1"),
        ("neuro/tri", "Projects", "/data/project/1"),
        ("importer", "Devices", "/interfaces/devices/1"),
        ("viewer3", "DICOM Peers", "/interfaces/peers/1"),
        ("reading", "DICOM Peers", "/interfaces/peers/1"),
        ("10.7.0.3", "DICOM Peers", "/interfaces/peers/1"),
        ("10.7.0.", "Refused callers", "/activity/refused?q=CT9"),
        ("ct9", "Refused callers", "/activity/refused?q=CT9"),
        ("mirror", "External Storage", "/interfaces/storages/1"),
        ("site.example", "Users", ""),
        ("1", "Jobs", "/jobs/1"),
    ],
)
def test_everything_is_found_by_what_it_is_called(
    visitor: Visitor, everything: str, text: str, kind: str, address: str
) -> None:
    hits = found(visitor, text)

    assert kind in hits, hits
    assert not address or address in hits[kind]
    for where in hits[kind]:
        assert visitor.get(where).status_code == 200


def test_a_key_is_found_by_its_id_and_a_whole_key_leaves_the_address(visitor: Visitor, everything: str) -> None:
    key_id = everything[:10]
    assert found(visitor, key_id) == {"API keys": ["/interfaces/devices/1"]}

    for typed in (everything, key_id.lower()):
        answer = visitor.get("/search", query_string={"q": typed})
        assert answer.status_code == 303
        assert answer.headers["Location"] == f"/search?q={key_id}"


def test_nothing_and_nothing_found_are_said_in_words(visitor: Visitor) -> None:
    assert "Search everything" in visitor.get("/search").text
    assert "No results" in visitor.get("/search?q=zzz").text


@pytest.mark.parametrize(
    "text", ["%", "_", "'", '"><script>alert(1)</script>', "\0", "9" * 200, "\U0010ffff", "=1+1", "."]
)
def test_odd_words_find_nothing_and_break_nothing(visitor: Visitor, everything: str, text: str) -> None:
    answer = visitor.get("/search", query_string={"q": text})

    assert answer.status_code == 200
    assert "<script>alert" not in answer.text


def test_somebody_else_finds_only_data_of_his_projects(reader: Visitor, everything: str) -> None:
    for text in ("Pat-4711", "1.2.826.777.1", "trial-a", "importer", "VIEWER3", "10.7.0.3", "1", everything[:10]):
        assert found(reader, text).keys() <= {"No results"}, text
    assert "AE title, key" not in reader.get("/search").text


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("Pat-4711", "project=neuro/trial-a&level=session&only=%231"),
        ("Pat-4711", "project=neuro/trial-a&level=subject&only=%231"),
        ("trial-a", "project=neuro/trial-a"),
    ],
)
def test_what_was_found_is_exported_from_there_by_an_admin(
    visitor: Visitor, reader: Visitor, everything: str, admin: Actor, text: str, address: str
) -> None:
    page = html.unescape(visitor.get("/search", query_string={"q": text}).text)
    assert f'href="/exports/new?{address}"' in page
    assert "1.2.826.777.3.dcm" in visitor.get(f"/exports/new?{address}").text

    grants.add(account(reader).id, "*", "ro", actor=admin)
    page = reader.get("/search", query_string={"q": text}).text
    assert "trial-a" in page
    assert "/exports/new" not in page


def test_what_was_taken_out_of_the_index_is_not_found(visitor: Visitor, everything: str) -> None:
    with writing():
        Study.update(n_instances=0).execute()

    assert "Studies" not in found(visitor, "Pat-4711")


def test_more_than_ten_hits_lead_to_the_list(visitor: Visitor, admin: Actor) -> None:
    for number in range(12):
        devices.add(f"device-{number:02}", actor=admin)

    page = text_of(visitor.get("/search?q=device").text)

    assert "the first 10" in page
    assert "Show in the list" in page
    assert "There are more results." in page


def test_the_box_stands_on_each_page_with_what_was_searched_on_its_own(visitor: Visitor) -> None:
    assert 'action="/search"' in visitor.get("/users/").text
    assert 'value="abc" aria-label="Search everything"' in visitor.get("/search?q=abc").text
