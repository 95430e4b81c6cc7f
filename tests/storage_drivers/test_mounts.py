"""A storage on a disk that is mounted: without the disk nothing is written into the bare folder in its place."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from portal.access.actors import Actor
from portal.exports import exports
from portal.jobs import jobs, runs
from portal.models import Acquisition, Storage
from portal.settings import Settings
from portal.storage import connection_test, storages
from portal.storage_drivers.store import ContainerMissing
from tests.fixtures.work import Process, Valkey, add_files, files_below, until

IS_ROOT = os.geteuid() == 0
OWN = [shutil.which("unshare") or "unshare", *(() if IS_ROOT else ("--user", "--map-root-user")), "--mount"]
"""A mount namespace of its own, which takes no privileges."""


class Machine:
    """A worker in a mount namespace of its own, and a disk there that comes and goes."""

    def __init__(self, site: Settings, folder: Path, disk: Path, log: Path) -> None:
        work = [sys.executable, "-P", "-m", "dimse_worker", "work", "--data", str(site.data)]
        script = 'mount -t tmpfs disk "$1" && shift && exec "$@"'
        self.worker = Process([*OWN, "sh", "-c", script, "sh", str(disk), *work], log)
        self._folder, self._disk = str(folder), str(disk)

    def mount(self) -> None:
        self._do("mount", "--bind", self._disk, self._folder)

    def unmount(self) -> None:
        self._do("umount", self._folder)

    def _do(self, *command: str) -> None:
        into = ["--mount", *(() if IS_ROOT else ("--user", "--preserve-credentials"))]
        subprocess.run(["nsenter", f"--target={self.worker.pid}", *into, *command], check=True, timeout=20)

    def holds(self) -> dict[str, str]:
        return files_below(Path(f"/proc/{self.worker.pid}/root{self._disk}"))


def test_an_export_waits_for_its_disk_and_leaves_the_bare_folder_alone(
    site: Settings,
    acquisition: Acquisition,
    mirror: Storage,
    folder: Path,
    queue: Valkey,
    admin: Actor,
    tmp_path: Path,
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    add_files(acquisition, 3, 1000, admin)
    machine = Machine(site, folder, disk, tmp_path / "work.log")
    machine.worker.start()
    try:
        until(lambda: str(disk) in Path(f"/proc/{machine.worker.pid}/mounts").read_text(), process=machine.worker)
        machine.mount()
        ended(storages.request_test("mirror", actor=admin), machine)
        assert storages.get("mirror").mount == str(folder)
        machine.unmount()
        job = exports.start("lab/Trial", to="mirror", actor=admin)
        away = f"The disk of {folder} is not mounted. Mount it, then test again."
        until(lambda: jobs.get(job.id).message.startswith(away), process=machine.worker)
        assert jobs.get(job.id).state == "waiting"
        assert machine.holds() == files_below(folder) == {}
        machine.mount()
        jobs.try_now(job.id, actor=admin)
        ended(job.id, machine)
        assert len(machine.holds()) == 4
        assert files_below(folder) == {}
    finally:
        machine.worker.stop()


def ended(job_id: int, machine: Machine) -> None:
    until(lambda: jobs.get(job_id).state == "done", process=machine.worker)


def without_its_disk(row: Storage, folder: Path) -> Storage:
    """The storage as it is after a start without the disk that a test found at its folder."""
    storages.record_test(row.id, state="ok", message="fine", mount=str(folder))
    return storages.by_id(row.id)


def test_a_folder_without_its_disk_is_neither_read_nor_listed(mirror: Storage, folder: Path) -> None:
    destination = storages.open(without_its_disk(mirror, folder))
    for attempt in (lambda: destination.stat("a"), lambda: list(destination.list()), lambda: destination.delete("a")):
        with pytest.raises(ContainerMissing, match="is not mounted") as caught:
            attempt()
        assert not caught.value.permanent


def test_a_test_without_the_disk_fails_and_still_knows_of_it(mirror: Storage, folder: Path, admin: Actor) -> None:
    without_its_disk(mirror, folder)
    row = row_after_test(admin)
    assert (row.state, row.mount) == ("failed", str(folder))
    assert "save the storage again without a change" in row.message


def test_a_storage_that_is_saved_as_it_is_needs_its_disk_no_more(mirror: Storage, folder: Path, admin: Actor) -> None:
    without_its_disk(mirror, folder)
    storages.edit("mirror", label="mirror", path=str(folder), actor=admin)
    assert storages.get("mirror").state == "untested"
    assert row_after_test(admin).state == "ok"


def test_a_storage_that_is_named_anew_still_needs_its_disk(mirror: Storage, folder: Path, admin: Actor) -> None:
    without_its_disk(mirror, folder)
    row = storages.edit("mirror", label="copy", path=str(folder), prefix="below", actor=admin)
    assert (row.state, row.mount) == ("untested", str(folder))


def test_a_storage_that_moves_needs_the_disk_of_its_new_folder(mirror: Storage, folder: Path, admin: Actor) -> None:
    without_its_disk(mirror, folder)
    storages.edit("mirror", path=str(folder.with_name("elsewhere")), actor=admin)
    assert row_after_test(admin).state == "ok"


def test_the_disk_of_the_site_itself_is_not_asked_for(mirror: Storage, site: Settings) -> None:
    storages.open(without_its_disk(mirror, site.data)).stat("a")


def row_after_test(admin: Actor) -> Storage:
    number = storages.request_test("mirror", actor=admin)
    runs.perform(number, connection_test.run_test)
    return storages.get("mirror")


@pytest.mark.parametrize(
    ("mounts", "expected"),
    [
        ("", "{own}"),
        ('mount -t tmpfs disk "$1" && mkdir -p "$2"', "{base}"),
        ('mount -t tmpfs disk "$2"', "{folder}"),
        ('mount -t tmpfs disk "$1" && mkdir -p "$2" && mount -t tmpfs disk "$2"', "{folder}"),
        ('mount --bind "$2" "$2"', "{own}"),
        ('mount -t tmpfs disk "$1" && mkdir -p "$2" && mount --bind "$2" "$2"', "{base}"),
    ],
)
def test_the_disk_of_a_folder_is_found(mounts: str, expected: str, tmp_path: Path) -> None:
    base = tmp_path / "a disk\\of"
    folder = base / "sub folder"
    folder.mkdir(parents=True)
    look = (
        "import os, sys; from portal.storage_drivers.filesystem import mounts;"
        "print(mounts.mount_point(mounts.mount_id(os.open(sys.argv[2], os.O_RDONLY))))"
    )
    script = f'{mounts or "true"} && exec "$3" -c "$4" "$1" "$2"'
    command = [*OWN, "sh", "-c", script, "sh", str(base), str(folder), sys.executable, look]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (found.stdout, found.stderr) == (
        expected.format(base=base, folder=folder, own=own_disk(tmp_path)) + "\n",
        "",
    )


def own_disk(folder: Path) -> str:
    """Where the disk on which tests write is mounted; empty for that of the system."""
    return next(str(place) for place in (folder, *folder.parents) if place.is_mount()).rstrip("/")
