"""A whole branch of the tree at once, and UIDs that exist."""

from typing import Annotated, Any

from pydantic import Field, RootModel

from portal.routes.api.schemas.containers import Uid
from portal.routes.api.schemas.values import IdGiven, Label, OpenBody, Shown, Timestamp


class UpsertWanted(OpenBody):
    """A container as a program has it; further fields are kept in `info`."""

    id: Annotated[IdGiven | None, Field(alias="_id")] = None
    label: Label | None = None
    uid: Uid | None = None
    timestamp: Timestamp | None = None
    info: dict[str, Any] | None = None
    tags: list[str] | None = None


class HierarchyWanted(OpenBody):
    subject: UpsertWanted
    session: UpsertWanted | None = None
    acquisition: UpsertWanted | None = None


class UpsertShown(Shown):
    id: str = Field(alias="_id")
    label: str
    uid: str | None = None
    upsert_result: str = Field(description="created, updated or ignored.")


class HierarchyShown(Shown):
    subject: UpsertShown
    session: UpsertShown | None = None
    acquisition: UpsertShown | None = None


Uids = Annotated[list[str], Field(max_length=10_000)]


class UidsAsked(OpenBody):
    """UIDs to look for: in one project, in some, or in all."""

    sessions: Uids | None = None
    acquisitions: Uids | None = None
    project_id: IdGiven | None = None
    project_ids: Annotated[list[IdGiven] | None, Field(max_length=10_000)] = None


class UidsFound(Shown):
    """Those of the UIDs that exist."""

    sessions: list[str]
    acquisitions: list[str]


class UidsByProject(RootModel[dict[str, UidsFound]]):
    """By the id of the project."""
