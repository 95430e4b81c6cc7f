"""The servers of the DIMSE bench: each as it is shipped but for TCP_NODELAY=1, on a store and a port of its own."""

import contextlib
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from objects import Stored, in_files
from scu import CALLED, CALLING

sys.path.append(str(Path(__file__).parents[1]))

from tests.fixtures.free_ports import free_port
from tests.fixtures.process_tree import command_of, descendants
from tests.fixtures.tls.certificates import authority
from tests.fixtures.up import Up

DESTINATION = "DEST"
PROJECT = "bench/Brain"
ORTHANC_CONFIG = Path("/etc/orthanc/orthanc.json")
COMMENTS = re.compile(r'("(?:\\.|[^"\\])*")|//[^\n]*|/\*.*?\*/', re.DOTALL)
PATIENCE = 120.0
LOOK_SECONDS = 0.02
TICK = os.sysconf("SC_CLK_TCK")


class Void(Exception):
    """A figure says nothing: the server did not do what was asked."""


@dataclass
class Load:
    """What a server's processes took while they were watched."""

    cpu: float = 0.0
    """Seconds of all of them."""
    peaks: dict[int, int] = field(default_factory=dict)
    """Most resident bytes of each that serves associations, by its process id."""

    @property
    def peak(self) -> int:
        return max(self.peaks.values(), default=0)


@dataclass(frozen=True)
class Tls:
    """Files of a certificate for 127.0.0.1, of its key, and of its issuer's certificate."""

    certificate: Path
    key: Path
    issuer: Path

    @classmethod
    def make(cls, folder: Path) -> "Tls":
        issuer = authority()
        certificate, key = issuer.issue("bench", "127.0.0.1").files(folder, "bench")
        (folder / "issuer.pem").write_text(issuer.pem)
        return cls(certificate, key, folder / "issuer.pem")


class Server:
    """One kind of server. `folder` holds what it keeps, and is new for each run unless the run keeps it."""

    name: str
    durability: str
    program: str
    has_index = True
    answers = True
    """Whether it answers C-FIND, C-GET and C-MOVE."""
    serving = b""
    """What stands in the command line of its processes that serve associations."""

    def __init__(self, folder: Path, destination: int) -> None:
        self.folder, self.destination = folder, destination
        """The port to which it sends what is asked for DESTINATION."""
        self.port = free_port()
        self.tls: Tls | None = None
        """Where the port is for TLS."""
        self.process: subprocess.Popen[str] | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def version(self) -> str:
        said = subprocess.run([self.program, "--version"], capture_output=True, text=True, check=False).stdout
        return next(word for word in said.replace("v", " ").split() if word[0].isdigit())

    def kept(self) -> Iterator[tuple[str, Stored]]:
        """The objects in its store, by their SOP Instance UIDs; after it has ended."""
        return in_files(self.folder)

    def rows(self) -> Counter[str]:
        """The SOP Instance UIDs in its index, each as often as it is there; after it has ended."""
        raise NotImplementedError

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    @contextmanager
    def running(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._start()
            yield
        finally:
            self._stop()

    @contextmanager
    def watched(self) -> Iterator[Load]:
        """Take the CPU time and the peaks of all its processes, also of those that end meanwhile."""
        assert self.process
        load, over = Load(), threading.Event()
        first = self.process.pid

        def look() -> None:
            while not over.wait(LOOK_SECONDS):
                for pid in (first, *descendants(first)):
                    if self.serving in command_of(pid):
                        load.peaks[pid] = max(load.peaks.get(pid, 0), peak_of(pid))

        for pid in (first, *descendants(first)):
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew (proc(5))
        before = self.cpu()
        looking = threading.Thread(target=look)
        looking.start()
        try:
            yield load
        finally:
            load.cpu = self.cpu() - before
            over.set()
            looking.join()

    def cpu(self) -> float:
        """Seconds that its processes have taken so far, with those that they have waited for."""
        assert self.process
        return sum(cpu_of(pid) for pid in (self.process.pid, *descendants(self.process.pid)))

    def _start(self) -> None:
        with (self.folder.parent / f"{self.folder.name}.log").open("a") as log:
            # Without it each of their answers waits for an acknowledgement of TCP, some 40 ms.
            environ = {**os.environ, "TCP_NODELAY": "1"}
            self.process = subprocess.Popen(self.command(), env=environ, stdout=log, stderr=log, text=True)
        self._wait()

    def _stop(self) -> None:
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _wait(self) -> None:
        assert self.process
        deadline = time.monotonic() + PATIENCE
        while not accepts(self.port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise Void(f"{self.name} does not start; see {self.folder}.log")
            time.sleep(0.05)


class Orthanc(Server):
    """With its shipped configuration, but for folders, ports and the two titles that it is to know."""

    name, program = "Orthanc", "Orthanc"
    durability = "fsync of each file (`SyncStorageArea`), SQLite with WAL and `synchronous=NORMAL`"

    def command(self) -> list[str]:
        options = json.loads(COMMENTS.sub(lambda found: found[1] or "", ORTHANC_CONFIG.read_text()))
        options |= {
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "index"),
            "DicomPort": self.port,
            "HttpPort": free_port(),
            "DicomModalities": {
                CALLING: [CALLING, "127.0.0.1", 104],
                DESTINATION: [DESTINATION, "127.0.0.1", self.destination],
            },
        }
        if self.tls is not None:
            options |= {
                "DicomTlsEnabled": True,
                "DicomTlsCertificate": str(self.tls.certificate),
                "DicomTlsPrivateKey": str(self.tls.key),
                "DicomTlsTrustedCertificates": str(self.tls.issuer),
                "DicomTlsRemoteCertificateRequired": False,
            }
        (self.folder / "orthanc.json").write_text(json.dumps(options))
        return ["Orthanc", str(self.folder / "orthanc.json")]

    def kept(self) -> Iterator[tuple[str, Stored]]:
        return in_files(self.folder / "storage")

    def rows(self) -> Counter[str]:
        with sqlite3.connect(self.folder / "index" / "index") as database:
            found = database.execute("SELECT value FROM DicomIdentifiers WHERE tagGroup = 8 AND tagElement = 24")
            return Counter(uid.rstrip("\0 ") for (uid,) in found)


class Storescp(Server):
    name, program = "storescp", "storescp"
    has_index = answers = False
    durability = "none: no sync, no index"

    def command(self) -> list[str]:
        tls = ["+tls", str(self.tls.key), str(self.tls.certificate), "-ic"] if self.tls else []
        return ["storescp", "--fork", *tls, "-aet", CALLED, "-od", str(self.folder), str(self.port)]


class Dcmqrscp(Server):
    name, program = "dcmqrscp", "dcmqrscp"
    durability = "none: no sync"

    def command(self) -> list[str]:
        (self.folder / "store").mkdir(exist_ok=True)
        (self.folder / "dcmqrscp.cfg").write_text(
            f"NetworkTCPPort = {self.port}\nMaxPDUSize = 16384\nMaxAssociations = 256\n"
            f"HostTable BEGIN\nsender = ({CALLING}, localhost, 104)\n"
            f"destination = ({DESTINATION}, localhost, {self.destination})\nHostTable END\n"
            f"VendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\n{CALLED} {self.folder / 'store'} RW (200, 1024mb) ANY\nAETable END\n"
        )
        return ["dcmqrscp", "-c", str(self.folder / "dcmqrscp.cfg")]

    def rows(self) -> Counter[str]:
        listed = subprocess.run(["dcmqridx", "-p", self.folder / "store"], capture_output=True, text=True, check=True)
        return Counter(re.findall(r"SOPInstanceUID\W+([0-9.]+)", listed.stdout))


class Portico(Server):
    """`portal up` on a folder that is furnished once: everything that a site has runs beside the listener."""

    serving = b"listen"
    durability = "fdatasync of the segment before each answer, SQLite with WAL; audit, ledger and provenance on"

    def __init__(self, folder: Path, destination: int, *, wire: str, template: Path, listeners: int | None) -> None:
        super().__init__(folder, destination)
        self.name = f"Portico {wire}"
        self.listeners, self.template = listeners, template
        self.up = Up(folder, environ={"PORTAL_DIMSE_WIRE": wire})

    def version(self) -> str:
        said = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        return said.stdout.strip()

    def kept(self) -> Iterator[tuple[str, Stored]]:
        for uid, segment, offset, size in self._asked(
            "SELECT i.sop_uid, b.segment, b.offset, b.size FROM instance i"
            " JOIN file f ON f.id = i.file_id JOIN blob b ON b.id = f.blob_id WHERE i.state = 'current'"
        ):
            yield str(uid), Stored(self.folder / "archive" / str(segment), int(str(offset)), int(str(size)))

    def rows(self) -> Counter[str]:
        """Also compares the counts of studies and series, and that each association ended as it should."""
        [counts] = self._asked(
            "SELECT (SELECT sum(n_instances) FROM study), (SELECT sum(n_instances) FROM series),"
            " (SELECT count(*) FROM instance), (SELECT count(*) FROM association WHERE outcome != 'released')"
        )
        if not counts[0] == counts[1] == counts[2] or counts[3]:
            raise Void(f"instances by studies, series, rows; associations not released: {counts}")
        return Counter(str(uid) for (uid,) in self._asked("SELECT sop_uid FROM instance"))

    def _asked(self, query: str) -> list[tuple[object, ...]]:
        with contextlib.closing(sqlite3.connect(f"file:{self.folder}/portal.db?mode=ro", uri=True)) as database:
            return database.execute(query).fetchall()

    def _start(self) -> None:
        if not (self.folder / "portal.db").exists():
            shutil.copytree(self.template, self.folder, dirs_exist_ok=True)
        with contextlib.closing(sqlite3.connect(self.folder / "portal.db")) as database:
            [[port]] = database.execute("SELECT value FROM setting WHERE key = 'dimse.port'").fetchall()
            self.port = int(port)
        if self.tls is not None:
            self.port = free_port()
            site = Up(self.folder)
            run(site, "dimse", "install-certificate", str(self.tls.certificate), "--key", str(self.tls.key))
            run(site, "dimse", "enable", "--tls-port", str(self.port))
        self.up.start(*([] if self.listeners is None else ["--listeners", str(self.listeners)]))
        self.process = self.up.process
        self.up.ready()
        self._wait()

    def _stop(self) -> None:
        try:
            if self.up.process is not None:
                self.up.stop()
        finally:
            self.up.end()


def furnish(folder: Path, destination: int, *, instances: int = 0, studies: int = 0) -> None:
    """Make a site as its admin does, by the command line; with an index of made-up studies if that is asked."""
    site, project = Up(folder), PROJECT
    run(site, "migrate")
    if instances:
        index = Path(__file__).with_name("make_index.py")
        counts = ["--studies", str(studies), "--instances", str(instances)]
        subprocess.run([sys.executable, index, folder, *counts], check=True, stdout=subprocess.DEVNULL)
        project = "bench/p1"
    else:
        run(site, "group", "add", "bench")
        run(site, "project", "add", project)
    run(site, "peer", "add", DESTINATION, "--ae-title", DESTINATION, "--host", "127.0.0.1", "--port", str(destination))
    services = ["--allow", "echo,store,find,move,get", "--move-to", DESTINATION]
    run(
        site,
        "peer",
        "add",
        CALLING,
        "--ae-title",
        CALLING,
        *services,
        "--project",
        f"{project}:rw",
        "--store-to",
        project,
    )
    run(site, "dimse", "enable", "--ae-title", CALLED, "--host", "127.0.0.1", "--port", str(free_port()))


def run(site: Up, *arguments: str) -> None:
    done = site.portal(*arguments)
    if done.returncode:
        raise SystemExit(f"portal {' '.join(arguments)}: {done.stderr}")


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def cpu_of(pid: int) -> float:
    """Seconds of a process and of its children that have ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(int(ticks) for ticks in fields[11:15]) / TICK


def peak_of(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0
