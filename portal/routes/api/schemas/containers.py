"""Groups, projects, subjects, sessions and acquisitions."""

from typing import Annotated

from pydantic import Field

from portal.routes.api.schemas.values import Body, Id, Label, Moment, Shown, Timestamp

Uid = Annotated[str, Field(max_length=64, description="A DICOM UID: of the study or of the series.")]


class GroupPath(Shown):
    code: str


class ContainerPath(Shown):
    container_id: Id


class Added(Shown):
    """The id of what was created."""

    id: str = Field(alias="_id")


class OriginShown(Shown):
    """Who created it: `via` is the id of a key, an AE title with its address, or the name of a program."""

    type: str
    id: str
    via: str


class Parents(Shown):
    group: str
    project: str | None = None
    subject: str | None = None
    session: str | None = None


class GroupShown(Shown):
    id: str = Field(alias="_id")
    label: str
    created: Moment
    modified: Moment
    origin: OriginShown


class ContainerShown(Shown):
    """What every container below a group has."""

    id: str = Field(alias="_id")
    label: str
    created: Moment
    modified: Moment
    origin: OriginShown
    parents: Parents
    group: str


class ProjectShown(ContainerShown):
    ae_title: str | None


class SubjectShown(ContainerShown):
    project: str


class SessionShown(ContainerShown):
    project: str
    subject: str
    uid: str | None
    timestamp: Moment | None


class AcquisitionShown(ContainerShown):
    project: str
    subject: str
    session: str
    uid: str | None
    timestamp: Moment | None


class GroupAdded(Body):
    id: Annotated[str, Field(alias="_id", description="2 to 32 of the characters a-z 0-9 . _ -")]
    label: Label | None = None


class ProjectAdded(Body):
    group: str
    label: Label
    ae_title: Annotated[str | None, Field(description="An AE title of its own, for DICOM peers.")] = None


class SubjectAdded(Body):
    project: Id
    label: Label


class SessionAdded(Body):
    subject: Id
    label: Label
    project: Annotated[Id | None, Field(description="If present, it must be the project of the subject.")] = None
    uid: Uid | None = None
    timestamp: Timestamp | None = None


class AcquisitionAdded(Body):
    session: Id
    label: Label
    uid: Uid | None = None
    timestamp: Timestamp | None = None
