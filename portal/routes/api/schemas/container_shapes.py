"""Groups, projects, subjects, sessions and acquisitions as the interface shows them."""

from typing import Any

from pydantic import Field

from portal.listing import MAX_ROWS
from portal.routes.api.schemas.containers import OriginShown, Parents
from portal.routes.api.schemas.files import FileShown
from portal.routes.api.schemas.values import Moment, Shown


class Permission(Shown):
    """What the user whose key this is may do here; of a device's key there is none."""

    id: str = Field(alias="_id")
    access: str = Field(description="ro, rw or admin.")
    role_ids: list[str]


class NoteShown(Shown):
    id: str = Field(alias="_id")
    text: str
    user: str
    created: str
    modified: str


class GroupShown(Shown):
    id: str = Field(alias="_id")
    container_type: str
    label: str
    tags: list[str]
    permissions: list[Permission]
    created: Moment
    modified: Moment
    origin: OriginShown


class ContainerShown(Shown):
    """What every container below a group has."""

    id: str = Field(alias="_id")
    container_type: str
    label: str
    info: dict[str, Any]
    info_exists: bool
    tags: list[str]
    notes: list[NoteShown]
    permissions: list[Permission]
    created: Moment
    modified: Moment
    origin: OriginShown
    parents: Parents
    group: str
    files: list[FileShown] = Field(
        description=f"Of more than {MAX_ROWS:,} files the oldest ones: then list the files of the container in pages."
    )


class ProjectShown(ContainerShown):
    ae_title: str | None


class SubjectSaid(Shown):
    """What programs say of a subject in fields of their own; kept in `info`, as they sent it."""

    code: str
    sex: Any = None
    firstname: Any = None
    lastname: Any = None
    date_of_birth: Any = None
    age: Any = None
    race: Any = None
    ethnicity: Any = None
    species: Any = None
    strain: Any = None
    type: Any = None


SUBJECT_FIELDS = tuple(name for name in SubjectSaid.model_fields if name != "code")


class SubjectShown(ContainerShown, SubjectSaid):
    project: str


class SubjectSummary(SubjectSaid):
    """The subject of a session."""

    id: str = Field(alias="_id")
    label: str
    project: str


class SessionSaid(Shown):
    """What programs say of a session or an acquisition in fields of their own; kept in `info`, as they sent it."""

    timezone: Any = None
    age: Any = None
    weight: Any = None
    operator: Any = None


SESSION_FIELDS = tuple(SessionSaid.model_fields)


class SessionShown(ContainerShown, SessionSaid):
    project: str
    subject: SubjectSummary
    uid: str | None
    timestamp: Moment | None


class AcquisitionShown(ContainerShown, SessionSaid):
    project: str
    subject: str
    session: str
    uid: str | None
    timestamp: Moment | None
