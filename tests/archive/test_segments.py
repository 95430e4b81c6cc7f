import os
import threading
from pathlib import Path

import pytest

from portal.archive import Archive, Damage, Place, Record, records
from portal.archive.writers import Writer
from portal.errors import Damaged


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    return Archive(tmp_path)


def whole(archive: Archive, segment: str) -> list[Record]:
    return [found for found in archive.scan(segment) if isinstance(found, Record)]


def damage(archive: Archive, segment: str) -> list[Damage]:
    return [found for found in archive.scan(segment) if isinstance(found, Damage)]


def test_content_comes_back_byte_for_byte_with_its_footer(archive: Archive) -> None:
    place = archive.append([b"ab", memoryview(b"cd")], {"name": "Grüße"})
    with archive.open(place.segment, place.offset, place.size) as content:
        assert content.read() == b"abcd"
    assert [record.footer for record in whole(archive, place.segment)] == [{"name": "Grüße"}]


def test_a_large_object_is_streamed_into_a_segment_of_its_own(archive: Archive) -> None:
    small = archive.append([b"small"], {})
    stream = archive.stream()
    for _ in range(40):
        stream.write(b"x" * 100_000)
    place = stream.commit({"n": 1})
    assert place.segment != small.segment
    assert (place.size, whole(archive, place.segment)[0].size) == (4_000_000, 4_000_000)


def test_a_stream_that_is_not_committed_reads_as_torn(archive: Archive) -> None:
    stream = archive.stream()
    stream.write(b"x" * 1000)
    assert [found.torn for found in damage(archive, stream.path.name)] == [True]


def test_an_aborted_stream_leaves_no_file(archive: Archive) -> None:
    stream = archive.stream()
    stream.write(b"x")
    stream.abort()
    assert archive.segments() == []


def test_a_full_segment_is_followed_by_the_next(tmp_path: Path) -> None:
    archive = Archive(tmp_path, segment_size=50)
    places = [archive.append([b"x" * 60], {"n": n}) for n in range(4)]
    assert len({place.segment for place in places}) == 4


def test_threads_append_side_by_side_and_every_record_is_whole(archive: Archive) -> None:
    def append(letter: bytes) -> None:
        for _ in range(50):
            archive.append([letter * 1000], {"letter": letter.decode()})

    threads = [threading.Thread(target=append, args=(letter,)) for letter in (b"a", b"b", b"c", b"d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (segment,) = archive.segments()
    found = whole(archive, segment)
    assert len(found) == 200
    for record in found:
        with archive.open(segment, record.offset, record.size) as content:
            assert content.read() == record.footer["letter"].encode() * 1000


def test_once_a_sync_failed_nobody_is_told_that_what_was_written_before_is_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "a.seg"
    writer = Writer(path)
    opened = next(int(name) for name in os.listdir("/proc/self/fd") if _leads(name, path))
    writer.write([b"one record"])
    kept, (reading, writing) = os.dup(opened), os.pipe()
    os.dup2(writing, opened)  # a pipe cannot be synced
    with pytest.raises(OSError):
        writer.sync(writer.end)
    os.dup2(kept, opened)  # the kernel tells of an error once
    with pytest.raises(OSError):
        writer.sync(writer.end)
    writer.close()
    for descriptor in (kept, reading, writing):
        os.close(descriptor)


def test_a_segment_that_somebody_deletes_takes_in_nothing_more(archive: Archive) -> None:
    gone = archive.append([b"one"], {}).segment
    archive.path(gone).unlink()
    with pytest.raises(OSError, match="was deleted"):
        archive.append([b"two"], {})
    place = archive.append([b"three"], {})
    assert [record.size for record in whole(archive, place.segment)] == [5]


def _leads(descriptor: str, path: Path) -> bool:
    return os.path.realpath(f"/proc/self/fd/{descriptor}") == os.path.realpath(path)


def test_a_child_process_never_writes_into_its_parents_segment(archive: Archive) -> None:
    mine = archive.append([b"parent"], {})
    child = os.fork()
    if child == 0:
        archive.append([b"child"], {})
        os._exit(0)
    os.waitpid(child, 0)
    archive.append([b"parent again"], {})
    assert len(archive.segments()) == 2
    assert [record.size for record in whole(archive, mine.segment)] == [6, 12]


@pytest.mark.parametrize("kept", range(1, 60, 7))
def test_a_record_that_is_cut_off_anywhere_is_torn_and_the_one_before_stays(archive: Archive, kept: int) -> None:
    first = archive.append([b"first"], {})
    second = archive.append([b"second" * 10], {"n": 2})
    path = archive.path(first.segment)
    os.truncate(path, second.offset - records.HEADER_SIZE + kept)
    found = list(archive.scan(first.segment))
    assert isinstance(found[0], Record)
    assert isinstance(found[1], Damage)
    assert found[1].torn


def test_any_changed_byte_is_named_and_every_other_record_is_read(archive: Archive) -> None:
    places = [archive.append([bytes([65 + n]) * 20], {"n": n}) for n in range(3)]
    path = archive.path(places[0].segment)
    good = path.read_bytes()
    begin = places[1].offset - records.HEADER_SIZE
    for at in range(begin, places[2].offset - records.HEADER_SIZE):
        changed = bytearray(good)
        changed[at] ^= 0xFF
        path.write_bytes(changed)
        assert [record.footer["n"] for record in whole(archive, path.name)] == [0, 2], at
        assert [found.offset for found in damage(archive, path.name)] == [begin], at


def test_a_record_hidden_inside_a_damaged_object_is_not_believed(archive: Archive) -> None:
    forged = records.header(3) + b"bad" + records.tail(records.content_crc([b"bad"]), {"forged": True})
    place = archive.append([b"x" * 50 + forged + b"y"], {})
    archive.append([b"next"], {"n": 2})
    with archive.path(place.segment).open("r+b") as file:
        file.seek(place.offset)
        file.write(b"z")
    assert [record.footer for record in whole(archive, place.segment)] == [{"n": 2}]


def test_a_segment_is_at_rest_only_when_nobody_appends_to_it(archive: Archive) -> None:
    place = archive.append([b"x"], {})
    with archive.at_rest(place.segment) as resting:
        assert not resting
    archive.close()
    with archive.at_rest(place.segment) as resting:
        assert resting


def test_a_name_that_is_no_segment_is_refused(archive: Archive) -> None:
    with pytest.raises(Damaged, match="not a segment of the archive"):
        archive.path("../portal.db")


def test_a_segment_that_is_gone_is_named(archive: Archive) -> None:
    with pytest.raises(Damaged, match=r"x-1-0\.seg cannot be read"):
        archive.open("x-1-0.seg", 0, 1)


def test_a_reader_gives_whole_contents_of_any_segment(tmp_path: Path) -> None:
    archive = Archive(tmp_path, segment_size=50)
    contents = [b"a" * 60, b"b" * 70, b"", b"c"]
    places = [archive.append([content], {}) for content in contents]
    assert len({place.segment for place in places}) > 1
    descriptors = set(os.listdir("/proc/self/fd"))

    def read(place: Place) -> bytes:
        return reader.read(place.segment, place.offset, place.size)

    with archive.reader() as reader:
        for place, content in zip(places + places[::-1], contents + contents[::-1], strict=True):
            assert read(place) == content
        (tmp_path / places[1].segment).unlink()
        with pytest.raises(Damaged, match=f"Segment {places[1].segment} cannot be read"):
            read(places[1])
        assert read(places[0]) == contents[0]
        with pytest.raises(Damaged, match=f"Segment {places[0].segment} is shorter than the index says"):
            reader.read(places[0].segment, places[0].offset, 7000)
        with pytest.raises(Damaged, match="not a segment of the archive"):
            reader.read("../portal.db", 0, 10)

    assert set(os.listdir("/proc/self/fd")) == descriptors
