"""Whether the DIMSE listener listens: the status that it writes, and its message for pages and commands."""

import contextlib
import errno
import json
import logging
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from portal import runtime
from portal.models import now

log = logging.getLogger(__name__)

STATUS_FILE_SIZE = 4096
"""Bytes of the file: one block of the disk, which is enough for every message."""

Kind = Literal["off", "on", "starting", "failed", "gone"]


@dataclass(frozen=True, kw_only=True)
class ListenerStatus:
    """The listener's status; `since` is set for *on* and *failed*."""

    kind: Kind
    message: str
    since: datetime | None = None

    @property
    def is_settled(self) -> bool:
        """Whether the status stays as it is unless somebody changes something."""
        return self.kind in ("on", "off")


def record(host: str = "", port: int = 0, error: Exception | None = None, *, is_tls: bool = False) -> None:
    """Called by the listener: write where it listens, or why it cannot; without a host, that it does not listen.

    `is_tls`: on the TLS port; what was written of the other one stays.
    """
    known = _read()
    status: dict[str, Any] = known if known and known["pid"] == os.getpid() else {"pid": os.getpid()}
    status["tls" if is_tls else "clear"] = {
        "host": host,
        "port": port,
        "since": now().isoformat(),
        "problem": explain_failure(host, port, error) if error else "",
    }
    content = json.dumps(status).encode().ljust(STATUS_FILE_SIZE)
    try:
        # Written in place with the same length, because a full disk has no room for another file.
        descriptor = os.open(_path(), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(descriptor, content, 0)
        finally:
            os.close(descriptor)
    except OSError as failure:  # the listener works without it
        log.warning("the listener's status could not be written: %s", failure.strerror)


def beat() -> None:
    """Called by the listener about once a second, as a sign that it runs."""
    with contextlib.suppress(FileNotFoundError):
        os.utime(_path())


def last_beat(pid: int) -> int | None:
    """A number that changes with each `beat` of the listener with this process id; None if it has written nothing."""
    status = _read()
    with contextlib.suppress(FileNotFoundError):
        return _path().stat().st_mtime_ns if status and status["pid"] == pid else None
    return None


def current(options: dict[str, Any], *, listener: int | None = None) -> ListenerStatus:
    """The listener's status, compared with the site's options (`site_settings.get_all`).

    `listener`: the process id that must have written it, if known: a killed listener's id may be in use by another
    process.
    """
    if not options["dimse.enabled"]:
        return ListenerStatus(kind="off", message="No port is open.")
    status = _read()
    if status is None or not _is_alive(status["pid"]):
        return ListenerStatus(
            kind="gone", message="The listener is not running. See logs/listen.log in the data folder."
        )
    host, port, tls_port = options["dimse.host"], options["dimse.port"], options["dimse.tls_port"]
    message = f"Listening on {_host_and_port(host, port)}"
    wanted = [("clear", port, "")]
    if tls_port:
        wanted.append(("tls", tls_port, "TLS: "))
        message = f"{message}, with TLS on port {tls_port}"
    since = datetime.min.replace(tzinfo=UTC)
    for name, number, words in wanted:
        place = status.get(name, {})
        if (place.get("host"), place.get("port")) != (host, number) or listener not in (None, status["pid"]):
            return ListenerStatus(kind="starting", message=f"Starting to listen on {_host_and_port(host, number)}.")
        since = max(since, datetime.fromisoformat(place["since"]))
        if place["problem"]:
            return ListenerStatus(kind="failed", message=f"{words}{place['problem']}", since=since)
    return ListenerStatus(kind="on", message=message, since=since)


def explain_failure(host: str, port: int, error: Exception) -> str:
    """Why listening there failed, and what to do."""
    number = getattr(error, "errno", None)
    if number == errno.EADDRINUSE:
        return f"Port {port} is in use by another program. Choose another port, or stop that program."
    if number == errno.EACCES:
        return f"Port {port} needs a permission that Portico lacks. Choose one above 1023, or see deploy/README.md."
    return f"{host[:253]} is not an address of this machine. Enter 0.0.0.0 for all of its addresses."


def _host_and_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _path() -> Path:
    return runtime.current().run / "listener.json"


def _read() -> dict[str, Any] | None:
    with contextlib.suppress(OSError, ValueError):
        status: dict[str, Any] = json.loads(_path().read_text())
        return status
    return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
