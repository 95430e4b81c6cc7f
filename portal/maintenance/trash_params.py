"""What a job of the trash is to do: the type for the JSON that its row keeps."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any


@dataclass(frozen=True, kw_only=True)
class TrashParams:
    trash_id: int = 0
    """The entry of the trash that is filled, restored or purged."""
    last_file_id: int = 0
    """Of a move to the trash: files with a higher number came after it, and stay."""
    before: datetime | None = None
    """Of a purge by age: in place of one entry all those from before that moment."""

    @classmethod
    def load(cls, row: Mapping[str, Any]) -> "TrashParams":
        return cls(
            trash_id=row.get("trash", 0),
            last_file_id=row.get("last_file", 0),
            before=datetime.fromisoformat(row["before"]) if "before" in row else None,
        )

    def dump(self) -> dict[str, Any]:
        optional = {
            "trash": self.trash_id,
            "last_file": self.last_file_id,
            "before": self.before.isoformat() if self.before else None,
        }
        return {key: value for key, value in optional.items() if value}
