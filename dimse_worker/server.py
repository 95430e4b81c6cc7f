"""One listening process: serves on its parent's socket, and finishes its associations on SIGTERM."""

import logging
import os
import signal
import socket
import threading
import time

from peewee import PeeweeException

from dimse_worker.heartbeat import Heartbeat
from dimse_worker.refusals import refusals
from dimse_worker.stock.server import StockServer
from dimse_worker.wire.admissions import Admissions
from dimse_worker.wire.server import FastServer
from portal import runtime
from portal.maintenance import recovery
from portal.peers import associations

log = logging.getLogger(__name__)

DRAIN_SECONDS = 30.0
STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
SENT = (0, 0x80, -1, -6)
"""Codes of signals that somebody has sent: SI_USER, SI_KERNEL, SI_QUEUE, SI_TKILL (sigaction(2))."""
SIGNALS = STOP_SIGNALS | {signal.SIGCHLD}
"""Blocked in all threads and waited for, so that no signal handler interrupts anything."""


def serve(listening: socket.socket, heartbeat: Heartbeat, admissions: Admissions, *, is_tls: bool) -> None:
    """Serve until SIGTERM, then for at most DRAIN_SECONDS. The caller has blocked SIGNALS and started no thread."""
    threading.excepthook = _thread_failed
    with runtime.connection():
        recovery.recover()

    with runtime.held_open():
        is_fast = runtime.current().dimse_wire == "fast"
        server = (FastServer if is_fast else StockServer)(listening, heartbeat, admissions, is_tls=is_tls)
        where = listening.getsockname()[:2]
        server.start()
        log.info("process %d accepts associations on %s port %d", os.getpid(), *where)
        while not is_told_to_stop(associations.REFRESH_SECONDS):
            _refresh(server)

        server.stop_accepting()
        _drain(server)
        server.close()
        _refresh(server)
        runtime.archive().close()


def is_told_to_stop(seconds: float) -> bool:
    """Wait for so long, or until a child ends; whether a signal to stop came."""
    caught = signal.sigtimedwait(SIGNALS, seconds)
    # Interrupted when its time is up, say by a debugger, Python returns as a signal whatever was on its stack.
    return caught is not None and caught.si_signo in STOP_SIGNALS and caught.si_code in SENT


def _thread_failed(failure: threading.ExceptHookArgs) -> None:
    if failure.exc_value is not None:
        log.error("a thread ended", exc_info=failure.exc_value)


def _refresh(server: FastServer | StockServer) -> None:
    """Write the counts of running associations, so that a kill does not lose them, and the refused callers that wait.

    A busy database is not an error.
    """
    progress = server.progress()
    try:
        with runtime.connection():
            if progress:
                associations.refresh(progress)
            refusals.write()
    except PeeweeException as error:
        log.warning("the rows of %d associations could not be refreshed: %s", len(progress), error)


def _drain(server: FastServer | StockServer) -> None:
    """Wait for the associations that have begun; abort those that run for longer than DRAIN_SECONDS."""
    deadline = time.monotonic() + DRAIN_SECONDS
    refreshed = time.monotonic()
    while not server.is_idle and time.monotonic() < deadline:
        if time.monotonic() - refreshed > associations.REFRESH_SECONDS:
            refreshed = time.monotonic()
            _refresh(server)
        time.sleep(0.05)
    if not server.is_idle:
        server.abort(f"The listener stopped, and it did not end within {DRAIN_SECONDS:.0f} s.")
