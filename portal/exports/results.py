"""What an export has done, stage by stage: types for the JSON that the row of its job keeps."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from portal.jobs.records import StateSums


@dataclass(frozen=True, kw_only=True)
class PlanResult:
    """What the plan of an export has found."""

    size: int = 0
    """Bytes of all items, sidecars included."""
    sidecars: int = 0
    held_back: int = 0
    """Objects in conflict or superseded, which are not exported."""
    unmatched: int = 0
    """Objects that no rule, or no peer, takes."""
    patients: int = 0
    """Subjects with at least one exported object that identifies the patient."""

    @classmethod
    def load(cls, row: Mapping[str, Any]) -> "PlanResult":
        return cls(
            size=row.get("bytes", 0),
            sidecars=row.get("sidecars", 0),
            held_back=row.get("held_back", 0),
            unmatched=row.get("unmatched", 0),
            patients=row.get("patients", 0),
        )

    def dump(self) -> dict[str, Any]:
        return {
            "planned": True,
            "bytes": self.size,
            "sidecars": self.sidecars,
            "held_back": self.held_back,
            "unmatched": self.unmatched,
            "patients": self.patients,
        }


@dataclass(frozen=True, kw_only=True)
class DryRunResult:
    """What a dry run has found at the storage, or of what would go to a peer."""

    found: StateSums = field(default_factory=dict)
    to_send: int = 0
    """Objects that the export would send."""
    sop_classes: Mapping[str, int] | None = None
    """To a peer: how many objects of each SOP Class."""

    @classmethod
    def load(cls, row: Mapping[str, Any]) -> "DryRunResult":
        return cls(found=row.get("found") or {}, to_send=row.get("sends", 0), sop_classes=row.get("classes"))

    def dump(self) -> dict[str, Any]:
        classes = {} if self.sop_classes is None else {"classes": self.sop_classes}
        return {"found": self.found, "sends": self.to_send, **classes}

    def count(self, state: str) -> int:
        """How many objects came out in a state."""
        return int(self.found.get(state, (0, 0))[0])


@dataclass(frozen=True, kw_only=True)
class ManifestRecord:
    """The manifest of an export: written and proved where `sha256` is set, else its name and moment alone."""

    name: str = ""
    ended: str = ""
    """The moment in it, in ISO 8601, which decides its bytes."""
    number: int = 0
    """How many manifests the export has begun."""
    key: str = ""
    """Its name below the storage's prefix."""
    size: int = 0
    sha256: str | None = None
    """None while it is being written; empty where another one has to be written."""

    @classmethod
    def load(cls, row: Mapping[str, Any]) -> "ManifestRecord":
        kept = row.get("manifest") or {}
        return cls(
            name=kept.get("name", ""),
            ended=kept.get("ended", ""),
            number=kept.get("number", 0),
            key=kept.get("key", ""),
            size=kept.get("size", 0),
            sha256=kept.get("sha256"),
        )

    def dump(self) -> dict[str, Any]:
        begun: dict[str, Any] = {"name": self.name, "ended": self.ended, "number": self.number}
        if self.sha256 is not None:
            begun["sha256"] = self.sha256
        written = {"key": self.key, "size": self.size} if self.sha256 else {}
        return {"manifest": {**begun, **written}}
