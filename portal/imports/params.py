"""What an import is to do, and what it has done: types for the JSON that the row of its job keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from portal.jobs.records import StateSums


@dataclass(frozen=True, kw_only=True)
class ImportParams:
    storage_id: int = 0
    storage_label: str = ""
    """As the storage was called at the start, and so the path."""
    project_id: int = 0
    path: str = ""
    """GROUP/PROJECT."""
    prefix: str = ""
    by: str = "headers"
    """What decides where an object belongs: headers, manifest, path."""
    template: str = ""
    """How paths are read, where they decide."""
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    """Patterns of keys that are imported, and that are not."""
    dry_run_id: int = 0
    """The dry run that it was started from."""

    @classmethod
    def load(cls, row: Mapping[str, Any]) -> "ImportParams":
        return cls(
            storage_id=row.get("storage", 0),
            storage_label=row.get("of", ""),
            project_id=row.get("project", 0),
            path=row.get("path", ""),
            prefix=row.get("prefix", ""),
            by=row.get("by", "headers"),
            template=row.get("template", ""),
            include=row.get("include") or (),
            exclude=row.get("exclude") or (),
            dry_run_id=row.get("dry_run", 0),
        )

    def dump(self) -> dict[str, Any]:
        return {
            "storage": self.storage_id,
            "of": self.storage_label,
            "project": self.project_id,
            "path": self.path,
            "prefix": self.prefix,
            "by": self.by,
            "template": self.template,
            "include": list(self.include),
            "exclude": list(self.exclude),
            **({"dry_run": self.dry_run_id} if self.dry_run_id else {}),
        }


@dataclass(frozen=True, kw_only=True)
class ReadManifest:
    """A manifest that an import has read."""

    name: str
    sha256: str
    signed: bool
    """By this site."""


@dataclass(frozen=True, kw_only=True)
class ImportPlan:
    """What the plan of an import has found."""

    size: int = 0
    unmatched: int = 0
    manifests: Sequence[ReadManifest] = ()

    @classmethod
    def load(cls, row: Mapping[str, Any]) -> "ImportPlan":
        return cls(
            size=row.get("bytes", 0),
            unmatched=row.get("unmatched", 0),
            # A row of another release may have more keys, or fewer.
            manifests=[
                ReadManifest(
                    name=str(manifest.get("name", "")),
                    sha256=str(manifest.get("sha256", "")),
                    signed=bool(manifest.get("signed")),
                )
                for manifest in row.get("manifests") or ()
            ],
        )

    def dump(self) -> dict[str, Any]:
        manifests = [vars(manifest) for manifest in self.manifests]
        return {"planned": True, "bytes": self.size, "unmatched": self.unmatched, "manifests": manifests}


@dataclass(frozen=True, kw_only=True)
class ImportResult:
    """What has become of the objects of an import, or what its dry run expects."""

    found: StateSums = field(default_factory=dict)
    is_incomplete: bool | None = None
    """Of a dry run: whether not all objects of the import were compared with each other."""

    @classmethod
    def load(cls, row: Mapping[str, Any]) -> "ImportResult":
        return cls(found=row.get("found") or {}, is_incomplete=row.get("uncompared"))

    def dump(self) -> dict[str, Any]:
        uncompared = {} if self.is_incomplete is None else {"uncompared": self.is_incomplete}
        return {"found": self.found, **uncompared}
