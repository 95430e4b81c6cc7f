"""What the JSON of a job's row holds whatever its kind is; each kind has types of its own beside what runs it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

StateSums = Mapping[str, Sequence[int]]
"""Number and bytes of a job's items of each state."""


@dataclass(frozen=True, kw_only=True)
class JobParams:
    """What a job is to do, as far as lists of all jobs show it."""

    storage_id: int = 0
    peer_id: int = 0
    to: str = ""
    """The label of the storage or peer that objects go to."""
    existing: str = "never"
    """Which objects that are there already are written over: never, different, always."""
    schedule_id: int = 0
    """The schedule that started it."""

    @classmethod
    def load(cls, row: Mapping[str, Any]) -> "JobParams":
        return cls(
            storage_id=row.get("storage", 0),
            peer_id=row.get("peer", 0),
            to=row.get("to", ""),
            existing=row.get("existing", "never"),
            schedule_id=row.get("schedule", 0),
        )


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What is known of a job's work and of its runs so far."""

    is_planned: bool = False
    """Whether all of its items are written."""
    size: int = 0
    """Bytes of all items."""
    unmatched: int = 0
    """Objects that it leaves out."""
    found: StateSums = field(default_factory=dict)
    """The sums of its items at its end."""
    ended_runs: Sequence[Mapping[str, Any]] = ()
    """How the last runs ended, each with `began`, `ended` and `message`."""
    is_reopened: bool = False
    """Whether the next run gives the items that failed another try."""

    @classmethod
    def load(cls, row: Mapping[str, Any]) -> "JobResult":
        return cls(
            is_planned=bool(row.get("planned")),
            size=row.get("bytes", 0),
            unmatched=row.get("unmatched", 0),
            found=row.get("found") or {},
            ended_runs=row.get("tries") or (),
            is_reopened=bool(row.get("reopen")),
        )
