"""What one association has done so far: operations with their outcomes, and bytes of data sets."""

import threading
from collections import Counter

from portal.peers.associations import Counts, Progress


class AssociationCounts:
    """Written by the association's thread, read by the one that refreshes the rows."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[str, Counter[str]] = {}
        self._size = 0

    def done(self, operation: str, *outcomes: str, size: int = 0) -> None:
        self._count(operation, "done", *outcomes, size=size)

    def failed(self, operation: str, *outcomes: str) -> None:
        self._count(operation, "failed", *outcomes, size=0)

    def progress(self, association_id: int) -> Progress:
        """The current counts, for the association's row."""
        with self._lock:
            counts: Counts = {operation: dict(counter) for operation, counter in self._counts.items()}
            return Progress(association_id=association_id, counts=counts, size=self._size)

    def _count(self, operation: str, *names: str, size: int) -> None:
        with self._lock:
            self._counts.setdefault(operation, Counter({"done": 0, "failed": 0})).update(names)
            self._size += size
