"""The same object from two senders is one object, however they encode it; and what says something else is not."""

import io
import subprocess
import zlib
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pydicom
import pytest
from pydicom import Dataset, Sequence, dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from portal.access.actors import Actor
from portal.dicom import element_stream as streams
from portal.dicom import header
from portal.dicom.same_content import Differences, EncodedDataset, differences
from portal.errors import NotDicom, PortalError
from portal.ingest import alternates, conflicts
from portal.ingest.register import Stored
from portal.jobs import runs
from portal.maintenance import reindex
from portal.models import Blob, Conflict, File, Instance, Job, Project, Series, Study, connection, now, writing
from portal.settings import Settings
from portal.trash import trash
from tests.fixtures.archive import a_project, an_object, begin, encode, store, vendor_file

RE_ENCODINGS = (
    ("+g", "+e", "+p", "512", "8"),  # with group lengths, lengths of sequences, Data Set Trailing Padding
    ("-g", "-e", "-p"),  # without, with delimiters
)


@pytest.fixture
def project(site: Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


def encoded(content: bytes) -> EncodedDataset:
    """The data set of a file."""
    source = io.BytesIO(content)
    parsed, offset = header.read_file(source, len(content))
    source.seek(offset)
    return EncodedDataset(source, len(content) - offset, parsed.transfer_syntax)


def compared(one: Dataset, other: Dataset, *, syntax: str = ImplicitVRLittleEndian) -> Differences:
    sides = (encode(ds, syntax=syntax) for ds in (one, other))
    return differences(*(EncodedDataset(io.BytesIO(side), len(side), syntax) for side in sides))


def send(content: bytes, project: Project) -> Stored:
    """Take the data set of a file in, as C-STORE does."""
    side = encoded(content)
    parsed = header.read_file(io.BytesIO(content), len(content))[0]
    with begin(project, sop_class=parsed.sop_class, uid=parsed.sop_uid, syntax=side.transfer_syntax) as incoming:
        incoming.write(side.content.read())
        return incoming.commit()


def re_encoded(path: Path, options: tuple[str, ...], target: Path) -> bytes | None:
    """None for one that DCMTK takes for invalid."""
    done = subprocess.run(["dcmconv", *options, path, target], check=False, capture_output=True)
    return target.read_bytes() if done.returncode == 0 else None


def whole_vendor_files() -> list[Path]:
    """All files of the pydicom wheel that can be read to their end."""
    whole = []
    for path in sorted((Path(pydicom.data.__file__).parent / "test_files").rglob("*.dcm")):
        try:
            differences(encoded(path.read_bytes()), encoded(path.read_bytes()))
        except PortalError:
            continue
        whole.append(path)
    return whole


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", RE_ENCODINGS, ids=" ".join)
def test_no_vendor_object_that_dcmtk_re_encoded_is_a_conflict(
    project: Project, options: tuple[str, ...], tmp_path: Path
) -> None:
    outcomes = set()
    for path in whole_vendor_files():
        try:
            first = send(path.read_bytes(), project)
        except NotDicom:  # one without the UIDs that the index needs
            continue
        if first.outcome != "stored":  # two of the files have a UID of another one
            continue
        other = re_encoded(path, options, tmp_path / "again")
        if other is None:
            continue
        again = send(other, project)
        assert (again.file_id, path.name) == (first.file_id, path.name)
        outcomes.add(again.outcome)
    assert outcomes == {"same"}
    assert Instance.select().where(Instance.state == "current").count() > 30


def test_what_comes_re_encoded_adds_nothing_and_says_so(project: Project) -> None:
    first = store(an_object(), project)
    again = store(an_object(DataSetTrailingPadding=bytes(64)), project)
    assert (again.outcome, again.is_reencoded, again.file_id) == ("same", True, first.file_id)
    assert (Blob.select().count(), File.select().count(), Conflict.select().count()) == (1, 1, 0)
    assert not store(an_object(), project).is_reencoded


def test_two_senders_of_one_object_at_the_same_moment_make_no_conflict(project: Project) -> None:
    def send_all(padding: int) -> list[str]:
        with connection():
            objects = (an_object(SOPInstanceUID=f"1.2.3.{n}", DataSetTrailingPadding=bytes(padding)) for n in range(20))
            return [store(ds, project).outcome for ds in objects]

    with ThreadPoolExecutor(3) as threads:
        outcomes = Counter(outcome for each in threads.map(send_all, (8, 16, 24)) for outcome in each)
    assert outcomes == {"stored": 20, "same": 40}
    assert Instance.select().count() == 20


def test_a_held_object_that_comes_re_encoded_is_the_held_object(project: Project) -> None:
    store(an_object(), project)
    held = store(an_object(ImageComments="other"), project)
    again = store(an_object(ImageComments="other", DataSetTrailingPadding=bytes(64)), project)
    assert (again.outcome, again.file_id, conflicts.count()) == ("same", held.file_id, 1)


def with_items(*items: Dataset) -> Dataset:
    return an_object(ReferencedImageSequence=Sequence(items))


def item(**values: str) -> Dataset:
    ds = Dataset()
    for keyword, value in values.items():
        setattr(ds, keyword, value)
    return ds


@pytest.mark.parametrize(
    ("one", "other", "tags"),
    [
        (an_object(), an_object(PatientName="Other^Name"), [0x00100010]),
        (an_object(), an_object(ImageComments="more"), [0x00204000]),
        (an_object(ImageComments="more"), an_object(), [0x00204000]),
        (an_object(KVP="120", ImageComments="a"), an_object(KVP="100", ImageComments="b"), [0x00180060, 0x00204000]),
        (with_items(item(PatientID="1")), with_items(item(PatientID="2")), [0x00081140]),
        (with_items(item()), with_items(item(), item()), [0x00081140]),
        (with_items(item(), item()), with_items(), [0x00081140]),
        (with_items(item(PatientID="1")), an_object(), [0x00081140]),
        (an_object(ImageComments=" a"), an_object(ImageComments="a"), [0x00204000]),
    ],
)
def test_what_differs_is_named_and_nothing_after_it_is_lost(one: Dataset, other: Dataset, tags: list[int]) -> None:
    found = compared(one, other)
    assert (found.tags, found.pixels) == (tags, False)
    assert compared(one, one).paths == []


def test_other_pixels_are_other_pixels() -> None:
    other = an_object()
    other.PixelData = other.PixelData[:-2] + b"\x01\x02"
    found = compared(an_object(), other)
    assert (found.tags, found.pixels, found.compressed) == ([], True, False)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b"\x10\x00\x20\x00LO\x03\x00abc", b"\x10\x00\x20\x00LO\x04\x00abc "),
        (b"\x10\x00\x20\x00LO\x04\x00abc\0", b"\x10\x00\x20\x00LO\x04\x00abc "),
        (b"\x08\x00\x18\x00UI\x03\x001.2", b"\x08\x00\x18\x00UI\x04\x001.2\0"),
        (b"\x08\x00\x08\x00CS\x04\x00a\\b ", b"\x08\x00\x08\x00CS\x05\x00a \\b "),
        (b"\x09\x00\x20\x10OB\0\0\x03\0\0\0abc", b"\x09\x00\x20\x10OB\0\0\x04\0\0\0abc\0"),
    ],
)
def test_padding_of_values_does_not_count(one: bytes, other: bytes) -> None:
    sides = (EncodedDataset(io.BytesIO(side), len(side), "1.2.840.10008.1.2.1") for side in (one, other))
    assert not differences(*sides)


def test_a_sequence_is_the_same_whether_it_is_said_to_be_one_or_not() -> None:
    inner = b"\x08\x00\x50\x11\x04\0\0\x001.2\0"  # in Implicit VR, as UN has it
    items = b"\xfe\xff\x00\xe0" + len(inner).to_bytes(4, "little") + inner
    unknown = b"\x08\x00\x40\x11UN\0\0" + len(items).to_bytes(4, "little") + items
    delimited = b"\x08\x00\x40\x11UN\0\0\xff\xff\xff\xff" + items + b"\xfe\xff\xdd\xe0\0\0\0\0"
    explicit = b"\x08\x00\x50\x11UI\x04\x001.2\0"
    of_items = b"\xfe\xff\x00\xe0" + len(explicit).to_bytes(4, "little") + explicit
    known = b"\x08\x00\x40\x11SQ\0\0" + len(of_items).to_bytes(4, "little") + of_items
    for one in (unknown, delimited, known):
        for other in (unknown, delimited, known):
            sides = (EncodedDataset(io.BytesIO(side), len(side), "1.2.840.10008.1.2.1") for side in (one, other))
            assert not differences(*sides)


def deflated(ds: Dataset, level: int) -> bytes:
    packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(encode(ds)) + packer.flush()


def test_a_deflated_object_is_the_same_however_well_it_was_deflated(project: Project) -> None:
    outcomes = []
    for level in (1, 9):
        ds = an_object()
        with begin(project, uid=ds.SOPInstanceUID, syntax=DeflatedExplicitVRLittleEndian) as incoming:
            incoming.write(deflated(ds, level))
            outcomes.append(incoming.commit().outcome)
    assert outcomes == ["stored", "same"]


def of_pixels(*, fragments: int, change: Callable[[bytes], bytes] = bytes) -> Dataset:
    """An image in RLE Lossless."""
    ds = dcmread(vendor_file("MR_small_RLE.dcm"))
    frame = next(iter(_frames(ds)))
    ds.PixelData = encapsulate([change(frame)], fragments_per_frame=fragments, has_bot=fragments > 1)
    return ds


def _frames(ds: Dataset) -> list[bytes]:
    return list(generate_frames(ds.PixelData, number_of_frames=1))


def store_compressed(ds: Dataset, project: Project) -> Stored:
    with begin(project, sop_class=ds.SOPClassUID, uid=ds.SOPInstanceUID, syntax=RLELossless) as incoming:
        written = io.BytesIO()
        ds.save_as(written)
        incoming.write(written.getvalue()[header.read_file(written, written.tell())[1] :])
        return incoming.commit()


def test_compressed_pixels_are_the_same_in_other_fragments(project: Project) -> None:
    store_compressed(of_pixels(fragments=1), project)
    assert store_compressed(of_pixels(fragments=4), project).outcome == "same"


def longer(frame: bytes) -> bytes:
    """The same image: a decoder passes by what stands behind the last segment."""
    return frame + b"\x80\x80"


def broken(frame: bytes) -> bytes:
    return frame[:70] + bytes(len(frame) - 70)


@pytest.mark.parametrize(("change", "state"), [(longer, "alternate"), (broken, "held")])
def test_pixels_that_are_compressed_otherwise_are_left_to_a_job(
    project: Project, change: Callable[[bytes], bytes], state: str
) -> None:
    store_compressed(of_pixels(fragments=1), project)
    assert store_compressed(of_pixels(fragments=1, change=change), project).outcome == "alternate"
    assert store_compressed(of_pixels(fragments=1, change=change), project).outcome == "same"
    Job.update(due=now()).where(Job.kind == "comparison").execute()
    runs.perform(Job.get(Job.kind == "comparison").id, alternates.run)
    assert [row.state for row in Instance.select().order_by(Instance.id)] == ["current", state]
    assert conflicts.count() == (state == "held")


def test_what_is_compressed_otherwise_is_no_conflict_after_the_index_was_made_anew(project: Project) -> None:
    store_compressed(of_pixels(fragments=1), project)
    store_compressed(of_pixels(fragments=1, change=longer), project)
    with writing():
        for rows in (Instance, Series, Study):
            rows.delete().execute()
    reindex.run()
    assert [alternates.compare(instance) for instance in alternates.pending()] == [alternates.COMPRESSED_DIFFERENTLY]
    assert conflicts.count() == 0


def test_what_is_restored_is_the_same_as_what_came_re_encoded_meanwhile(project: Project, admin: Actor) -> None:
    first = store(an_object(), project)
    thrown = trash.move_to_trash("file", first.file_id, actor=admin)
    assert store(an_object(DataSetTrailingPadding=bytes(64)), project).outcome == "stored"
    outcome = trash.restore(thrown.id, actor=admin)
    assert (outcome.back, outcome.held, outcome.stayed) == (0, 0, 1)


def test_a_comparison_reads_neither_without_end_nor_too_deep() -> None:
    content = b"\x08\x00\x08\x00CS\x02\x00AB" * (streams.MAX_ELEMENTS + 1)
    stream = streams.ElementStream(io.BytesIO(content), len(content), "1.2.840.10008.1.2.1")
    with pytest.raises(NotDicom, match="more than 200,000 elements"):
        stream.leave(0)
    nested = (b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 200
    with pytest.raises(NotDicom, match="64 deep"):
        differences(*(EncodedDataset(io.BytesIO(nested), len(nested), "1.2.840.10008.1.2.1") for _ in range(2)))
    bomb = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = bomb.compress(b"\x09\x00\x20\x10OB\0\0\0\0\0\x05" + bytes(0x05000000)) + bomb.flush()
    with pytest.raises(NotDicom, match="inflates to more than 64 MB"):
        differences(
            *(EncodedDataset(io.BytesIO(packed), len(packed), DeflatedExplicitVRLittleEndian) for _ in range(2))
        )


@pytest.mark.prove
@pytest.mark.filterwarnings("ignore")
def test_every_vendor_file_is_the_same_in_every_encoding_that_dcmtk_offers(tmp_path: Path) -> None:
    options = (("+g",), ("-g",), ("+e",), ("-e",), ("+p", "128", "64"), ("-u",), ("+uc",))
    compared_files = 0
    for path in whole_vendor_files():
        for chosen in options:
            other = re_encoded(path, chosen, tmp_path / "again")
            if other is not None:
                assert not differences(encoded(path.read_bytes()), encoded(other)), (path.name, chosen)
                compared_files += 1
    assert compared_files > 400
