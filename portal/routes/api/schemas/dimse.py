"""The DICOM side: AE titles of projects, and peers."""

from typing import Annotated

from pydantic import Field, RootModel

from portal.routes.api.schemas.values import Body, Id, Moment, Shown

Aet = Annotated[str, Field(description="An AE title of 1 to 16 characters.")]


class AetPath(Shown):
    aet: str


class ProjectAetGiven(Body):
    aet: Aet
    project_id: Id


class ProjectAet(Shown):
    """A project's own AE title: what peers call to reach this project alone."""

    id: str = Field(alias="_id")
    aet: str
    project_id: str
    host: str
    port: int
    creator: str
    created: Moment


class ProjectAets(RootModel[list[ProjectAet]]):
    """All that the key has access to."""


class ServiceGiven(Body):
    aet: Aet
    host: str
    port: Annotated[int, Field(ge=1, le=65535)]


class Service(Shown):
    """A peer of this AE title, which this site sends to."""

    id: str = Field(alias="_id")
    aet: str
    host: str
    port: int | None
    creator: str
    created: Moment


class Services(RootModel[list[Service]]):
    """All peers."""
