"""Things found by a path, or by an id of any kind."""

from typing import Annotated

from pydantic import Field, RootModel

from portal.routes.api.schemas.container_shapes import (
    AcquisitionShown,
    GroupShown,
    ProjectShown,
    SessionShown,
    SubjectShown,
)
from portal.routes.api.schemas.files import FileShown
from portal.routes.api.schemas.values import OpenBody, Shown


class PathAsked(OpenBody):
    path: Annotated[
        list[str],
        Field(
            description="Labels from the group down; `<id:…>` for an id; a file by its name, or behind `files`.",
            max_length=7,
        ),
    ]


class FileNode(FileShown):
    container_type: str
    node_type: str


Node = GroupShown | ProjectShown | SubjectShown | SessionShown | AcquisitionShown | FileNode


class NodeFound(RootModel[Node]):
    """A group, a container or a file, as `container_type` says."""


class Resolved(Shown):
    path: list[Node]
    children: list[Node]


class AnyContainer(RootModel[ProjectShown | SubjectShown | SessionShown | AcquisitionShown | GroupShown]):
    """A container, as `container_type` says."""
