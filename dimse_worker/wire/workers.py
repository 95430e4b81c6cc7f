"""The threads of associations: one for each, taken up again by the next one, with its database connection."""

import logging
import queue
import threading
from collections.abc import Callable

from portal import runtime

log = logging.getLogger(__name__)

IDLE_SECONDS = 3.0
"""How long a thread without an association waits for another one."""


class Workers:
    def __init__(self, limit: int) -> None:
        """`limit`: threads at a time, and tasks that may wait for one."""
        self._limit = limit
        self._tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = self._idle = 0

    def submit(self, task: Callable[[], None]) -> bool:
        """Run a task in a thread of its own; False if too many wait already."""
        with self._lock:
            if self._tasks.qsize() >= self._limit:
                return False
            self._tasks.put(task)
            if self._idle < self._tasks.qsize() and self._threads < self._limit:
                self._threads += 1
                threading.Thread(target=self._run, name="association", daemon=True).start()
        return True

    def _run(self) -> None:
        with runtime.connection():
            while (task := self._next()) is not None:
                try:
                    task()
                except Exception:
                    log.exception("an association failed")

    def _next(self) -> Callable[[], None] | None:
        with self._lock:
            self._idle += 1
        try:
            task = self._tasks.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            task = None
        with self._lock:
            self._idle -= 1
            if task is None and not self._tasks.empty():
                task = self._tasks.get_nowait()
            self._threads -= task is None
        return task
