"""Lists of containers that have much info, many notes or many files, or are below such."""

import json
from typing import Any

import pytest

from portal import listing
from portal.models import Blob, File, Project, Session, Subject
from portal.routes.api import shapes
from tests.fixtures.api import Api, assert_refused

MARK = "much of it"


@pytest.fixture
def ids(api: Api) -> dict[str, str]:
    """The ids of an acquisition and of what it is in."""
    acquisition = api.acquisition()
    parents: dict[str, str] = api.get(f"/api/acquisitions/{acquisition}").json()["parents"]
    return parents | {"acquisition": acquisition}


def add_files(number: int, *, parent_id: int = 1) -> None:
    blob = Blob.create(digest="0" * 64, segment="s", offset=Blob.select().count(), size=1)
    same = {"parent_type": "acquisition", "parent_id": parent_id, "blob": blob, "origin_type": "system"}
    rows = [{"name": f"{index}", "origin_id": "", "origin_via": "", **same} for index in range(number)]
    for begin in range(0, number, 500):
        File.insert_many(rows[begin : begin + 500]).execute()


def test_the_info_above_is_not_read_with_every_row(
    api: Api, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for table in (Project, Subject):
        table.update(info={"sex": "female", "code": "S7", "x": MARK}, notes=[], tags=[MARK]).execute()
    Session.insert_many(
        [{"subject": 1, "label": f"v{index}", "origin_type": "system"} for index in range(119)]
    ).execute()
    read, loads = [], json.loads

    def counted(text: Any, **kwargs: Any) -> Any:
        read.append(MARK in str(text))
        return loads(text, **kwargs)

    monkeypatch.setattr("portal.models.base.json.loads", counted)
    answer = api.get(f"/api/projects/{ids['project']}/sessions")
    monkeypatch.undo()
    assert {(row["subject"]["sex"], row["subject"]["code"]) for row in answer.json()} == {("female", "S7")}
    assert len(answer.json()) == 120
    assert sum(read) <= 10


@pytest.fixture
def rows_at_once(ids: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows are read at once, each time, of the 120 sessions of one subject."""
    assert ids["session"]
    Session.insert_many(
        [{"subject": 1, "label": f"v{index}", "origin_type": "system"} for index in range(119)]
    ).execute()
    numbers: list[int] = []
    read = listing.ListInParts.read

    def counted(self: Any, begin: int, number: int) -> Any:
        rows = read(self, begin, number)
        numbers.append(len(rows))
        return rows

    monkeypatch.setattr(listing.ListInParts, "read", counted)
    return numbers


def test_a_list_reads_its_rows_in_parts(api: Api, ids: dict[str, str], rows_at_once: list[int]) -> None:
    rows = api.get("/api/sessions?sort=_id:desc").json()
    assert [row["_id"] for row in rows] == sorted((row["_id"] for row in rows), reverse=True)
    assert rows_at_once == [50, 50, 20]
    assert api.get(f"/api/sessions/{ids['session']}").json()["subject"]["label"] == "sub-01"


def test_a_list_is_read_in_parts_of_some_files(api: Api, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for label in ("T2", "T3", "T4"):
        api.made("/api/acquisitions", session=ids["session"], label=label)
    for number, parent_id in ((30, 1), (5, 2), (6, 3)):
        add_files(number, parent_id=parent_id)
    monkeypatch.setattr(shapes, "FILES_PER_CHUNK", 20)
    parts, by_container = [], shapes.files.by_container

    def counted(kind: str, row_ids: list[int]) -> Any:
        parts.append(row_ids)
        return by_container(kind, row_ids)

    monkeypatch.setattr(shapes.files, "by_container", counted)
    rows = api.get("/api/acquisitions").json()
    assert [len(row["files"]) for row in rows] == [30, 5, 6, 0]
    assert parts == [[1], [2, 3, 4]]


def test_what_is_below_a_path_is_read_in_parts(api: Api, ids: dict[str, str], rows_at_once: list[int]) -> None:
    api.post(f"/api/subjects/{ids['subject']}/files", files={"file": ("a.txt", b"x")})
    found = api.post("/api/resolve", json={"path": ["imaging", "CT trial", "sub-01"]}).json()
    assert [node["container_type"] for node in found["children"]] == ["session"] * 120 + ["file"]
    assert rows_at_once == [50, 50, 20]


def test_a_container_answers_its_oldest_files(api: Api, ids: dict[str, str]) -> None:
    add_files(listing.MAX_ROWS + 1)
    for path in (f"/api/acquisitions/{ids['acquisition']}", f"/api/sessions/{ids['session']}/acquisitions"):
        told = api.get(path).json()
        names = [file["name"] for file in (told[0] if isinstance(told, list) else told)["files"]]
        assert (len(names), names[0], names[-1]) == (listing.MAX_ROWS, "0", f"{listing.MAX_ROWS - 1}")


def test_the_notes_of_a_container_are_bounded(api: Api, ids: dict[str, str]) -> None:
    path = f"/api/sessions/{ids['session']}/notes"
    answers = [api.post(path, json={"text": "ä" * 10_000}) for _ in range(13)]
    assert [answer.status_code for answer in answers] == [200] * 12 + [422]
    assert_refused(answers[-1], 422, "256,000 bytes")
    short = api.post(path, json={"text": "x"}).json()["_id"]
    assert_refused(api.put(f"{path}/{short}", json={"text": "ä" * 10_000}), 422, "256,000 bytes")
