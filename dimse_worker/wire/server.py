"""The fast path's part of a listening process: its threads, from the first connection to the last association."""

import logging
import socket
import threading
import time

from dimse_worker import association_policy
from dimse_worker.heartbeat import Heartbeat
from dimse_worker.tls.contexts import ServerContexts
from dimse_worker.tls.sockets import TlsSocket
from dimse_worker.wire.admissions import MAX_ASSOCIATIONS, Admissions
from dimse_worker.wire.association import Association, House
from dimse_worker.wire.reception import Arrival, Reception, TlsReception
from dimse_worker.wire.rows import Rows
from dimse_worker.wire.workers import Workers
from portal import runtime
from portal.peers.associations import Progress

log = logging.getLogger(__name__)

MORE_THREADS = 24
"""Threads beside those of as many associations as are admitted: to reject the others."""
STOP_SECONDS = 10.0


class FastServer:
    """Serves on a socket that is bound; `stop_accepting`, then `abort` what still runs, then `close`."""

    def __init__(
        self, listening: socket.socket, heartbeat: Heartbeat, admissions: Admissions, *, is_tls: bool = False
    ) -> None:
        self._running: dict[Association, None] = {}
        self._begun = 0
        """Associations whose request has arrived and that are not over."""
        self._lock = threading.Lock()
        self._workers = Workers(MAX_ASSOCIATIONS + MORE_THREADS)
        self._rows = Rows()
        self._contexts = ServerContexts()
        tls = TlsReception(self._wrap, association_policy.record_handshake_failure) if is_tls else None
        self._reception = Reception(listening, heartbeat, self._take, tls)
        self._house = House(reception=self._reception, rows=self._rows, admissions=admissions)
        self._threads = [threading.Thread(target=run, daemon=True) for run in (self._receive, self._rows.run)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def progress(self) -> list[Progress]:
        """The counts of the associations that run and have a row."""
        with self._lock:
            rows = [association.row for association in self._running]
        return [row.counts.progress(row.written_id) for row in rows if row is not None and row.written_id]

    def stop_accepting(self) -> None:
        """Close the socket, and the connections that have not asked for an association."""
        self._reception.stop_accepting()

    @property
    def is_idle(self) -> bool:
        """Whether no association runs."""
        return self._begun == 0

    def abort(self, reason: str) -> None:
        """Abort what runs, and wait a moment for it to end."""
        with self._lock:
            running = list(self._running)
        for association in running:
            association.stop(reason)
        deadline = time.monotonic() + 2.0
        while not self.is_idle and time.monotonic() < deadline:
            time.sleep(0.02)

    def close(self) -> None:
        """Write the rows that are still to be written, and end the threads."""
        self._rows.stop()
        self._reception.stop()
        for thread in self._threads:
            thread.join(STOP_SECONDS)

    def _receive(self) -> None:
        with runtime.connection():  # to see whether another certificate was installed
            self._reception.run()

    def _wrap(self, connected: socket.socket) -> TlsSocket | None:
        return TlsSocket.accepting(connected, self._contexts.current())

    def _take(self, arrival: Arrival) -> bool:
        with self._lock:
            self._begun += 1
        if self._workers.submit(lambda: self._run(arrival)):
            return True
        with self._lock:
            self._begun -= 1
        return False

    def _run(self, arrival: Arrival) -> None:
        association = None
        try:
            association = Association(self._house, arrival)
            with self._lock:
                self._running[association] = None
            association.run()
        finally:
            with self._lock:
                if association is not None:
                    del self._running[association]
                self._begun -= 1
