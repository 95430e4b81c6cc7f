"""Groups, projects, subjects, sessions and acquisitions."""

from typing import Annotated, Any

from pydantic import Field

from portal.routes.api.schemas.values import Id, IdGiven, Label, OpenBody, Shown, Timestamp

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
    name: str | None = None
    """Its present name, where it has one."""


class Parents(Shown):
    group: str
    project: str | None = None
    subject: str | None = None
    session: str | None = None


class ParentObject(OpenBody):
    """A parent as an object, as its answer has it."""

    id: Annotated[IdGiven | None, Field(alias="_id")] = None
    label: str | None = None
    code: str | None = None


ParentGiven = Annotated[IdGiven | ParentObject, Field(description="Its id, or an object with its id.")]


class GroupAdded(OpenBody):
    id: Annotated[str, Field(alias="_id", description="2 to 32 of the characters a-z 0-9 . _ -")]
    label: Label | None = None


class ContainerAdded(OpenBody):
    """What is said of a new container; further fields are kept in `info`."""

    info: dict[str, Any] | None = None
    tags: list[str] | None = None


class ProjectAdded(ContainerAdded):
    group: str
    label: Label
    ae_title: Annotated[str | None, Field(description="An AE title of its own, for DICOM peers.")] = None


class SubjectAdded(ContainerAdded):
    project: ParentGiven
    label: Annotated[Label | None, Field(description="Without it, the code.")] = None
    code: str | None = None


class SessionAdded(ContainerAdded):
    """With a project, a subject that is given by its label or code is created where it is missing."""

    subject: ParentGiven
    label: Label
    project: Annotated[ParentGiven | None, Field(description="It must be the project of the subject.")] = None
    uid: Uid | None = None
    timestamp: Timestamp | None = None


class AcquisitionAdded(ContainerAdded):
    session: ParentGiven
    label: Label
    uid: Uid | None = None
    timestamp: Timestamp | None = None
