"""Zips of DICOM objects that programs upload: taken whole, refused whole, or held member by member."""

import zipfile

import pytest

from portal.models import Blob, Conflict, Instance
from tests.fixtures.api import Api, assert_refused
from tests.fixtures.hostile.zips import a_series, a_zip


@pytest.fixture
def acquisition(api: Api) -> str:
    return api.acquisition()


def test_a_zip_is_one_file_whose_objects_are_indexed(api: Api, acquisition: str) -> None:
    content = a_zip({**a_series(3), "readme.txt": b"x"}, method=zipfile.ZIP_DEFLATED)
    [told] = api.upload(acquisition, "dicom.zip", content).json()
    assert (told["outcome"], told["type"], told["mimetype"]) == ("stored", "dicom", "application/zip")
    assert told["zip_member_count"] == 4
    assert Instance.select().where(Instance.state == "current").count() == 3
    path = f"/api/acquisitions/{acquisition}/files/dicom.zip"
    assert api.get(path).content == content
    assert api.get(f"{path}?member=1.dcm").content == a_series(2)["1.dcm"]


def test_a_hostile_zip_is_refused_in_a_sentence_and_nothing_is_kept(api: Api, acquisition: str) -> None:
    answer = api.upload(acquisition, "dicom.zip", a_zip({"../a.dcm": a_series(1)["0.dcm"]}))
    assert_refused(answer, 422, "outside of its folder")
    assert Blob.select().count() == 0


def test_a_zip_in_conflict_is_refused_unless_its_objects_may_be_held(api: Api, acquisition: str) -> None:
    api.upload(acquisition, "one.zip", a_zip(a_series(2)))
    changed = a_zip({**a_series(1, Rows=64, Columns=128), "new.dcm": a_series(3)["2.dcm"]})
    assert_refused(api.upload(acquisition, "two.zip", changed), 409, "1 of the 2 objects in the zip")
    assert Conflict.select().count() == 0
    answer = api.post(f"/api/acquisitions/{acquisition}/files?on_conflict=hold", files={"file": ("two.zip", changed)})
    assert answer.status_code == 200
    [told] = answer.json()
    assert told["message"] == "1 of its 2 objects is held until a site admin decides."
    assert Conflict.get().member == "0.dcm"
    assert Instance.select().where(Instance.state == "current").count() == 3
