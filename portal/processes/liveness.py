"""When each process of a site last gave a sign of life: `portal up` kills those that hang.

The web server is asked over HTTP, Valkey by PING; the listener writes a heartbeat to a file each second, and a worker
one to the queue.
"""

import contextlib
import http.client
import threading
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from portal.jobs import queue
from portal.peers import listener_status
from portal.processes import health

LOOK_SECONDS = 5.0
"""Seconds between two rounds."""
MAX_GAP_SECONDS = 30.0
"""If two rounds are further apart, this process itself was suspended, and no other counts as hanging."""
MAX_SILENCE_SECONDS = {"web": 45.0, "valkey": 30.0, "listen": 30.0, "work": 120.0}
"""Seconds without a sign after which a process hangs, by the start of its name. A worker gives none in its sweep."""
HTTP_SECONDS = 10.0


class Liveness:
    """The last sign of each process; `look` asks in a thread of its own, because an answer may take seconds."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._signs: dict[int, tuple[Any, float]] = {}
        self._looked = monotonic()

    def start(self, running: Callable[[], Mapping[str, int]]) -> None:
        """Ask every few seconds; `running` gives the process id of each by its name."""

        def keep_looking() -> None:
            pause = threading.Event()
            while not pause.wait(LOOK_SECONDS):
                self.look(running())

        threading.Thread(target=keep_looking, name="liveness", daemon=True).start()

    def look(self, running: Mapping[str, int]) -> None:
        """Ask each process once."""
        now = monotonic()
        if now - self._looked > MAX_GAP_SECONDS:
            self._signs = {pid: (sign, now) for pid, (sign, _since) in self._signs.items()}
        beats = queue.heartbeats()
        for name, pid in running.items():
            sign: Any = None  # what differs from the last sign while the process lives
            if name == "web":
                with contextlib.suppress(OSError, http.client.HTTPException):
                    health.http_status(self._url, HTTP_SECONDS)  # an error status is an answer, too
                    sign = monotonic()
            elif name == "valkey":
                sign = monotonic() if queue.is_reachable() else None
            elif name == "listen":
                sign = listener_status.last_beat(pid)
            elif name.startswith("work"):
                # A worker is not to blame for a queue that does not answer.
                sign = monotonic() if beats is None else beats.get(pid)
            if sign is not None and sign != self._signs.get(pid, (None, 0.0))[0]:
                self._signs[pid] = sign, monotonic()
        self._signs = {pid: known for pid, known in self._signs.items() if pid in running.values()}
        self._looked = monotonic()

    def silence(self, name: str, pid: int) -> float | None:
        """For how many seconds a hanging process has given no sign; None for any other.

        Before its first sign a process is starting, which may take any time.
        """
        patience = next((MAX_SILENCE_SECONDS[word] for word in MAX_SILENCE_SECONDS if name.startswith(word)), None)
        known, now = self._signs.get(pid), monotonic()
        if patience is None or known is None or now - self._looked > MAX_GAP_SECONDS:
            return None
        return now - known[1] if now - known[1] > patience else None
