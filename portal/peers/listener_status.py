"""Whether the DIMSE listener listens: what it last said of itself, for the page that changes where it should."""

import contextlib
import errno
import json
import logging
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from portal import runtime
from portal.models import now

log = logging.getLogger(__name__)

STATUS_FILE_SIZE = 4096
"""Bytes of the file: one block of the disk, which holds every sentence."""

Kind = Literal["off", "on", "starting", "failed", "gone"]


@dataclass(frozen=True, kw_only=True)
class ListenerStatus:
    """How it stands, in a sentence; `since` belongs to *on* and *failed*."""

    kind: Kind
    message: str
    since: datetime | None = None

    @property
    def is_settled(self) -> bool:
        """Nothing more will come by itself."""
        return self.kind in ("on", "off")


def record(host: str = "", port: int = 0, error: Exception | None = None) -> None:
    """The listener says where it listens, or why it cannot; without a host, that it does not."""
    said = {
        "pid": os.getpid(),
        "host": host,
        "port": port,
        "since": now().isoformat(),
        "problem": explain_failure(host, port, error) if error else "",
    }
    try:
        _write(json.dumps(said))
    except OSError as failure:  # peers are served all the same
        log.warning("where the listener listens could not be written down: %s", failure.strerror)


def beat() -> None:
    """The listener says that it lives, about once a second."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(_path())


def last_beat(pid: int) -> int | None:
    """What changes with each `beat` of the listener with this process id; None if it has not said anything."""
    said = _said()
    with contextlib.suppress(FileNotFoundError):
        return _path().stat().st_mtime_ns if said and said["pid"] == pid else None
    return None


def current(options: dict[str, Any], *, listener: int | None = None) -> ListenerStatus:
    """How it stands with what the site's options (`site.every`) want.

    `listener`: the one process whose word counts, where it is known: another may have been killed, and its id be in use
    again.
    """
    if not options["dimse.enabled"]:
        return ListenerStatus(kind="off", message="No port is open.")
    wanted = (options["dimse.host"], options["dimse.port"])
    said = _said()
    if said is None or not _is_alive(said["pid"]):
        return ListenerStatus(kind="gone", message="The listener does not run. See logs/listen.log in the data folder.")
    if (said["host"], said["port"]) != wanted or listener not in (None, said["pid"]):
        return ListenerStatus(kind="starting", message=f"About to listen on {_place(*wanted)}.")
    since = datetime.fromisoformat(said["since"])
    if said["problem"]:
        return ListenerStatus(kind="failed", message=said["problem"], since=since)
    return ListenerStatus(kind="on", message=f"Listening on {_place(*wanted)}", since=since)


def explain_failure(host: str, port: int, error: Exception) -> str:
    """Why nobody can listen there, and what to do."""
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return f"Port {port} is taken by another program. Choose another port, or stop that program."
    if number == errno.EACCES:
        return f"Port {port} needs a right that Portico was not given. Choose one above 1023, or see deploy/README.md."
    return f"{host[:253]} is no address of this machine. Write 0.0.0.0 for all that it has."


def _place(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _write(text: str) -> None:
    """Over what stood there, by one write of the same length: on a full disk there is no room for another file."""
    descriptor = os.open(_path(), os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.pwrite(descriptor, text.encode().ljust(STATUS_FILE_SIZE), 0)
    finally:
        os.close(descriptor)


def _path() -> Path:
    return runtime.current().run / "listener.json"


def _said() -> dict[str, Any] | None:
    with contextlib.suppress(OSError, ValueError):
        said: dict[str, Any] = json.loads(_path().read_text())
        return said
    return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
