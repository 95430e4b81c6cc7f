"""A power cut at any moment: whatever was acknowledged is there after the next start, with true counts.

The rows of an object that is simply new are not synced before it is acknowledged (docs/decisions/0109).
"""

import os
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from peewee import fn

from portal import models, runtime
from portal.access.actors import Actor
from portal.maintenance import recovery
from portal.models import Audit, Blob, Conflict, Decision, File, Instance, Series, Study, database
from portal.settings import Settings
from tests.fixtures.archive import a_project
from tests.fixtures.hostile.power_cuts import Disk, Event, trace

SENDER = """
import os, sys, threading
from pathlib import Path
from portal import models, runtime, settings
from portal.access.actors import operator
from portal.ingest import conflicts
from portal.models import Conflict, Project, database
from portal.trash import trash
from tests.fixtures.archive import an_object, begin, encode, store

runtime.start(settings.load(Path(sys.argv[1])))
numbers = iter(range(1, 1000))

def say(*words):
    os.write(1, (" ".join(map(str, words)) + chr(10)).encode())

def numbered(number, **changes):
    return an_object(SOPInstanceUID=f"1.2.3.{number}", Rows=8, Columns=8, PixelData=bytes([number]) * 128, **changes)

def send(count):
    with models.connection():
        for _ in range(count):
            ds = numbered(next(numbers))
            stored = store(ds, project)
            say(stored.outcome, ds.SOPInstanceUID, stored.digest, stored.file_id)

with models.connection():
    project = Project.get()
    send(4)
    database.execute_sql("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    send(3)  # from here on the log begins again
    threads = [threading.Thread(target=send, args=(3,)) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    ds = numbered(2, SeriesDescription="another")
    stored = store(ds, project)
    say(stored.outcome, ds.SOPInstanceUID, stored.digest, stored.file_id)
    send(2)
    say("unknown", ds.SOPInstanceUID, stored.digest, stored.file_id)
    conflicts.resolve(Conflict.get().id, "replace", actor=operator())
    say("replaced", ds.SOPInstanceUID, stored.digest, stored.file_id)
    send(2)
    ds = numbered(next(numbers))
    with begin(project, uid=ds.SOPInstanceUID) as large:
        large.limit_memory(0)
        large.write(encode(ds))
        stored = large.commit()
    say(stored.outcome, ds.SOPInstanceUID, stored.digest, stored.file_id)
    ds = numbered(3)
    stored = store(ds, project)
    say("unknown", ds.SOPInstanceUID, stored.digest, stored.file_id)
    trash.move_to_trash("file", stored.file_id, actor=operator())
    say("trashed", ds.SOPInstanceUID, stored.digest, stored.file_id)
    send(2)
runtime.archive().close()
"""


@pytest.fixture
def before(site: Settings, admin: Actor) -> Iterator[dict[str, bytes]]:
    """The files of the site before anything was sent."""
    a_project(actor=admin)
    models.database.close()
    yield {str(path): path.read_bytes() for path in site.data.rglob("*") if path.is_file()}
    models.database.connect(reuse_if_open=True)


@pytest.fixture
def events(site: Settings, before: dict[str, bytes]) -> list[Event]:
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[2]}", "PORTAL_MIN_FREE": "1"}
    return trace([sys.executable, "-c", SENDER, str(site.data)], site.data, environment)


@pytest.fixture
def start_after(site: Settings, tmp_path: Path) -> Callable[[dict[str, bytes]], None]:
    """Starts another site with what is left of the files of this one."""

    def start(left: dict[str, bytes]) -> None:
        models.database.close()
        folder = tmp_path / "left"
        shutil.rmtree(folder, ignore_errors=True)
        for path, content in left.items():
            if path.endswith("-shm"):  # an index of the log in memory, which every first connection builds anew
                continue
            target = folder / Path(path).relative_to(site.data)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        runtime.start(replace(site, data=folder))
        models.database.connect()
        recovery.recover()

    return start


class Said:
    """What the sender had been told when the power was cut."""

    def __init__(self) -> None:
        self.shown: dict[str, str] = {}
        self.kept: set[str] = set()
        self.files: dict[int, str] = {}
        self.acts: list[str] = []

    def hear(self, line: str) -> None:
        outcome, uid, digest, file_id = line.split()
        self.kept.add(digest)
        self.files[int(file_id)] = digest
        if outcome in ("stored", "replaced"):
            self.shown[uid] = digest
        if outcome == "unknown":  # which object is shown is changed from here on until that is acknowledged
            self.shown.pop(uid)
        if outcome not in ("stored", "unknown"):
            self.acts.append(outcome)


def check(said: Said) -> None:
    assert database.execute_sql("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert database.execute_sql("PRAGMA foreign_key_check").fetchall() == []
    current = Instance.select(Instance.sop_uid, Blob.digest).join(File).join(Blob).where(Instance.state == "current")
    shown: dict[str, str] = dict(current.tuples())
    assert {uid: shown.get(uid) for uid in said.shown} == said.shown
    for row in Blob.select().where(Blob.digest.in_(list(said.kept))):
        with runtime.archive().open(row.segment, row.offset, row.size) as content:
            assert content.digest() == row.digest
    assert said.kept <= {row.digest for row in Blob.select(Blob.digest)}
    # A number that somebody has been told is that of the same object, or of none.
    numbers: Any = File.select(File.id, Blob.digest).join(Blob).where(File.id.in_(list(said.files)))
    assert {number: said.files[number] for number, _ in numbers.tuples()} == dict(numbers.tuples())
    _check_counts()
    _check_acts(said)


def _check_counts() -> None:
    counted = fn.COUNT(Instance.id)
    of_series = Instance.select(Instance.series, counted).where(Instance.state == "current").group_by(Instance.series)
    by_series = dict(of_series.tuples())
    assert {row.id: row.n_instances for row in Series.select() if row.n_instances} == by_series
    for study in Study.select():
        series = [row.n_instances for row in Series.select().where(Series.study == study) if row.n_instances]
        assert (study.n_instances, study.n_series) == (sum(series), len(series))


def _check_acts(said: Said) -> None:
    """Decisions, the trash and the audit are in no record: they are synced before they are acknowledged."""
    if "conflict" in said.acts:
        assert Conflict.select().count() == 1
    if "replaced" in said.acts:
        assert Conflict.get().choice == "replace"
        assert Decision.select().count() == 1
        assert Audit.select().where(Audit.action == "conflict:resolved").exists()
    if "trashed" in said.acts:
        assert File.select().where(File.deleted_at.is_null(False)).count() == 1


def cut_everywhere(
    events: list[Event],
    before: dict[str, bytes],
    start_after: Callable[[dict[str, bytes]], None],
    chance: random.Random,
    moments: set[int],
    tries: int,
) -> int:
    """Cut the power after these events, some times each, with another part of what was not synced left; how often."""
    disk, said, cuts = Disk(before), Said(), 0
    for number, event in enumerate(events):
        disk.apply(event)
        if event.call == "said":
            said.hear(event.data.decode())
        for _ in range(tries if number in moments else 0):
            start_after(disk.after_a_cut(chance))
            check(said)
            cuts += 1
    assert said.acts == ["conflict", "replaced", "trashed"]
    return cuts


def test_whatever_was_acknowledged_before_a_power_cut_is_there_after_it(
    events: list[Event], before: dict[str, bytes], start_after: Callable[[dict[str, bytes]], None]
) -> None:
    # The second and the third object are simply new: with a synced log there would be nothing to lose.
    assert syncs_before_each_answer(events)[1:3] == [["seg"], ["seg"]]
    chance = random.Random(14)
    acknowledged = [number for number, event in enumerate(events) if event.call == "said"]
    others = chance.sample(range(len(events)), 20)
    assert cut_everywhere(events, before, start_after, chance, {*acknowledged, *others}, 1) > 40


@pytest.mark.prove
def test_a_power_cut_after_every_write_and_every_sync_takes_nothing_that_was_acknowledged(
    events: list[Event],
    before: dict[str, bytes],
    start_after: Callable[[dict[str, bytes]], None],
    record_property: Callable[[str, object], None],
) -> None:
    chance = random.Random()
    cuts = cut_everywhere(events, before, start_after, chance, set(range(len(events))), 2)
    record_property("power cuts, after each of which everything acknowledged was there with true counts", cuts)


def syncs_before_each_answer(events: list[Event]) -> list[list[str]]:
    """The kinds of files that were synced before each line that the sender read, since the line before."""
    answers: list[list[str]] = [[]]
    for event in events:
        if event.call == "sync":
            answers[-1].append(event.path.rpartition(".")[2])
        elif event.call == "said":
            answers.append([])
    return answers
