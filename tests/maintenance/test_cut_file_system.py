"""A power cut of a real file system: everything acknowledged is on the copy of its disk."""

import filecmp
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from portal import migrations, models, runtime
from portal.access.actors import Actor
from portal.maintenance import recovery
from portal.settings import Settings
from tests.fixtures.archive import a_project
from tests.fixtures.hostile.acknowledged import Said, check

pytestmark = pytest.mark.counts_losses
STORING = """
import os, sys, threading
from pathlib import Path
from portal import models, runtime, settings
from portal.models import Project
from tests.fixtures.archive import an_object, store

runtime.start(settings.load(Path(sys.argv[1])))

def send(thread):
    with models.connection():
        project = Project.get()
        for number in range(100_000):
            uid = f"1.2.{thread}.{number}"
            stored = store(an_object(SOPInstanceUID=uid, SeriesInstanceUID=f"1.2.{thread}"), project)
            os.write(1, f"{stored.outcome} {uid} {stored.digest} {stored.file_id}{os.linesep}".encode())

for thread in range(1, 5):
    threading.Thread(target=send, args=(thread,)).start()
"""


@pytest.mark.prove
def test_what_was_acknowledged_is_on_a_disk_whose_file_system_is_cut_off(
    tmp_path: Path, site: Settings, admin: Actor, record_property: Callable[[str, object], None]
) -> None:
    """A file system of its own in an image, which is copied while the kernel still has what was not synced."""
    chance = random.Random()
    acknowledged = []
    for number in range(10):
        folder = tmp_path / str(number)
        folder.mkdir()
        image, snapshot = folder / "disk", folder / "left"
        with image.open("wb") as file:
            file.truncate(256 << 20)
        subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
        said = Said()
        with mounted(image, folder / "before") as disk:
            with started(replace(site, data=disk / "data"), then=site):
                a_project(actor=admin)
            os.sync()
            for line in store_until_stopped(disk / "data", chance.randrange(20, 400), partial(copy, image, snapshot)):
                said.hear(line)
        with mounted(snapshot, folder / "after") as disk, started(replace(site, data=disk / "data"), then=site):
            recovery.recover()
            check(said)
        acknowledged.append(len(said.kept))
        shutil.rmtree(folder)
    record_property("acknowledged before each of 10 cuts, all found on the copy of the disk", acknowledged)


@contextmanager
def started(settings: Settings, *, then: Settings) -> Iterator[None]:
    """This process at work for a site, and for another one afterwards, so that nothing of the first is open."""
    models.database.close()
    runtime.start(settings)
    migrations.apply(settings.run / "migrate.lock")
    try:
        with models.connection():
            yield
    finally:
        runtime.archive().close()
        runtime.start(then)


@contextmanager
def mounted(image: Path, folder: Path) -> Iterator[Path]:
    folder.mkdir()
    subprocess.run(["mount", "-o", "loop,commit=600", str(image), str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def store_until_stopped(data: Path, count: int, cut: Callable[[], None]) -> list[str]:
    """Store by four threads until so many are acknowledged, and cut the power; returns all that was acknowledged."""
    environment = {**os.environ, "PYTHONPATH": f"{Path(__file__).parents[2]}", "PORTAL_MIN_FREE": "1"}
    command = [sys.executable, "-c", STORING, str(data)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(count)]
        process.send_signal(signal.SIGSTOP)
        cut()
        process.kill()  # what was read before the kernel stopped it, and what it had written by then
        lines += process.stdout.readlines()
    return [line.decode() for line in lines if line.endswith(b"\n")]


def copy(image: Path, target: Path) -> None:
    """Copy an image between two writes of the kernel: until two copies are the same."""
    shutil.copy(image, target)
    while not filecmp.cmp(image, target, shallow=False):
        shutil.copy(image, target)
