"""Refused callers on their way to their list: some at once, a flood of them together, a few seconds later."""

import logging
import threading
import time
from dataclasses import replace

from peewee import PeeweeException

from portal.peers import refused_callers
from portal.peers.refused_callers import Refusal

log = logging.getLogger(__name__)

AT_ONCE = 20
AGAIN_AFTER = 0.5
"""So many are written at once, and one more after so many seconds: each write waits for the disk, and others for it."""
MAX_WAITING = 100
"""Different ones that wait; of further ones only the number is kept."""


class Refusals:
    """Those of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, ...], Refusal] = {}
        self._others = 0
        self._left, self._counted = float(AT_ONCE), time.monotonic()

    def add(self, refusal: Refusal) -> None:
        """Write it, with those that wait, unless too many came before."""
        self.add_later(refusal)
        with self._lock:
            now = time.monotonic()
            self._left = min(self._left + (now - self._counted) / AGAIN_AFTER, float(AT_ONCE))
            self._counted = now
            if self._left < 1:
                return
            self._left -= 1
        self.write()

    def add_later(self, refusal: Refusal) -> None:
        """Keep it until the next `write`, for a caller that may not wait for the disk."""
        with self._lock:
            known = self._waiting.get(refusal.key)
            if known is not None:
                refusal = replace(refusal, count=known.count + 1, wanted=known.wanted | refusal.wanted)
            if known is not None or len(self._waiting) < MAX_WAITING:
                self._waiting[refusal.key] = refusal
            else:
                self._others += 1

    def write(self) -> None:
        """Write those that wait. A busy database loses them: nobody is to wait for the list of who was refused."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
            others, self._others = self._others, 0
        if not waiting:
            return
        try:
            refused_callers.record_all(list(waiting.values()), others=others)
        except PeeweeException as error:
            log.warning("%d refused callers could not be recorded: %s", len(waiting), error)


refusals = Refusals()
