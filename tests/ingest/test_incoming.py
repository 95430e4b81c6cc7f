import hashlib
import io
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.data import get_charset_files
from pydicom.uid import generate_uid

from portal import runtime, settings
from portal import site_settings as options
from portal.access import rights
from portal.access.actors import Actor, Origin
from portal.dicom import header
from portal.errors import BadValue, Conflicting, NoSpace, NotAllowed, NotDicom
from portal.ingest import conflicts
from portal.ingest import incoming as ingest
from portal.ingest.incoming import Placement
from portal.maintenance import recovery, reindex, unpack
from portal.models import Blob, Conflict, File, Instance, Project, Series, Study, Subject, writing
from portal.tree import containers
from tests.fixtures.archive import (
    a_project,
    an_object,
    begin,
    dump,
    encode,
    store,
    store_vendor_file,
    upload,
    vendor_file,
)

pytestmark = pytest.mark.usefixtures("site")
EXPLICIT = "1.2.840.10008.1.2.1"


@pytest.fixture
def project(site: settings.Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


@pytest.fixture
def acquisition(project: Project, admin: Actor) -> int:
    subject = containers.add_subject(project.id, "sub-01", actor=admin)
    session = containers.add_session(subject.id, "ses-1", actor=admin)
    return containers.add_acquisition(session.id, "acq", actor=admin).id


def content_of(file_id: int) -> bytes:
    blob = File.get_by_id(file_id).blob
    with runtime.archive().open(blob.segment, blob.offset, blob.size) as content:
        return content.read()


def test_a_data_set_is_kept_byte_for_byte_behind_an_empty_preamble(project: Project) -> None:
    ds = an_object()
    stored = store(ds, project)
    content, blob = content_of(stored.file_id), File.get_by_id(stored.file_id).blob
    assert content[blob.dataset_offset :] == encode(ds)
    assert content[:132] == bytes(128) + b"DICM"
    assert hashlib.sha256(content).hexdigest() == stored.digest
    assert hashlib.sha256(encode(ds)).hexdigest() == blob.dataset_digest


def test_what_is_kept_is_a_file_that_other_programs_read(project: Project, tmp_path: Path) -> None:
    stored = store(an_object(), project)
    (tmp_path / "x.dcm").write_bytes(content_of(stored.file_id))
    assert dcmread(tmp_path / "x.dcm").pixel_array.shape == (128, 128)


def test_the_tree_and_the_index_say_what_the_object_says(project: Project) -> None:
    ds = an_object(PatientName="Müller^Jörg^^", SpecificCharacterSet="ISO_IR 100", TimezoneOffsetFromUTC="+0100")
    stored = store(ds, project)
    study = Study.get()
    assert (study.patient_name, study.patient_name_folded) == ("Müller^Jörg", "müller^jörg")
    assert (study.n_series, study.n_instances, study.modalities) == (1, 1, "\\CT\\")
    assert study.session.subject.label == study.patient_id == ds.PatientID
    assert study.session.timestamp.isoformat() == "2004-01-19T06:27:30+00:00"
    file = File.get_by_id(stored.file_id)
    assert (file.name, file.origin_type, file.origin_via) == (f"{ds.SOPInstanceUID}.dcm", "peer", "CT1 127.0.0.1")


def test_the_same_object_again_succeeds_and_adds_nothing(project: Project) -> None:
    first = store(an_object(), project)
    before = [path.stat().st_size for path in runtime.archive().root.iterdir()]
    again = store(an_object(), project)
    assert (again.outcome, again.file_id) == ("same", first.file_id)
    assert [path.stat().st_size for path in runtime.archive().root.iterdir()] == before
    assert Study.get().n_instances == 1


def test_the_same_uid_in_another_transfer_syntax_is_an_alternate_that_peers_do_not_count(project: Project) -> None:
    store(an_object("MR_small.dcm"), project)
    assert store_vendor_file("MR_small_implicit.dcm", project).outcome == "alternate"
    assert Study.get().n_instances == 1
    assert Conflict.select().count() == 0


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"ImageComments": "changed"}, "content"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"}, "class"),
        ({"StudyInstanceUID": "1.2.3"}, "study"),
        ({"SeriesInstanceUID": "1.2.3"}, "study"),
        ({"SOPInstanceUID": "1.2.4", "PatientID": "somebody else"}, "patient"),
        ({"SOPInstanceUID": "1.2.4", "StudyInstanceUID": "1.2.3"}, "study"),
    ],
)
def test_what_differs_is_held_and_hidden_with_the_kind_of_its_difference(
    project: Project, changes: dict[str, str], kind: str
) -> None:
    store(an_object(), project)
    held = store(an_object(**changes), project)
    assert held.outcome == "conflict"
    assert Conflict.get().kind == kind
    assert sum(study.n_instances for study in Study.select()) == 1
    assert store(an_object(**changes), project).outcome == "same"


def test_a_site_that_refuses_other_content_keeps_nothing_of_it(project: Project, admin: Actor) -> None:
    store(an_object(), project)
    options.change({"archive.duplicates": "refuse"}, actor=admin)
    with pytest.raises(Conflicting, match="Different content"):
        store(an_object(ImageComments="changed"), project)
    assert (File.select().count(), Blob.select().count()) == (1, 1)


def test_a_site_that_replaces_shows_the_new_content_and_keeps_the_old(project: Project, admin: Actor) -> None:
    first = store(an_object(), project)
    options.change({"archive.duplicates": "replace"}, actor=admin)
    second = store(an_object(ImageComments="changed"), project)
    assert second.outcome == "stored"
    states = {row.file_id: row.state for row in Instance.select()}
    assert states == {first.file_id: "superseded", second.file_id: "current"}
    assert Study.get().n_instances == 1


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID"])
def test_a_data_set_without_one_of_its_uids_is_refused_and_leaves_nothing(project: Project, keyword: str) -> None:
    ds = an_object()
    incoming = begin(project, uid=ds.SOPInstanceUID)
    delattr(ds, keyword)
    incoming.write(encode(ds))
    with pytest.raises(NotDicom, match=f"no {keyword}"):
        incoming.commit()
    assert File.select().count() == 0
    assert runtime.archive().segments() == []


@pytest.mark.parametrize("uid", ["../evil", "/abs", "..\\x", "1.2\0.3", "1..2", "", "1" * 65, "1.2.3/4"])
def test_a_uid_that_is_none_is_refused_before_a_byte_is_kept(project: Project, uid: str) -> None:
    with pytest.raises(NotDicom, match="not a valid UID"):
        begin(project, uid=uid)


def test_a_command_that_names_another_object_than_the_data_set_is_refused(project: Project) -> None:
    ds = an_object()
    incoming = begin(project)
    incoming.write(encode(ds))
    with pytest.raises(NotDicom, match="names another SOP Class or Instance"):
        incoming.commit()


@pytest.mark.parametrize(
    "content",
    [b"", b"hello, this is a text file and no data set\n" * 40, b"\x08\x00\x05\x00CS\xff\xff", os.urandom(3000)],
    ids=["empty", "text", "cut off", "noise"],
)
def test_bytes_that_are_no_data_set_are_refused_by_c_store(project: Project, content: bytes) -> None:
    incoming = begin(project)
    incoming.write(content)
    with pytest.raises(NotDicom):
        incoming.commit()
    assert (File.select().count(), runtime.archive().segments()) == (0, [])


IMPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
META_ELEMENT = b"\x02\x00\x10\x00UI\x04\x00abc\0"


@pytest.mark.parametrize(
    ("syntax", "element", "at"),
    [
        (EXPLICIT, META_ELEMENT, 0),
        (EXPLICIT, META_ELEMENT, -1),
        (IMPLICIT, b"\x02\x00\x10\x00\x04\x00\x00\x00abc\0", 0),
        (BIG_ENDIAN, b"\x00\x02\x00\x10UI\x00\x04abc\0", 0),
    ],
    ids=["first", "last before the pixels", "implicit", "big endian"],
)
def test_a_data_set_by_c_store_with_an_element_of_the_file_meta_is_refused(
    project: Project, syntax: str, element: bytes, at: int
) -> None:
    ds = an_object()
    raw = encode(ds, syntax=syntax)
    at = raw.index(b"\xe0\x7f\x10\x00") if at else 0
    with begin(project, uid=ds.SOPInstanceUID, syntax=syntax) as incoming:
        incoming.write(raw[:at] + element + (b"" if syntax == BIG_ENDIAN else raw[at:]))
        with pytest.raises(NotDicom, match="group 0002"):
            incoming.commit()
    assert (File.select().count(), runtime.archive().segments()) == (0, [])


@pytest.mark.parametrize(("said", "sent"), [(EXPLICIT, IMPLICIT), (IMPLICIT, EXPLICIT)])
def test_a_data_set_in_the_other_vr_encoding_than_its_context_is_refused(
    project: Project, said: str, sent: str
) -> None:
    ds = an_object()
    with begin(project, uid=ds.SOPInstanceUID, syntax=said) as incoming:
        incoming.write(encode(ds, syntax=sent))
        with pytest.raises(NotDicom, match="as its context requires"):
            incoming.commit()


def a_file(elements: bytes, *, group_length: int | None) -> bytes:
    """A Part 10 file with these elements of group 0002 in front of its data set."""
    told = b"" if group_length is None else b"\x02\x00\x00\x00UL\x04\x00" + group_length.to_bytes(4, "little")
    return bytes(128) + b"DICM" + told + elements + encode(an_object())


SYNTAX_ELEMENT = b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0"


@pytest.mark.parametrize(
    ("elements", "group_length"),
    [
        (SYNTAX_ELEMENT + META_ELEMENT, len(SYNTAX_ELEMENT)),
        (SYNTAX_ELEMENT, None),
        (SYNTAX_ELEMENT, 0),
        (SYNTAX_ELEMENT, 1 << 20),
        (SYNTAX_ELEMENT + b"\x02\x00\x16\x00AE\x02\x00PX", len(SYNTAX_ELEMENT)),
        (b"\x02\x00\x01\x00OB\0\0\x02\0\0\0\0\1" + SYNTAX_ELEMENT, 14),
    ],
    ids=["again in the data set", "absent", "zero", "too large", "one more behind it", "too small"],
)
def test_the_file_meta_of_an_uploaded_file_ends_where_its_group_length_says_unless_that_is_wrong(
    elements: bytes, group_length: int | None
) -> None:
    content = a_file(elements, group_length=group_length)
    parsed, offset = header.read_file(io.BytesIO(content), len(content))
    assert (parsed.transfer_syntax, parsed.sop_uid) == (EXPLICIT, an_object().SOPInstanceUID)
    assert content[offset:] == encode(an_object())


def test_sequences_nested_ten_thousand_deep_are_refused_in_words(project: Project) -> None:
    deep = b"\xfe\xff\x00\xe0\xff\xff\xff\xff\x40\x00\x75\x02SQ\x00\x00\xff\xff\xff\xff" * 10_000
    incoming = begin(project)
    incoming.write(b"\x40\x00\x75\x02SQ\x00\x00\xff\xff\xff\xff" + deep)
    with pytest.raises(NotDicom):
        incoming.commit()


def test_an_uploaded_object_goes_where_the_client_puts_it_and_stays_as_it_is(acquisition: int, admin: Actor) -> None:
    content = vendor_file("CT_small.dcm").read_bytes()
    stored = upload(content, acquisition, "scan.dcm", actor=admin)
    assert content_of(stored.file_id) == content
    file = File.get_by_id(stored.file_id)
    assert (file.parent_id, file.name, file.type) == (acquisition, "scan.dcm", "dicom")
    assert Series.get().acquisition_id == acquisition
    assert Study.get().session.subject.label == "sub-01"


def test_an_uploaded_file_that_is_no_dicom_gets_versions_under_its_name(acquisition: int, admin: Actor) -> None:
    first = upload(b"one", acquisition, "notes.txt", actor=admin)
    assert upload(b"one", acquisition, "notes.txt", actor=admin).outcome == "same"
    second = upload(b"two", acquisition, "notes.txt", actor=admin)
    assert (second.file_id, second.outcome, content_of(first.file_id)) == (first.file_id, "version", b"two")
    assert File.get_by_id(first.file_id).version == 2


def test_an_uploaded_program_behind_a_dicom_mark_is_refused(acquisition: int, admin: Actor) -> None:
    content = bytearray(vendor_file("CT_small.dcm").read_bytes())
    content[:2] = b"MZ"
    with pytest.raises(BadValue, match="preamble contains a program"):
        upload(bytes(content), acquisition, "x.dcm", actor=admin)


def test_an_object_without_a_patient_id_gets_a_subject_of_its_study(project: Project) -> None:
    ds = an_object(PatientID="")
    store(ds, project)
    assert Subject.get().label == f"unidentified-{ds.StudyInstanceUID}"


def test_a_study_stays_in_the_one_project_that_holds_it(project: Project, admin: Actor) -> None:
    other = a_project("other", actor=admin)
    store(an_object(), project)
    store(an_object(SOPInstanceUID="1.2.3"), other)
    assert {row.project_id for row in Instance.select()} == {project.id}


def test_what_cannot_be_placed_waits_in_unsorted(project: Project) -> None:
    store(an_object())
    assert Study.get().project.group.code == "unknown"


def test_a_called_project_without_a_store_grant_is_refused(project: Project) -> None:
    with pytest.raises(NotAllowed, match="may not store"):
        ingest.open(scope=rights.NO_ACCESS, origin=Origin(type="peer"), placement=Placement(called_project=project.id))


def test_a_disk_below_its_reserve_takes_nothing_in(site: settings.Settings, project: Project) -> None:
    runtime.start(replace(site, min_free=1 << 60))
    with pytest.raises(NoSpace, match="nearly full"):
        store(an_object(), project)
    assert File.select().count() == 0


def test_an_object_above_sixteen_megabytes_is_streamed_and_found(project: Project) -> None:
    ds = an_object(Rows=3000, Columns=3000, PixelData=os.urandom(18_000_000))
    stored = store(ds, project)
    blob = File.get_by_id(stored.file_id).blob
    assert content_of(stored.file_id)[blob.dataset_offset :] == encode(ds)
    assert Instance.get().rows == 3000


def test_a_large_object_that_is_refused_leaves_no_segment(project: Project) -> None:
    ds = an_object(PixelData=os.urandom(18_000_000))
    del ds.StudyInstanceUID
    with pytest.raises(NotDicom):
        store(ds, project)
    assert runtime.archive().segments() == []


@pytest.mark.parametrize("path", get_charset_files("*.dcm"), ids=lambda path: Path(path).stem)
def test_names_of_every_character_set_read_as_pydicom_reads_them(path: str) -> None:
    ds = dcmread(path)
    with Path(path).open("rb") as file:
        size = Path(path).stat().st_size
        if "SOPClassUID" not in ds:
            with pytest.raises(NotDicom):
                header.read_file(file, size)
            return
        parsed, _ = header.read_file(file, size)
    assert parsed.patient_name == str(ds.PatientName).rstrip("^=")


# Reindex, recovery and unpacking


@pytest.fixture
def mixed(project: Project, acquisition: int, admin: Actor) -> None:
    """Current ones, an alternate, a conflict, a decided conflict, a plain file."""
    store(an_object(), project)
    store(an_object(SOPInstanceUID="1.2.3"), project)
    store(an_object(ImageComments="held"), project)
    store(an_object("MR_small.dcm"), project)
    store_vendor_file("MR_small_bigendian.dcm", project)
    upload(vendor_file("rtplan.dcm").read_bytes(), acquisition, "plan.dcm", actor=admin)
    upload(b"notes", acquisition, "notes.txt", actor=admin)


def empty_the_index() -> None:
    with writing():
        for table in (Instance, Series, Study):
            table.delete().execute()


@pytest.mark.parametrize("choice", [None, "keep", "replace", "separate"])
def test_reindex_gives_back_what_was_emptied_row_for_row(mixed: None, admin: Actor, choice: str | None) -> None:
    if choice is not None:
        conflicts.resolve(Conflict.get().id, choice, actor=admin)
    before = dump()
    empty_the_index()
    report = reindex.run()
    after = dump()
    if choice == "separate":  # The moved object's row was written last, and comes back in the order of its file.
        assert [sorted(row[1:] for row in after["study"])] == [sorted(row[1:] for row in before["study"])]
        return
    assert after == before
    assert (report.damaged, report.not_restored, report.recovered) == ([], [], 0)


def test_a_second_reindex_adds_nothing(mixed: None) -> None:
    before = dump()
    report = reindex.run()
    assert (report.indexed, report.recovered, dump()) == (0, 0, before)


def test_reindex_names_a_changed_byte_and_restores_everything_else(mixed: None) -> None:
    damaged = File.select().join(Instance).where(Instance.sop_uid == "1.2.3").get()
    path = runtime.archive().path(damaged.blob.segment)
    with path.open("r+b") as file:
        file.seek(damaged.blob.offset + damaged.blob.size - 5)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    empty_the_index()
    runtime.archive().close()
    report = reindex.run()
    assert [(place["file"], place["name"]) for place in report.damaged] == [(damaged.id, "1.2.3.dcm")]
    assert Instance.select().where(Instance.sop_uid == "1.2.3").count() == 0
    assert Instance.select().count() == 5


def test_an_archive_without_its_database_comes_back_with_places_and_origins(
    site: settings.Settings, mixed: None, make_site: Callable[[Path], settings.Settings]
) -> None:
    def tree() -> set[tuple[str, ...]]:
        return {
            (str(file.parent_type), *unpack.path_parts(file)[:2], file.name, file.origin_type, file.blob.digest)
            for file in File.select()
        }

    before, states = tree(), sorted(row.state for row in Instance.select())
    runtime.archive().close()
    fresh = make_site(site.archive)
    report = reindex.run()
    assert fresh.archive != site.archive
    assert (report.recovered, report.damaged) == (len(before), [])
    assert tree() == before
    assert sorted(row.state for row in Instance.select()) == states


def test_a_record_whose_rows_were_never_committed_is_indexed_at_the_next_start(project: Project) -> None:
    store(an_object(), project)
    footer_source = File.get()
    with writing():
        Instance.delete().execute()
        Series.delete().execute()
        Study.delete().execute()
        blob_id = footer_source.blob_id
        footer_source.delete_instance()
        Blob.delete().where(Blob.id == blob_id).execute()
    runtime.archive().close()
    assert recovery.recover() == 1
    assert Study.get().n_instances == 1
    assert recovery.recover() == 0


def test_a_torn_tail_is_cut_at_the_next_start_and_what_was_acknowledged_stays(project: Project) -> None:
    stored = store(an_object(), project)
    blob = File.get_by_id(stored.file_id).blob
    path = runtime.archive().path(blob.segment)
    runtime.archive().close()
    whole = path.stat().st_size
    with path.open("ab") as file:
        file.write(path.read_bytes()[8:4000])
    assert recovery.recover() == 0
    assert path.stat().st_size == whole
    assert len(content_of(stored.file_id)) == stored.size


@pytest.mark.parametrize("damage", ["footer's length", "end lost"])
def test_the_last_acknowledged_record_is_never_cut_off_as_a_torn_tail(damage: str, project: Project) -> None:
    stored = store(an_object(), project)
    blob = File.get_by_id(stored.file_id).blob
    path = runtime.archive().path(blob.segment)
    runtime.archive().close()
    with path.open("r+b") as file:
        if damage == "end lost":
            file.truncate(blob.offset + blob.size - 1000)
        else:
            file.seek(blob.offset + blob.size + 3)
            file.write(b"\x7f")
    left = path.read_bytes()
    assert recovery.recover() == 0
    assert path.read_bytes() == left
    if damage != "end lost":
        assert len(content_of(stored.file_id)) == stored.size


def test_unpacking_writes_every_file_and_a_second_run_adds_nothing(mixed: None, tmp_path: Path) -> None:
    report = unpack.run(tmp_path / "out")
    digests = sorted(hashlib.sha256(p.read_bytes()).hexdigest() for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert digests == sorted(file.blob.digest for file in File.select())
    assert (report.written, report.failed) == (len(digests), [])
    again = unpack.run(tmp_path / "out")
    assert (again.written, again.present) == (0, len(digests))


def test_unpacking_never_overwrites_and_refuses_the_data_folder(
    site: settings.Settings, mixed: None, tmp_path: Path
) -> None:
    unpack.run(tmp_path / "out")
    victim = next(path for path in (tmp_path / "out").rglob("*.txt"))
    victim.write_bytes(b"mine")
    report = unpack.run(tmp_path / "out")
    assert victim.read_bytes() == b"mine"
    assert [failure["name"] for failure in report.failed] == ["notes.txt"]
    with pytest.raises(BadValue, match="data folder"):
        unpack.run(site.data / "x")


def test_a_hundred_random_changes_never_break_the_reader(project: Project) -> None:
    source = encode(an_object())
    rng = random.Random(7)
    for _ in range(100):
        content = bytearray(source)
        for _ in range(rng.randrange(1, 20)):
            content[rng.randrange(1200)] = rng.randrange(256)
        incoming = begin(project, uid=generate_uid())
        incoming.write(content)
        with pytest.raises(NotDicom):
            incoming.commit()
    assert File.select().count() == 0


@pytest.mark.parametrize(
    ("memory", "piece"), [(0, 50), (100, 50), (250, 50), (1000, 50), (1000, 1 << 20), (1 << 20, 1 << 14)]
)
def test_the_digest_of_a_data_set_is_that_of_its_bytes_however_they_come(
    acquisition: int, admin: Actor, memory: int, piece: int
) -> None:
    content = vendor_file("CT_small.dcm").read_bytes()
    begins = header.read_file(io.BytesIO(content), len(content))[1]
    with ingest.open(
        scope=rights.scope(admin),
        origin=admin.origin,
        placement=Placement(container_type="acquisition", container_id=acquisition, name="ct.dcm", also_here=True),
    ) as incoming:
        incoming.limit_memory(memory)
        for at in range(0, len(content), piece):
            incoming.write(content[at : at + piece])
        incoming.commit()
    assert Instance.get().dataset_digest == hashlib.sha256(content[begins:]).hexdigest()
    assert File.get().blob.digest == hashlib.sha256(content).hexdigest()
