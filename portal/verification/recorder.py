"""Where a verification is, what it has checked and found: written in batches, from which the next run continues."""

import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from portal.jobs.runs import Run
from portal.models import JobItem, batched_writes, writing

AREAS = ("audit", "archive", "files", "index", "manifests")
"""In the order in which they are checked; each is a state of the items that findings are kept as."""
MAX_LISTED = 2000
"""Findings of an area that are listed; more are counted."""
MAX_MESSAGE_LENGTH = 2000
WRITE_SECONDS = 2.0
MAX_SLEEP_SECONDS = 0.2
MIN_REST_SECONDS = 0.01
KEY = "verification"
"""Where the result of the job holds the state."""


@dataclass(kw_only=True)
class State:
    """What the row of the job keeps."""

    area: str = AREAS[0]
    """The area that is being checked; empty at the end."""
    position: dict[str, Any] = field(default_factory=dict)
    """Where in the area, as the check of the area writes it."""
    checked: dict[str, int] = field(default_factory=dict)
    """How much of what was checked: entries, segments, files …"""
    found: dict[str, int] = field(default_factory=dict)
    """How many findings each area has."""
    skipped: dict[str, int] = field(default_factory=dict)
    """What was not checked, by the reason."""

    @classmethod
    def load(cls, result: dict[str, Any]) -> "State":
        return cls(**result.get(KEY, {}))

    @property
    def findings(self) -> int:
        return sum(self.found.values())


class Recorder:
    """The state of one run. It rests as long as it works, so that others find the disk and the database free."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.state = State.load(run.job.result)
        self._checked, self._found = Counter(self.state.checked), Counter(self.state.found)
        self._skipped = Counter(self.state.skipped)
        self._items: list[tuple[Any, ...]] = []
        self._done, self._size = run.job.done, run.job.bytes
        self._written = self._rested = time.monotonic()

    def begin(self, total: int, size: int) -> None:
        """Begin anew: `total` steps, and bytes of the archive to be read."""
        mine = JobItem.job == self.run.job
        batched_writes.delete(JobItem, mine, check=self.run.check)
        self.state, self._done, self._size = State(), 0, 0
        for counter in (self._checked, self._found, self._skipped):
            counter.clear()
        kept = {name: value for name, value in self.run.job.result.items() if name != "found"}
        result = {**kept, "bytes": size, "planned": True}
        self.run.write(total=total, done=0, failed=0, bytes=0, result={**result, KEY: asdict(self.state)})

    def find(self, subject: str, message: str, *, file_id: int | None = None) -> None:
        """Keep one finding of the area that is being checked: about what, and what is wrong and to be done in words."""
        area = self.state.area
        self._found[area] += 1
        if self._found[area] <= MAX_LISTED:
            text = message[:MAX_MESSAGE_LENGTH]
            self._items.append((self.run.job.id, file_id, subject, 0, "", area, text, True, 0))

    def count(self, what: str, number: int = 1) -> None:
        self._checked[what] += number

    def skip(self, reason: str, number: int = 1) -> None:
        """Count what is not checked, for a reason in words."""
        self._skipped[reason] += number

    def reached(self, position: dict[str, Any], *, steps: int = 0, size: int = 0) -> None:
        """All before this position of the area is checked; written now and then. Raises Stopped."""
        self.state.position = position
        self._done, self._size = self._done + steps, self._size + size
        self.rest()
        if time.monotonic() - self._written > WRITE_SECONDS:
            self._write()

    def leave(self) -> None:
        """The area is checked to its end."""
        later = AREAS[AREAS.index(self.state.area) + 1 :]
        self.state.area, self.state.position = (later[0] if later else ""), {}
        self._write()

    def rest(self) -> None:
        """Sleep as long as the work since the last rest took. Raises Stopped."""
        self.run.check()
        worked = time.monotonic() - self._rested
        if worked < MIN_REST_SECONDS:
            return
        end = time.monotonic() + worked
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, MAX_SLEEP_SECONDS))
            self.run.check()
        self._rested = time.monotonic()

    def _write(self) -> None:
        self.state.checked, self.state.found = dict(self._checked), dict(self._found)
        self.state.skipped = dict(self._skipped)
        sums = {area: [number, 0] for area, number in self._found.items()}
        result = {**self.run.job.result, KEY: asdict(self.state), "found": sums}
        total = max(self.run.job.total, self._done)
        with writing():
            JobItem.add(self._items)
            failed = self.state.findings
            self.run.write_within(total=total, done=self._done, failed=failed, bytes=self._size, result=result)
        self._items.clear()
        self._written = time.monotonic()
