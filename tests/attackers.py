"""A site under attack from all sides at once: what its pages and echoes take meanwhile, and the memory of each process.

`python bench/attack.py` shows the times, `make prove` the memory. What attacks runs in processes of its own.
"""

import contextlib
import itertools
import multiprocessing
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hostile_pixels
import requests
from api_fixtures import Api
from archive_fixtures import a_project, an_object, encode, store, vendor_file
from dimse_fixtures import STUDY_GET, Encoded, Sender, associated
from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import build_role, evt
from pynetdicom.presentation import build_context
from server_fixtures import FORM, Crowd, Slow
from up_fixtures import Up

from portal import migrations, models, runtime, settings, site_settings
from portal.access.actors import operator
from portal.devices import api_keys, devices
from portal.errors import PortalError
from portal.exports import exports
from portal.exports.request import Options
from portal.models import Job
from portal.peers import peers
from portal.storage import storages
from portal.users import users

EMAIL, PASSWORD = "admin@site.example", "correct horse battery"
OBJECTS = 400
"""Objects of the project that is exported again and again."""
DRIPPING = 200
EXPORTS = 3
PAUSE = 0.02
"""Seconds between two mutated objects of one attacker."""
LOOK = 0.1
PROBED_EVERY = 0.2
PAGES = ("/", "/data/", "/jobs/", "/activity/", "/interfaces/peers/")
CT, VERIFICATION = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.1"
MR = "1.2.840.10008.5.1.4.1.1.4"
ROLES = {
    "portal.pixels.process": "decoders",
    "portal.storage_drivers.filesystem.writer_processes": "writers of exports",
    "portal.processes.web_server": "web",
    "dimse_worker listen": "listener",
    "dimse_worker work": "workers",
    "valkey": "queue",
    "portal.parent_death": "",
    "main()": "supervisor",
}
"""What a process is by a word on its command line; the first that is there."""


@dataclass
class Report:
    pages: list[float] = field(default_factory=list)
    echoes: list[float] = field(default_factory=list)
    """Seconds of each."""
    failures: list[str] = field(default_factory=list)
    """What a page or an echo answered in place of what it should."""
    attacks: Counter[str] = field(default_factory=Counter)
    peaks: dict[str, int] = field(default_factory=dict)
    """The most resident memory that a process of a kind has had, in bytes."""


@dataclass(frozen=True)
class Target:
    """The site, as those outside know it."""

    url: str
    port: int
    dimse_port: int
    key: str
    study: str
    """The one that the hostile pictures are in."""


def run(data: Path, *, seconds: float) -> Report:
    """Attack a new site in a folder for so long."""
    report, up = Report(), Up(data)
    target = _furnish(up)
    up.start()
    try:
        up.ready()
        assert up.process
        with _watched(up.process.pid, report), _attacked(target, report):
            _probe(target, report, time.monotonic() + seconds)
        assert up.process.poll() is None, up.said
    finally:
        up.end()
    return report


def percentile(times: list[float], part: float) -> float:
    return sorted(times)[int(part * (len(times) - 1))]


def _furnish(up: Up) -> Target:
    chosen = settings.load(up.data, {"PORTAL_CHEAP_PASSWORDS": "1", "PORTAL_MIN_FREE": "1"})
    runtime.start(chosen)
    migrations.apply(chosen.run / "migrate.lock")
    with models.connection():
        owner, _ = users.add(EMAIL, PASSWORD, True, actor=operator())
        actor = users.actor(owner, "127.0.0.1")
        site_settings.put({"dimse.enabled": True, "dimse.host": "127.0.0.1", "dimse.port": up.dimse_port}, actor=actor)
        project = a_project("trial", actor=actor)
        for number in range(OBJECTS):
            store(an_object(SOPInstanceUID=f"1.2.3.{number}", InstanceNumber=str(number)), project)
        storages.add("mirror", "fs", path=str(chosen.data / "storage" / "mirror"), actor=actor)
        peers.register(
            "SCANNER",
            ae_title="SCANNER",
            services=("echo", "store", "find", "get"),
            projects=(("neuro/trial", "rw"),),
            store_to="neuro/trial",
            actor=actor,
        )
        key = api_keys.issue(devices.add("importer", actor=actor), name="attack", actor=actor).secret
    runtime.archive().close()
    return Target(up.url, up.port, up.dimse_port, key, "1.2.840.99.1")


@contextlib.contextmanager
def _watched(pid: int, report: Report) -> Iterator[None]:
    """Note the peak of each process below the supervisor, for as long as it lasts."""
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK):
            for each in _with_all_below(pid):
                with contextlib.suppress(OSError, ValueError, IndexError):
                    role = _role(Path(f"/proc/{each}/cmdline").read_bytes().replace(b"\0", b" ").decode())
                    peak = int(Path(f"/proc/{each}/status").read_text().partition("VmHWM:")[2].split()[0]) << 10
                    report.peaks[role] = max(report.peaks.get(role, 0), peak)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _with_all_below(pid: int) -> Iterator[int]:
    """A process and what its threads have started, and so on."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in children.read_text().split():
                yield from _with_all_below(int(child))


def _role(command: str) -> str:
    return next((role for word, role in ROLES.items() if word in command), command.split()[-1])


@contextlib.contextmanager
def _attacked(target: Target, report: Report) -> Iterator[None]:
    spawn = multiprocessing.get_context("spawn")
    over, counts = spawn.Event(), spawn.Queue()
    attackers = [
        spawn.Process(target=_attack, args=(name, target, over, counts, runtime.current().data)) for name in ATTACKS
    ]
    for attacker in attackers:
        attacker.start()
    for _ in attackers:
        counts.get()  # each is at work
    try:
        yield
    finally:
        over.set()
        for _ in attackers:
            report.attacks += counts.get()
        for attacker in attackers:
            attacker.join()


def _attack(name: str, target: Target, over: Any, counts: Any, data: Path) -> None:
    counted: Counter[str] = Counter()
    counts.put(counted)
    try:
        ATTACKS[name](target, over, counted, data)
    finally:
        counts.put(counted)


def _drip(target: Target, over: Any, counted: Counter[str], _data: Path) -> None:
    """Half-sent requests and bodies from many addresses, a byte at a time, and each comes back when it is dropped."""
    acquisition = Api(target.url, target.key).acquisition("slow")
    upload = f"POST /api/acquisitions/{acquisition}/files HTTP/1.1\r\nHost: x\r\n".encode()
    upload += f"Authorization: Bearer {target.key}\r\nContent-Length: 9000000\r\n\r\n".encode()
    kinds = (
        Slow("silent"),
        Slow("half a line", b"GET / HT"),
        Slow("dripping headers", b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ", b"x"),
        Slow("dripping form", FORM, b"x"),
        Slow("dripping upload", upload, b"x"),
    )
    addresses = itertools.cycle(f"127.0.1.{number}" for number in range(1, 100))
    many = Crowd(lambda _kind: socket.create_connection(("127.0.0.1", target.port), 5, (next(addresses), 0)))
    for kind in kinds:
        many.add(kind, DRIPPING // len(kinds))
    thread = threading.Thread(target=many.drip)
    thread.start()
    over.wait()
    many.is_over.set()
    thread.join()
    for _kind, connection in many.peers.values():
        connection.close()
    counted["slow connections at a time"] = len(many.peers)


def _upload(target: Target, over: Any, counted: Counter[str], _data: Path) -> None:
    """Mutated files by REST."""
    api, chance, whole = Api(target.url, target.key), random.Random(11), _part_10()
    acquisition = api.acquisition("mutated")
    while not over.wait(PAUSE):
        with contextlib.suppress(requests.RequestException):
            name = f"{chance.getrandbits(40)}.dcm"
            answer = api.upload(acquisition, name, _mutated(chance.choice(whole), chance))
            counted[f"mutations by REST answered {answer.status_code}"] += 1
            if answer.status_code == 200 and chance.random() < 0.2:
                api.get(f"/api/acquisitions/{acquisition}/files/{name}")


def _send(target: Target, over: Any, counted: Counter[str], _data: Path) -> None:
    """Mutated data sets by C-STORE; an association that was aborted is opened anew."""
    chance, own = random.Random(12), "1.2.9.000000000001"
    whole = encode(an_object(SOPInstanceUID=own))
    while not over.is_set():
        sender = Sender(target.dimse_port)
        with contextlib.suppress(Exception), sender.open({(CT, ExplicitVRLittleEndian)}) as assoc:
            while assoc.is_established and not over.wait(PAUSE):
                uid = f"1.2.9.{chance.randint(10**11, 10**12 - 1)}"
                raw = _mutated(whole.replace(own.encode(), uid.encode()), chance)
                sent = sender.send(assoc, raw, sop_class=CT, sop_instance=uid, syntax=ExplicitVRLittleEndian)
                counted[f"mutations by C-STORE answered {sent.status:04X}"] += 1


def _decode(target: Target, over: Any, counted: Counter[str], _data: Path) -> None:
    """Objects that break decoders, sent, and fetched uncompressed again and again; one that is only large, once."""
    _store_study(target, f"{target.study}.8", [hostile_pixels.large_frame()])
    _store_study(target, target.study, list(hostile_pixels.each().values()))
    counted["large pictures fetched"] += _fetch(target, f"{target.study}.8").NumberOfCompletedSuboperations
    while not over.wait(1):
        with contextlib.suppress(Exception):
            counted["hostile pictures fetched"] += _fetch(target, target.study).NumberOfFailedSuboperations


def _store_study(target: Target, study: str, objects: list[Dataset]) -> None:
    encoded = []
    for number, ds in enumerate(objects, 1):
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.PatientID = study, f"{study}.1", "P9"
        ds.SOPInstanceUID, ds.InstanceNumber = f"{study}.1.{number}", number
        syntax = str(ds.file_meta.TransferSyntaxUID)
        encoded.append(Encoded(str(ds.SOPClassUID), str(ds.SOPInstanceUID), syntax, encode(ds, syntax=syntax)))
    sender = Sender(target.dimse_port)
    with sender.open({(one.sop_class, one.syntax) for one in encoded}) as assoc:
        for one in encoded:
            sender.send(assoc, one.raw, sop_class=one.sop_class, sop_instance=one.sop_instance, syntax=one.syntax)


def _fetch(target: Target, study: str) -> Dataset:
    """The final answer to a C-GET by one who takes Explicit VR Little Endian alone."""
    wanted = Dataset()
    wanted.QueryRetrieveLevel, wanted.StudyInstanceUID = "STUDY", study
    contexts = [build_context(STUDY_GET), build_context(MR, ExplicitVRLittleEndian)]
    roles, taken = [build_role(MR, scp_role=True)], [(evt.EVT_C_STORE, lambda _event: 0)]
    with associated(target.dimse_port, contexts, roles=roles, handlers=taken) as assoc:
        status: Dataset = list(assoc.send_c_get(wanted, STUDY_GET))[-1][0]
    return status


def _export(_target: Target, over: Any, counted: Counter[str], data: Path) -> None:
    """Three exports at any moment: where one has ended, another begins."""
    runtime.start(settings.load(data))
    with models.connection():
        actor = operator()
        while not over.wait(0.5):
            running = Job.select().where(Job.kind == "export", Job.state.in_(("waiting", "running"))).count()
            for _ in range(EXPORTS - running):
                with contextlib.suppress(PortalError):
                    exports.start("neuro/trial", to="mirror", actor=actor, options=Options(existing="always"))
                    counted["exports begun"] += 1


ATTACKS: dict[str, Callable[[Target, Any, Counter[str], Path], None]] = {
    "drip": _drip,
    "upload": _upload,
    "send": _send,
    "decode": _decode,
    "export": _export,
}


def _part_10() -> list[bytes]:
    names = ("CT_small.dcm", "MR_small_RLE.dcm", "JPEG2000.dcm", "nested_priv_SQ.dcm", "test-SR.dcm", "emri_small.dcm")
    return [vendor_file(name).read_bytes() for name in names]


def _mutated(whole: bytes, chance: random.Random) -> bytes:
    """Some bytes changed, a piece left out or there twice; mostly behind the mark that makes it DICOM."""
    data = bytearray(whole)
    for _ in range(chance.randint(1, 8)):
        at = chance.randrange(132 if data[128:132] == b"DICM" else 0, len(data))
        length = chance.choice((1, 1, 2, 4, 300))
        what = chance.random()
        if what < 0.6:
            data[at : at + length] = chance.randbytes(min(length, len(data) - at))
        elif what < 0.8:
            del data[at : at + length]
        else:
            data[at:at] = data[at : at + length]
    return bytes(data[: chance.randrange(len(data))] if chance.random() < 0.1 else data)


def _probe(target: Target, report: Report, until: float) -> None:
    """Pages as a signed-in person sees them and echoes of a registered peer, in turn."""
    session = requests.Session()
    page = session.get(f"{target.url}/sign-in", timeout=20).text
    token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    fields = {"email": EMAIL, "password": PASSWORD, "csrf_token": token.group(1) if token else ""}
    session.post(f"{target.url}/sign-in", data=fields, timeout=20).raise_for_status()
    for path in itertools.cycle(PAGES):
        if time.monotonic() > until:
            return
        _time(report.pages, report.failures, path, lambda path=path: _page(session, target.url + path))
        _time(report.echoes, report.failures, "C-ECHO", lambda: _echo(target.dimse_port))
        time.sleep(PROBED_EVERY)


def _time(times: list[float], failures: list[str], name: str, act: Callable[[], str]) -> None:
    began = time.perf_counter()
    try:
        wrong = act()
    except requests.RequestException as error:
        wrong = type(error).__name__
    times.append(time.perf_counter() - began)
    if wrong:
        failures.append(f"{name}: {wrong}")


def _page(session: requests.Session, address: str) -> str:
    answer = session.get(address, timeout=20, allow_redirects=False)
    return "" if answer.status_code == 200 else str(answer.status_code)


def _echo(port: int) -> str:
    with associated(port, [build_context(UID(VERIFICATION))]) as assoc:
        if not assoc.is_established:
            return "no association"
        return "" if assoc.send_c_echo().get("Status") == 0 else "no answer"
