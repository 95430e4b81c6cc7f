"""The files of a container."""

from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from portal.routes.api.schemas.containers import ContainerPath, OriginShown
from portal.routes.api.schemas.values import Digits, Moment, Query, Shown

FARTHEST_VERSION = 10**9


class FilePath(ContainerPath):
    name: str


class VersionQuery(Query):
    version: Annotated[int | None, Digits(1, FARTHEST_VERSION), Field(description="The newest without it.")] = None


class UploadQuery(Query):
    on_conflict: Annotated[
        Literal["refuse", "hold"],
        Field(description="What is done with a DICOM object that has another content than the one that is here."),
    ] = "refuse"


class ParentRef(Shown):
    type: str
    id: str


class FileShown(Shown):
    """A file; `hash` is the SHA-256 of its bytes in hex."""

    id: str = Field(alias="_id")
    file_id: str
    name: str
    version: int
    size: int
    hash: str
    mimetype: str | None
    type: str | None
    created: Moment
    modified: Moment
    origin: OriginShown
    parent_ref: ParentRef


class UploadedFile(FileShown):
    outcome: str = Field(description="What became of it: stored, or the same as one that is here.")
    message: str


class Uploaded(RootModel[list[UploadedFile]]):
    """The file that was stored."""


UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {"file": {"type": "string", "format": "binary"}},
                    "required": ["file"],
                }
            }
        },
    }
}
CONTENT: dict[str, Any] = {
    "description": "The bytes.",
    "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
}
