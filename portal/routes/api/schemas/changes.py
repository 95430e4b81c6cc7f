"""What is changed of containers: as a whole, and their info, tags and notes."""

from typing import Annotated, Any

from pydantic import Field, RootModel

from portal.routes.api.schemas.container_shapes import NoteShown
from portal.routes.api.schemas.containers import ContainerAdded, ContainerPath, GroupPath, ParentGiven, Uid
from portal.routes.api.schemas.values import Label, OpenBody, Query, Shown, Timestamp


class ContainerChanged(ContainerAdded):
    """What is left out stays; further fields are kept in `info`."""

    label: Label | None = None
    code: str | None = None
    uid: Uid | None = None
    timestamp: Timestamp | None = None
    ae_title: Annotated[str | None, Field(description="Of a project; empty to remove it.")] = None
    project: ParentGiven | None = None
    subject: Annotated[ParentGiven | None, Field(description="A session may move to a subject of its project.")] = None
    session: ParentGiven | None = None


class GroupChanged(OpenBody):
    label: Label | None = None
    tags: list[str] | None = None


class Modified(Shown):
    modified: int
    jobs_spawned: int


class Deleted(Shown):
    """How many were moved to the trash, or deleted."""

    deleted: int


class DeleteQuery(Query):
    """Clients give a reason; the audit log has who deleted what."""

    delete_reason: str | None = None
    force: str | None = None


class InfoDelta(OpenBody):
    """Without `set`, `replace` and `delete`, the fields of the body are set."""

    replace: Annotated[dict[str, Any] | None, Field(description="The whole new info.")] = None
    set: Annotated[dict[str, Any] | None, Field(description="Fields to set.")] = None
    delete: Annotated[list[str] | None, Field(description="Fields to delete.")] = None


class InfoShown(RootModel[dict[str, Any]]):
    """Names and values."""


class TagGiven(OpenBody):
    value: str


class TagsGiven(RootModel[list[str]]):
    """Texts."""


class TagShown(RootModel[str]):
    """One tag."""


class TagPath(ContainerPath):
    value: str


class GroupTagPath(GroupPath):
    value: str


class NoteGiven(OpenBody):
    text: str


class NotePath(ContainerPath):
    note_id: str


class NoteAnswer(NoteShown):
    """A note."""
