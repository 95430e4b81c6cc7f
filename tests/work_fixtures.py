"""Fixtures of background work: a private Valkey, a worker as its own process, a project with files, a storage."""

import contextlib
import hashlib
import os
import select
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic

import pytest
from forked import Forked

from portal import runtime
from portal.access import rights
from portal.access.actors import Actor
from portal.ingest import incoming as ingest
from portal.ingest.incoming import Placement
from portal.models import Acquisition, Blob, File, Project, Storage, writing
from portal.processes import valkey
from portal.settings import Settings
from portal.storage import storages
from portal.storage_drivers.store import Content
from portal.tree import containers


def until(condition: Callable[[], object], *, seconds: float = 60, process: "Process | None" = None) -> None:
    """Wait until the condition holds; fail at the deadline, or at once when the process that should bring it ends."""
    deadline = monotonic() + seconds
    while not condition():
        assert monotonic() < deadline, f"not within {seconds} s"
        assert process is None or process.is_alive(), process and process.said()
        select.select((), (), (), 0.02)


class Process:
    """A process of ours that a test may kill and start again."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        self._arguments = arguments
        self._log = log
        self._process: subprocess.Popen[bytes] | Forked | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._arguments, stdout=log, stderr=log, start_new_session=True)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def said(self) -> str:
        return self._log.read_text()

    def kill(self) -> None:
        """kill -9, and not a word before."""
        self.send(signal.SIGKILL)
        self.wait()

    def send(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def wait(self, seconds: float = 30) -> int:
        assert self._process is not None
        return self._process.wait(seconds)

    def stop(self) -> None:
        if self.is_alive():
            self.kill()


class Module(Process):
    """`python -m` a module of ours."""

    def start(self) -> None:
        self._process = Forked(*self._arguments, log=self._log)


class Valkey(Process):
    def __init__(self, socket: str, log: Path) -> None:
        super().__init__(valkey.arguments(socket), log)
        self._socket = Path(socket)

    def start(self) -> None:
        self._socket.unlink(missing_ok=True)
        super().start()
        until(self.answers, process=self)

    def answers(self) -> bool:
        with contextlib.suppress(Exception):
            return bool(runtime.redis().ping())
        return False


@pytest.fixture
def queue(site: Settings, tmp_path: Path) -> Iterator[Valkey]:
    """A Valkey of this test's own, on its site's socket."""
    server = Valkey(runtime.socket(site), tmp_path / "valkey.log")
    server.start()
    yield server
    server.stop()
    Path(runtime.socket(site)).unlink(missing_ok=True)


def work_process(site: Settings, log: Path, *options: str) -> Process:
    return Module(["dimse_worker", "work", "--data", str(site.data), *options], log)


@pytest.fixture
def worker(site: Settings, queue: Valkey, tmp_path: Path) -> Iterator[Process]:
    """A worker that waits for jobs."""
    process = work_process(site, tmp_path / "work.log")
    process.start()
    yield process
    process.stop()


@pytest.fixture
def project(site: Settings, admin: Actor) -> Project:
    containers.add_group("lab", actor=admin)
    return containers.add_project("lab/Trial", actor=admin)


@pytest.fixture
def acquisition(project: Project, admin: Actor) -> Acquisition:
    subject = containers.add_subject(project.id, "S-01", actor=admin)
    session = containers.add_session(subject.id, "Visit 1", actor=admin)
    return containers.add_acquisition(session.id, "T1", actor=admin)


def add_file(parent: Project | Acquisition, name: str, content: bytes, actor: Actor) -> int:
    """A file of any kind under a project or an acquisition."""
    kind = "project" if isinstance(parent, Project) else "acquisition"
    placement = Placement(container_type=kind, container_id=parent.id, name=name)
    with ingest.open(scope=rights.scope(actor), origin=actor.origin, placement=placement) as incoming:
        incoming.write(content)
        return incoming.commit().file_id


def add_files(acquisition: Acquisition, number: int, size: int, actor: Actor) -> dict[str, bytes]:
    """Some files of random bytes; returns each by its name."""
    contents = {f"{place:04}.bin": os.urandom(size) for place in range(number)}
    for name, content in contents.items():
        add_file(acquisition, name, content, actor)
    return contents


def add_copies(acquisition: Acquisition, number: int, actor: Actor) -> dict[str, str]:
    """Many files at once, of 20 contents; returns the digest of each by its name."""
    add_files(acquisition, 20, 5000, actor)
    originals = list(File.select(File, Blob).join(Blob).order_by(File.id))
    copies = [(f"{place:06}.bin", originals[place % 20]) for place in range(20, number)]
    rows = [
        {"parent_type": "acquisition", "parent_id": acquisition.id, "name": name, "blob": original.blob_id}
        for name, original in copies
    ]
    with writing():
        for start in range(0, len(rows), 500):
            File.insert_many(rows[start : start + 500]).execute()
    digests = {original.name: original.blob.digest for original in originals}
    return digests | {name: original.blob.digest for name, original in copies}


@pytest.fixture
def folder(site: Settings) -> Path:
    """The folder of the storage."""
    return site.data / "storage" / "mirror"


@pytest.fixture
def mirror(folder: Path, admin: Actor) -> Storage:
    return storages.add("mirror", "fs", path=str(folder), actor=admin)


def files_below(folder: Path) -> dict[str, str]:
    """SHA-256 of each file below, whatever its name, by its path."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def content_of(key: str, body: bytes, *, digest: str = "", pieces: int = 1) -> Content:
    """An object of these bytes, which come in some pieces; `digest` where it is announced with another one."""
    step = max(1, -(-len(body) // pieces))
    chunks = [body[at : at + step] for at in range(0, len(body), step)]
    announced = digest or hashlib.sha256(body).hexdigest()
    return Content(key=key, size=len(body), digest=announced, chunks=lambda: iter(chunks))
