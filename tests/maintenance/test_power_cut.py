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

import pytest

from portal import models, runtime
from portal.access.actors import Actor
from portal.maintenance import recovery
from portal.settings import Settings
from tests.fixtures.archive import a_project
from tests.fixtures.hostile.acknowledged import Said, check
from tests.fixtures.hostile.power_cuts import Disk, Event, trace

pytestmark = pytest.mark.counts_losses
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
