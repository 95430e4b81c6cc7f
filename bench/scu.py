"""A requestor on a raw socket, which measures every server alike: pynetdicom's is slower than what it would measure.

It sends one message at a time, holds its associations to the least that PS3.8 asks for, and takes any size of PDU.
"""

import contextlib
import selectors
import socket
import time
from collections import deque
from dataclasses import dataclass, field
from io import BytesIO
from struct import pack, unpack_from

from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from pydicom.filewriter import write_dataset

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
VERIFICATION = "1.2.840.10008.1.1"
STUDY_ROOT_FIND = "1.2.840.10008.5.1.4.1.2.2.1"
CALLING, CALLED = "SENDER", "PORTICO"
ACCEPT, REJECT, DATA, RELEASE_RESPONSE = 2, 3, 4, 6
RELEASE = b"\x05\0\0\0\0\x04\0\0\0\0"
STATUS = 0x0900
PENDING = (0xFF00, 0xFF01)
PATIENCE = 60.0
FAREWELL = 5.0
"""Seconds for all A-RELEASE-RPs of many associations."""
MAX_PDU = 1 << 17
HEADER = 6
COMMAND, LAST = 1, 2
"""Bits of a message control header (PS3.8 E.2)."""


class Refused(Exception):
    """An association is rejected, or an answer is none of success."""


@dataclass(frozen=True)
class Answers:
    identifiers: list[bytes]
    transfer_syntax: str

    def decoded(self) -> list[Dataset]:
        """For a comparison after the time was taken."""
        is_implicit = self.transfer_syntax == IMPLICIT
        return [read_dataset(BytesIO(each), is_implicit, True) for each in self.identifiers]


@dataclass
class Association:
    """One association with one presentation context."""

    port: int
    sop_class: str = VERIFICATION
    syntax: str = ""
    connection: socket.socket = field(init=False)
    arrived: bytearray = field(default_factory=bytearray)
    pdvs: deque[tuple[int, bytes]] = field(default_factory=deque)
    message_id: int = 0

    def __enter__(self) -> "Association":
        self.connection = socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connection.sendall(associate_request(self.sop_class))
        kind, content = self._pdu()
        if kind != ACCEPT:
            raise Refused(f"answered with PDU {kind}: {content[:4].hex()}")
        self.syntax = accepted_syntax(content)
        return self

    def __exit__(self, *_: object) -> None:
        with self.connection:
            self.connection.sendall(RELEASE)
            if self._pdu()[0] != RELEASE_RESPONSE:
                raise Refused("no A-RELEASE-RP")

    def echo(self) -> None:
        self._send(0x0030, has_data_set=False)
        if status := self._answer()[0]:
            raise Refused(f"C-ECHO: {status:04X}")

    def find(self, identifier: Dataset) -> Answers:
        """All matches of a C-FIND."""
        self._send(0x0020, has_data_set=True)
        self.connection.sendall(data_pdu(encoded(identifier, self.syntax), LAST))
        found: list[bytes] = []
        while (answer := self._answer())[0] in PENDING:
            found.append(answer[1])
        if answer[0]:
            raise Refused(f"C-FIND: {answer[0]:04X}")
        return Answers(found, self.syntax)

    def _send(self, command: int, *, has_data_set: bool) -> None:
        self.message_id = self.message_id % 65_535 + 1
        elements = element(0x0002, padded(self.sop_class)) + element(0x0100, pack("<H", command))
        elements += element(0x0110, pack("<H", self.message_id))
        elements += element(0x0700, pack("<H", 0)) if has_data_set else b""
        elements += element(0x0800, pack("<H", 0x0001 if has_data_set else 0x0101))
        self.connection.sendall(data_pdu(element(0x0000, pack("<L", len(elements))) + elements, LAST | COMMAND))

    def _answer(self) -> tuple[int, bytes]:
        """Status and data set of the next response."""
        flags, command = self._pdv()
        if flags != LAST | COMMAND:
            raise Refused("an answer does not begin with a whole command")
        at = 0
        while (head := unpack_from("<HHL", command, at))[1] != STATUS:  # the numbers of a message may look like its tag
            at += 8 + head[2]
        [status] = unpack_from("<H", command, at + 8)
        if status not in PENDING:
            return status, b""
        flags, content = self._pdv()
        while not flags & LAST:
            flags, part = self._pdv()
            content += part
        return status, content

    def _pdv(self) -> tuple[int, bytes]:
        """Message control header and fragment of the next presentation data value (PS3.8 9.3.5.1)."""
        while not self.pdvs:
            kind, pdu = self._pdu()
            if kind != DATA:
                raise Refused(f"answered with PDU {kind}")
            at = 0
            while at < len(pdu):
                size, _, flags = unpack_from(">LBB", pdu, at)
                self.pdvs.append((flags, pdu[at + 6 : at + 4 + size]))
                at += 4 + size
        return self.pdvs.popleft()

    def _pdu(self) -> tuple[int, bytes]:
        buffer = self.arrived
        while len(buffer) < HEADER or len(buffer) < HEADER + unpack_from(">L", buffer, 2)[0]:
            more = self.connection.recv(1 << 18)
            if not more:
                raise Refused("the connection was closed")
            buffer += more
        end = HEADER + unpack_from(">L", buffer, 2)[0]
        kind, content = buffer[0], bytes(buffer[HEADER:end])
        del buffer[:end]
        return kind, content


@dataclass(frozen=True)
class Together:
    """What became of associations that were requested at the same moment."""

    accepted: list[float]
    """Seconds until each was accepted."""
    rejected: int
    lost: int
    """Neither accepted nor rejected within PATIENCE."""


def associate_together(port: int, number: int) -> Together:
    """Open so many associations at once, hold them until each has its answer, then release them."""
    accepted: list[float] = []
    answers: dict[socket.socket, int] = {}
    request = associate_request(VERIFICATION)
    with selectors.DefaultSelector() as selector:
        began = time.perf_counter()
        for _ in range(number):
            calling = socket.socket()
            calling.setblocking(False)
            calling.connect_ex(("127.0.0.1", port))
            selector.register(calling, selectors.EVENT_WRITE)
        while selector.get_map() and (left := began + PATIENCE - time.perf_counter()) > 0:
            for key, events in selector.select(left):
                connection = key.fileobj
                assert isinstance(connection, socket.socket)
                try:
                    if events & selectors.EVENT_WRITE:
                        connection.send(request)
                        selector.modify(connection, selectors.EVENT_READ)
                        continue
                    answers[connection] = (connection.recv(1 << 16) or b"\0")[0]
                except OSError:
                    answers[connection] = 0
                if answers[connection] == ACCEPT:
                    accepted.append(time.perf_counter() - began)
                selector.unregister(connection)
        unanswered = [key.fileobj for key in selector.get_map().values()]
    standing = [connection for connection, kind in answers.items() if kind == ACCEPT]
    for connection in standing:
        connection.settimeout(1)
        with contextlib.suppress(OSError):
            connection.sendall(RELEASE)
    until = time.monotonic() + FAREWELL
    for connection in answers:
        with connection, contextlib.suppress(OSError):
            if connection in standing:
                connection.settimeout(max(0.01, until - time.monotonic()))
                connection.recv(1 << 10)
    for each in unanswered:
        assert isinstance(each, socket.socket)
        each.close()
    rejected = sum(kind == REJECT for kind in answers.values())
    return Together(accepted, rejected, number - len(accepted) - rejected)


def associate_request(sop_class: str) -> bytes:
    """An A-ASSOCIATE-RQ (PS3.8 9.3.2) that proposes one context with both little endian transfer syntaxes."""
    syntaxes = b"".join(item(0x40, syntax.encode()) for syntax in (EXPLICIT, IMPLICIT))
    context = item(0x20, b"\x01\0\0\0" + item(0x30, sop_class.encode()) + syntaxes)
    user = item(0x50, item(0x51, pack(">L", MAX_PDU)) + item(0x52, b"2.25.1415926535"))
    variable = item(0x10, b"1.2.840.10008.3.1.1.1") + context + user
    fixed = pack(">HH16s16s32x", 1, 0, CALLED.ljust(16).encode(), CALLING.ljust(16).encode())
    return pack(">BBL", 1, 0, len(fixed + variable)) + fixed + variable


def accepted_syntax(content: bytes) -> str:
    """The transfer syntax of the first context of an A-ASSOCIATE-AC. Raises Refused where it is not accepted."""
    at = 68
    while at < len(content):
        kind, size = unpack_from(">BxH", content, at)
        if kind == 0x21:
            if content[at + 6]:
                raise Refused(f"the context is refused: {content[at + 6]}")
            [length] = unpack_from(">H", content, at + 10)
            return content[at + 12 : at + 12 + length].rstrip(b"\0").decode()
        at += 4 + size
    raise Refused("no context is answered")


def encoded(ds: Dataset, syntax: str) -> bytes:
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = syntax == IMPLICIT, True
    write_dataset(out, ds)
    return out.getvalue()


def data_pdu(content: bytes, flags: int) -> bytes:
    return pack(">BBLLBB", DATA, 0, len(content) + 6, len(content) + 2, 1, flags) + content


def element(number: int, value: bytes) -> bytes:
    return pack("<HHL", 0, number, len(value)) + value


def item(kind: int, content: bytes) -> bytes:
    return pack(">BBH", kind, 0, len(content)) + content


def padded(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)
