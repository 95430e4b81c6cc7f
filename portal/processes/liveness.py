"""When each process of a site last gave a sign of life: `portal up` ends those that hang.

A process that runs may still do nothing for ever. The web server is asked over HTTP, Valkey by PING; the listener
leaves a heartbeat in a file each second, and a worker one in the queue.
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
"""Seconds between two looks."""
MAX_GAP_SECONDS = 30.0
"""If two looks lie further apart, it was this process that stood still, and no other is blamed for it."""
MAX_SILENCE_SECONDS = {"web": 45.0, "valkey": 30.0, "listen": 30.0, "work": 120.0}
"""Seconds without a sign after which a process hangs, by how its name begins. A worker gives none during its sweep."""
HTTP_SECONDS = 10.0


class Liveness:
    """The last sign of each process; `look` asks in a thread of its own, because an answer may take seconds."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._signs: dict[int, tuple[Any, float]] = {}
        self._looked = monotonic()

    def start(self, running: Callable[[], Mapping[str, int]]) -> None:
        """Ask every few seconds; `running`: the process id of each by its name."""

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
            sign = self._sign(name, pid, beats)
            if sign is not None and sign != self._signs.get(pid, (None, 0.0))[0]:
                self._signs[pid] = sign, monotonic()
        self._signs = {pid: known for pid, known in self._signs.items() if pid in running.values()}
        self._looked = monotonic()

    def silence(self, name: str, pid: int) -> float | None:
        """For how many seconds a process that hangs has given no sign; None for any other.

        One that has not given its first sign is starting, and takes the time that it needs.
        """
        patience = next((MAX_SILENCE_SECONDS[word] for word in MAX_SILENCE_SECONDS if name.startswith(word)), None)
        known, now = self._signs.get(pid), monotonic()
        if patience is None or known is None or now - self._looked > MAX_GAP_SECONDS:
            return None
        return now - known[1] if now - known[1] > patience else None

    def _sign(self, name: str, pid: int, beats: dict[int, Any] | None) -> Any:
        """What differs from the sign before as long as the process lives; None if it gave none."""
        if name == "web":
            return monotonic() if _answers(self._url) else None
        if name == "valkey":
            return monotonic() if queue.is_reachable() else None
        if name == "listen":
            return listener_status.last_beat(pid)
        if name.startswith("work"):  # who is not to blame for a queue that does not answer
            return monotonic() if beats is None else beats.get(pid)
        return None


def _answers(url: str) -> bool:
    """Whether there is any answer at all: an error is one, too."""
    with contextlib.suppress(OSError, http.client.HTTPException):
        return health.http_status(url, HTTP_SECONDS) > 0
    return False
