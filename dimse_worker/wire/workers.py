"""The threads of associations: one for each, taken up again by the next one, with its database connection."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack

from portal import runtime

log = logging.getLogger(__name__)

IDLE_SECONDS = 3.0
"""How long a thread without an association waits for another one."""


class Workers:
    def __init__(self, limit: int) -> None:
        """`limit`: threads at a time, and tasks that may wait for one."""
        self._limit = limit
        self._tasks: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        """Held for each look at the tasks and the threads together: else a task is left to a thread that has one."""
        self._threads = self._idle = 0

    def submit(self, task: Callable[[], None]) -> bool:
        """Run a task in a thread of its own; False if too many wait already."""
        with self._changed:
            if len(self._tasks) >= self._limit:
                return False
            self._tasks.append(task)
            if self._idle >= len(self._tasks):
                self._changed.notify()
            elif self._threads < self._limit:
                try:
                    threading.Thread(target=self._run, name="association", daemon=True).start()
                except RuntimeError as error:
                    log.warning("the system has no thread for an association: %s", error)
                    if not self._threads:  # nobody would ever take it
                        self._tasks.pop()
                        return False
                else:
                    self._threads += 1
        return True

    def _run(self) -> None:
        with ExitStack() as opened:
            try:
                opened.enter_context(runtime.connection())
            except Exception:  # the association, which needs one, is then rejected
                log.exception("the database cannot be opened")
            while (task := self._next()) is not None:
                try:
                    task()
                except Exception:
                    log.exception("an association failed")

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._tasks, IDLE_SECONDS)
            self._idle -= 1
            if self._tasks:
                return self._tasks.popleft()
            self._threads -= 1
        return None
