"""Which transfer syntaxes the instances of a SOP Class have, on which it depends in what a C-GET is answered."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Collection
from functools import lru_cache
from itertools import product
from pathlib import Path

from portal import runtime
from portal.models import retrieve_queries

INSTANCES_AT_ONCE = 50_000
SECONDS = 0.5
"""How long one call looks at instances that this process does not know yet; the next one goes on from there."""


def of_classes(projects: Collection[int], sop_classes: Collection[str]) -> dict[str, Counter[str]]:
    """SOP Class → transfer syntax → number of instances in these projects, hidden ones included.

    It is a hint: it may lack instances of the last moment, and just after a start those that came first.
    """
    return _of_site(runtime.current().database).of_classes(projects, sop_classes)


class _Known:
    """What this process has counted so far, by the numbers of the instances: newer ones, then the older ones."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted: defaultdict[tuple[int, str], Counter[str]] = defaultdict(Counter)
        """By project and SOP Class."""
        self._first = self._last = -1
        """The instances between these numbers are counted, the first excluded."""

    def of_classes(self, projects: Collection[int], sop_classes: Collection[str]) -> dict[str, Counter[str]]:
        with self._lock:
            self._count(time.monotonic() + SECONDS)
            found: dict[str, Counter[str]] = {sop_class: Counter() for sop_class in sop_classes}
            for project, sop_class in product(projects, sop_classes):
                found[sop_class].update(self._counted.get((project, sop_class), {}))
            return found

    def _count(self, deadline: float) -> None:
        newest = retrieve_queries.last_instance()
        if self._last < 0:
            self._first = self._last = newest
        while self._last < newest and time.monotonic() < deadline:
            upto = min(self._last + INSTANCES_AT_ONCE, newest)
            self._add(self._last, upto)
            self._last = upto
        while self._first > 0 and time.monotonic() < deadline:
            after = max(self._first - INSTANCES_AT_ONCE, 0)
            self._add(after, self._first)
            self._first = after

    def _add(self, after: int, upto: int) -> None:
        for project, sop_class, syntax, count in retrieve_queries.count_syntaxes(after, upto):
            self._counted[project, sop_class][syntax] += count


@lru_cache(maxsize=2)
def _of_site(_database: Path) -> _Known:
    return _Known()
