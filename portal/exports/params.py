"""What an export or a verification is to do: types for the JSON that the row of its job keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portal.exports.rules import WrittenRule
from portal.tree.project_part import ProjectPart

ONE_TIME_KEYS = ("last_file", "dry_run", "schedule")
"""Keys of an export that its schedule does not keep: each repetition has its own."""


@dataclass(frozen=True, kw_only=True)
class ExportParams:
    """Of an export, a send or a dry run; schedules keep the same of the exports that they repeat."""

    project_id: int = 0
    path: str = ""
    """GROUP/PROJECT, as the project was called at the start."""
    storage_id: int = 0
    """Where the export goes; 0 where it goes to a peer."""
    peer_id: int = 0
    to: str = ""
    """The label of that storage or peer."""
    last_file_id: int = 0
    """Files with a higher number came after the start, and are not exported."""
    part: ProjectPart
    only: str = ""
    """The part in words: its level, a space and its name at the start; empty for the whole project."""
    study_instance_uid: str = ""
    """Of a send: the only study that is sent."""
    rules: Sequence[WrittenRule] = ()
    existing: str = "never"
    """Which objects that are there already are written over: never, different, always."""
    bandwidth: int = 0
    """Bytes a second; 0 for no limit."""
    sidecars: bool = False
    """Whether each object gets a sidecar."""
    dry_run_id: int = 0
    """The dry run that it was started from."""
    schedule_id: int = 0
    """The schedule that started it."""
    retrieval_id: int = 0
    """The C-MOVE or C-GET whose failed instances are sent, and nothing else."""

    @property
    def is_to_peer(self) -> bool:
        return bool(self.peer_id)

    @property
    def search(self) -> str:
        """The search whose studies are exported; empty for another part of the project."""
        level, _space, text = self.only.partition(" ")
        return text if level == "search" else ""

    @classmethod
    def load(cls, row: Mapping[str, Any]) -> "ExportParams":
        """Keys that older releases did not write get their defaults."""
        part = row.get("part") or {"level": "project", "ids": ()}
        project_id = row.get("project", 0)
        return cls(
            project_id=project_id,
            path=row.get("path", ""),
            storage_id=row.get("storage", 0),
            peer_id=row.get("peer", 0),
            to=row.get("to", ""),
            last_file_id=row.get("last_file", 0),
            part=ProjectPart(project=project_id, level=part["level"], ids=tuple(part["ids"])),
            only=row.get("only") or "",
            study_instance_uid=row.get("study", ""),
            rules=row.get("rules") or (),
            existing=row.get("existing", "never"),
            bandwidth=row.get("bandwidth") or 0,
            sidecars=bool(row.get("sidecars")),
            dry_run_id=row.get("dry_run", 0),
            schedule_id=row.get("schedule", 0),
            retrieval_id=row.get("retrieval", 0),
        )

    def dump(self) -> dict[str, Any]:
        optional = {
            "storage": self.storage_id,
            "peer": self.peer_id,
            "study": self.study_instance_uid,
            "dry_run": self.dry_run_id,
            "schedule": self.schedule_id,
            "retrieval": self.retrieval_id,
        }
        return {
            "project": self.project_id,
            "path": self.path,
            "to": self.to,
            "last_file": self.last_file_id,
            "part": {"level": self.part.level, "ids": list(self.part.ids)},
            "only": self.only,
            "rules": list(self.rules),
            "existing": self.existing,
            "bandwidth": self.bandwidth,
            "sidecars": self.sidecars,
            **{key: value for key, value in optional.items() if value},
        }

    def dump_for_schedule(self) -> dict[str, Any]:
        """What a schedule keeps: a search is repeated at each run, a subject or session is fixed."""
        dropped = (*ONE_TIME_KEYS, "part") if self.search else ONE_TIME_KEYS
        return {key: value for key, value in self.dump().items() if key not in dropped}


@dataclass(frozen=True, kw_only=True)
class VerificationParams:
    export_id: int = 0
    path: str = ""
    """GROUP/PROJECT of the export."""
    storage_id: int = 0
    to: str = ""
    """The label of that storage."""

    @classmethod
    def load(cls, row: Mapping[str, Any]) -> "VerificationParams":
        return cls(
            export_id=row.get("export", 0),
            path=row.get("path", ""),
            storage_id=row.get("storage", 0),
            to=row.get("to", ""),
        )

    def dump(self) -> dict[str, Any]:
        return {"storage": self.storage_id, "path": self.path, "to": self.to, "export": self.export_id}
