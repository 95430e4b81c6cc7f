"""The files of a container."""

from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from portal.routes.api.schemas.containers import ContainerPath, OriginShown, Parents
from portal.routes.api.schemas.values import Digits, Id, Moment, OpenBody, Query, Shown

FARTHEST_VERSION = 10**9


class FilePath(ContainerPath):
    name: str


class FileIdPath(Shown):
    file_id: Id


class VersionQuery(Query):
    version: Annotated[int | None, Digits(1, FARTHEST_VERSION), Field(description="The newest without it.")] = None


class ContentQuery(VersionQuery):
    member: Annotated[str | None, Field(description="The path of one member of a zip, instead of the whole.")] = None
    info: Annotated[bool, Field(description="The members of a zip as JSON, instead of the bytes.")] = False
    hash: Annotated[str | None, Field(description="Refuse a file of another SHA-256.")] = None
    ticket: Annotated[
        str | None, Field(description="Empty to get a ticket; with a ticket no key is needed.", max_length=100)
    ] = None


class DeleteQuery(Query):
    """Nothing of it is kept."""

    delete_reason: str | None = None
    force: bool | None = None


class UploadQuery(Query):
    on_conflict: Annotated[
        Literal["refuse", "hold"],
        Field(description="What is done with a DICOM object that has another content than the one that is here."),
    ] = "refuse"
    preserve_metadata: Annotated[bool, Field(description="Keep what was said of a file that is here already.")] = False


class PlacedUploadQuery(UploadQuery):
    uid_placement: Annotated[
        bool, Field(description="For a reaper: whether its UIDs decide in all projects, or in the named one alone.")
    ] = True


class StorageQuery(Query):
    """What fw-client sends with a file for a project."""

    project_id: Id
    origin_type: str | None = None
    origin_id: str | None = None
    signed_url: bool = False


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
    modality: str | None
    classification: dict[str, list[str]]
    info: dict[str, Any]
    info_exists: bool
    tags: list[str]
    zip_member_count: int | None
    created: Moment
    modified: Moment
    origin: OriginShown
    parent_ref: ParentRef


class FileVersionId(Shown):
    file_id: str
    version: int


class FileOfVersion(FileShown):
    """A file; its `_id` has the version too, as answers to /upload have it."""

    id: FileVersionId = Field(alias="_id")  # type: ignore[assignment]


class FileParents(Parents):
    acquisition: str | None = None


class FileDetails(FileShown):
    parents: FileParents


class FileVersionShown(Shown):
    """One version, and who sent it."""

    file_id: str
    version: int
    size: int
    hash: str
    created: Moment
    origin: OriginShown


class FileVersions(RootModel[list[FileVersionShown]]):
    """All versions, the newest first."""


class UploadedFile(FileShown):
    outcome: str = Field(description="What became of it: stored, version, alternate, conflict, or same.")
    message: str


class PlacedFile(FileOfVersion):
    outcome: str
    message: str


class Placed(RootModel[list[PlacedFile]]):
    """The files that were stored, where their metadata says."""


class StorageFile(Shown):
    storage_file_id: str


class FileChanged(OpenBody):
    """What is left out stays. Other fields are not kept."""

    type: Annotated[str | None, Field(max_length=255)] = None
    modality: Annotated[str | None, Field(max_length=255)] = None
    classification: dict[str, list[str]] | None = None
    info: dict[str, Any] | None = None
    tags: list[str] | None = None


class InfoChanged(OpenBody):
    """What to change; other fields are not kept."""

    set: dict[str, Any] | None = None
    replace: dict[str, Any] | None = None
    delete: list[str] | None = None


class Info(RootModel[dict[str, Any]]):
    """Names and values."""


class ClassificationChanged(OpenBody):
    modality: str | None = None
    add: dict[str, list[str]] | None = None
    delete: dict[str, list[str]] | None = None
    replace: dict[str, list[str]] | None = None


class Tags(RootModel[list[str]]):
    """Tags of a file."""


class Modified(Shown):
    """How many files were changed, and how many jobs that began: none."""

    modified: int
    jobs_spawned: int


class Trashed(Shown):
    """How many were moved to the trash."""

    deleted: int


class ZipMember(Shown):
    path: str
    size: int
    timestamp: Moment | None
    comment: str


class ZipShown(Shown):
    """The members of a zip."""

    comment: str
    members: list[ZipMember]


class TicketShown(Shown):
    """A ticket, and what it is for."""

    ticket: str
    filename: str
    file_cnt: int
    size: int


class DownloadNode(OpenBody):
    level: str
    id: Annotated[Id, Field(alias="_id")]


class DownloadAsked(OpenBody):
    nodes: Annotated[list[DownloadNode], Field(max_length=1000)]
    optional: Annotated[bool | None, Field(description="Leave out what there is not.")] = None
    filters: Annotated[
        list[dict[str, Any]] | None,
        Field(
            max_length=20,
            description="A file is taken if one of them takes it: `types` and `tags`, each with `plus` and `minus`.",
        ),
    ] = None


class DownloadTicketQuery(Query):
    """Parameters other than the prefix change nothing."""

    prefix: Annotated[str, Field(max_length=100, description="The folder in which everything is.")] = ""
    type: str | None = None
    bulk: bool | None = None
    metadata: bool | None = None
    analyses: bool | None = None


class DownloadQuery(Query):
    ticket: Annotated[str, Field(max_length=100)]
    format: Literal["tar", "zip"] = "tar"


class Uploaded(RootModel[list[UploadedFile]]):
    """The file that was stored."""


UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "metadata": {"type": "string", "description": "JSON: what is said of the file, or a list."},
                        "file": {"type": "string", "format": "binary"},
                    },
                    "required": ["file"],
                }
            }
        },
    }
}
CONTENT: dict[str, Any] = {
    "description": "The bytes.",
    "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
}
