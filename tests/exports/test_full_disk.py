"""A disk that is full in the middle of an export: said in one sentence, waited for, and gone on after room is made."""

import hashlib
import os
import shutil
import sys
from pathlib import Path

from portal.access.actors import Actor
from portal.exports import exports
from portal.jobs import jobs
from portal.models import Acquisition, Storage
from portal.settings import Settings
from tests.fixtures.work import Process, Valkey, add_files, files_below, until

NUMBER, SIZE = 30, 100_000
FULL = "The disk of {folder} is full. Free some space there."


def work_on_a_small_disk(site: Settings, folder: Path, log: Path) -> Process:
    """A worker for which `folder` is a disk of 2 MB: in a mount namespace of its own, which takes no privileges."""
    own = ["--mount"] if os.geteuid() == 0 else ["--user", "--map-root-user", "--mount"]
    script = 'mount -t tmpfs -o size=2m small "$1" && shift && exec "$@"'
    work = [sys.executable, "-P", "-m", "dimse_worker", "work", "--data", str(site.data)]
    program = shutil.which("unshare") or "unshare"
    return Process([program, *own, "sh", "-c", script, "sh", str(folder), *work], log)


def test_an_export_waits_for_room_and_goes_on(
    site: Settings,
    acquisition: Acquisition,
    mirror: Storage,
    folder: Path,
    queue: Valkey,
    admin: Actor,
    tmp_path: Path,
) -> None:
    contents = add_files(acquisition, NUMBER, SIZE, admin)
    worker = work_on_a_small_disk(site, folder, tmp_path / "work.log")
    worker.start()
    try:
        job = exports.start("lab/Trial", to="mirror", actor=admin)
        until(lambda: jobs.get(job.id).message.startswith(FULL.format(folder=folder)), process=worker)
        waiting = jobs.get(job.id)
        assert (waiting.state, waiting.failed) == ("waiting", 0)
        assert 0 < waiting.done < NUMBER
        inside = Path(f"/proc/{worker.pid}/root{folder}")
        arrived = files_below(inside)
        assert len(arrived) >= waiting.done
        assert not any(name.endswith(".part") for name in arrived)
        for name in arrived:  # somebody makes room
            (inside / name).unlink()
        jobs.try_now(job.id, actor=admin)
        until(lambda: jobs.get(job.id).state == "done", process=worker)
        both = arrived | files_below(inside)
    finally:
        worker.stop()
    ended = jobs.get(job.id)
    assert (ended.done, ended.failed) == (NUMBER, 0)
    expected = {f"Trial/S-01/Visit 1/T1/{name}": hashlib.sha256(data).hexdigest() for name, data in contents.items()}
    assert both.keys() - {ended.result["manifest"]["key"]} == expected.keys()
    assert expected.items() <= both.items()
