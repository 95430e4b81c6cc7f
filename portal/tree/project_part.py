"""Which part of a project is selected, and the queries of its files."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from peewee import fn

from portal.models import Acquisition, Blob, File, FileVersion, Instance, Session, Subject
from portal.models.index import is_held_back


@dataclass(frozen=True, kw_only=True)
class ProjectPart:
    """All of a project, some of its subjects, or some of its sessions."""

    project: int
    level: str = "project"
    ids: tuple[int, ...] = ()


def container_queries(part: ProjectPart) -> Iterable[tuple[str, Any]]:
    """For each kind of container, the query of the selected ones."""
    subjects = Subject.select(Subject.id).where(Subject.project == part.project)
    sessions = Session.select(Session.id).where(Session.subject.in_(subjects))
    if part.level == "subject":
        subjects = Subject.select(Subject.id).where(Subject.id.in_(part.ids))
        sessions = Session.select(Session.id).where(Session.subject.in_(part.ids))
    if part.level == "session":
        sessions = Session.select(Session.id).where(Session.id.in_(part.ids))
    acquisitions = Acquisition.select(Acquisition.id).where(Acquisition.session.in_(sessions))
    levels = (("project", [part.project]), ("subject", subjects), ("session", sessions), ("acquisition", acquisitions))
    begin = ("project", "subject", "session").index(part.level)
    return levels[begin:]


def live_files(kind: str, parents: Any) -> Any:
    """Row number and size of the live files of some containers, without those that are held or superseded."""
    hidden = Instance.select(Instance.id).where(Instance.file == File.id, is_held_back(Instance))
    files = File.select(File.id, Blob.size).join(Blob)
    live = files.where(File.parent_type == kind, File.parent_id.in_(parents), File.deleted_at.is_null())
    return live.where(~fn.EXISTS(hidden))


def older_versions(kind: str, parents: Any) -> Any:
    """Row number and size of the older versions of the live files of some containers."""
    versions = FileVersion.select(FileVersion.id, Blob.size).join(Blob).switch(FileVersion).join(File)
    return versions.where(File.parent_type == kind, File.parent_id.in_(parents), File.deleted_at.is_null())
