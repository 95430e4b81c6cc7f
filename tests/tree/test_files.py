"""Files of the archive: their names, their scope and their header."""

import io

import pytest

from portal.access import rights
from portal.access.actors import operator
from portal.access.rights import NO_ACCESS, Scope
from portal.dicom import elements, file_meta
from portal.errors import BadValue, Missing, NotDicom
from portal.models import File, Project
from portal.tree import containers, files
from tests.fixtures.archive import a_project, an_object, encode, store, store_vendor_file, upload

pytestmark = pytest.mark.usefixtures("site")


@pytest.fixture
def project() -> Project:
    return a_project(actor=operator())


@pytest.fixture
def acquisition(project: Project) -> int:
    subject = containers.add_subject(project.id, "sub-01", actor=operator())
    session = containers.add_session(subject.id, "ses-01", actor=operator())
    return int(containers.add_acquisition(session.id, "T1", actor=operator()).id)


def scope() -> Scope:
    return rights.scope(operator())


def a_file(acquisition: int, content: bytes = b"hello", name: str = "a.txt") -> File:
    return File.get_by_id(upload(content, acquisition, name, actor=operator()).file_id)


def test_a_file_out_of_scope_is_missing(acquisition: int, project: Project) -> None:
    file = a_file(acquisition)
    assert files.get(file.id, scope()) == file
    for seen in (NO_ACCESS, Scope(projects=(project.id + 1,), stores=frozenset())):
        with pytest.raises(Missing):
            files.get(file.id, seen)
        with pytest.raises(Missing):
            files.get_by_name("acquisition", acquisition, "a.txt", seen)
        with pytest.raises(Missing):
            files.list_directly_in("acquisition", acquisition, seen)
    with pytest.raises(Missing):
        files.get(file.id + 1, scope())


def test_content_comes_in_chunks_and_whole(acquisition: int) -> None:
    content = bytes(range(256)) * 10_000
    chunks, size = files.open_content(a_file(acquisition, content))
    parts = list(chunks)
    assert (b"".join(parts), size) == (content, len(content))
    assert max(map(len, parts)) <= files.CHUNK_BYTES


def test_an_empty_file_comes_back_empty(acquisition: int) -> None:
    chunks, size = files.open_content(a_file(acquisition, b""))
    assert (b"".join(chunks), size) == (b"", 0)


def test_a_name_in_another_spelling_of_its_letters_is_the_same_name(acquisition: int) -> None:
    assert files.clean_name("Mu\u0308ller.dcm") == "M\u00fcller.dcm"
    a_file(acquisition, name=files.clean_name("M\u00fcller.dcm"))
    assert files.get_by_name("acquisition", acquisition, "Mu\u0308ller.dcm", scope()).name == "M\u00fcller.dcm"


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\\b", "a\0", "x" * 256, "é" * 128, "\ud800"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(BadValue) as caught:
        files.clean_name(name)
    assert caught.value.field == "name"


def test_the_header_of_a_ct_has_its_elements_without_pixels(project: Project) -> None:
    rows = files.header_elements(File.get_by_id(store_vendor_file("CT_small.dcm", project).file_id))
    by_keyword = {row.keyword: row for row in rows if not row.depth}
    assert (by_keyword["PatientID"].tag, by_keyword["PatientID"].vr) == ("(0010,0020)", "LO")
    assert by_keyword["PixelSpacing"].value == "0.661468\\0.661468"
    assert by_keyword["TransferSyntaxUID"].value == "1.2.840.10008.1.2.1"
    assert "PixelData" not in by_keyword
    nested = [row for row in rows if row.depth == 1]
    assert nested
    assert by_keyword["OtherPatientIDsSequence"].value == "(2 items)"


def test_the_header_reads_names_in_their_own_letters(project: Project) -> None:
    rows = files.header_elements(
        File.get_by_id(store(an_object(SpecificCharacterSet="ISO_IR 192", PatientName="山田^太郎")).file_id)
    )
    assert next(row.value for row in rows if row.keyword == "PatientName") == "山田^太郎"


def test_a_long_value_is_cut_to_be_read(project: Project) -> None:
    stored = store(an_object(ImageComments="x" * 5000, PatientComments="a\r\nb"))
    values = {row.keyword: row.value for row in files.header_elements(File.get_by_id(stored.file_id))}
    assert values["ImageComments"] == "x" * 256 + "…"
    assert values["PatientComments"] == "a  b"


def test_a_file_that_is_no_dicom_has_no_header(acquisition: int) -> None:
    with pytest.raises(NotDicom):
        files.header_elements(a_file(acquisition))


@pytest.mark.parametrize(
    ("item", "where"),
    [
        (b"\xfe\xff\x00\xe0UL\x04\x00", "first"),
        (b"\xfe\xff\x00\xe0UL\x04\x00", "last"),
        (b"\xfe\xff\x00\xe0\x04\x00\x00\x00", "last"),
    ],
)
def test_an_item_at_the_top_level_of_a_data_set_is_passed_by(item: bytes, where: str) -> None:
    raw, whole = encode(an_object()), item + b"\1\2\3\4"
    meta = file_meta.write(sop_class_uid="1.2", sop_instance_uid="1.3", transfer_syntax_uid="1.2.840.10008.1.2.1")
    at = 0 if where == "first" else raw.index(b"\xe0\x7f\x10\x00")
    content = meta + raw[:at] + whole + raw[at:]
    expected = elements.read(io.BytesIO(meta + raw), len(meta + raw))
    assert elements.read(io.BytesIO(content), len(content))[: len(expected)] == expected
