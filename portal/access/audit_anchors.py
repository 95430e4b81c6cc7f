"""Anchors of the audit log: its last entry, written now and then to a file outside the database.

Each line of the file is chained to the line before it and authenticated with the site's key; the database knows the
last one. So whoever exchanges the database, cuts off the end of the log, or changes the file, contradicts the other.
"""

import fcntl
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal, cast

from peewee import DatabaseError

from portal import runtime
from portal.access import audit
from portal.archive.writers import sync_folder
from portal.models import Audit, AuditAnchor, connection, now, writing

log = logging.getLogger(__name__)

FIRST_PREVIOUS = "0" * 64
MAX_LINE_BYTES = 4096
INTERVAL = timedelta(minutes=10)
"""An anchor is written this long after the last one, if there are new entries."""
LONGEST_INTERVAL = timedelta(days=1)
SYSLOG_PRIORITY = 16 * 8 + 6
"""Facility local0, severity informational (RFC 5424 6.2.1)."""
SYSLOG_SECONDS = 2.0
_PURPOSE = "audit-anchor"

Reason = Literal["start", "stop", "interval", "verification", "accepted"]


@dataclass(frozen=True, kw_only=True)
class Anchor:
    """The last entry of the audit log at one moment."""

    place: int
    """1 for the first line of the file, and so on."""
    reason: Reason
    at: str
    number: int
    """Number of the last entry; 0 for an empty log."""
    hash: str
    known: int
    """Place of the last anchor that the database knew before this one: lower for an older copy of the database."""
    accepts_from: int = 0
    """Of `accepted`: an admin accepts that earlier anchors contradict the log from this entry on."""
    key: str
    """Digits of the fingerprint of the site's key."""
    previous: str
    """The `mac` of the line before."""
    mac: str = ""

    @property
    def moment(self) -> datetime:
        return datetime.fromisoformat(self.at)


def add(reason: Reason, *, accepts_from: int = 0) -> Anchor:
    """Write an anchor of the log as it is now; on the disk when this returns. Not inside a write block."""
    with _locked() as descriptor, connection():
        known = AuditAnchor.get_or_none()
        last = _last_line(descriptor)
        # Where the file has lost its end, or the database is an older copy, the chain goes on behind the longer one.
        in_file, in_database = (
            (last.place, last.mac) if last else (0, ""),
            (known.place, known.mac) if known else (0, ""),
        )
        place, previous = max(in_file, in_database)
        entry = Audit.select(Audit.id, Audit.hash).order_by(Audit.id.desc()).first()
        moment = now()
        anchor = _signed(
            Anchor(
                place=place + 1,
                reason=reason,
                at=moment.isoformat(),
                number=entry.id if entry else 0,
                hash=entry.hash if entry else "",
                known=in_database[0],
                accepts_from=accepts_from,
                key=key_name(),
                previous=previous or FIRST_PREVIOUS,
            )
        )
        _append(descriptor, anchor)
        columns = {"place": anchor.place, "number": anchor.number, "mac": anchor.mac, "at": moment}
        with writing():
            if not AuditAnchor.update(columns).execute():
                AuditAnchor.create(**columns)
    _send_to_syslog(anchor)
    return anchor


def add_if_due() -> None:
    """Write an anchor if the last one is old, as `try_to_add` does. Costs one statement where it is not."""
    known = AuditAnchor.get_or_none()
    age = now() - known.at if known else LONGEST_INTERVAL
    if timedelta(0) <= age < INTERVAL:  # an age below zero: the clock was set back
        return
    is_new = known is None or Audit.select().where(Audit.id > known.number).exists()
    if is_new or not timedelta(0) <= age < LONGEST_INTERVAL:
        try_to_add("interval")


def try_to_add(reason: Reason) -> None:
    """The same as `add`, but what cannot be written is only logged: it must not keep a site from starting."""
    try:
        add(reason)
    except (OSError, DatabaseError) as error:
        log.error("the audit log could not be anchored: %s", error)


def read_all() -> Iterator[Anchor | None]:
    """Each line of the file in its order, in constant memory; None for one that is no anchor. Empty without a file."""
    try:
        file = runtime.current().audit_anchors.open("rb")
    except FileNotFoundError:
        return
    with file:
        while line := file.readline(MAX_LINE_BYTES):
            yield _parsed(line)


def is_authentic(anchor: Anchor) -> bool:
    """Whether it was written with the site's key and not changed since."""
    return anchor.key == key_name() and _signed(anchor).mac == anchor.mac


def known_place() -> int:
    """The place of the last anchor that the database knows; 0 if it knows none."""
    known = AuditAnchor.get_or_none()
    return int(known.place) if known else 0


def began() -> datetime | None:
    """When the first anchor of this database was written."""
    known = AuditAnchor.get_or_none()
    return known.began if known else None


def key_name() -> str:
    """The key in use, as anchors name it."""
    return audit.key_name(runtime.secrets())


def _signed(anchor: Anchor) -> Anchor:
    return replace(anchor, mac=runtime.secrets().digest(_PURPOSE, _line(replace(anchor, mac=""))))


def _line(anchor: Anchor) -> str:
    return json.dumps({name: value for name, value in asdict(anchor).items() if value not in ("", None)})


def _parsed(line: bytes) -> Anchor | None:
    if not line.endswith(b"\n"):
        return None
    try:
        content: dict[str, Any] = {"hash": "", **json.loads(line)}
        anchor = Anchor(**content)
        well_formed = all(type(getattr(anchor, name)) is int for name in ("place", "number", "known", "accepts_from"))
        return anchor if well_formed and anchor.moment.tzinfo else None
    except (ValueError, TypeError, RecursionError):
        return None


def _last_line(descriptor: int) -> Anchor | None:
    """The last whole anchor of the file; bytes behind it are of a line that a power cut left unfinished."""
    size = os.fstat(descriptor).st_size
    tail = os.pread(descriptor, 2 * MAX_LINE_BYTES, max(0, size - 2 * MAX_LINE_BYTES))
    anchors = (_parsed(line) for line in reversed(tail.splitlines(keepends=True)))
    return next((anchor for anchor in anchors if anchor is not None), None)


def _append(descriptor: int, anchor: Anchor) -> None:
    size = os.fstat(descriptor).st_size
    is_unfinished = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
    line = f"{chr(10) if is_unfinished else ''}{_line(anchor)}\n".encode()
    if os.write(descriptor, line) < len(line):
        raise OSError("the disk took only a part of an anchor")
    os.fsync(descriptor)
    if not size:
        sync_folder(runtime.current().data)


@contextmanager
def _locked() -> Iterator[int]:
    """The file, opened for appending; other processes wait."""
    path = runtime.current().audit_anchors
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _send_to_syslog(anchor: Anchor) -> None:
    """Send it to the site's syslog, if it has one: a copy that nobody on this machine can change."""
    address = runtime.current().audit_syslog
    if address is None:
        return
    words = f"entries={anchor.number} hash={anchor.hash} place={anchor.place} reason={anchor.reason} mac={anchor.mac}"
    message = f"<{SYSLOG_PRIORITY}>portico: audit anchor at={anchor.at} {words}".encode()
    try:
        family, target = socket.AF_UNIX, cast(Any, address)
        if not isinstance(address, str):
            (family, _kind, _protocol, _name, target), *_ = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM)
        with socket.socket(family, socket.SOCK_DGRAM) as sender:
            sender.settimeout(SYSLOG_SECONDS)
            sender.sendto(message, target)
    except OSError as error:
        log.warning("the anchor of the audit log could not be sent to syslog: %s", error)
