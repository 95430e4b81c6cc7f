"""Closed segments in a bucket: brought there, dropped here, read from there; and a bucket that is away, or lies."""

import hashlib
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset

from dimse_worker import destinations
from portal import cli, migrations, models, runtime, settings
from portal.access import rights
from portal.access.actors import Actor
from portal.archive.bucket import Bucket
from portal.errors import BadSetting, Damaged, Unreachable
from portal.exports import exports
from portal.jobs import jobs, runs
from portal.maintenance import recovery, reindex, replication, segment_copies, unpack
from portal.models import Acquisition, Blob, ClosedSegment, File, Instance, Project, PurgedRecord, Segment, Storage
from portal.processes import health, startup
from portal.query import retrieve
from portal.settings import Settings
from portal.storage_drivers.destination import Destination
from portal.trash import trash
from portal.tree import files, thumbnails
from tests.dimse_worker.test_retrieval import get, keys
from tests.fixtures.archive import a_project, an_object, dump, store, store_vendor_file
from tests.fixtures.dimse import enable, image, listening, register
from tests.fixtures.free_ports import free_port
from tests.fixtures.stores import Answer, Front, Place, Running
from tests.fixtures.web import MOST_STATEMENTS, Visitor, statements, text_of
from tests.fixtures.work import Module, add_file, add_files, files_below, until
from tests.verification.sites import verify_here

pytestmark = pytest.mark.xdist_group("stores")
GONE = "http://127.0.0.1:9"
MIB = 1 << 20


class Shop:
    """One site whose archive has a bucket, behind a front that may misbehave."""

    def __init__(self, site: Settings, place: Place, front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
        self.front = front
        self.prefix = f"site/{secrets.token_hex(4)}"
        self.destination: Destination = place.open(self.prefix)
        self._environ = {
            "PORTAL_ARCHIVE": f"s3://bucket/{self.prefix}?endpoint={front.url}&path_style=1",
            "PORTAL_ARCHIVE_ACCESS_KEY": place.config["access_key"],
            "PORTAL_ARCHIVE_SECRET": place.secret["secret_key"],
        }
        for name, value in self._environ.items():
            monkeypatch.setenv(name, value)
        self.settings = site
        self.start(0)

    def start(self, cache: int, *, data: Path | None = None, silence: float = 0.0, **environ: str | None) -> Settings:
        """Bind this process to the site, as its processes start on it."""
        given = {**self._environ, **environ, "PORTAL_ARCHIVE_CACHE": str(cache)}
        known = {name: value for name, value in given.items() if value is not None}
        loaded = settings.load(data or self.settings.data, known)
        bucket = loaded.bucket and replace(loaded.bucket, silence=silence)
        self.settings = replace(loaded, min_free=1, bucket=bucket)
        runtime.archive().close()
        runtime.start(self.settings)
        migrations.apply(self.settings.run / "migrate.lock")
        models.database.connect(reuse_if_open=True)
        return self.settings

    def close(self) -> None:
        """End what is open, as the end of its process does."""
        runtime.archive().close()

    @property
    def bucket(self) -> Bucket:
        found = runtime.bucket()
        assert found is not None
        return found

    def upload(self) -> int:
        uploader = replication.Replicator(self.bucket, settled=0)
        uploader.begin()
        return uploader.turn()

    def move(self) -> int:
        """Close everything and bring it to the bucket; with a cache of nothing it is there alone."""
        self.close()
        return self.upload()

    def names(self) -> list[str]:
        return [found.key for found in self.destination.list()]

    def here(self) -> list[str]:
        return runtime.archive().segments()

    def change(self, name: str, at: int) -> None:
        """Change one byte of an object there."""
        content = bytearray(b"".join(self.destination.read(name)))
        content[at] ^= 0x10
        self.destination.delete(name)
        digest = hashlib.sha256(content).hexdigest()
        self.destination.put(name, [bytes(content)], size=len(content), digest=digest)


@pytest.fixture
def make_shop(
    site: Settings, stores: Running, make_front: Callable[..., Front], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Shop]:
    return lambda kind: Shop(site, stores[kind], make_front(stores[kind]), monkeypatch)


@pytest.fixture
def shop(make_shop: Callable[[str], Shop]) -> Shop:
    return make_shop("moto")


@pytest.fixture
def study(shop: Shop, admin: Actor) -> tuple[Project, list[int]]:
    """A project with three objects of one series, of a segment that is closed."""
    project = a_project(actor=admin)
    numbers = [
        store(an_object(SOPInstanceUID=f"1.2.3.{number}", InstanceNumber=number), project).file_id
        for number in (1, 2, 3)
    ]
    shop.close()
    return project, numbers


def content(file_id: int, admin: Actor) -> bytes:
    return b"".join(files.open_content(files.get(file_id, rights.scope(admin)))[0])


def test_a_closed_segment_is_one_object_there_and_everything_is_read_from_it(
    shop: Shop, study: tuple[Project, list[int]], mirror: Storage, folder: Path, tmp_path: Path, admin: Actor
) -> None:
    _, numbers = study
    before = [content(number, admin) for number in numbers]
    (name,) = shop.here()
    assert shop.upload() == 1
    assert (shop.here(), shop.names()) == ([], [name])

    assert [content(number, admin) for number in numbers] == before
    file = files.get(numbers[0], rights.scope(admin))
    assert files.header_elements(file)
    assert thumbnails.picture(file.blob, 0, "thumbnail").startswith(b"\x89PNG")
    assert unpack.run(tmp_path / "out").written == 3
    job = exports.start("neuro/trial", to="mirror", actor=admin)
    runs.perform(job.id, lambda this: exports.run(this, destination=destinations.open_storage(this.job)))
    assert exports.get(job.id).done == 3
    assert set(files_below(tmp_path / "out").values()) <= set(files_below(folder).values())
    assert recovery.recover() == 0
    assert shop.upload() == 0


def test_a_verification_compares_what_lies_in_the_bucket_by_its_size_and_names_what_is_missing_there(
    shop: Shop, study: tuple[Project, list[int]], admin: Actor
) -> None:
    (name,) = shop.here()
    shop.upload()
    shop.front.seen.clear()
    verified = verify_here(admin)
    assert verified.found == []
    assert "Not checked: segments that are only in the bucket were compared by their size alone (1)." in (
        verified.job.message
    )
    assert {request.method for request in shop.front.seen} == {"HEAD"}
    shop.front.rule = lambda _request: "cut"
    verified = verify_here(admin)
    assert (verified.found, "which does not answer" in verified.job.message) == ([], True)
    shop.front.rule = lambda _request: None
    shop.destination.delete(name)
    assert verify_here(admin).subjects == [("archive", f"bucket, {name}")]


def test_a_peer_gets_what_lies_in_the_bucket_and_a_failure_while_it_is_away(
    shop: Shop, study: tuple[Project, list[int]], admin: Actor
) -> None:
    for number in (1, 2, 3):
        store(image(StudyInstanceUID="1.9", SeriesInstanceUID="1.9.1", InstanceNumber=number), study[0])
    shop.move()
    uid = "1.9"
    enable(free_port())
    register("SCANNER", projects=(("neuro/trial", "rw"),), services=("echo", "store", "find", "get"), store_to=None)
    with listening(shop.settings) as listener:
        shop.front.rule = lambda _request: "cut"
        came, status, identifier = get(listener.port, keys("STUDY", StudyInstanceUID=uid))
        assert (len(came), status.Status, len(identifier.FailedSOPInstanceUIDList)) == (0, 0xA702, 3)
        shop.front.rule = lambda _request: None
        until(lambda: get(listener.port, keys("STUDY", StudyInstanceUID=uid))[1].Status == 0)
    assert all("cannot be read now" in item.message for item in models.JobItem.select())


def test_while_the_bucket_is_away_all_is_taken_in_and_what_waits_goes_up_when_it_is_back(
    shop: Shop, study: tuple[Project, list[int]], visitor: Visitor, mirror: Storage, admin: Actor
) -> None:
    project, numbers = study
    shop.upload()
    shop.front.rule = lambda _request: "cut"
    late = store(an_object(SOPInstanceUID="1.2.3.9"), project)
    assert shop.move() == 0
    assert content(late.file_id, admin)
    with pytest.raises(Unreachable, match="in the bucket, which cannot be read now"):
        content(numbers[0], admin)
    job = exports.start("neuro/trial", to="mirror", actor=admin)
    runs.perform(job.id, lambda this: exports.run(this, destination=destinations.open_storage(this.job)))
    assert (exports.get(job.id).state, exports.get(job.id).failed) == ("waiting", 0)
    for path in ("/disk/", "/disk/bucket"):
        with statements() as sent:
            page = text_of(visitor.get(path).text)
        assert len(sent) <= MOST_STATEMENTS
    assert "1 segment waits to be replicated to the bucket, the oldest closed" in page
    assert "closed the connection" in page
    assert visitor.get(f"/data/file/{numbers[0]}/download").status_code == 503
    assert "cannot be used" in health.report()["archive"]["problem"]

    shop.front.rule = lambda _request: None
    assert shop.upload() == 1
    assert content(numbers[0], admin)
    jobs.try_now(job.id, actor=admin)
    runs.perform(job.id, lambda this: exports.run(this, destination=destinations.open_storage(this.job)))
    assert exports.get(job.id).done == 4
    assert "waits for" not in visitor.get("/disk/bucket").text
    assert (shop.here(), health.report()["archive"]["problem"]) == ([], "")


def test_a_site_starts_without_its_bucket_and_reads_what_is_here(shop: Shop, admin: Actor) -> None:
    shop.start(0, PORTAL_ARCHIVE=f"s3://bucket/x?endpoint={GONE}")
    stored = store(an_object(), a_project(actor=admin))
    startup.prepare(shop.settings, lambda _message: None)
    assert shop.move() == 0
    assert content(stored.file_id, admin)


def test_an_empty_data_folder_and_the_bucket_bring_everything_back(
    shop: Shop, study: tuple[Project, list[int]], admin: Actor, tmp_path: Path
) -> None:
    add_file(study[0], "protocol.pdf", b"by hand", admin)
    store_vendor_file("JPEG2000.dcm", study[0])
    shop.move()
    before, digests = dump(), sorted(blob.digest for blob in Blob.select())
    models.database.close()
    shop.start(100 * MIB, data=tmp_path / "another")
    report = reindex.run()
    assert (report.recovered, report.damaged, report.not_restored) == (5, [], [])
    assert sorted(blob.digest for blob in Blob.select()) == digests
    assert {table: len(rows) for table, rows in dump().items()} == {table: len(rows) for table, rows in before.items()}
    assert all(content(file.id, admin) for file in File.select())
    assert (reindex.run().recovered, shop.here()) == (0, [])


def test_the_cache_is_held_and_what_was_read_last_stays(shop: Shop, acquisition: Acquisition, admin: Actor) -> None:
    shop.start(100 * MIB)
    for number in range(3):
        add_file(acquisition, f"{number}.bin", os.urandom(6 * MIB), admin)
        shop.close()
    assert shop.upload() == 3
    for age, name in enumerate(shop.here()):
        os.utime(runtime.archive().path(name), (time.time() - 1000 * age - 100,) * 2)
    latest = File.get(File.name == "0.bin")
    shop.start(24 * MIB)
    assert content(latest.id, admin)
    assert segment_copies.trim(shop.bucket) == 2
    assert shop.here() == [latest.blob.segment]
    for file in File.select():
        content(file.id, admin)
    standing = segment_copies.bucket_state()
    assert standing is not None
    assert 6 * MIB < standing.cache <= standing.limit
    assert (standing.there, standing.waiting) == (3, 0)


def test_what_is_purged_leaves_the_bucket_with_the_last_of_its_segment(
    shop: Shop, study: tuple[Project, list[int]], admin: Actor
) -> None:
    shop.start(64 * MIB)
    assert shop.upload() == 1
    (name,) = shop.names()
    (copy,) = [path.read_bytes() for path in runtime.archive().root.iterdir()]
    first, *others = (trash.move_to_trash("file", number, actor=admin).id for number in study[1])

    trash.purge(first, actor=admin)

    assert [row.state for row in PurgedRecord.select()] == ["kept"]
    assert runtime.archive().path(name).read_bytes() == copy  # or the two would differ
    assert shop.upload() == 0
    for number in others:
        trash.purge(number, actor=admin)
    assert shop.names() == [name]
    shop.upload()
    assert (shop.names(), shop.here(), Segment.select().count()) == ([], [], 0)
    assert [row.state for row in ClosedSegment.select()] == ["purged"]


def test_what_is_purged_before_its_segment_is_brought_there_is_brought_without_it(
    shop: Shop, study: tuple[Project, list[int]], admin: Actor
) -> None:
    first, second, _ = study[1]
    trash.purge(trash.move_to_trash("file", first, actor=admin).id, actor=admin)
    assert [row.state for row in PurgedRecord.select()] == ["released"]
    assert (shop.upload(), shop.here()) == (1, [])
    assert content(second, admin)
    assert segment_copies.is_intact(shop.names()[0])


def test_a_block_that_changed_on_this_disk_is_fetched_again(
    shop: Shop, study: tuple[Project, list[int]], admin: Actor
) -> None:
    shop.upload()
    shop.start(64 * MIB)
    before = content(study[1][0], admin)
    (block,) = (shop.settings.data / "cache" / "segments").glob("*.seg.0")
    block.write_bytes(block.read_bytes()[:-9] + b"different")
    shop.start(64 * MIB)
    assert content(study[1][0], admin) == before
    assert b"different" not in block.read_bytes()[-9:]


def test_a_byte_that_changed_in_the_bucket_is_named_and_takes_one_object_away(
    shop: Shop, study: tuple[Project, list[int]], visitor: Visitor, admin: Actor
) -> None:
    shop.upload()
    victim = Blob.get_by_id(File.get_by_id(study[1][1]).blob_id)
    shop.change(victim.segment, victim.offset + victim.size - 10)
    shop.start(64 * MIB)
    assert content(study[1][0], admin)
    assert content(study[1][2], admin)
    with pytest.raises(Damaged):
        content(study[1][1], admin)
    planned = {outgoing.file_id: outgoing for outgoing in _plan(admin)}
    planned[study[1][0]].check()
    with pytest.raises(Damaged):
        planned[study[1][1]].check()
    assert "The archive's bucket has lost or changed 1 segment" in text_of(visitor.get("/").text)
    assert [place["file"] for place in reindex.run().damaged] == [study[1][1]]

    shop.change(victim.segment, victim.offset + victim.size - 10)
    replication.retry_damaged(shop.bucket)
    assert content(study[1][1], admin)
    assert segment_copies.count_late_and_damaged(timedelta(hours=1))[2] == 0


def test_a_segment_that_the_bucket_keeps_back_takes_no_other_one_away(
    shop: Shop, study: tuple[Project, list[int]], admin: Actor
) -> None:
    other = add_file(study[0], "other.bin", b"other", admin)
    assert shop.move() == 2
    shop.start(0, silence=60)
    back = Blob.get_by_id(File.get_by_id(study[1][0]).blob_id).segment
    kept = Answer(403, b"<Error><Code>InvalidObjectState</Code></Error>")
    shop.front.rule = lambda request: kept if back in request.path else None
    with pytest.raises(Unreachable, match="is in an archive class"):
        content(study[1][0], admin)
    assert content(other, admin) == b"other"


def test_an_object_that_is_gone_from_the_bucket_is_damaged_and_a_bucket_that_is_gone_is_away(
    shop: Shop, study: tuple[Project, list[int]], admin: Actor
) -> None:
    (name,) = shop.here()
    shop.upload()
    shop.start(0, PORTAL_ARCHIVE=f"s3://another/{shop.prefix}?endpoint={shop.front.url}")
    with pytest.raises(Unreachable, match="There is no bucket another"):
        content(study[1][0], admin)
    shop.start(0)
    shop.destination.delete(name)
    with pytest.raises(Damaged, match="is not in the bucket"):
        content(study[1][0], admin)
    assert name in Segment.get().damage
    assert {place["file"] for place in reindex.run().damaged} == set(study[1])


def test_a_segment_whose_row_was_lost_is_found_in_the_bucket_and_read_through(
    shop: Shop, study: tuple[Project, list[int]], admin: Actor
) -> None:
    shop.upload()
    before = Segment.get()
    with models.writing():
        Segment.delete().execute()
    shop.start(0)
    assert shop.upload() == 0
    after = Segment.get()
    assert (after.digest, bytes(after.blocks)) == (before.digest, bytes(before.blocks))
    assert content(study[1][0], admin)


def test_what_the_bucket_lost_is_not_dropped_here_but_brought_there_anew(
    shop: Shop, study: tuple[Project, list[int]], admin: Actor
) -> None:
    (name,) = shop.here()
    shop.start(64 * MIB)
    assert shop.upload() == 1
    shop.destination.delete(name)
    shop.start(0)
    shop.front.rule = lambda _request: "cut"
    with pytest.raises(Unreachable):
        segment_copies.trim(shop.bucket)
    shop.front.rule = lambda _request: None
    assert (segment_copies.trim(shop.bucket), shop.here()) == (0, [name])
    assert "is missing or changed in the bucket" in Segment.get().damage
    replication.retry_damaged(shop.bucket)
    assert (shop.upload(), shop.names(), shop.here(), Segment.get().damage) == (1, [name], [], "")
    assert content(study[1][0], admin)


def test_a_copy_that_came_back_here_is_never_dropped_for_a_worse_one_in_the_bucket(
    shop: Shop, study: tuple[Project, list[int]], admin: Actor
) -> None:
    blob = Blob.get_by_id(File.get_by_id(study[1][1]).blob_id)
    path = runtime.archive().path(blob.segment)
    good = path.read_bytes()
    shop.upload()
    shop.change(blob.segment, blob.offset + blob.size - 10)
    with models.writing():
        Segment.delete().execute()  # the database was lost: the bucket is believed, for what else is there
    shop.start(0)
    assert shop.upload() == 0
    with pytest.raises(Damaged):
        content(study[1][1], admin)
    path.write_bytes(good)
    assert (shop.upload(), shop.here()) == (0, [blob.segment])
    assert shop.upload() == 0
    assert "other bytes" in Segment.get().message
    assert content(study[1][1], admin)
    shop.destination.delete(blob.segment)
    assert (shop.upload(), shop.here()) == (1, [])
    shop.start(0)
    assert content(study[1][1], admin)


def test_a_bucket_that_was_away_at_the_start_is_looked_through_when_it_is_back(
    shop: Shop, study: tuple[Project, list[int]], admin: Actor
) -> None:
    shop.upload()
    with models.writing():
        Segment.delete().execute()
    shop.front.rule = lambda _request: "cut"
    uploader = replication.Replicator(shop.bucket, settled=0)
    uploader.begin()
    uploader.turn()
    assert Segment.select().count() == 0
    shop.front.rule = lambda _request: None
    uploader.turn()
    assert content(study[1][0], admin)


def test_a_segment_of_which_nothing_is_whole_goes_and_does_not_wait(shop: Shop, project: Project) -> None:
    stream = runtime.archive().stream()
    stream.write(b"x" * 1000)
    killed = stream.path.read_bytes()
    stream.abort()
    (shop.settings.archive / "killed.seg").write_bytes(killed)
    assert (shop.upload(), shop.here(), Segment.select().count()) == (0, [], 0)


def test_a_segment_that_cannot_be_read_is_named_and_holds_up_neither_the_others_nor_the_start(
    shop: Shop, study: tuple[Project, list[int]]
) -> None:
    (shop.settings.archive / "a.seg").mkdir()  # what a damaged file system may make of a file
    os.utime(shop.settings.archive / "a.seg", (1, 1))
    assert recovery.recover() == 0
    assert (shop.upload(), shop.here()) == (1, ["a.seg"])
    waiting = segment_copies.bucket_state()
    assert waiting is not None
    assert "Segment a.seg cannot be read here: Is a directory." in waiting.problem


def test_segments_of_a_clock_that_was_ahead_are_brought_all_the_same(
    shop: Shop, study: tuple[Project, list[int]]
) -> None:
    (name,) = shop.here()
    os.utime(runtime.archive().path(name))
    assert replication.closed_unverified() == []
    os.utime(runtime.archive().path(name), (time.time() + 1e7,) * 2)
    assert replication.closed_unverified() == [name]


@pytest.mark.parametrize("kind", ["rgw"])
def test_a_store_that_gives_other_bytes_back_never_costs_the_copy_here(
    make_shop: Callable[[str], Shop], kind: str, project: Project, admin: Actor
) -> None:
    shop = make_shop(kind)
    file_id = add_file(project, "large.bin", os.urandom(9 * MIB), admin)
    before = shop.here()
    assert shop.move() == 0
    assert shop.here() == before
    assert "other bytes" in Segment.get().message
    assert content(file_id, admin)


def test_what_is_open_or_not_indexed_yet_stays_and_is_indexed_before_it_goes(
    shop: Shop, project: Project, admin: Actor
) -> None:
    stored = store(an_object(), project)
    stream = runtime.archive().stream()
    stream.write(b"x" * 1000)
    assert shop.upload() == 0
    assert (len(shop.here()), Segment.select().count()) == (2, 0)
    stream.abort()
    shop.close()
    with models.writing():
        for table in (Instance, models.Series, models.Study, File, Blob):
            table.delete().execute()
    assert shop.upload() == 1
    assert File.get().blob.digest == stored.digest
    assert content(File.get().id, admin)


def test_a_killed_upload_is_done_again_and_nothing_is_there_twice(
    shop: Shop, acquisition: Acquisition, tmp_path: Path, admin: Actor
) -> None:
    contents = add_files(acquisition, 2, 10 * MIB, admin)
    (name, *_more) = shop.here()
    shop.close()
    for segment in shop.here():
        os.utime(runtime.archive().path(segment), (time.time() - 100,) * 2)
    parts: list[str] = []

    def rule(request: Any) -> Answer | str | None:
        if "partNumber=2" in request.path:
            parts.append(request.path)
            return "hang" if len(parts) == 1 else None
        return None

    shop.front.rule = rule
    process = Module(["portal.processes.replication_process", str(shop.settings.data)], tmp_path / "log")
    process.start()
    until(lambda: parts, process=process)
    process.kill()
    assert (shop.names(), name in shop.here()) == ([], True)
    process.start()
    until(lambda: shop.names() == [name] and not copies_waiting(), process=process)
    process.send(signal.SIGTERM)
    assert process.wait() == 0
    assert list(shop.destination.unfinished_uploads(timedelta(0))) == []
    assert shop.settings.bucket is not None
    assert shop.settings.bucket.secret["secret_key"] not in process.said()
    assert {file.name: content(file.id, admin) for file in File.select()} == contents


def copies_waiting() -> int:
    return Segment.select().where(Segment.verified.is_null()).count()


def test_without_the_setting_the_site_does_not_start_until_everything_is_here_again(
    shop: Shop, study: tuple[Project, list[int]], admin: Actor
) -> None:
    before = shop.here()
    shop.upload()
    shop.start(0, PORTAL_ARCHIVE=None)
    with pytest.raises(BadSetting, match="portal archive fetch"):
        startup.prepare(shop.settings, lambda _message: None)
    with startup.lock(shop.settings, "http://127.0.0.1"):
        assert cli.run(["archive", "fetch", "--data", str(shop.settings.data)]) == 1
    assert cli.run(["archive", "fetch", "--data", str(shop.settings.data)]) == 0
    shop.start(0, PORTAL_ARCHIVE=None)
    startup.prepare(shop.settings, lambda _message: None)
    assert shop.here() == before
    assert content(study[1][0], admin)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"PORTAL_ARCHIVE": "https://bucket/x"}, "Write it like s3://"),
        ({"PORTAL_ARCHIVE": "s3://b/x?colour=red"}, "Write it like s3://"),
        ({"PORTAL_ARCHIVE": "s3://b/x?path_style=yes"}, "Write it like s3://"),
        ({"PORTAL_ARCHIVE": "s3://b/x?bandwidth=fast"}, "Write it like s3://"),
        ({"PORTAL_ARCHIVE": "s3://key:hunter2@bucket/x"}, "A bucket has a name"),
        ({"PORTAL_ARCHIVE": "s3://bucket/x?endpoint=https://key:hunter2@host"}, "must be like https://"),
        ({"PORTAL_ARCHIVE": "s3://bucket/../x"}, "The prefix has"),
        ({"PORTAL_ARCHIVE": "s3://bucket/x?ca=/nowhere.pem"}, "ca= names"),
        ({"PORTAL_ARCHIVE": "s3://bucket/x", "PORTAL_ARCHIVE_SECRET": ""}, "PORTAL_ARCHIVE_SECRET"),
        ({"PORTAL_ARCHIVE": "s3://bucket/x", "PORTAL_ARCHIVE_ACCESS_KEY": ""}, "PORTAL_ARCHIVE_ACCESS_KEY"),
        ({"PORTAL_ARCHIVE": "s3://bucket/x", "PORTAL_ARCHIVE_CACHE": "much"}, "PORTAL_ARCHIVE_CACHE"),
    ],
)
def test_a_setting_that_cannot_be_used_stops_the_start_in_one_sentence(
    environ: dict[str, str], message: str, tmp_path: Path
) -> None:
    keys_ = {"PORTAL_ARCHIVE_ACCESS_KEY": "AK", "PORTAL_ARCHIVE_SECRET": "hunter2"}
    with pytest.raises(BadSetting) as refused:
        settings.load(tmp_path, {**keys_, **environ})
    assert message in refused.value.message
    assert "hunter2" not in refused.value.message


def test_the_secret_comes_from_a_file_and_is_shown_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2\n")
    chosen = settings.load(
        tmp_path,
        {
            "PORTAL_ARCHIVE": "s3://bucket/a/b?region=eu-west-1",
            "PORTAL_ARCHIVE_ACCESS_KEY": "AK",
            "PORTAL_ARCHIVE_SECRET_FILE": str(tmp_path / "secret"),
        },
    )
    assert chosen.bucket is not None
    assert (chosen.bucket.prefix, chosen.bucket.secret) == ("a/b", {"secret_key": "hunter2"})
    assert "hunter2" not in repr(chosen)


def _plan(admin: Actor) -> Iterator[retrieve.Outgoing]:
    request = Dataset()
    request.QueryRetrieveLevel, request.StudyInstanceUID = "STUDY", models.Study.get().study_uid
    return iter(retrieve.plan(request, rights.scope(admin), root="study"))


def test_a_data_folder_that_is_lost_beside_its_bucket_is_no_new_site(
    shop: Shop, project: Project, tmp_path: Path
) -> None:
    store(an_object(), project)
    assert shop.move() == 1
    lost = replace(shop.settings, data=tmp_path / "lost")
    startup.open_folder(lost)
    with pytest.raises(Damaged, match=r"is missing, but the archive's bucket s3://.* has segments"):
        startup.open_site(lost)
    shop.front.rule = lambda _request: "cut"
    with pytest.raises(Unreachable):
        startup.open_site(lost)
    assert not lost.database.exists()
    shop.front.rule = lambda _request: None
    startup.open_site(lost, rebuild=True)
    startup.prepare(lost, print, rebuild=True)
    with models.connection():
        assert Instance.select().count() == 1
