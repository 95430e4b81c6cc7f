"""The files that a device uploaded, as a list."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from peewee import JOIN, SQL, Case

from portal.listing import LongList
from portal.models import Acquisition, Blob, File, Group, Project, Session, Subject, now


@dataclass(frozen=True, kw_only=True)
class UploadedFile:
    """A file, and the project that it is in."""

    file: File
    project: str


def uploads(device_id: int) -> LongList:
    """The files of a device that still exist, the newest first; found by name and by the key that uploaded them."""
    of_device = File.origin_type == SQL("'device'"), File.origin_id == str(device_id), File.deleted_at.is_null()
    return LongList(
        table=File,
        rows=lambda: File.select(File, Blob).join(Blob).where(*of_device),
        counted=lambda: File.select().where(*of_device),
        views=_with_projects,
        kinds={
            "day": lambda: File.created > now() - timedelta(days=1),
            "week": lambda: File.created > now() - timedelta(days=7),
            "month": lambda: File.created > now() - timedelta(days=30),
        },
        searched=(File.name, File.origin_via),
        sorts={"since": lambda: File.id, "name": lambda: File.name, "size": lambda: Blob.size},
        usual="-since",
        heads=("File", "Type", "Version", "Bytes", "SHA-256", "Project", "Key", "Uploaded"),
        cells=lambda row: (
            *(row.file.name, row.file.type, row.file.version, row.file.blob.size, row.file.blob.digest),
            *(row.project, row.file.origin_via, row.file.created),
        ),
    )


def _with_projects(files: Sequence[File]) -> list[UploadedFile]:
    """By one more statement, from the container of each file up to its project."""

    def number(level: str, below: Any) -> Any:
        return Case(None, [(File.parent_type == level, File.parent_id)], below)

    query: Any = (
        File.select(File.id, Group.code, Project.label)
        .join(Acquisition, JOIN.LEFT_OUTER, on=Acquisition.id == number("acquisition", None))
        .join(Session, JOIN.LEFT_OUTER, on=Session.id == number("session", Acquisition.session))
        .join(Subject, JOIN.LEFT_OUTER, on=Subject.id == number("subject", Session.subject))
        .join(Project, on=Project.id == number("project", Subject.project))
        .join(Group)
        .where(File.id.in_([file.id for file in files]))
    )
    paths = {row_id: f"{code}/{label}" for row_id, code, label in query.tuples()}
    return [UploadedFile(file=file, project=paths.get(file.id, "")) for file in files]
