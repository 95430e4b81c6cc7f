"""The listener as a real process, peers of it, and a sender that records what crosses the wire."""

import hashlib
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import data_store
import pytest
from forked import Forked
from free_ports import free_port
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import split_dataset
from pynetdicom.presentation import PresentationContext, build_context

from dimse_worker import pause_reader
from portal import models
from portal import site_settings as options
from portal.access.actors import operator
from portal.peers import peers
from portal.settings import Settings
from portal.tree import containers

PATIENCE = 20.0
VERIFICATION = "1.2.840.10008.1.1"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
STUDY_FIND, STUDY_MOVE, STUDY_GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
PATIENT_FIND, PATIENT_MOVE, PATIENT_GET = (f"1.2.840.10008.5.1.4.1.2.1.{number}" for number in (1, 2, 3))
OURS = "PORTICO"
_config.LOG_HANDLER_LEVEL = "none"
_config.VALIDATORS["UI"] = lambda _value: (True, "")  # a peer may send what it likes


def until(condition: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """What the condition returns, once that is true; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        threading.Event().wait(0.02)
    return found


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Listener:
    """`python -m dimse_worker listen` on a site's folder."""

    settings: Settings
    port: int
    process: Forked
    log: Path

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=45)


@contextmanager
def listening(settings: Settings, *, children: int = 1, ready: bool = True, min_free: int = 1) -> Iterator[Listener]:
    """A listener process, killed at the end if it is not gone by then."""
    log = settings.data / "listen.log"
    environ = {**os.environ, "PORTAL_MIN_FREE": str(min_free), "PYTHONWARNINGS": "default"}
    arguments = ["--data", str(settings.data), "--children", str(children)]
    process = Forked("dimse_worker", "listen", *arguments, log=log, environ=environ)
    port = options.get("dimse.port")
    try:
        if ready:
            until(lambda: accepts(port) or process.poll() is not None, "the listener accepts")
            assert process.poll() is None, log.read_text()
        yield Listener(settings, port, process, log)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def dimse_site(site: Settings) -> Settings:
    """A site with DIMSE enabled on a free port, and the projects neuro/TRIAL1 and neuro/TRIAL2 (title TRIAL2)."""
    enable(free_port())
    containers.add_group("neuro", "Neuro", actor=operator())
    containers.add_project("neuro/TRIAL1", actor=operator())
    containers.add_project("neuro/TRIAL2", "TRIAL2", actor=operator())
    return site


@pytest.fixture
def listener(dimse_site: Settings) -> Iterator[Listener]:
    with listening(dimse_site) as running:
        yield running


def enable(port: int, **more: Any) -> None:
    values = {"dimse.enabled": True, "dimse.host": "127.0.0.1", "dimse.port": port, **more}
    options.put(values, actor=operator())


def register(label: str = "SCANNER", **fields: Any) -> Any:
    """A peer that may do everything in neuro/TRIAL1, unless said otherwise; its AE title is its label."""
    given = {
        "ae_title": label,
        "services": ("echo", "store", "find", "move", "get"),
        "projects": (("neuro/TRIAL1", "rw"),),
        "store_to": "neuro/TRIAL1",
        **fields,
    }
    return peers.register(label, actor=operator(), **given)


@contextmanager
def associated(
    port: int,
    contexts: list[PresentationContext],
    *,
    calling: str = "SCANNER",
    called: str = OURS,
    roles: list[Any] | None = None,
    handlers: list[Any] | None = None,
) -> Iterator[Association]:
    """An association, accepted or not; released at the end."""
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.dimse_timeout = PATIENCE
    without_delay = (evt.EVT_CONN_OPEN, lambda event: _without_delay(event.assoc))
    assoc = ae.associate(
        "127.0.0.1",
        port,
        contexts=contexts,
        ae_title=called,
        ext_neg=roles or [],
        evt_handlers=[without_delay, *(handlers or [])],
    )
    pause_reader.install(assoc)
    try:
        yield assoc
    finally:
        if assoc.is_established:
            assoc.release()


def rejection(port: int, *, calling: str, called: str = OURS) -> tuple[int, int, int]:
    """Result, source and reason with which an association is rejected."""
    with associated(port, [build_context(VERIFICATION)], calling=calling, called=called) as assoc:
        assert assoc.is_rejected, "it was not rejected"
        answer: Any = assoc.acceptor.primitive
        return answer.result, answer.result_source, answer.diagnostic


@dataclass
class Sent:
    """An object that was sent: its identity, and the digest of what was put into P-DATA."""

    sop_class: str
    sop_instance: str
    transfer_syntax: str
    digest: str
    status: int
    comment: str = ""


@dataclass
class Sender:
    """Sends encoded data sets as they are, and records each P-DATA fragment of them."""

    port: int
    calling: str = "SCANNER"
    called: str = OURS
    sent: list[Sent] = field(default_factory=list)
    _digest: Any = None

    @contextmanager
    def open(self, pairs: set[tuple[str, str]]) -> Iterator[Association]:
        contexts = [build_context(sop_class, syntax) for sop_class, syntax in sorted(pairs)]
        recording = [(evt.EVT_PDU_SENT, self._record)]
        with associated(self.port, contexts, calling=self.calling, called=self.called, handlers=recording) as assoc:
            assert assoc.is_established, "the association was not accepted"
            yield assoc

    def send(self, assoc: Association, raw: bytes, *, sop_class: str, sop_instance: str, syntax: str) -> Sent:
        """One C-STORE of an encoded data set."""
        context = next(
            cx for cx in assoc.accepted_contexts if cx.abstract_syntax == sop_class and cx.transfer_syntax[0] == syntax
        )
        request = C_STORE()
        request.MessageID = len(self.sent) % 65535 + 1
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, sop_instance
        request.Priority = 2
        request.DataSet = BytesIO(raw)
        self._digest = hashlib.sha256()
        assoc._reactor_checkpoint.clear()
        assoc.dimse.send_msg(request, context.context_id)
        _, response = assoc.dimse.get_msg(block=True)
        assoc._reactor_checkpoint.set()
        status = -1 if response is None else response.Status
        comment = "" if response is None else str(response.ErrorComment or "")
        sent = Sent(sop_class, sop_instance, syntax, self._digest.hexdigest(), status, comment)
        self.sent.append(sent)
        return sent

    def _record(self, event: Any) -> None:
        for item in getattr(event.pdu, "presentation_data_value_items", []):
            value = item.presentation_data_value
            if not value[0] & 1:
                self._digest.update(value[1:])


@dataclass(frozen=True)
class Encoded:
    """A data set as it is to cross the wire."""

    sop_class: str
    sop_instance: str
    syntax: str
    raw: bytes

    @classmethod
    def of_file(cls, path: Path) -> "Encoded":
        ds = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"])
        meta, offset = split_dataset(path)
        raw = path.read_bytes()[offset:]
        return cls(str(ds.SOPClassUID), str(ds.SOPInstanceUID), str(meta.TransferSyntaxUID), raw)

    @classmethod
    def of(cls, ds: Dataset) -> "Encoded":
        """In Explicit VR Little Endian."""
        file = DicomBytesIO()
        file.is_implicit_VR, file.is_little_endian = False, True
        write_dataset(file, ds)
        raw = file.parent.getvalue()
        return cls(str(ds.get("SOPClassUID", "")), str(ds.get("SOPInstanceUID", "")), str(ExplicitVRLittleEndian), raw)


def store(port: int, objects: list[Encoded], *, calling: str = "SCANNER", called: str = OURS) -> list[Sent]:
    """Send objects over one association."""
    sender = Sender(port, calling, called)
    with sender.open({(one.sop_class, one.syntax) for one in objects}) as assoc:
        for one in objects:
            sender.send(assoc, one.raw, sop_class=one.sop_class, sop_instance=one.sop_instance, syntax=one.syntax)
    return sender.sent


def image(**fields: Any) -> Dataset:
    """A small secondary capture of a patient, with UIDs of its own; `fields` replace, None leaves out."""
    ds = Dataset()
    values = {
        "SOPClassUID": SECONDARY_CAPTURE,
        "SOPInstanceUID": generate_uid(),
        "StudyDate": "20260102",
        "StudyTime": "101112",
        "AccessionNumber": "A1",
        "Modality": "OT",
        "PatientName": "Doe^Jane",
        "PatientID": "P1",
        "StudyInstanceUID": generate_uid(),
        "SeriesInstanceUID": generate_uid(),
        "StudyID": "S1",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": 2,
        "Columns": 2,
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PixelRepresentation": 0,
        "PixelData": b"\1\2\3\4",
        **fields,
    }
    for keyword, value in values.items():
        if value is not None:
            setattr(ds, keyword, value)
    ds["PixelData"].VR = "OB"
    return ds


def vendor_files() -> list[Path]:
    """One file for each SOP Instance UID of the pydicom-data package."""
    found: dict[str, Path] = {}
    for path in sorted(Path(data_store.__file__).parent.rglob("*.dcm")):
        try:
            ds = dcmread(path, stop_before_pixels=True, specific_tags=["SOPInstanceUID", "StudyInstanceUID"])
        except Exception:
            continue
        if "SOPInstanceUID" in ds:
            found.setdefault(str(ds.SOPInstanceUID), path)
    return list(found.values())


@dataclass
class Destination:
    """A storage SCP that keeps what it gets: the digests of data sets by SOP Instance UID, and the requests."""

    ae_title: str
    port: int
    digests: dict[str, str] = field(default_factory=dict)
    syntaxes: dict[str, str] = field(default_factory=dict)
    requests: list[Any] = field(default_factory=list)
    answer: Callable[[Any], int] = lambda _event: 0

    def take(self, event: Any) -> int:
        request = event.request
        self.requests.append(request)
        status = self.answer(event)
        uid = str(request.AffectedSOPInstanceUID)
        self.digests[uid] = hashlib.sha256(request.DataSet.getvalue()).hexdigest()
        self.syntaxes[uid] = str(event.context.transfer_syntax)
        return status


@contextmanager
def destination(
    ae_title: str = "VIEWER",
    *,
    classes: tuple[str, ...] = (SECONDARY_CAPTURE,),
    syntaxes: tuple[str, ...] = (str(ExplicitVRLittleEndian),),
    answer: Callable[[Any], int] = lambda _event: 0,
) -> Iterator[Destination]:
    """A running storage SCP for these SOP Classes."""
    taken = Destination(ae_title, free_port(), answer=answer)
    ae = AE(ae_title=ae_title)
    ae.add_supported_context(VERIFICATION)
    for sop_class in classes:
        ae.add_supported_context(sop_class, list(syntaxes))
    handlers = [(evt.EVT_C_STORE, taken.take), (evt.EVT_CONN_OPEN, lambda event: _without_delay(event.assoc))]
    server = ae.start_server(("127.0.0.1", taken.port), block=False, evt_handlers=handlers)
    try:
        yield taken
    finally:
        server.shutdown()


def rows(table: Any) -> list[Any]:
    """All rows of a table, in their order."""
    return list(table.select().order_by(table.id))


def newest_association() -> Any:
    return models.Association.select().order_by(models.Association.id.desc()).get()


def _without_delay(assoc: Association) -> None:
    transport = assoc.dul.socket
    if transport and transport.socket:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
