"""What is purged is gone for good: rows, pictures, blocks of the disk; who has it still may send it again."""

import ast
import os
import re
import secrets
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom import Dataset

from portal import models, runtime, segment_checks, site_settings
from portal.access import rights
from portal.access.actors import Actor
from portal.archive import Purged
from portal.errors import Busy, Missing, NotAllowed
from portal.ingest import incoming as ingest
from portal.ingest.placement import Placement
from portal.ingest.received import MAX_BYTES_IN_MEMORY
from portal.jobs import jobs, runs
from portal.maintenance import purge, recovery, reindex, release, segment_copies
from portal.models import (
    Acquisition,
    Audit,
    Blob,
    ClosedSegment,
    File,
    Instance,
    Job,
    JobItem,
    Project,
    PurgedRecord,
    Series,
    Session,
    Study,
    Subject,
    Trash,
    now,
    writing,
)
from portal.settings import Settings
from portal.trash import move, restore, trash
from portal.tree import files
from tests.fixtures.archive import a_project, an_object, store, upload
from tests.fixtures.cli import Portal
from tests.fixtures.query import matches
from tests.fixtures.web import Visitor, statements, text_of
from tests.fixtures.work import add_copies

MIB = 1 << 20


@pytest.fixture
def project(site: Settings, admin: Actor) -> Project:
    return a_project(actor=admin)


@pytest.fixture
def study(project: Project) -> Session:
    """Three objects of one series."""
    for number in range(3):
        store(an_object(SOPInstanceUID=f"1.2.3.{number}"), project)
    return Session.get()


def blocks() -> int:
    """Bytes that the archive takes of the disk."""
    os.sync()
    return sum(path.stat().st_blocks * 512 for path in runtime.archive().root.iterdir())


def move_to_trash(kind: str, row_id: int, admin: Actor) -> int:
    return int(trash.move_to_trash(kind, row_id, actor=admin).id)


def big(project: Project, admin: Actor, name: str = "big.bin", size: int = MIB) -> File:
    upload(secrets.token_bytes(size), acquisition_in(project).id, name, actor=admin)
    file: File = File.get(File.name == name)
    return file


def acquisition_in(project: Project) -> Acquisition:
    if not Acquisition.select().exists():
        store(an_object(SOPInstanceUID="1.2.9"), project)
    found: Acquisition = Acquisition.get()
    return found


def purge_file(file: File, admin: Actor) -> purge.Outcome:
    return trash.purge(move_to_trash("file", file.id, admin), actor=admin)


def test_what_is_purged_has_no_row_and_no_block_of_the_disk_and_its_neighbours_are_whole(
    project: Project, admin: Actor
) -> None:
    gone, stays = big(project, admin), big(project, admin, "stays.bin")
    place, before = gone.blob, blocks()

    outcome = purge_file(gone, admin)

    assert (outcome.files, outcome.size, outcome.stayed) == (1, MIB, 0)
    assert before - blocks() > MIB - 16384
    assert File.get_or_none(File.id == gone.id) is None
    assert Blob.get_or_none(Blob.id == place.id) is None
    content = b"".join(files.open_content(files.get(stays.id, rights.scope(admin)))[0])
    assert len(content) == MIB
    with runtime.archive().path(place.segment).open("rb") as segment:
        segment.seek(place.offset)
        assert segment.read(MIB) == bytes(MIB)
        assert b"big.bin" not in segment.read(200)
    assert [row.action for row in Audit.select().where(Audit.target_id == str(gone.id))][-1] == "file:purged"
    assert trash.list_newest() == []


def test_a_purged_patient_leaves_no_row_that_names_it(study: Session, admin: Actor) -> None:
    trash.purge(move_to_trash("subject", study.subject_id, admin), actor=admin)
    for table in (File, Blob, Instance, Series, Study, Acquisition, Session, Subject, Trash):
        assert table.select().count() == 0, table


def test_what_is_sent_again_is_stored_anew(study: Session, project: Project, admin: Actor) -> None:
    trash.purge(move_to_trash("session", study.id, admin), actor=admin)
    assert store(an_object(SOPInstanceUID="1.2.3.0"), project).outcome == "stored"
    wanted = Dataset()
    wanted.QueryRetrieveLevel, wanted.StudyInstanceUID = "STUDY", ""
    assert len(matches(wanted, rights.scope(admin))) == 1
    assert Study.get().n_instances == 1


def test_recovery_and_reindex_index_no_purged_object_again(study: Session, admin: Actor) -> None:
    trash.purge(move_to_trash("session", study.id, admin), actor=admin)
    with writing():
        PurgedRecord.update(state="marked", due=now() + timedelta(days=7)).execute()
    runtime.archive().close()
    assert recovery.recover() == 0
    report = reindex.run()
    assert (report.indexed, report.recovered, report.damaged, report.not_restored) == (0, 0, [], [])
    assert File.select().count() == 0


def test_a_database_that_is_made_anew_indexes_no_purged_object(
    site: Settings, study: Session, admin: Actor, make_site: Callable[[Path], Settings]
) -> None:
    trash.purge(move_to_trash("file", File.get(File.name == "1.2.3.1.dcm").id, admin), actor=admin)
    runtime.archive().close()
    make_site(site.archive)
    report = reindex.run()
    assert (report.recovered, report.damaged) == (2, [])
    assert sorted(row.sop_uid for row in Instance.select()) == ["1.2.3.0", "1.2.3.2"]
    assert PurgedRecord.select().count() == 1
    assert recovery.recover() == 0


def test_a_segment_from_a_backup_brings_no_purged_object_back(study: Session, admin: Actor) -> None:
    path = runtime.archive().path(Blob.get().segment)
    runtime.archive().close()
    before = path.read_bytes()
    trash.purge(move_to_trash("file", File.get(File.name == "1.2.3.1.dcm").id, admin), actor=admin)
    path.write_bytes(before)
    assert (reindex.run().recovered, Instance.select().count()) == (0, 2)


def test_a_segment_of_which_all_is_purged_is_deleted_and_stays_away(
    study: Session, project: Project, admin: Actor
) -> None:
    path = runtime.archive().path(Blob.get().segment)
    runtime.archive().close()
    recovery.recover()
    before = path.read_bytes()
    trash.purge(move_to_trash("session", study.id, admin), actor=admin)
    assert not path.exists()
    assert PurgedRecord.select().count() == 0
    assert segment_checks.check_all() == []
    path.write_bytes(before)  # from a backup
    assert recovery.recover() == 0
    assert (reindex.run().recovered, File.select().count()) == (0, 0)


def test_a_segment_that_closes_after_its_last_purge_goes_then(study: Session, admin: Actor) -> None:
    path = runtime.archive().path(Blob.get().segment)
    trash.purge(move_to_trash("session", study.id, admin), actor=admin)
    assert path.exists()
    runtime.archive().close()
    recovery.recover()
    release.release_purged()
    assert not path.exists()


def test_a_segment_with_a_record_that_nobody_knows_stays(study: Session, admin: Actor) -> None:
    blob = Blob.get()
    runtime.archive().append([b"the same again, kept without a row"], {})
    runtime.archive().close()
    with writing():
        ClosedSegment.create(name=blob.segment, size=runtime.archive().path(blob.segment).stat().st_size)
    trash.purge(move_to_trash("session", study.id, admin), actor=admin)
    assert runtime.archive().path(blob.segment).exists()
    assert [type(found).__name__ for found in runtime.archive().scan(blob.segment)] == ["Purged"] * 3 + ["Record"]


def test_older_versions_go_with_their_file(project: Project, admin: Actor) -> None:
    acquisition = acquisition_in(project)
    for text in (b"one", b"two"):
        upload(text, acquisition.id, "notes.txt", actor=admin)
    purge_file(File.get(File.name == "notes.txt"), admin)
    assert PurgedRecord.select().count() == 2
    assert Blob.select().count() == 1


def test_a_record_that_another_file_holds_stays_whole(project: Project, admin: Actor) -> None:
    first = big(project, admin)
    with writing():
        File.create(
            parent_type="project", parent_id=project.id, name="second.bin", blob=first.blob_id, **admin.origin.fields
        )
    purge_file(first, admin)
    second = File.get(File.name == "second.bin")
    assert len(b"".join(files.open_content(second)[0])) == MIB
    assert PurgedRecord.select().count() == 0


def test_what_a_job_that_goes_on_lists_stays_until_it_is_over(study: Session, admin: Actor) -> None:
    listed = File.get(File.name == "1.2.3.1.dcm")
    with writing():
        job = jobs.create("export", actor=admin, params={})
        JobItem.add([(job.id, listed.id, "a", 1, "", "pending", "", False, 0)])
    number = move_to_trash("session", study.id, admin)
    outcome = trash.purge(number, actor=admin)
    assert (outcome.files, outcome.stayed) == (2, 1)
    assert "1 file stays in the trash: an unfinished job lists it." in outcome.message
    with writing():
        Job.update(state="done").execute()
    assert trash.purge(number, actor=admin).files == 1
    assert JobItem.get().file_id is None
    assert trash.list_newest() == []


def test_by_its_age_a_thing_is_purged_and_its_bytes_go_seven_days_later(study: Session, admin: Actor) -> None:
    blob = Blob.get()
    move_to_trash("session", study.id, admin)
    trash.sweep()
    assert Job.select().count() == 0
    with writing():
        Trash.update(created=now() - timedelta(days=31)).execute()
    trash.sweep()
    trash.sweep()
    job = Job.get(Job.kind == "purge")
    assert (job.total, job.origin_type) == (3, "system")

    runs.perform(job.id, purge.run)

    done = Job.get_by_id(job.id)
    assert (done.state, done.done, File.select().count(), Trash.select().count()) == ("done", 3, 0, 0)
    assert f"freed on {now() + timedelta(days=7):%Y-%m-%d}" in done.message
    assert {row.state for row in PurgedRecord.select()} == {"marked"}
    with runtime.archive().open(blob.segment, blob.offset, blob.size) as content:
        assert content.digest() == blob.digest  # a database of yesterday finds it
    with writing():
        PurgedRecord.update(due=now() - timedelta(seconds=1)).execute()
        Job.update(created=now() - timedelta(days=2)).execute()
    trash.sweep()
    runs.perform(Job.select().order_by(Job.id.desc()).get().id, purge.run)
    assert {row.state for row in PurgedRecord.select()} == {"released"}


@pytest.mark.parametrize("values", [{"trash.days": 0}, {"trash.who": "nobody"}])
def test_a_site_that_purges_nothing_by_itself_never_does(
    study: Session, admin: Actor, values: dict[str, object]
) -> None:
    move_to_trash("session", study.id, admin)
    with writing():
        Trash.update(created=now() - timedelta(days=4000)).execute()
    site_settings.change(values, actor=admin)
    trash.sweep()
    assert Job.select().count() == 0


def test_much_is_purged_by_a_job_some_files_at_a_time(project: Project, admin: Actor) -> None:
    acquisition = acquisition_in(project)
    add_copies(acquisition, trash.MAX_FILES_PURGED_NOW + 1, admin)
    thrown = trash.move_to_trash("acquisition", acquisition.id, actor=admin)
    assert thrown.job is not None
    runs.perform(thrown.job, move.run)
    job = trash.request_purge(thrown.id, actor=admin)
    assert isinstance(job, Job)
    with pytest.raises(Busy, match=r"works on it \(purge\)"):
        trash.restore(thrown.id, actor=admin)
    runs.perform(job.id, purge.run)
    assert Job.get_by_id(job.id).message.startswith(f"{trash.MAX_FILES_PURGED_NOW + 2:,} files purged")
    assert File.select().count() == 0


def test_a_purge_that_was_cut_short_goes_on_and_is_never_restored(study: Session, admin: Actor) -> None:
    number = move_to_trash("session", study.id, admin)
    with writing():
        Trash.update(purging=now()).execute()
    with pytest.raises(Busy, match="is being purged"):
        trash.restore(number, actor=admin)
    assert trash.purge(number, actor=admin).files == 3
    with pytest.raises(Missing):
        trash.purge(number, actor=admin)


def test_a_restore_leaves_out_what_was_purged_meanwhile(study: Session, admin: Actor) -> None:
    thrown = trash.get(move_to_trash("session", study.id, admin))
    first, *others = [file.id for file in File.select().order_by(File.id)]
    run = runs.Run(Job(total=3))

    def purge_the_first() -> None:
        """Between the reading of the files and the write that restores them."""
        with writing():
            purge._purge_files(thrown.id, [first], now())

    run.check = purge_the_first
    run.write_within = lambda **_columns: None
    assert restore.restore(thrown, actor=admin, this=run).back == 2
    assert [file.id for file in File.select().where(File.deleted_at.is_null()).order_by(File.id)] == others


def test_a_purge_reads_no_whole_table(study: Session, admin: Actor) -> None:
    number = move_to_trash("session", study.id, admin)
    with statements() as sent:
        trash.purge(number, actor=admin)
    small = ('FROM "audit"', 'FROM "project"')
    about_files = [found for found in map(ast.literal_eval, sent) if not any(table in found[0] for table in small)]
    plans = [(found[0], step) for found in about_files for step in _plan(*found)]
    large = ("file", "blob", "instance", "job_item", "series", "study", "purged_record", "acquisition")
    assert [plan for plan in plans if re.match(rf"SCAN ({'|'.join(large)}|t\d+)\b(?!.*USING)", plan[1])] == []


def _plan(sql: str, values: list[object]) -> list[str]:
    if not sql.startswith(("SELECT", "UPDATE", "DELETE")):
        return []
    return [str(row[3]) for row in models.database.execute_sql(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()]


def test_a_purge_that_is_killed_before_its_bytes_go_leaves_them_to_the_next_one(study: Session, admin: Actor) -> None:
    thrown = trash.get(move_to_trash("file", File.get(File.name == "1.2.3.1.dcm").id, admin))
    blob = File.get(File.name == "1.2.3.1.dcm").blob
    purge.purge(thrown, due=None, actor=admin)
    runtime.archive().close()
    assert (recovery.recover(), reindex.run().recovered, Instance.select().count()) == (0, 0, 2)
    with runtime.archive().purging(blob.segment) as hole:
        assert hole is not None
        assert hole.mark(blob.offset, blob.size)  # and killed again, before the row says so
    release.release_purged()
    release.release_purged()
    assert [row.state for row in PurgedRecord.select()] == ["released"]
    with runtime.archive().open(blob.segment, blob.offset, blob.size) as content:
        assert content.read() == bytes(blob.size)


def test_only_who_may_throw_purges(study: Session, admin: Actor) -> None:
    number = move_to_trash("session", study.id, admin)
    somebody = Actor(type="user", id="2", name="reader@site.example", via="web")
    with pytest.raises(Missing):
        trash.purge(number, actor=somebody)
    site_settings.change({"trash.who": "nobody"}, actor=admin)
    with pytest.raises(NotAllowed):
        trash.purge(number, actor=admin)


def test_pictures_of_what_is_purged_go_with_it(study: Session, admin: Actor) -> None:
    folder = runtime.current().data / "cache" / "thumbnails" / "00"
    folder.mkdir(parents=True)
    kept, gone = File.select().order_by(File.id).limit(2)
    for file in (kept, gone):
        (folder / f"{file.blob.digest}-0-frame.png").write_bytes(b"picture")
    purge_file(gone, admin)
    assert [path.name for path in folder.iterdir()] == [f"{kept.blob.digest}-0-frame.png"]


def test_a_large_object_gives_its_whole_segment_back(project: Project, admin: Actor) -> None:
    size = MAX_BYTES_IN_MEMORY + MIB
    with ingest.open(
        scope=rights.scope(admin),
        origin=admin.origin,
        placement=Placement(container_type="acquisition", container_id=acquisition_in(project).id, name="large.bin"),
    ) as incoming:
        incoming.write(bytes(size))
        stored = incoming.commit()
    segment = File.get_by_id(stored.file_id).blob.segment
    recovery.recover()
    purge_file(File.get_by_id(stored.file_id), admin)
    assert segment not in runtime.archive().segments()


def test_a_person_is_asked_and_told(visitor: Visitor, reader: Visitor, study: Session, admin: Actor) -> None:
    number = move_to_trash("session", study.id, admin)
    asked = text_of(visitor.get(f"/data/trash/{number}/purge").text)
    assert "Purge 3 files" in asked
    assert "nobody can restore them" in asked
    assert reader.post(f"/data/trash/{number}/purge").status_code == 404
    told = visitor.post(f"/data/trash/{number}/purge", follow_redirects=True).text
    assert "3 files purged" in text_of(told)


def test_the_command_line_purges_one_the_old_or_all(
    site: Settings, study: Session, admin: Actor, capsys: pytest.CaptureFixture[str]
) -> None:
    portal = Portal(site.data, capsys)
    numbers = [move_to_trash("file", file.id, admin) for file in File.select().order_by(File.id)]
    assert "No item is older than 30 days" in portal("trash", "purge").out
    assert portal.ok("trash", "purge", str(numbers[0]))["files"] == 1
    with writing():
        Trash.update(created=now() - timedelta(days=31)).where(Trash.id == numbers[1]).execute()
    assert portal.ok("trash", "purge")["files"] == 1
    assert portal.ok("trash", "purge", "--all")["files"] == 1
    assert File.select().count() == 0


def test_a_record_is_marked_by_one_byte_and_read_as_purged(study: Session) -> None:
    blob = Blob.get()
    path = runtime.archive().path(blob.segment)
    before = path.read_bytes()
    with runtime.archive().purging(blob.segment) as hole:
        assert hole is not None
        assert not hole.mark(blob.offset + 1, blob.size)
        assert not hole.mark(blob.offset, blob.size - 1)
        assert hole.mark(blob.offset, blob.size)
        assert hole.mark(blob.offset, blob.size)
    changed = [at for at, (old, new) in enumerate(zip(before, path.read_bytes(), strict=True)) if old != new]
    assert changed == [blob.offset - 13]
    assert isinstance(next(iter(runtime.archive().scan(blob.segment))), Purged)
    assert segment_copies.is_intact(blob.segment)
    assert models.Blob.select().count() == 3
