"""What a start finds in the archive: each record has its rows or a reason why not; closed segments are not read."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from portal import models, runtime, segment_checks, settings
from portal.access.actors import Actor
from portal.archive import Place
from portal.dicom import file_meta
from portal.errors import Missing
from portal.maintenance import quarantine, recovery, reindex, unpack
from portal.models import Blob, ClosedSegment, File, Instance, Project, QuarantinedRecord, Study, writing
from tests.fixtures.archive import a_project, an_object, encode, store

_opened: list[str] = []
sys.addaudithook(lambda event, given: _opened.append(str(given[0])) if event == "open" else None)


@pytest.fixture
def project(site: settings.Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


def a_footer(project: str = "neuro/trial", **changes: Any) -> dict[str, Any]:
    footer: dict[str, Any] = {
        "received_at": "2026-11-27T10:00:00+00:00",
        "digest": "0" * 64,
        "dataset_digest": None,
        "dataset_offset": None,
        "project": project,
        "container": None,
        "name": "odd.bin",
        "origin": {"origin_type": "peer", "origin_id": "1", "origin_via": "CT1"},
    }
    return {**footer, **changes}


def lose_rows(*uids: str) -> None:
    """As if the process had been killed before it wrote them."""
    with writing():
        for uid in uids:
            instance = Instance.get(Instance.sop_uid == uid)
            file, blob = instance.file, instance.file.blob
            instance.delete_instance()
            file.delete_instance()
            blob.delete_instance()


def segments_opened() -> list[str]:
    return [Path(path).name for path in _opened if path.endswith(".seg")]


@pytest.mark.parametrize("footer", [{}, a_footer(project="no slash"), a_footer(origin=None)])
def test_a_record_that_cannot_be_indexed_is_quarantined_and_stops_nobody(
    footer: dict[str, Any], project: Project, admin: Actor
) -> None:
    store(an_object(SOPInstanceUID="1.2.3.1"), project)
    odd = runtime.archive().append([b"what it is"], footer)
    store(an_object(SOPInstanceUID="1.2.3.2"), project)
    lose_rows("1.2.3.1", "1.2.3.2")
    runtime.archive().close()

    assert recovery.recover() == 2

    (row,) = quarantine.list_all()
    assert Place(row.segment, row.offset, row.size) == odd
    assert row.message
    assert b"".join(quarantine.download(row, actor=admin)) == b"what it is"
    assert Instance.select().count() == 2
    assert quarantine.count_unacknowledged() == 1
    quarantine.acknowledge(row.id, actor=admin)
    assert quarantine.count_unacknowledged() == 0


def test_unpacking_writes_what_is_quarantined_too(project: Project, tmp_path: Path) -> None:
    place = runtime.archive().append([b"what it is"], {})
    runtime.archive().close()
    recovery.recover()
    assert unpack.run(tmp_path / "out").written == 1
    assert (tmp_path / "out" / "_quarantined" / f"{place.segment}-{place.offset}").read_bytes() == b"what it is"
    again = unpack.run(tmp_path / "out")
    assert (again.written, again.present, again.failed) == (0, 1, [])


def test_a_quarantined_record_is_tried_again_by_reindex_alone(project: Project) -> None:
    runtime.archive().append([b"one"], {})
    runtime.archive().close()
    assert recovery.recover() == 0
    row = QuarantinedRecord.get()
    with writing():
        QuarantinedRecord.update(message="as it was").execute()
        ClosedSegment.delete().execute()
    assert recovery.recover() == 0
    assert QuarantinedRecord.get().message == "as it was"

    report = reindex.run()

    assert [(left["record"], left["message"]) for left in report.not_restored] == [
        (row.id, "Reading it failed (KeyError).")
    ]
    assert QuarantinedRecord.get().message == "Reading it failed (KeyError)."


def test_a_quarantined_record_that_can_be_indexed_now_is_one_no_more(project: Project) -> None:
    store(an_object(SOPInstanceUID="1.2.3.1"), project)
    blob = Blob.get()
    with writing():
        place = {"segment": blob.segment, "offset": blob.offset, "size": blob.size}
        QuarantinedRecord.create(**place, message="An older release could not read it.")
    lose_rows("1.2.3.1")
    runtime.archive().close()
    assert recovery.recover() == 0
    assert (reindex.run().recovered, QuarantinedRecord.select().count()) == (1, 0)
    with pytest.raises(Missing):
        quarantine.get(1)


def test_an_object_of_400_nested_sequences_keeps_no_process_from_starting(project: Project) -> None:
    store(an_object(SOPInstanceUID="1.2.3.1"), project)
    ds = an_object(SOPInstanceUID="1.2.3.9")
    del ds[0x00400000:]  # type: ignore[misc] (a slice of tags)
    content = meta_of(ds) + encode(ds) + nested_sequences(400)
    offset = len(meta_of(ds))
    footer = a_footer(dataset_offset=offset, dataset_digest="2" * 64, name=None)
    runtime.archive().append([content], footer)
    lose_rows("1.2.3.1")
    runtime.archive().close()
    recovery.recover()
    assert Instance.select().where(Instance.sop_uid == "1.2.3.1").count() == 1
    reindex.run()


def meta_of(ds: Dataset) -> bytes:
    return file_meta.write(
        sop_class_uid=ds.SOPClassUID, sop_instance_uid=ds.SOPInstanceUID, transfer_syntax_uid=ExplicitVRLittleEndian
    )


def nested_sequences(depth: int) -> bytes:
    """Content Sequences within one another, each of a defined length (Explicit VR Little Endian)."""
    body = b""
    for _ in range(depth):
        item = b"\xfe\xff\x00\xe0" + len(body).to_bytes(4, "little") + body
        body = b"\x40\x00\x30\xa7SQ\x00\x00" + len(item).to_bytes(4, "little") + item
    return body


def test_a_record_without_rows_is_found_before_others_that_have_theirs(project: Project) -> None:
    for number in range(4):
        store(an_object(SOPInstanceUID=f"1.2.3.{number}"), project)
    lose_rows("1.2.3.0", "1.2.3.2")
    runtime.archive().close()
    assert recovery.recover() == 2
    assert Instance.select().count() == 4


def test_what_a_power_cut_took_comes_back_with_its_time_under_a_number_that_nobody_has_seen(project: Project) -> None:
    """Else a program that knew the number of one patient's file would get that of another's."""
    store(an_object(SOPInstanceUID="1.2.3.0"), project)
    chosen = runtime.current()
    models.database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    before = chosen.database.read_bytes()
    lost = File.get_by_id(store(an_object(SOPInstanceUID="1.2.3.1"), project).file_id)
    digest, begun = lost.blob.digest, models.now()
    models.database.close()
    runtime.archive().close()
    chosen.database.write_bytes(before)
    Path(f"{chosen.database}-wal").unlink(missing_ok=True)
    models.database.connect()
    assert recovery.recover() == 1
    file = Instance.get(Instance.sop_uid == "1.2.3.1").file
    assert (file.name, file.blob.digest) == (lost.name, digest)
    assert file.created < begun
    assert file.id > lost.id
    store(an_object(SOPInstanceUID="1.2.3.2"), project)
    assert [row.n_instances for row in Study.select()] == [3]


def test_a_closed_segment_is_looked_through_once(project: Project, admin: Actor) -> None:
    for number in range(20):
        store(an_object(SOPInstanceUID=f"1.2.3.{number}"), project)
        runtime.archive().close()
    assert recovery.recover() == 0
    assert ClosedSegment.select().count() == 20
    store(an_object(SOPInstanceUID="1.2.4"), project)
    lose_rows("1.2.4")
    runtime.archive().close()
    _opened.clear()
    assert recovery.recover() == 1
    closed = {row.name for row in ClosedSegment.select().limit(20)}
    assert segments_opened()
    assert not closed & set(segments_opened())
    _opened.clear()
    assert recovery.recover() == 0
    assert segments_opened() == []


def test_of_what_is_indexed_only_the_lengths_are_read(project: Project, admin: Actor) -> None:
    store(an_object(SOPInstanceUID="1.2.3.1"), project)
    runtime.archive().close()
    blob = Blob.get()
    with runtime.archive().path(blob.segment).open("r+b") as file:  # nobody looks at a record that has its rows
        file.seek(blob.offset + 500)
        file.write(b"changed")
    assert recovery.recover() == 0
    assert ClosedSegment.get().name == blob.segment


def test_a_damaged_record_without_rows_is_named(project: Project) -> None:
    for number in range(2):
        store(an_object(SOPInstanceUID=f"1.2.3.{number}"), project)
    blob = Instance.get(Instance.sop_uid == "1.2.3.0").file.blob
    lose_rows("1.2.3.0")
    runtime.archive().close()
    with runtime.archive().path(blob.segment).open("r+b") as file:
        file.seek(blob.offset + 500)
        file.write(b"changed")
    assert recovery.recover() == 0
    assert [(row.segment, row.kind) for row in segment_checks.known_problems()] == [(blob.segment, "damaged")]


def test_an_open_or_empty_segment_is_not_taken_for_a_closed_one(project: Project) -> None:
    store(an_object(SOPInstanceUID="1.2.3.1"), project)
    (runtime.archive().root / "new.seg").touch()
    assert recovery.recover() == 0
    assert ClosedSegment.select().count() == 0


def test_a_partial_upload_of_a_killed_process_goes_while_others_work(project: Project) -> None:
    code = """
import os, sys
from pathlib import Path
from portal import runtime, settings
runtime.start(settings.load(Path(sys.argv[1])))
stream = runtime.archive().stream()
stream.write(b"x" * 100_000)
print(stream.path.name, flush=True)
sys.stdin.read()
"""
    site = runtime.current().data
    command = [sys.executable, "-c", code, str(site)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as stopped:
        assert stopped.stdout is not None
        name = stopped.stdout.readline().strip()
        assert recovery.sweep() == 0
        assert name in runtime.archive().segments()  # somebody is at it
        stopped.kill()
    recovery.sweep()
    assert name in runtime.archive().segments()  # written to just now: its rows might be under way
    long_ago = time.time() - 2 * recovery.SETTLED_SECONDS
    os.utime(runtime.archive().path(name), (long_ago, long_ago))
    recovery.sweep()
    assert name not in runtime.archive().segments()


INTERLEAVED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from tests.fixtures.archive import an_object, begin, encode, store
from portal.ingest import register as filing
from portal.ingest import incoming as ingest
from portal import models
from portal import runtime
from portal import settings
from portal.models import Project
runtime.start(settings.load(Path(sys.argv[1])))
with models.connection():
    project, late = Project.get(), an_object(SOPInstanceUID="1.2.3.1")
    with begin(project, sop_class=late.SOPClassUID, uid=late.SOPInstanceUID) as incoming:
        incoming.write(encode(late))
        arrival = replace(incoming._arrival(), project_id=project.id)
        place = incoming._received.commit(filing.footer_for(arrival))  # before the record of the other one
        store(an_object(SOPInstanceUID="1.2.3.2"), project)
        models.database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        with models.writing():
            filing.write_rows(arrival, place)
    print("acknowledged", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.counts_losses
def test_a_lost_write_ahead_log_hides_no_acknowledged_object(project: Project) -> None:
    """The second of two commits at once is the first in the archive, and only in the log that is lost."""
    chosen = runtime.current()
    models.database.close()
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[2]}", "PORTAL_MIN_FREE": "1"}
    command = [sys.executable, "-c", INTERLEAVED, str(chosen.data)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "acknowledged\n"), done.stderr
    for ending in ("-wal", "-shm"):
        Path(f"{chosen.database}{ending}").unlink(missing_ok=True)
    models.database.connect()
    assert [row.sop_uid for row in Instance.select()] == ["1.2.3.2"]
    assert recovery.recover() == 1
    assert sorted(row.sop_uid for row in Instance.select()) == ["1.2.3.1", "1.2.3.2"]
    assert File.select().count() == 2


SIDE_BY_SIDE = """
import os, sys, threading
from pathlib import Path
from tests.fixtures.archive import an_object, store
from portal import models, runtime, settings
from portal.models import Project
runtime.start(settings.load(Path(sys.argv[1])))

def send(thread):
    with models.connection():
        models.database.execute_sql("PRAGMA wal_autocheckpoint = 0").fetchall()
        project = Project.get()
        for number in range(10_000):
            uid = f"1.2.{sys.argv[2]}.{thread}.{number}"
            store(an_object(SOPInstanceUID=uid, SeriesInstanceUID=f"1.2.{sys.argv[2]}.{thread}"), project)
            os.write(1, (uid + os.linesep).encode())

for thread in range(1, 5):
    threading.Thread(target=send, args=(thread,), daemon=True).start()
for line in sys.stdin:
    with models.connection():
        models.database.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    os.write(1, f"checkpoint{os.linesep}".encode())
"""


@pytest.mark.counts_losses
@pytest.mark.prove
def test_no_acknowledged_object_is_hidden_after_kills_that_cost_the_write_ahead_log(
    project: Project, record_property: Callable[[str, object], None]
) -> None:
    chosen = runtime.current()
    found, acknowledged = [], []
    for number in range(1, 6):
        models.database.close()
        uids = _killed_without_log([sys.executable, "-c", SIDE_BY_SIDE, str(chosen.data), str(number)])
        for ending in ("-wal", "-shm"):
            Path(f"{chosen.database}{ending}").unlink(missing_ok=True)
        models.database.connect()
        found.append(recovery.recover())
        acknowledged.append(len(uids))
        assert uids <= {row.sop_uid for row in Instance.select(Instance.sop_uid)}
    record_property("acknowledged before each of 5 kills", acknowledged)
    record_property("of these indexed after the kill, since the log was deleted", found)


def _killed_without_log(command: list[str]) -> set[str]:
    """Store by four threads, have the log written back in the middle, and kill; returns what was acknowledged."""
    lines: list[str] = []
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[2]}", "PORTAL_MIN_FREE": "1"}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.strip())
            if len(lines) == 40:
                print(file=process.stdin, flush=True)
            if "checkpoint" in lines and len(lines) >= 80:
                process.kill()
                break
        lines += [line.strip() for line in process.stdout if line.endswith("\n")]
    return set(lines) - {"checkpoint"}
