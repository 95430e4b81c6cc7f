"""flywheel-sdk, unmodified, with the key of a device and with that of a user: files and downloads."""

import io
import json
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import flywheel
import pytest
import requests
from flywheel.rest import ApiException

from tests.fixtures.archive import vendor_file
from tests.fixtures.clients import Tree

pytestmark = pytest.mark.xdist_group("clients")

KINDS = ("project", "subject", "session", "acquisition")
TEXT = b"hello\n"


def zipped(**members: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return packed.getvalue()


@pytest.fixture
def text(tree: Tree) -> Any:
    """The file notes.txt in an acquisition, as the SDK reads it."""
    tree.acquisition.upload_file(flywheel.FileSpec("notes.txt", TEXT))
    return tree.acquisition.reload().get_file("notes.txt")


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_each_kind_of_container(tree: Tree, kind: str) -> None:
    container = getattr(tree, kind)
    container.upload_file(flywheel.FileSpec("notes.txt", TEXT))
    [file] = container.reload().files
    assert (file.name, file.size, file.read()) == ("notes.txt", len(TEXT), TEXT)
    container.delete_file("notes.txt")
    assert container.reload().files == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the SDK leaves the file open
def test_a_file_of_this_machine(tree: Tree, tmp_path: Path) -> None:
    path = vendor_file("MR_small.dcm")
    tree.acquisition.upload_file(str(path))
    tree.acquisition.download_file("MR_small.dcm", str(tmp_path / "got.dcm"))
    assert (tmp_path / "got.dcm").read_bytes() == path.read_bytes()


def test_several_files_at_once(tree: Tree) -> None:
    tree.acquisition.upload_file([flywheel.FileSpec(name, name.encode()) for name in ("a.txt", "b.txt")])
    assert [file.name for file in tree.acquisition.reload().files] == ["a.txt", "b.txt"]


def test_what_is_known_of_a_file(sdk: flywheel.Client, tree: Tree, text: Any) -> None:
    assert (text.type, text.mimetype, text.version, text.size) == ("text", "text/plain", 1, len(TEXT))
    assert len(text.hash) >= 64
    assert text.created
    assert text.modified
    assert text.origin.type == sdk.get_auth_status().origin.type
    assert (text.parent_ref.type, text.parent_ref.id) == ("acquisition", tree.acquisition.id)
    found = sdk.get_file(text.file_id)
    assert (found.name, found.parents.project) == ("notes.txt", tree.project.id)


def test_what_an_uploader_says_of_a_file(tree: Tree) -> None:
    said = {"type": "dicom", "modality": "MR", "info": {"echo": 2}, "tags": ["raw"]}
    said["classification"] = {"Intent": ["Structural"]}
    tree.acquisition.upload_file(flywheel.FileSpec("x.dat", b"1234"), metadata=json.dumps({"name": "x.dat", **said}))
    file = tree.acquisition.reload().get_file("x.dat")
    assert {name: file.get(name) for name in said} == said


def test_an_uploader_that_says_nothing(tree: Tree) -> None:
    tree.acquisition.upload_file(flywheel.FileSpec("x.dat", b"1234"), metadata="{}")
    assert tree.acquisition.reload().get_file("x.dat").size == 4


def test_a_file_under_the_same_name_is_a_new_version(sdk: flywheel.Client, tree: Tree, text: Any) -> None:
    tree.acquisition.upload_file(flywheel.FileSpec("notes.txt", b"changed\n"))
    newer = tree.acquisition.reload().get_file("notes.txt")
    assert (newer.version, newer.file_id, newer.read()) == (2, text.file_id, b"changed\n")
    assert text.read() == TEXT
    assert sorted(row.version for row in sdk.get_file_versions(text.file_id)) == [1, 2]


def test_the_same_content_again_is_no_version(tree: Tree, text: Any) -> None:
    tree.acquisition.upload_file(flywheel.FileSpec("notes.txt", TEXT))
    assert tree.acquisition.reload().get_file("notes.txt").version == 1


def test_what_is_known_of_a_file_is_changed(text: Any) -> None:
    text.update(type="dicom", modality="CT")
    changed = text.reload()
    assert (changed.type, changed.modality) == ("dicom", "CT")


def test_info_of_a_file(text: Any) -> None:
    text.update_info(a=1, b=2)
    text.delete_info("a")
    assert text.reload().info == {"b": 2}
    text.replace_info({"c": {"d": 3}})
    assert text.reload().info == {"c": {"d": 3}}


def test_tags_of_a_file(text: Any) -> None:
    text.add_tag("raw")
    text.add_tags(["checked"])
    text.rename_tag("raw", "first")
    assert sorted(text.reload().tags) == ["checked", "first"]
    text.delete_tag("checked")
    assert text.reload().tags == ["first"]
    text.set_tags([])
    assert text.reload().tags == []


def test_the_classification_of_a_file(text: Any) -> None:
    text.replace_classification({"Intent": ["Structural"]}, modality="MR")
    text.update_classification({"Intent": ["Functional"], "Measurement": ["T1"]})
    changed = text.reload()
    assert changed.modality == "MR"
    assert changed.classification == {"Intent": ["Structural", "Functional"], "Measurement": ["T1"]}
    text.delete_classification({"Intent": ["Structural"]})
    assert text.reload().classification["Intent"] == ["Functional"]


def test_the_members_of_a_zip(tree: Tree, tmp_path: Path) -> None:
    members = {"a.txt": b"first", "b/c.dcm": vendor_file("CT_small.dcm").read_bytes()}
    tree.acquisition.upload_file(flywheel.FileSpec("series.dicom.zip", zipped(**members)))
    file = tree.acquisition.reload().get_file("series.dicom.zip")
    assert file.zip_member_count == 2
    assert {member.path: member.size for member in file.get_zip_info().members} == {
        name: len(content) for name, content in members.items()
    }
    assert {name: file.read_zip_member(name) for name in members} == members
    file.download_zip_member("b/c.dcm", str(tmp_path / "c.dcm"))
    assert (tmp_path / "c.dcm").read_bytes() == members["b/c.dcm"]


def test_a_zip_comes_back_whole(tree: Tree) -> None:
    content = zipped(**{"1.dcm": vendor_file("MR_small.dcm").read_bytes()})
    tree.acquisition.upload_file(flywheel.FileSpec("x.zip", content))
    assert tree.acquisition.read_file("x.zip") == content


def test_a_member_that_is_not_in_the_zip(tree: Tree) -> None:
    tree.acquisition.upload_file(flywheel.FileSpec("x.zip", zipped(a=b"1")))
    with pytest.raises(ApiException) as caught:
        tree.acquisition.read_file_zip_member("x.zip", "b")
    assert caught.value.status == 404


def test_a_file_that_is_not_there(tree: Tree) -> None:
    with pytest.raises(ApiException) as caught:
        tree.acquisition.read_file("nothing.txt")
    assert caught.value.status == 404


def test_a_link_to_a_file_works_once_and_without_a_key(text: Any) -> None:
    link = text.url()
    answer = requests.get(link, timeout=20)
    assert (answer.status_code, answer.content) == (200, TEXT)


def test_a_file_is_deleted(sdk: flywheel.Client, tree: Tree, text: Any) -> None:
    sdk.delete_file(text.file_id)
    assert tree.acquisition.reload().get_file("notes.txt") is None


def content_of_tar(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive if entry.isfile()}  # type: ignore[union-attr]


def test_a_project_as_a_tar(tree: Tree, text: Any, tmp_path: Path) -> None:
    tree.session.upload_file(flywheel.FileSpec("summary.pdf", b"%PDF-1.4"))
    summary = tree.project.download_tar(str(tmp_path / "project.tar"))
    assert (summary.file_cnt, summary.size) == (2, len(TEXT) + 8)
    found = content_of_tar(tmp_path / "project.tar")
    assert sorted(found.values()) == [b"%PDF-1.4", TEXT]
    assert [name.endswith("sub-01/ses-01/T1/notes.txt") for name, body in found.items() if body == TEXT] == [True]


def test_a_session_as_a_zip(tree: Tree, text: Any, tmp_path: Path) -> None:
    tree.session.download_zip(str(tmp_path / "session.zip"))
    with zipfile.ZipFile(tmp_path / "session.zip") as archive:
        assert archive.testzip() is None
        [name] = [name for name in archive.namelist() if not name.endswith("/")]
        assert archive.read(name) == TEXT


def test_a_download_of_some_types(sdk: flywheel.Client, tree: Tree, text: Any, tmp_path: Path) -> None:
    tree.acquisition.upload_file(flywheel.FileSpec("summary.pdf", b"%PDF-1.4"))
    sdk.download_tar([tree.acquisition], str(tmp_path / "a.tar"), include_types=["text"])
    sdk.download_tar([tree.acquisition], str(tmp_path / "b.tar"), exclude_types=["text"])
    assert list(content_of_tar(tmp_path / "a.tar").values()) == [TEXT]
    assert list(content_of_tar(tmp_path / "b.tar").values()) == [b"%PDF-1.4"]


@pytest.mark.parametrize("way", ["label", "reaper", "uid"])
def test_files_are_placed_by_what_is_said_with_them(sdk: flywheel.Client, tree: Tree, way: str, label: str) -> None:
    uid = f"1.2.9.{label.rpartition('-')[2]}"
    session = tree.subject.add_session(label="visit", uid=uid)
    session.add_acquisition(label="T1", uid=f"{uid}.1")
    metadata = {
        "group": {"_id": "lab"},
        "project": {"label": tree.project.label},
        "session": {"uid": uid, "label": "visit", "subject": {"code": "sub-01"}},
        "acquisition": {"uid": f"{uid}.1", "label": "T1", "files": [{"name": "a.txt", "type": "text"}]},
    }
    upload = getattr(sdk, f"upload_by_{way}")
    [placed] = upload(files=[flywheel.FileSpec("a.txt", TEXT)], metadata=json.dumps(metadata))
    assert placed.id.version == 1
    assert sdk.lookup(["lab", tree.project.label, "sub-01", "visit", "T1", "files", "a.txt"]).read() == TEXT


def test_files_wherever_they_are(sdk: flywheel.Client, text: Any) -> None:
    found = sdk.get_all_files(filter="name=notes.txt,type=text", sort="created:desc", limit=1)
    assert [file.file_id for file in found.results] == [text.file_id]


def test_dicom_that_is_uploaded_is_parsed(tree: Tree) -> None:
    tree.acquisition.upload_file(flywheel.FileSpec("ct.dcm", vendor_file("CT_small.dcm").read_bytes()))
    file = tree.acquisition.reload().get_file("ct.dcm")
    assert (file.type, file.modality) == ("dicom", "CT")
