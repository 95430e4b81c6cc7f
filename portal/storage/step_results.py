"""What a test of a storage has found: types for the JSON that the rows of its jobs keep."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(kw_only=True)
class Step:
    """`state` is off (not tried), run, ok, warn, bad or skip (not used)."""

    name: str
    state: str = "off"
    message: str = ""
    ms: int | None = None


def load_steps(row: Mapping[str, Any]) -> list[Step]:
    """The steps in the result of a test job; a row of another release may have more keys, or fewer."""
    return [
        Step(
            name=str(step.get("name", "")),
            state=step.get("state", "off"),
            message=step.get("message", ""),
            ms=step.get("ms"),
        )
        for step in row.get("steps") or ()
    ]


def dump_steps(steps: Sequence[Step]) -> dict[str, Any]:
    return {"steps": [asdict(step) for step in steps]}


@dataclass(frozen=True, kw_only=True)
class ExportTest:
    """The test that an export made before it began; kept in the result of the export."""

    at: str
    """When, in ISO 8601."""
    state: str
    message: str
    steps: Sequence[Step]
    uploads: Mapping[str, int] = field(default_factory=dict)
    """Unfinished uploads: see `unfinished_uploads.abort_abandoned`."""

    @classmethod
    def load(cls, row: Mapping[str, Any]) -> "ExportTest":
        kept = row["tested"]
        return cls(
            at=kept["at"],
            state=kept["state"],
            message=kept["message"],
            steps=load_steps(kept),
            uploads=kept.get("uploads") or {},
        )

    def dump(self) -> dict[str, Any]:
        kept = {"at": self.at, "state": self.state, "message": self.message, "uploads": dict(self.uploads)}
        return {"tested": {**kept, **dump_steps(self.steps)}}
