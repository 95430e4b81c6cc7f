"""What one association has done so far: operations with their outcomes, and bytes of data sets."""

import threading
from collections import Counter

from portal.peers.associations import Counts, Progress, Retrieved


class AssociationCounts:
    """Written by the association's thread, read by the one that refreshes the rows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, Counter[str]] = {}
        self._size = 0
        self._retrieved: Counter[Retrieved] = Counter()

    def done(self, operation: str, *outcomes: str, size: int = 0) -> None:
        self._count(operation, "done", *outcomes, size=size)

    def failed(self, operation: str, *outcomes: str) -> None:
        self._count(operation, "failed", *outcomes, size=0)

    def retrieved(self, what: Retrieved) -> None:
        """Count an instance that the recipient of a C-MOVE or C-GET has accepted."""
        with self._lock:
            self._retrieved[what] += 1

    def progress(self, association_id: int) -> Progress:
        """The current counts, for the association's row."""
        with self._lock:
            counts: Counts = {operation: dict(counter) for operation, counter in self._counts.items()}
            return Progress(
                association_id=association_id, counts=counts, size=self._size, retrieved=dict(self._retrieved)
            )

    def _count(self, operation: str, *names: str, size: int) -> None:
        with self._lock:
            self._counts.setdefault(operation, Counter({"done": 0, "failed": 0})).update(names)
            self._size += size
