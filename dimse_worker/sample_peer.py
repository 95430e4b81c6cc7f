"""The sample site's peer: a plain SCU and SCP that knows only the site's address.

`python -m dimse_worker.sample_peer send|find|get|move` reads one JSON request on stdin and answers with one on stdout;
`serve TITLE HOST PORT` answers C-ECHO and C-STORE until it is stopped, and discards the objects that it receives.
"""

import hashlib
import json
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomFileLike
from pydicom.filereader import dcmread
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import AllTransferSyntaxes, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, AllStoragePresentationContexts, _config, build_role, evt
from pynetdicom.association import Association
from pynetdicom.dsutils import split_dataset
from pynetdicom.sop_class import (  # type: ignore[attr-defined]  # made at import
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from dimse_worker import pause_reader

SUCCESS, PENDING = 0x0000, (0xFF00, 0xFF01)
ANSWER_SECONDS = 120
"""Seconds that a response may take: during its first start a small machine writes much at once."""
CONTEXT_REFUSED = "context refused"
RETIRED_ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6"
UNCOMPRESSED = (ExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian)
COMPRESSED_FIRST = [*(syntax for syntax in AllTransferSyntaxes if syntax not in UNCOMPRESSED), *UNCOMPRESSED]
"""pynetdicom accepts the first of this list that is proposed: a compressed object is received compressed."""

_config.STORE_SEND_CHUNKED_DATASET = True  # a file's data set is sent as it is stored, not re-encoded


@dataclass(frozen=True, kw_only=True)
class Site:
    """Whom to call, and as whom."""

    host: str
    port: int
    called: str
    calling: str


@dataclass
class ReceivedObjects:
    """What an SCP of ours received: the digest of each data set by its SOP Instance UID."""

    digests: dict[str, str] = field(default_factory=dict)

    def handle(self, event: evt.Event) -> int:
        """Keep the digest of a C-STORE, and answer it with success."""
        request: Any = event.request
        digest = hashlib.sha256(request.DataSet.getvalue()).hexdigest()
        self.digests[str(request.AffectedSOPInstanceUID)] = digest
        return SUCCESS


def send(site: Site, paths: list[str]) -> list[dict[str, Any]]:
    """C-STORE each file as it is stored, in this order, over one association."""
    with tempfile.TemporaryDirectory() as folder:
        objects = [_object(Path(path), Path(folder)) for path in paths]
        ae = AE(ae_title=site.calling)
        for sop_class, transfer_syntax in sorted(
            {(sent["sop_class_uid"], sent["transfer_syntax_uid"]) for sent in objects}
        ):
            ae.add_requested_context(sop_class, transfer_syntax)
        with _associated(ae, site) as assoc:
            for number, sent in enumerate(objects):
                try:
                    status = _status(assoc.send_c_store(sent["path"], msg_id=number % 65535 + 1))
                except ValueError:
                    sent["status"] = CONTEXT_REFUSED
                    continue
                if status is None:
                    raise ConnectionError("The site ended the association in the middle of the C-STOREs.")
                sent["status"] = status
    return [{name: value for name, value in sent.items() if name != "path"} for sent in objects]


def find(site: Site) -> dict[str, Any]:
    """The studies that a C-FIND of everything returns, each with its number of instances, and the final status."""
    ae = AE(ae_title=site.calling)
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelFind)
    query = _query(StudyInstanceUID="", NumberOfStudyRelatedInstances="", PatientName="")
    with _associated(ae, site) as assoc:
        answers = list(assoc.send_c_find(query, StudyRootQueryRetrieveInformationModelFind))
    studies = {
        str(identifier.StudyInstanceUID): int(identifier.NumberOfStudyRelatedInstances)
        for status, identifier in answers
        if identifier is not None and status.Status in PENDING
    }
    return {"studies": studies, "status": _status(answers[-1][0]) if answers else None}


def get(site: Site, studies: list[str], contexts: list[tuple[str, str]]) -> dict[str, Any]:
    """C-GET each study; returns the digests of the received objects and the final statuses."""
    received = ReceivedObjects()
    ae = AE(ae_title=site.calling)
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelGet)
    for sop_class, transfer_syntax in contexts:
        ae.add_requested_context(sop_class, transfer_syntax)
    roles = [build_role(sop_class, scp_role=True) for sop_class in sorted({pair[0] for pair in contexts})]
    with _associated(ae, site, roles=roles, handlers=[(evt.EVT_C_STORE, received.handle)]) as assoc:
        finals = [
            _final(assoc.send_c_get(_query(StudyInstanceUID=uid), StudyRootQueryRetrieveInformationModelGet))
            for uid in studies
        ]
    return {"digests": received.digests, "statuses": finals}


def move(site: Site, studies: list[str], own_port: int) -> dict[str, Any]:
    """C-MOVE each study to ourselves on `own_port`; returns the same as `get`."""
    received = ReceivedObjects()
    ae = AE(ae_title=site.calling)
    ae.add_requested_context(StudyRootQueryRetrieveInformationModelMove)
    with _serving(site.calling, "127.0.0.1", own_port, received), _associated(ae, site) as assoc:
        model = StudyRootQueryRetrieveInformationModelMove
        finals = [_final(assoc.send_c_move(_query(StudyInstanceUID=uid), site.calling, model)) for uid in studies]
    return {"digests": received.digests, "statuses": finals}


def serve(title: str, host: str, port: int) -> None:
    """Answer C-ECHO and C-STORE until SIGTERM."""
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stopped.set())
    with _serving(title, host, port, ReceivedObjects()):
        stopped.wait()


def _object(path: Path, folder: Path) -> dict[str, Any]:
    """What the C-STORE of a file says about it.

    The UIDs of its data set count. pynetdicom takes them from the file meta: where that has others, a copy in `folder`
    with those of the data set is sent.
    """
    ds = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID"])
    meta, offset = split_dataset(path)
    content = path.read_bytes()[offset:]
    if (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) != (ds.SOPClassUID, ds.SOPInstanceUID):
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
        path = folder / path.name
        with path.open("wb") as file:
            file.write(bytes(128) + b"DICM")
            write_file_meta_info(DicomFileLike(file), FileMetaDataset(meta))
            file.write(content)
    return {
        "path": path,
        "sop_class_uid": str(ds.SOPClassUID),
        "sop_instance_uid": str(ds.SOPInstanceUID),
        "transfer_syntax_uid": str(meta.TransferSyntaxUID),
        "digest": hashlib.sha256(content).hexdigest(),
    }


def _query(**keys: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "STUDY"
    for keyword, value in keys.items():
        setattr(query, keyword, value)
    return query


def _final(answers: Iterator[tuple[Dataset, Dataset | None]]) -> int | None:
    last = list(answers)[-1:]
    return _status(last[0][0]) if last else None


def _status(answer: Dataset) -> int | None:
    """The status; None if the association ended without a response."""
    return int(answer.Status) if "Status" in answer else None


@contextmanager
def _associated(
    ae: AE, site: Site, roles: list[Any] | None = None, handlers: list[Any] | None = None
) -> Iterator[Association]:
    """An association that is released afterwards. Raises ConnectionError if it is not accepted."""
    ae.acse_timeout = ae.dimse_timeout = ANSWER_SECONDS
    assoc = ae.associate(
        site.host,
        site.port,
        ae_title=site.called,
        ext_neg=roles or [],
        evt_handlers=[(evt.EVT_CONN_OPEN, _without_delay), *(handlers or [])],
    )
    if not assoc.is_established:
        raise ConnectionError(f"{site.called} on {site.host}:{site.port} did not accept the association")
    pause_reader.install(assoc)
    try:
        yield assoc
    finally:
        assoc.release()


@contextmanager
def _serving(title: str, host: str, port: int, received: ReceivedObjects) -> Iterator[None]:
    """An SCP of echo and of every storage class, which accepts a compressed transfer syntax where one is proposed."""
    ae = AE(ae_title=title)
    ae.add_supported_context(Verification)
    for context in AllStoragePresentationContexts:
        ae.add_supported_context(str(context.abstract_syntax), COMPRESSED_FIRST)
    ae.add_supported_context(RETIRED_ULTRASOUND, COMPRESSED_FIRST)
    handlers: list[Any] = [(evt.EVT_C_STORE, received.handle), (evt.EVT_CONN_OPEN, _without_delay)]
    server = ae.start_server((host, port), block=False, evt_handlers=handlers)
    try:
        yield
    finally:
        if server:
            server.shutdown()


def _without_delay(event: evt.Event) -> None:
    """Nagle's algorithm costs tens of milliseconds a message."""
    transport = event.assoc.dul.socket
    if transport and transport.socket:
        transport.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


COMMANDS: dict[str, Callable[..., Any]] = {"send": send, "find": find, "get": get, "move": move}


def main(arguments: list[str]) -> int:
    """Run one command; 1 with a message on stderr if the network failed."""
    try:
        if arguments[0] == "serve":
            serve(arguments[1], arguments[2], int(arguments[3]))
            return 0
        request = json.load(sys.stdin)
        answer = COMMANDS[arguments[0]](Site(**request.pop("site")), **request)
    except OSError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    json.dump(answer, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
